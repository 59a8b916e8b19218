"""Record what an attempt came to: the only way in which the result of an attempt enters the queue.

Called by the egress for what it saw and for what its journal remembers, and by deliver for attempts whose unit is gone.
Outcome and event are one conditional write; the same attempt recorded again changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from egret.contracts.ports import Clock, MailStore
from egret.contracts.settings import RetryPolicy
from egret.core.changes import Record, Release
from egret.core.delivery import Attempt, Delivery, Lease
from egret.core.lifecycle import Refusal, apply
from egret.core.outcome import Bounced, Delivered, Unknown
from egret.core.retry import DeliveryRetry, next_delivery_attempt
from egret.usecases.change import change

Ended = tuple[str, int, Attempt]
"""(account, delivery id, what became of the attempt)."""


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


def record_outcomes(ports: RecordPorts, ended: Sequence[Ended]) -> None:
    """Record many finished attempts of different deliveries, each as `record_outcome` does: one read, writes together.

    Raises Unavailable; some may have been recorded then, and recording all again changes nothing.
    """
    now = ports.clock.now()
    found = ports.store.get_many([(account, id_) for account, id_, _ in ended], now)
    changed: list[tuple[Delivery, Delivery]] = []
    for account, id_, attempt in ended:
        old = found.get((account, id_))
        new = apply(old, Record(attempt, _next_at(ports.retry, old, attempt), now)) if old else None
        if old is not None and isinstance(new, Delivery):
            changed.append((old, new))
    won = ports.store.replace_many(changed) if changed else ()
    lost = {(old.account, old.id) for (old, _), is_mine in zip(changed, won, strict=True) if not is_mine}
    for account, id_, attempt in ended:
        if (account, id_) in lost:
            record_outcome(ports, account, id_, attempt)


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


def release(
    ports: RecordPorts,
    account: str,
    delivery_id: int,
    lease: Lease,
    until: datetime | None = None,
    waiting: str = "",
) -> Delivery | Refusal | None:
    """Give back a claim whose attempt was certainly not made (no final dot went out).

    lease: exactly the one that was given; once another has taken its place, nothing changes (STALE). until: when there
    is a use in claiming it again, and waiting: why not before, one sentence; without them it may be claimed at once.
    """
    now = ports.clock.now()

    def decide(delivery: Delivery) -> Release:
        not_before = delivery.not_before
        if until is not None and until > now:
            not_before = max(not_before, look_again_at(delivery, until, now))
        return Release(lease, not_before, waiting)

    return change(ports.store, account, delivery_id, decide, now)


LOOK_AGAIN = timedelta(minutes=15)
"""What has to wait is looked at again after this, or up to twice as long: a suspension may end early."""
SPREAD = timedelta(minutes=1)
"""What waits for the same does not come back at the same instant, however short the wait."""


def look_again_at(delivery: Delivery, until: datetime, now: datetime) -> datetime:
    """Return when to look again at a delivery that can hardly be tried before `until`."""
    wait, dice = until - now, shared_dice(delivery, len(delivery.attempts) + 1)
    return now + min(wait + dice * max(SPREAD, wait / 2), LOOK_AGAIN * (1 + dice))


def _next_at(retry: RetryPolicy, delivery: Delivery, attempt: Attempt) -> datetime | None:
    if isinstance(attempt.outcome, Delivered | Bounced):
        return None  # the last one, whatever the schedule says
    policy = DeliveryRetry(retry.base, delivery.max_attempts)
    ended_at = attempt.started_at + attempt.duration
    return next_delivery_attempt(attempt.number, ended_at, shared_dice(delivery, attempt.number), policy)


def shared_dice(delivery: Delivery, attempt: int) -> float:
    """Return a number in [0, 1) that is the same for all recipients of one submission in one domain.

    They were tried together and so come due together, and travel in one transaction again.
    """
    text = f"{delivery.account}/{delivery.message_id}/{delivery.domain}/{attempt}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / (1 << 48)
