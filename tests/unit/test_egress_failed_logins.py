"""Counting failed logins in bounded memory."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from egret.memory.counters import MemoryAuthFailures
from egret_egress.failed_logins import FailedLogins
from tests.unit.builders import NOW

ADDRESSES = st.sampled_from(["192.0.2.1", "192.0.2.2", "198.51.100.7", "2001:db8::1", "2001:db8:0:1::1", "nonsense"])


@given(st.lists(st.tuples(ADDRESSES, st.integers(0, 200)), max_size=120))
def test_it_judges_as_the_port_does(failures: list[tuple[str, int]]) -> None:
    """Whoever fails, and when."""
    bounded, plain, now = FailedLogins(), MemoryAuthFailures(), NOW
    for address, seconds in failures:
        now += timedelta(seconds=seconds)
        assert bounded.record(address, now) == plain.record(address, now)


def test_memory_is_bounded_and_the_newest_are_kept() -> None:
    """An attacker with many addresses makes the oldest forgotten, not the unit end."""
    failures = FailedLogins(most=600)
    for number in range(2000):
        failures.record(f"10.{number // 250}.{number % 250}.1", NOW)
    for _ in range(9):
        assert failures.record("10.7.249.1", NOW)

    assert len(failures._counts) <= 606
    assert not failures.record("10.7.249.1", NOW)


def test_what_has_ended_goes_first() -> None:
    """A window of yesterday is of no use."""
    failures = FailedLogins(most=12)
    failures.record("192.0.2.1", NOW)
    failures.record("192.0.2.2", NOW + timedelta(days=2))
    failures.record("192.0.2.3", NOW + timedelta(days=2))

    assert {ends_at > NOW + timedelta(days=1) for _, ends_at in failures._counts.values()} == {True}
