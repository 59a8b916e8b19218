"""The two schedules of retrying."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.retry import (
    DeliveryRetry,
    WebhookRetry,
    last_delivery_attempt,
    next_delivery_attempt,
    next_webhook_attempt,
)

DEFAULT, WEBHOOK_DEFAULT = DeliveryRetry(), WebhookRetry()
ENDED = datetime(2026, 3, 1, 12, tzinfo=UTC)
dice = st.floats(0, 1, exclude_max=True)
CENTRE = 5 / 9
"""The dice that gives a delivery no jitter: -5 + 9 * 5/9 = 0 seconds."""


def _delivery_wait(attempt: int, roll: float, policy: DeliveryRetry = DEFAULT) -> timedelta:
    due = next_delivery_attempt(attempt, ENDED, roll, policy)
    assert due is not None
    return due - ENDED


def _webhook_wait(attempt: int, roll: float, policy: WebhookRetry = WEBHOOK_DEFAULT) -> timedelta:
    due = next_webhook_attempt(attempt, ENDED, roll, policy=policy)
    assert due is not None
    return due - ENDED


@pytest.mark.parametrize(
    ("attempt", "minutes"), [(1, 7.5), (2, 15.0), (3, 30.0), (4, 60.0), (5, 120.0), (6, 240.0), (7, 480.0)]
)
def test_delivery_waits_double_from_seven_and_a_half_minutes(attempt: int, minutes: float) -> None:
    """The schedule as published, with five seconds less to four more."""
    assert round(_delivery_wait(attempt, CENTRE) / timedelta(minutes=1), 6) == minutes
    assert _delivery_wait(attempt, 0.0) == timedelta(minutes=minutes, seconds=-5)
    assert (
        timedelta(minutes=minutes, seconds=3.9) < _delivery_wait(attempt, 0.999) < timedelta(minutes=minutes, seconds=4)
    )


def test_eighth_failure_is_final() -> None:
    """No ninth attempt, also when attempts were forced by hand and ran past the limit."""
    assert [next_delivery_attempt(n, ENDED, 0.5) for n in (8, 9, 1000)] == [None, None, None]


def test_limit_of_attempts_is_an_argument() -> None:
    """A policy of one attempt never retries; one of twelve retries after the eleventh."""
    assert next_delivery_attempt(1, ENDED, 0.5, DeliveryRetry(max_attempts=1)) is None
    assert _delivery_wait(11, CENTRE, DeliveryRetry(max_attempts=12)) == timedelta(hours=24)


@given(attempt=st.integers(1, 6), first=dice, second=dice, base_s=st.floats(0.001, 3600))
def test_delivery_waits_grow_whatever_the_dice_and_the_clock(
    attempt: int, first: float, second: float, base_s: float
) -> None:
    """A later attempt always waits longer than an earlier one, and always waits."""
    policy = DeliveryRetry(base=timedelta(seconds=base_s))
    earlier, later = _delivery_wait(attempt, first, policy), _delivery_wait(attempt + 1, second, policy)
    assert timedelta(0) < earlier < later


@given(attempt=st.integers(-5, 10**9), roll=dice)
def test_delivery_wait_is_bounded_for_any_number_of_attempts(attempt: int, roll: float) -> None:
    """No setting makes a wait overflow or outlast a day."""
    wait = _delivery_wait(attempt, roll, DeliveryRetry(max_attempts=10**9 + 1))
    assert timedelta(minutes=7) < wait < timedelta(hours=24, seconds=5)


def test_fast_clock_keeps_the_proportions() -> None:
    """With a base of one second the waits are 1, 2, 4 … 64 seconds."""
    waits = [_delivery_wait(n, CENTRE, DeliveryRetry(base=timedelta(seconds=1))) for n in range(1, 8)]
    assert [round(wait.total_seconds(), 3) for wait in waits] == [1, 2, 4, 8, 16, 32, 64]


def test_webhook_schedule_as_published() -> None:
    """Eleven waits from one minute to sixteen hours, about 32 hours in all."""
    waits = [_webhook_wait(n, 0.5) / timedelta(minutes=1) for n in range(1, 12)]
    assert [round(wait, 6) for wait in waits] == [1, 2, 4, 7.5, 15, 30, 60, 120, 240, 480, 960]


def test_twelfth_call_is_the_last() -> None:
    """After twelve calls nothing more is tried."""
    assert [next_webhook_attempt(n, ENDED, 0.5) for n in (12, 13)] == [None, None]


@given(attempt=st.integers(1, 11), roll=dice)
def test_webhook_jitter_stays_within_one_per_cent(attempt: int, roll: float) -> None:
    """The dice move a wait by at most one per cent."""
    centre = _webhook_wait(attempt, 0.5)
    assert abs(_webhook_wait(attempt, roll) - centre) <= centre * 0.01 + timedelta(microseconds=2)


@given(attempt=st.integers(1, 10), first=dice, second=dice, base_s=st.floats(0.001, 3600))
def test_webhook_waits_grow_whatever_the_dice_and_the_clock(
    attempt: int, first: float, second: float, base_s: float
) -> None:
    """A later call always waits longer than an earlier one, and always waits."""
    policy = WebhookRetry(base=timedelta(seconds=base_s))
    earlier, later = _webhook_wait(attempt, first, policy), _webhook_wait(attempt + 1, second, policy)
    assert timedelta(0) < earlier < later


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (timedelta(seconds=-10), timedelta(minutes=1)),
        (timedelta(seconds=5), timedelta(minutes=1)),
        (timedelta(hours=2), timedelta(hours=2)),
        (timedelta(days=400), timedelta(hours=24)),
    ],
)
def test_retry_after_is_obeyed_for_up_to_a_day(asked: timedelta, expected: timedelta) -> None:
    """An endpoint may ask for more time than the schedule gives, not for less and not for ever."""
    assert next_webhook_attempt(1, ENDED, 0.5, not_before=ENDED + asked) == ENDED + expected


def test_retry_after_gives_no_thirteenth_call() -> None:
    """Asking for more time after the last call does not add one."""
    assert next_webhook_attempt(12, ENDED, 0.5, not_before=ENDED + timedelta(hours=1)) is None


@given(done=st.integers(1, 12), limit=st.integers(1, 12), hours=st.integers(1, 200))
def test_the_last_attempt_is_the_one_that_the_schedule_ends_with(done: int, limit: int, hours: int) -> None:
    """By the number of attempts, or since the next one would come too late."""
    policy, expires_at = DeliveryRetry(max_attempts=limit), ENDED + timedelta(hours=hours)
    at, number = ENDED, done + 1
    while (after := next_delivery_attempt(number, at, CENTRE, policy)) is not None and after < expires_at:
        at, number = after, number + 1

    found = last_delivery_attempt(done, ENDED, expires_at, policy)

    assert abs(found - at) < timedelta(seconds=1)
