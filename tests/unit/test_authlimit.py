"""Limits of failed logins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.authlimit import (
    MAX_COUNTERS,
    AuthFailures,
    changes_after_failure,
    changes_after_success,
    counters,
    is_allowed,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ANN = ip_address("192.0.2.1")


def _failures(addresses: list[str], at: datetime = NOON) -> AuthFailures:
    value = AuthFailures()
    for text in addresses:
        value = value.failed(ip_address(text), at)
    return value


def _failures_until_refused(addresses: list[str], step: timedelta = timedelta(0)) -> int:
    """Return how many failures, taken from the addresses in turn, are let through before the first refusal."""
    value, at = AuthFailures(), NOON
    for count in range(1000):
        address = ip_address(addresses[count % len(addresses)])
        if not value.allows(address, at):
            return count
        value, at = value.failed(address, at), at + step
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
    ],
    ids=["/32", "/26", "7 x /32", "/21", "/32 day", "/26 day", "/21 day", "/64", "/48", "v6 /32", "v6 /32 day"],
)
def test_limits_of_each_prefix_and_window(addresses: list[str], step: timedelta, expected: int) -> None:
    """10, 30, 90 a minute and 50, 150, 450 a day; the attempt after is refused."""
    assert _failures_until_refused(addresses, step) == expected


def test_others_are_not_slowed_down() -> None:
    """A neighbour of a guesser may still log in, until the neighbourhood's own limit."""
    value = _failures(["192.0.2.1"] * 10)
    assert [value.allows(ip_address(text), NOON) for text in ("192.0.2.1", "192.0.2.2", "8.8.8.8")] == [
        False,
        True,
        True,
    ]


def test_mapped_address_is_the_ipv4_address() -> None:
    """A listener on :: sees IPv4 clients mapped; all IPv4 shares one /64 there."""
    value = _failures(["::ffff:192.0.2.1"] * 10)
    assert not value.allows(ANN, NOON)
    assert value.allows(ip_address("::ffff:8.8.8.8"), NOON)


def test_windows_are_fixed() -> None:
    """The minute ends at the full minute, wherever in it the failures were."""
    value = _failures(["192.0.2.1"] * 10, NOON + timedelta(seconds=59))
    assert not value.allows(ANN, NOON + timedelta(seconds=59.9))
    assert value.allows(ANN, NOON + timedelta(seconds=60))


def test_day_ends_at_midnight_utc() -> None:
    """The day's window is the calendar day of UTC."""
    value = AuthFailures()
    for minute in range(50):
        value = value.failed(ANN, NOON + minute * MINUTE)
    assert not value.allows(ANN, NOON + timedelta(hours=11, minutes=59))
    assert value.allows(ANN, NOON + timedelta(hours=12))


def test_success_clears_the_own_counter_and_its_share_of_the_wider_ones() -> None:
    """Somebody who mistyped and then logged in costs the neighbours nothing."""
    value = _failures(["192.0.2.1"] * 9 + ["192.0.2.2"] * 5).succeeded(ANN, NOON)
    assert value == _failures(["192.0.2.2"] * 5)


def test_success_of_another_address_changes_nothing() -> None:
    """A guesser with one good account does not clear the guesses of other addresses."""
    value = _failures(["192.0.2.1"] * 10)
    assert value.succeeded(ip_address("192.0.2.2"), NOON) is value


def test_changes_are_deltas_that_commute() -> None:
    """Two processes that add their changes to one table lose nothing."""
    of = counters(ANN, NOON)
    assert changes_after_failure(of) == {counter.key: 1 for counter in of}
    counts = {counter.key: 4 for counter in of}
    assert changes_after_success(of, counts) == {counter.key: -4 for counter in of}


def test_wider_counter_never_falls_below_zero() -> None:
    """Also when its item was lost and the exact one was not."""
    of = counters(ANN, NOON)
    counts = {of[0].key: 4, of[1].key: 1}
    assert changes_after_success(of, counts) == {of[0].key: -4, of[1].key: -1}


def test_keys_name_window_and_network() -> None:
    """What stands in the table: readable, one key per window, sorted from narrow to wide."""
    assert [counter.key for counter in counters(ANN, NOON)] == [
        "60/1772366400/192.0.2.1/32",
        "60/1772366400/192.0.2.0/26",
        "60/1772366400/192.0.0.0/21",
        "86400/1772323200/192.0.2.1/32",
        "86400/1772323200/192.0.2.0/26",
        "86400/1772323200/192.0.0.0/21",
    ]
    assert [counter.is_exact for counter in counters(ANN, NOON)] == [True, False, False] * 2
    assert [counter.expires_at - NOON for counter in counters(ANN, NOON)] == [MINUTE] * 3 + [timedelta(hours=12)] * 3


def test_value_is_bounded() -> None:
    """An attack from everywhere does not fill the memory, and the newest failures still count."""
    value = AuthFailures({f"old-{n}": 1 for n in range(20_000)}, {f"old-{n}": NOON + MINUTE for n in range(20_000)})
    value = value.failed(ANN, NOON)
    assert len(value.counts) == len(value.expirations) == MAX_COUNTERS
    assert [value.counts[counter.key] for counter in counters(ANN, NOON)] == [1] * 6


def test_ended_windows_are_forgotten() -> None:
    """The day's counters stay, the minute's go with the next change."""
    value = _failures(["192.0.2.1"]).failed(ANN, NOON + MINUTE)
    assert sorted(value.counts.values()) == [1, 1, 1, 2, 2, 2]


@given(st.lists(st.tuples(st.booleans(), st.ip_addresses(), st.integers(0, 200_000)), max_size=40))
def test_any_history_keeps_counts_positive_and_decides_by_the_limits(
    history: list[tuple[bool, object, int]],
) -> None:
    """Whoever fails and succeeds in whatever order: counts stay above 0, and the value agrees with the pure rule."""
    value = AuthFailures()
    for is_success, address, seconds in history:
        client, at = ip_address(str(address).partition("%")[0]), NOON + timedelta(seconds=seconds)
        assert value.allows(client, at) == is_allowed(counters(client, at), value.counts)
        value = value.succeeded(client, at) if is_success else value.failed(client, at)
        if is_success:
            assert value.allows(client, at)
    assert all(count > 0 for count in value.counts.values())
