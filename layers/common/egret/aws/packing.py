"""The stored form of deliveries: MessagePack arrays, so that a delivery and its history stay under one write unit.

Instants are microseconds since 1970, durations microseconds. What can be told from elsewhere is left out: the fromid
within the reverse-path, the domain within the recipient, and the facts of an event that its attempt states already.
Fields are only ever added at the end, with a default.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from egret.aws.keys import MICROSECOND, instant, micros
from egret.core.delivery import Attempt, Delivery, Lease, State
from egret.core.errors import ContractError
from egret.core.events import Event, EventKind
from egret.core.outcome import Bounced, Deferred, Delivered, Outcome, Remote, Unknown, error_of, name_of
from egret.core.reply import Reply
from egret.core.trace import SessionTrace

FROMID_MARK = "\0"
"""Stands for the fromid in a stored reverse-path; no address can contain it."""


class PackedAttempt(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An attempt. code: 0 when there was no reply."""

    number: int
    started_at: int
    duration: int
    outcome: str
    reason: str
    mx_host: str
    address: str
    code: int
    lines: tuple[str, ...]
    names_recipient: bool = True
    transport: str = ""
    policy: str = ""
    tls: str = ""
    transcript: tuple[str, ...] = ()
    takes_dsn: bool = False


class PackedFacts(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What an event tells beyond its kind."""

    code: int
    enhanced_code: str
    error: str
    lines: tuple[str, ...]
    mx_host: str
    address: str


class PackedEvent(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An event. facts: None = those of its attempt."""

    seq: int
    kind: str
    at: int
    attempt: int
    source: str
    facts: PackedFacts | None
    dsn: bool
    by_message_id: bool = False
    failure: str = ""


class PackedLease(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A lease."""

    attempt: int
    unit: str
    until: int


class PackedDelivery(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A delivery without what the item holds as attributes: account, id, state, rev and due_at.

    domain: None = that of the recipient.
    """

    recipient: str
    domain: str | None
    reverse_path: str
    fromid: str
    queued_at: int
    not_before: int
    expires_at: int
    retention: int
    max_attempts: int
    held_at: int | None
    ended_at: int | None
    lease: PackedLease | None
    attempts: tuple[PackedAttempt, ...]
    events: tuple[PackedEvent, ...]
    is_released: bool = False
    waiting: str = ""
    notify: str = ""
    orcpt: str = ""


class Facts(msgspec.Struct, frozen=True):
    """What the attributes of the item tell."""

    account: str
    id: int
    state: State
    rev: int
    due_at: datetime | None


def pack(delivery: Delivery) -> PackedDelivery:
    """Return the stored form of a delivery."""
    lease = delivery.lease
    return PackedDelivery(
        recipient=delivery.recipient,
        domain=None if delivery.recipient.endswith("@" + delivery.domain) else delivery.domain,
        reverse_path=_shorten(delivery.reverse_path, delivery.fromid),
        fromid=delivery.fromid,
        queued_at=micros(delivery.queued_at),
        not_before=micros(delivery.not_before),
        expires_at=micros(delivery.expires_at),
        retention=delivery.retention // MICROSECOND,
        max_attempts=delivery.max_attempts,
        held_at=_micros(delivery.held_at),
        ended_at=_micros(delivery.ended_at),
        lease=PackedLease(lease.attempt, lease.unit, micros(lease.until)) if lease else None,
        attempts=tuple(map(_pack_attempt, delivery.attempts)),
        events=tuple(_pack_event(event, delivery.attempts) for event in delivery.events),
        is_released=delivery.is_released,
        waiting=delivery.waiting,
        notify=delivery.notify,
        orcpt=delivery.orcpt,
    )


def unpack(packed: PackedDelivery, facts: Facts) -> Delivery:
    """Return the delivery that `pack` was given."""
    attempts = tuple(map(_unpack_attempt, packed.attempts))
    lease = packed.lease
    return Delivery(
        account=facts.account,
        id=facts.id,
        recipient=packed.recipient,
        domain=packed.recipient.rpartition("@")[2] if packed.domain is None else packed.domain,
        reverse_path=packed.reverse_path.replace(FROMID_MARK, packed.fromid),
        fromid=packed.fromid,
        queued_at=instant(packed.queued_at),
        not_before=instant(packed.not_before),
        expires_at=instant(packed.expires_at),
        retention=timedelta(microseconds=packed.retention),
        due_at=facts.due_at,
        state=facts.state,
        max_attempts=packed.max_attempts,
        lease=Lease(lease.attempt, lease.unit, instant(lease.until)) if lease else None,
        attempts=attempts,
        events=tuple(_unpack_event(event, attempts) for event in packed.events),
        rev=facts.rev,
        held_at=_instant(packed.held_at),
        is_released=packed.is_released,
        waiting=packed.waiting,
        notify=packed.notify,
        orcpt=packed.orcpt,
        ended_at=_instant(packed.ended_at),
    )


def _shorten(reverse_path: str, fromid: str) -> str:
    return reverse_path.replace(fromid, FROMID_MARK, 1) if fromid else reverse_path


def _micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def _instant(at: int | None) -> datetime | None:
    return None if at is None else instant(at)


def _pack_attempt(attempt: Attempt) -> PackedAttempt:
    outcome = attempt.outcome
    reply = outcome.reply
    return PackedAttempt(
        number=attempt.number,
        started_at=micros(attempt.started_at),
        duration=attempt.duration // MICROSECOND,
        outcome=name_of(outcome),
        reason="" if isinstance(outcome, Delivered) else outcome.reason,
        mx_host=outcome.remote.mx_host,
        address=outcome.remote.address,
        code=reply.code if reply else 0,
        lines=reply.lines if reply else (),
        names_recipient=not isinstance(outcome, Bounced) or outcome.names_recipient,
        transport=attempt.trace.transport,
        policy=attempt.trace.policy,
        tls=attempt.trace.tls,
        transcript=attempt.trace.transcript,
        takes_dsn=attempt.trace.takes_dsn,
    )


def _unpack_attempt(packed: PackedAttempt) -> Attempt:
    duration = timedelta(microseconds=packed.duration)
    trace = SessionTrace(packed.transport, packed.policy, packed.tls, packed.transcript, packed.takes_dsn)
    return Attempt(packed.number, instant(packed.started_at), duration, _outcome(packed), trace)


def _outcome(packed: PackedAttempt) -> Outcome:
    remote = Remote(packed.mx_host, packed.address)
    reply = Reply(packed.code, packed.lines) if packed.code else None
    match packed.outcome:
        case "delivered" if reply is not None:
            return Delivered(reply, remote)
        case "deferred":
            return Deferred(packed.reason, reply, remote)
        case "bounced":
            return Bounced(packed.reason, reply, remote, packed.names_recipient)
        case "unknown":
            return Unknown(packed.reason, remote)
        case other:
            raise ContractError(detail=f"a stored attempt with outcome {other}")


def _facts_of_attempt(attempt: Attempt) -> PackedFacts:
    """Return what `core.lifecycle` tells in the event of an attempt."""
    outcome = attempt.outcome
    reply = outcome.reply
    return PackedFacts(
        code=reply.code if reply else 0,
        enhanced_code=reply.enhanced_code if reply else "",
        error=error_of(outcome),
        lines=reply.lines if reply else (),
        mx_host=outcome.remote.mx_host,
        address=outcome.remote.address,
    )


def _pack_event(event: Event, attempts: tuple[Attempt, ...]) -> PackedEvent:
    remote = event.remote
    facts = PackedFacts(event.code, event.enhanced_code, event.error, event.reply, remote.mx_host, remote.address)
    told = 0 < event.attempt <= len(attempts) and facts == _facts_of_attempt(attempts[event.attempt - 1])
    return PackedEvent(
        event.seq,
        event.kind.value,
        micros(event.at),
        event.attempt,
        event.source,
        None if told else facts,
        event.dsn,
        event.by_message_id,
        event.failure,
    )


def _unpack_event(packed: PackedEvent, attempts: tuple[Attempt, ...]) -> Event:
    facts = packed.facts or _facts_of_attempt(attempts[packed.attempt - 1])
    return Event(
        seq=packed.seq,
        kind=EventKind(packed.kind),
        at=instant(packed.at),
        attempt=packed.attempt,
        source=packed.source,
        dsn=packed.dsn,
        code=facts.code,
        enhanced_code=facts.enhanced_code,
        error=facts.error,
        reply=facts.lines,
        remote=Remote(facts.mx_host, facts.address),
        failure=packed.failure,
        by_message_id=packed.by_message_id,
    )
