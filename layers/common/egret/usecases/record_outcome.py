"""Record what an attempt came to: the only way in which the result of an attempt enters the queue.

Called by the egress for what it saw and for what its journal remembers, and by deliver for attempts whose unit is gone.
Outcome and event are one conditional write; the same attempt recorded again changes nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from egret.contracts.ports import Clock, MailStore
from egret.contracts.settings import RetryPolicy
from egret.core.delivery import Attempt, Delivery, Lease
from egret.core.lifecycle import Record, Refusal, Release
from egret.core.outcome import Unknown
from egret.core.retry import DeliveryRetry, next_delivery_attempt
from egret.usecases.change import change


@dataclass(frozen=True, slots=True)
class RecordPorts:
    """What recording needs."""

    store: MailStore
    clock: Clock
    retry: RetryPolicy


def record_outcome(ports: RecordPorts, account: str, delivery_id: int, attempt: Attempt) -> Delivery | Refusal | None:
    """Record a finished attempt and plan the next one.

    Returns the delivery as it is now; REPEATED, STALE or TERMINAL when the attempt is not the one under way (it was
    recorded before: nothing changes, unless it was given up for unknown and is answered now); None when the delivery is
    absent. Raises Unavailable.
    """
    now = ports.clock.now()
    return change(
        ports.store,
        account,
        delivery_id,
        lambda delivery: Record(attempt, _next_at(ports.retry, delivery, attempt), now),
        now,
    )


def record_unknown(ports: RecordPorts, delivery: Delivery, reason: str) -> Delivery | Refusal | None:
    """Record that nobody can say what became of the leased attempt of a delivery. reason: one sentence.

    STALE when the delivery is no longer under that lease: the attempt may be another unit's by now.
    """
    lease, now = delivery.lease, ports.clock.now()
    if lease is None:
        return Refusal.STALE
    attempt = Attempt(lease.attempt, now, timedelta(0), Unknown(reason))

    def decide(current: Delivery) -> Record | Refusal:
        if current.lease != lease:
            return Refusal.STALE
        return Record(attempt, _next_at(ports.retry, current, attempt), now)

    return change(ports.store, delivery.account, delivery.id, decide, now)


def release(ports: RecordPorts, account: str, delivery_id: int, lease: Lease) -> Delivery | Refusal | None:
    """Give back a claim whose attempt was certainly not made (no final dot went out): it may be claimed at once.

    lease: exactly the one that was given; once another has taken its place, nothing changes (STALE).
    """
    now = ports.clock.now()
    return change(ports.store, account, delivery_id, lambda delivery: Release(lease, delivery.not_before), now)


def _next_at(retry: RetryPolicy, delivery: Delivery, attempt: Attempt) -> datetime | None:
    policy = DeliveryRetry(retry.base, delivery.max_attempts)
    ended_at = attempt.started_at + attempt.duration
    return next_delivery_attempt(attempt.number, ended_at, shared_dice(delivery, attempt.number), policy)


def shared_dice(delivery: Delivery, attempt: int) -> float:
    """Return a number in [0, 1) that is the same for all recipients of one submission in one domain.

    They were tried together and so come due together, and travel in one transaction again.
    """
    text = f"{delivery.account}/{delivery.message_id}/{delivery.domain}/{attempt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / (1 << 48)
