"""Events: what an account hears of its deliveries.

An event is part of the write that caused it (the delivery item), so that neither can exist without the other.
"""

from __future__ import annotations

import enum
import hashlib
from datetime import datetime

import msgspec

from egret.core.outcome import NOWHERE, Remote


class EventKind(enum.StrEnum):
    """The events of the webhooks; each says what became of one delivery."""

    DELIVERED = "delivered"
    """Accepted by the next hop; not necessarily in the mailbox yet."""
    DELAYED = "delayed"
    """An attempt failed and there will be another."""
    FAILED = "failed"
    """Permanently: refused, out of attempts, too old, or reported so by a DSN."""
    SUPPRESSED = "suppressed"
    """Not attempted: the recipient is on the suppression list."""
    CANCELED = "canceled"
    """Withdrawn by the account or an operator."""
    RELAYED = "relayed"
    """A DSN says that it went on to a system that sends no DSNs."""
    EXPANDED = "expanded"
    """A DSN says that it went on to several addresses."""
    UNRECOGNIZED = "unrecognized"
    """Mail came to the delivery's reverse-path that is not a DSN we can read."""
    COMPLAINED = "complained"
    """The recipient called it spam. Sent only to accounts that name it."""
    UNSUBSCRIBED = "unsubscribed"
    """The recipient unsubscribed. Sent only to accounts that name it."""


BY_NAME_ONLY = frozenset({EventKind.COMPLAINED, EventKind.UNSUBSCRIBED})
"""Sent only to accounts whose `events` name them: old receivers do not know these words."""


def is_wanted(kind: EventKind, events: frozenset[str]) -> bool:
    """Tell whether an account with this list of events (empty = all of the reference's) wants the kind."""
    return kind.value in events if events or kind in BY_NAME_ONLY else True


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a delivery.

    seq: 1, 2, 3 … within the delivery. attempt: number of the attempt that caused it, 0 if none did.
    source: "" for our own doing, else the id of what caused it, mail that came in (drops repeats); dsn: that was a DSN.
    code: SMTP code or 0; enhanced_code: "5.1.1" or ""; reply: every line of the answer.
    """

    seq: int
    kind: EventKind
    at: datetime
    attempt: int = 0
    source: str = ""
    dsn: bool = False
    code: int = 0
    enhanced_code: str = ""
    error: str = ""
    reply: tuple[str, ...] = ()
    remote: Remote = NOWHERE
    failure: str = ""
    """The class that the report itself gave (`core.failure_class`); "" = the codes and the reply say it."""
    by_message_id: bool = False
    """Its mail was matched by the Message-ID or ENVID alone, which many know: it is told, and never suppresses."""


def event_id(account: str, delivery_id: int, seq: int) -> str:
    """Return the id of an event: the same whenever it is derived again, so that receivers can drop repeats."""
    return f"{event_prefix(account, delivery_id)}{seq}"


def event_prefix(account: str, delivery_id: int) -> str:
    """Return what the ids of a delivery's events begin with."""
    return f"evt_{account}_{delivery_id:x}_"


def incoming_id(account: str, mail_id: int) -> str:
    """Return the id of the news that mail came in, as `event_id` does for events of deliveries."""
    return f"msg_{account}_{mail_id:x}"


def webhook_number(event_id: str) -> int:
    """Return the event's number below 2^53 for `X-Mox-Webhook-ID`, which is an integer on the wire."""
    return int.from_bytes(hashlib.sha256(event_id.encode()).digest()[:7], "big") >> 3
