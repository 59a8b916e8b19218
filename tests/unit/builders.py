"""Values for tests: a delivery, its message, an instant, a unit; each with what matters to the test given by name.

And what our own reader finds in a notification.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from egret.contracts.records import Unit
from egret.core.delivery import Attempt, Delivery, Message
from egret.core.dsn import DsnReport, read_dsn
from egret.core.ids import message_id_number
from egret.core.mimescan import read_mail
from egret.core.outcome import Bounced, Deferred, Delivered, Outcome, Remote, Unknown
from egret.core.reply import Reply

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ACCOUNT = "abcdefgh"
OTHER_ACCOUNT = "ijklmnop"
MESSAGE_ID = message_id_number(NOW, 0)
HOUR = timedelta(hours=1)
REMOTE = Remote("mx.example.net", "192.0.2.1")
OK = Delivered(Reply(250, ("2.0.0 queued as 1",)), REMOTE)
LATER = Deferred("the server put the recipient off", Reply(451, ("4.3.0 try later",)), REMOTE)
NEVER = Bounced("the server refused the recipient", Reply(550, ("5.1.1 no such user",)), REMOTE)
NOBODY_KNOWS = Unknown("the connection died after the final dot", REMOTE)


def dsn_in(raw: bytes) -> DsnReport | None:
    """Return the delivery status notification that a message is, None when it is none."""
    return read_dsn(read_mail(raw).parts)


def a_delivery(**changes: Any) -> Delivery:
    """Return a fresh queued delivery, with the changes."""
    values: dict[str, Any] = {
        "account": ACCOUNT,
        "id": MESSAGE_ID,
        "recipient": "ann@example.net",
        "domain": "example.net",
        "reverse_path": "x@bounces.example.com",
        "fromid": "x",
        "queued_at": NOW,
        "not_before": NOW,
        "due_at": NOW + timedelta(seconds=90),
        "expires_at": NOW + timedelta(hours=72),
        "retention": timedelta(days=30),
    }
    return Delivery(**(values | changes))


def a_message(**changes: Any) -> Message:
    """Return the message of `a_delivery()`, with the changes."""
    values: dict[str, Any] = {
        "account": ACCOUNT,
        "id": MESSAGE_ID,
        "message_id": "<1@example.com>",
        "subject": "Hello",
        "login": "app@example.com",
        "header_from": "app@example.com",
        "recipients": ("ann@example.net",),
        "queued_at": NOW,
        "size_bytes": 1000,
    }
    return Message(**(values | changes))


def an_attempt(number: int, outcome: Outcome, started_at: datetime = NOW) -> Attempt:
    """Return an attempt that took a second."""
    return Attempt(number, started_at, timedelta(seconds=1), outcome)


def a_unit(**changes: Any) -> Unit:
    """Return a unit with room that is alive at NOW, with the changes."""
    values: dict[str, Any] = {
        "id": "unit-1",
        "url": "http://127.0.0.1:1",
        "hostname": "mail.example.com",
        "source_addresses": (),
        "port25": True,
        "room": 100,
        "valid_until": NOW + timedelta(seconds=60),
    }
    return Unit(**(values | changes))
