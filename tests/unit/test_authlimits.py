"""The windows in which failed logins of a network are counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.authlimits import windows_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
INSTANTS = st.datetimes(datetime(2025, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 (given apart)


def _keys(address: str, now: datetime = NOON) -> list[str]:
    return [window.key for window in windows_of(address, now)]


def test_limits_grow_with_the_network() -> None:
    """Address, /26 and /21; in a minute and in a day."""
    assert [(window.limit, window.ends_at) for window in windows_of("192.0.2.7", NOON)] == [
        *((limit, NOON + timedelta(minutes=1)) for limit in (10, 30, 90)),
        *((limit, NOON + timedelta(hours=12)) for limit in (50, 150, 450)),
    ]


@pytest.mark.parametrize(
    ("one", "two", "shared"),
    [
        ("192.0.2.7", "192.0.2.8", 2),
        ("192.0.2.7", "192.0.2.77", 1),
        ("192.0.2.7", "198.51.100.7", 0),
        ("2001:db8::1", "2001:db8::ffff:1", 3),
        ("2001:db8::1", "2001:db8:0:1::1", 2),
        ("2001:db8::1", "2001:db8:1::1", 1),
        ("192.0.2.7", "::ffff:192.0.2.7", 3),
        ("fe80::1", "fe80::1%eth0", 3),
        ("nonsense", "", 1),
    ],
)
def test_neighbours_share_their_networks(one: str, two: str, shared: int) -> None:
    """The nearer two addresses are, the more counts they share; nonsense has a count, too."""
    assert len(set(_keys(one)) & set(_keys(two))) == 2 * shared


@given(INSTANTS)
def test_windows_end_in_time(now: datetime) -> None:
    """A window ends after now and no later than its length; just before its end it still has the same key."""
    lengths = [timedelta(minutes=1)] * 3 + [timedelta(days=1)] * 3
    for place, (window, length) in enumerate(zip(windows_of("192.0.2.7", now), lengths, strict=True)):
        assert now < window.ends_at <= now + length
        assert _keys("192.0.2.7", window.ends_at - timedelta(microseconds=1))[place] == window.key
        assert _keys("192.0.2.7", window.ends_at)[place] != window.key


@given(st.text(max_size=50))
def test_any_text_has_windows(address: str) -> None:
    """What a proxy passes on as an address never raises."""
    assert len(windows_of(address, NOON)) in (2, 6)
