"""Dates in header fields: RFC 5322 sections 3.3 and 4.3."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_LONGEST_DATE = 200  # characters; anything longer is no date


def parse_date(value: str) -> datetime | None:
    """Return a date field as an aware datetime, None if it is no date. RFC 5322 3.3, 4.3."""
    if len(value) > _LONGEST_DATE:
        return None
    try:
        date = parsedate_to_datetime(value)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        date.astimezone(UTC)
    except (ValueError, TypeError, IndexError, AttributeError, OverflowError):
        return None
    return date
