"""Limits of failed logins by client address."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.authlimits import windows_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def _failures_until_refused(addresses: list[str], step: timedelta = timedelta(0)) -> int:
    """Return how many failures, taken from the addresses in turn, stay within the limits before the first does not."""
    counts: Counter[str] = Counter()
    for count in range(1000):
        windows = windows_of(addresses[count % len(addresses)], NOON + count * step)
        if any(counts[window.key] >= window.limit for window in windows):
            return count
        counts.update(window.key for window in windows)
    return 1000


@pytest.mark.parametrize(
    ("addresses", "step", "expected"),
    [
        (["192.0.2.1"], timedelta(0), 10),
        ([f"192.0.2.{n}" for n in range(10)], timedelta(0), 30),
        ([f"192.0.{n}.1" for n in range(7)], timedelta(0), 10 * 7),
        ([f"192.0.{n}.{m}" for n in range(8) for m in (1, 65)], timedelta(0), 90),
        (["192.0.2.1"], MINUTE, 50),
        ([f"192.0.2.{n}" for n in range(10)], MINUTE, 150),
        ([f"192.0.{n}.{m}" for n in range(8) for m in (1, 65)], MINUTE, 450),
        (["2001:db8::1", "2001:db8::ffff:0:0:1"], timedelta(0), 10),
        ([f"2001:db8:0:{n:x}::1" for n in range(10)], timedelta(0), 30),
        ([f"2001:db8:{n:x}::1" for n in range(16)], timedelta(0), 90),
        ([f"2001:db8:{n:x}::1" for n in range(16)], MINUTE, 450),
        (["::ffff:192.0.2.1", "192.0.2.1"], timedelta(0), 10),
        (["nonsense", "", "also nonsense"], timedelta(0), 10),
    ],
    ids=[
        "/32",
        "/26",
        "7 x /32",
        "/21",
        "/32 day",
        "/26 day",
        "/21 day",
        "/64",
        "/48",
        "v6 /32",
        "v6 /32 day",
        "mapped",
        "-",
    ],
)
def test_limits_of_each_prefix_and_window(addresses: list[str], step: timedelta, expected: int) -> None:
    """10, 30, 90 a minute and 50, 150, 450 a day, for the address, its neighbourhood and its provider's block."""
    assert _failures_until_refused(addresses, step) == expected


@pytest.mark.parametrize("other", ["8.8.8.8", "192.0.8.1", "2001:db8::1", "::ffff:8.8.8.8"])
def test_other_networks_share_no_count(other: str) -> None:
    """A guesser slows down nobody outside of the own /21."""
    assert {window.key for window in windows_of("192.0.2.1", NOON)}.isdisjoint(
        window.key for window in windows_of(other, NOON)
    )


@pytest.mark.parametrize(
    ("later", "expected"),
    [(timedelta(seconds=59), 6), (MINUTE, 3), (timedelta(hours=11, minutes=59), 3), (timedelta(hours=12), 0)],
)
def test_windows_are_fixed(later: timedelta, expected: int) -> None:
    """A minute ends at the full minute and a day at midnight UTC, wherever in it the failures were."""
    now = {window.key for window in windows_of("192.0.2.1", NOON)}
    assert len(now & {window.key for window in windows_of("192.0.2.1", NOON + later)}) == expected


@given(address=st.text(max_size=40) | st.ip_addresses().map(str), seconds=st.integers(0, 10**9))
def test_windows_of_any_text_contain_the_moment(address: str, seconds: int) -> None:
    """Never raises; every window ends after now and within its length; every limit is at least ten."""
    now = NOON + timedelta(seconds=seconds)
    windows = windows_of(address, now)
    assert len(windows) in (2, 6)
    assert all(now < window.ends_at <= now + timedelta(days=1) for window in windows)
    assert min(window.limit for window in windows) == 10
