"""Dates that others wrote: in header fields (RFC 5322 sections 3.3 and 4.3), and in reports, which are less careful."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime, parsedate_tz

from egret.core.mimescan import strip_comments

_LONGEST_DATE = 200  # characters; anything longer is no date, or has it at its beginning


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


def read_instant(text: str) -> datetime | None:
    """Return the date-time of a report, of RFC 5322 or ISO 8601, as aware UTC; None if it is neither.

    Weekdays may be missing or wrong, comments may stand anywhere, a missing zone means UTC.
    """
    cleaned = strip_comments(text[:_LONGEST_DATE])
    try:
        parsed = parsedate_tz(cleaned)
        if parsed is None:
            moment = datetime.fromisoformat(cleaned)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        zone = timezone(timedelta(seconds=parsed[9] or 0))
        return datetime(*parsed[:6], tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
