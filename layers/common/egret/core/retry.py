"""Say when a failed attempt is tried again: deliveries over SMTP and calls of webhooks.

Time and dice are arguments. The base of a schedule is one too: a setting can speed the clock up.
Does not look at a delivery's maximum age, at suspensions or at quotas: a caller takes the later of those and this.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

DELIVERY_BASE = timedelta(minutes=7.5)
"""Wait after the first attempt; most greylists let a sender in after five minutes."""

DELIVERY_MAX_ATTEMPTS = 8
"""Attempts at about 0, 7.5 m, 22.5 m, 52.5 m, 1 h 52 m, 3 h 52 m, 7 h 52 m and 15 h 52 m."""

DELIVERY_JITTER = (-5 / 450, 4 / 450)
"""Jitter as parts of the base: -5 s to +4 s of 7.5 minutes. Tied to the base so that a fast clock stays positive."""

DELIVERY_LONGEST_BASES = 192
"""The longest wait in bases (24 h), reached only with more attempts than the default: the maximum age is days."""

WEBHOOK_BASE = timedelta(minutes=1)
WEBHOOK_SCHEDULE = (1.0, 2.0, 4.0, 7.5, 15.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0)
"""Waits after attempts 1..11 in bases: 1 m to 16 h, about 32 h in all; attempt 12 is the last."""

WEBHOOK_JITTER = 0.01
"""One per cent to either side, so that calls that failed together do not come back together."""

WEBHOOK_LONGEST_PAUSE = timedelta(hours=24)
"""How far a Retry-After of the endpoint is obeyed; an endpoint must not park our records for years."""


@dataclass(frozen=True, slots=True)
class DeliveryRetry:
    """How a delivery is repeated. base > 0; max_attempts >= 1 counts the first attempt."""

    base: timedelta = DELIVERY_BASE
    max_attempts: int = DELIVERY_MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class WebhookRetry:
    """How a call is repeated. base > 0: the first wait, to which all others are in proportion."""

    base: timedelta = WEBHOOK_BASE


def next_delivery_attempt(
    attempts_done: int, ended_at: datetime, dice: float, policy: DeliveryRetry = DeliveryRetry()
) -> datetime | None:
    """Return when to try again after attempt `attempts_done` (1 = the first), or None if that was the last.

    ended_at: when that attempt ended (aware, UTC). dice: uniform in [0, 1), one for deliveries that travel together.
    The wait doubles from attempt to attempt.
    """
    if attempts_done >= policy.max_attempts:
        return None
    low, high = DELIVERY_JITTER
    return ended_at + policy.base * (_bases(attempts_done) + low + (high - low) * dice)


def last_delivery_attempt(
    attempts_done: int, next_at: datetime, expires_at: datetime, policy: DeliveryRetry = DeliveryRetry()
) -> datetime:
    """Return when the last attempt is to be made if all fail, those after `attempts_done` others (1 = the first).

    next_at: when the next one is. expires_at: what would be tried at this instant or later is given up before. Exact to
    the jitter and to the time that attempts take.
    """
    last_at, number = next_at, attempts_done + 1
    while number < policy.max_attempts and (at := last_at + policy.base * _bases(number)) < expires_at:
        last_at, number = at, number + 1
    return last_at


def _bases(attempts_done: int) -> int:
    """Return the wait after an attempt in bases."""
    # The exponent is bounded before the power is computed: n comes from a setting.
    return min(1 << min(max(attempts_done, 1) - 1, 16), DELIVERY_LONGEST_BASES)


def next_webhook_attempt(
    attempts_done: int,
    ended_at: datetime,
    dice: float,
    *,
    not_before: datetime | None = None,
    policy: WebhookRetry = WebhookRetry(),
) -> datetime | None:
    """Return when to call again after call `attempts_done` (1 = the first), or None if that was the last.

    ended_at: when that call ended (aware, UTC). dice: uniform in [0, 1).
    not_before: what a Retry-After asked for; obeyed for up to a day.
    """
    if attempts_done > len(WEBHOOK_SCHEDULE):
        return None
    bases = WEBHOOK_SCHEDULE[max(attempts_done, 1) - 1]
    next_at = ended_at + policy.base * (bases * (1 - WEBHOOK_JITTER + 2 * WEBHOOK_JITTER * dice))
    if not_before is None:
        return next_at
    return max(next_at, min(not_before, ended_at + WEBHOOK_LONGEST_PAUSE))
