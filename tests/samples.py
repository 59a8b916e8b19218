"""Values that tests of stores and streams store: plain to read, valid, so far in the future that none expires."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec

from egret.contracts.records import Acceptance, IdempotencyRecord, StoredMail
from egret.core.delivery import Attempt, Delivery, Lease, Message, State
from egret.core.events import Event, EventKind
from egret.core.ids import delivery_id, message_id_number
from egret.core.outcome import Bounced, Deferred, Delivered, Remote, Unknown
from egret.core.reply import Reply

NOON = datetime(2031, 3, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
EXACT = timedelta(microseconds=123_457)
"""Makes an instant uneven: storage keeps microseconds."""
CONTENT = b"From: a@example.com\r\nSubject: hello\r\n\r\nHello.\r\n"


def message_number(number: int) -> int:
    """Return the id of the `number`-th message: one a second, in one shard after the other."""
    return message_id_number(NOON + timedelta(seconds=number), number)


def message(account: str, number: int = 1, recipients: int = 1) -> Message:
    """Return the facts of the `number`-th message."""
    return Message(
        account=account,
        id=message_number(number),
        message_id=f"<{number}@mail.example.com>",
        subject="Grüße aus Zürich",
        login="login@example.com",
        header_from="sender@example.com",
        recipients=tuple(f"rcpt{index}@example.net" for index in range(recipients)),
        queued_at=NOON + timedelta(seconds=number) + EXACT,
        size_bytes=len(CONTENT),
        smtputf8=True,
        require_tls=False,
        extra={"order": "17", "note": "ü"},
        ret="FULL",
        envid="QQ 314",
        future_release="for;600",
        mail_from="bounces@example.com",
    )


def delivery(account: str, number: int = 1, index: int = 0) -> Delivery:
    """Return delivery `index` of the `number`-th message as it is accepted: queued, due a minute and a half later."""
    queued_at = NOON + timedelta(seconds=number) + EXACT
    return Delivery(
        account=account,
        id=delivery_id(message_number(number), index),
        recipient=f"rcpt{index}@example.net",
        domain="example.net",
        reverse_path="fromid@bounces.example.com",
        fromid="fromid",
        queued_at=queued_at,
        not_before=queued_at,
        expires_at=queued_at + 3 * DAY,
        retention=30 * DAY,
        due_at=queued_at + timedelta(seconds=90),
    )


def acceptance(account: str, number: int = 1, recipients: int = 1) -> Acceptance:
    """Return the acceptance of the `number`-th message with that many recipients, without an Idempotency-Key."""
    deliveries = tuple(delivery(account, number, index) for index in range(recipients))
    return Acceptance(message(account, number, recipients), deliveries)


def busy(account: str, number: int = 1) -> Delivery:
    """Return a delivery with everything that one can have while it is alive: attempts, events, a lease."""
    remote = Remote("mx1.example.net", "192.0.2.1")
    greylisted = Deferred("greylisted", Reply(451, ("4.7.1 come back later", "zweite Zeile")), remote)
    attempts = (
        Attempt(1, NOON + EXACT, timedelta(seconds=1, microseconds=7), greylisted),
        Attempt(2, NOON + HOUR, timedelta(seconds=2), Unknown("the connection died after the final dot", remote)),
    )
    events = (
        msgspec.structs.replace(
            Event(1, EventKind.DELAYED, NOON + EXACT, 1, remote=remote),
            code=451,
            enhanced_code="4.7.1",
            error="greylisted, transient: 451 4.7.1 come back later",
            reply=("4.7.1 come back later", "zweite Zeile"),
        ),
        Event(2, EventKind.DELAYED, NOON + HOUR, 2, error="the connection died after the final dot"),
    )
    return msgspec.structs.replace(
        delivery(account, number),
        state=State.ATTEMPTING,
        lease=Lease(3, "unit-a", NOON + 2 * HOUR + EXACT),
        attempts=attempts,
        events=events,
        max_attempts=5,
        rev=6,
    )


def ended(account: str, number: int = 1, retention: timedelta = 30 * DAY) -> Delivery:
    """Return a delivery that was delivered, then bounced by a DSN, and ended at noon."""
    remote = Remote("mx1.example.net", "2001:db8::1")
    attempts = (
        Attempt(1, NOON, timedelta(seconds=1), Delivered(Reply(250, ("2.0.0 queued",)), remote)),
        Attempt(2, NOON, timedelta(0), Bounced("null MX")),
    )
    events = (
        Event(1, EventKind.DELIVERED, NOON, 1, code=250, enhanced_code="2.0.0", reply=("2.0.0 queued",), remote=remote),
        Event(
            2,
            EventKind.FAILED,
            NOON + MINUTE,
            source="inbound-1",
            dsn=True,
            enhanced_code="5.1.1",
            error="no such user",
        ),
    )
    return msgspec.structs.replace(
        delivery(account, number),
        state=State.FAILED,
        due_at=None,
        attempts=attempts,
        events=events,
        ended_at=NOON,
        retention=retention,
        reverse_path="",
        fromid="",
        rev=3,
    )


def reservation(account: str, token: str = "token-1", body: str = "body-1", key: str = "key-1") -> IdempotencyRecord:
    """Return the reservation of an Idempotency-Key for a minute."""
    return IdempotencyRecord(account, key, body, NOON + MINUTE, token)


def completed(record: IdempotencyRecord, response: str = '{"MessageID":"<1@mail.example.com>"}') -> IdempotencyRecord:
    """Return the record of a request that was accepted, remembered for a day."""
    return replace(record, response=response, expires_at=NOON + DAY)


def mail(account: str, number: int = 1, mailbox: str = "Inbox") -> StoredMail:
    """Return the `number`-th mail of a mailbox, with a source of its own."""
    return StoredMail(
        account=account,
        id=message_number(number),
        mailbox=mailbox,
        blob=f"inbound/2031-03-01/{number}",
        size_bytes=1234,
        received_at=NOON + EXACT,
        mail_from="bob@example.net",
        rcpt_to="login@example.com",
        header_from="Bob <bob@example.net>",
        subject="Grüße zurück",
        message_id="<1@example.net>",
        remote_ip="2001:db8::25",
        is_dsn=True,
        flags=frozenset({"\\seen", "$forwarded"}),
        source=f"inbound-{number}",
        to=("login@example.com", "carol@example.net"),
        thread=f"thread-{number}",
        mail_from_validated=True,
        msg_from_validated=True,
        dkim_domains=("example.net",),
        expires_at=NOON + 30 * DAY + EXACT,
        is_news=True,
    )
