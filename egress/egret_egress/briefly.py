"""What may be told of a reply, and when it came, to accounts that it was not meant for."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from egret.core.reply import Reply

_TAG = re.compile(r"\[[A-Z]{2,6}\d{1,6}\]|\b[A-Z]{1,3}[-]?\d{3,6}\b")


def short(reply: Reply) -> str:
    """Return codes and the provider's own tag, never its words.

    Every account whose mail waits reads it, and the words may name the address or the domain of the one that the reply
    was for; that one has all of it in its attempt.
    """
    tag = _TAG.search(" ".join(reply.lines))
    return " ".join(part for part in (str(reply.code), reply.enhanced_code, tag[0] if tag else "") if part)


def clock(now: float) -> str:
    """Return hours and minutes, UTC."""
    return f"{datetime.fromtimestamp(now, UTC):%H:%M}"
