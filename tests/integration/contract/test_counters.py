"""The contracts of `Counters` and `AuthFailures`: counts under a limit, over all processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.integration.contract.backends import Backend
from tests.samples import DAY, MINUTE, NOON

TODAY, TOMORROW = "2031-03-01", "2031-03-02"


def test_day_without_mail_is_zero(backend: Backend, account: str) -> None:
    """Nothing was added yet."""
    assert backend.counters.used(account, TODAY) == 0


def test_sum_stops_at_the_limit(backend: Backend, account: str) -> None:
    """What would exceed it is refused as a whole, what just reaches it is not."""
    answers = [backend.counters.add(account, TODAY, count, 10) for count in (4, 7, 5, 1, 1)]

    assert answers == [True, False, True, True, False]
    assert backend.counters.used(account, TODAY) == 10


def test_first_addition_is_limited_too(backend: Backend, account: str) -> None:
    """A single submission above the limit adds nothing."""
    assert not backend.counters.add(account, TODAY, 11, 10)
    assert backend.counters.used(account, TODAY) == 0
    assert not backend.counters.add(account, TODAY, 1, 0)


def test_raised_limit_counts_at_once(backend: Backend, account: str) -> None:
    """The limit is an argument: what was used stays used."""
    backend.counters.add(account, TODAY, 10, 10)

    assert backend.counters.add(account, TODAY, 10, 20)
    assert not backend.counters.add(account, TODAY, 1, 5)
    assert backend.counters.used(account, TODAY) == 20


def test_days_and_accounts_are_counted_apart(backend: Backend, account: str, other: str) -> None:
    """Neither tomorrow nor another account has less because of today."""
    backend.counters.add(account, TODAY, 10, 10)

    assert backend.counters.used(account, TOMORROW) == 0
    assert backend.counters.used(other, TODAY) == 0
    assert backend.counters.add(account, TOMORROW, 10, 10)
    assert backend.counters.add(other, TODAY, 10, 10)


def test_concurrent_additions_respect_the_limit(backend: Backend, account: str) -> None:
    """Twenty threads add 1 under a limit of 12: twelve succeed."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: backend.counters.add(account, TODAY, 1, 12), range(20)))

    assert answers.count(True) == 12
    assert backend.counters.used(account, TODAY) == 12


def _failures(backend: Backend, addresses: list[str], minute: int = 0) -> list[bool]:
    return [backend.auth_failures.record(address, NOON + minute * MINUTE) for address in addresses]


def test_eleventh_failure_of_an_address_in_a_minute_is_refused(backend: Backend) -> None:
    """Ten may fail; others are not concerned."""
    assert _failures(backend, ["192.0.2.7"] * 12) == [True] * 10 + [False] * 2
    assert _failures(backend, ["198.51.100.7"]) == [True]


def test_next_minute_starts_anew(backend: Backend) -> None:
    """Windows are fixed; the day's goes on, and is over after a day."""
    counted = [sum(_failures(backend, ["192.0.2.7"] * 11, minute)) for minute in range(6)]

    assert counted == [10, 10, 10, 10, 10, 0]
    assert backend.auth_failures.record("192.0.2.7", NOON + DAY)


def test_network_of_many_addresses_has_a_limit_too(backend: Backend) -> None:
    """Thirty failures a minute for a /26, whatever addresses they come from."""
    same = [f"192.0.2.{host}" for host in range(40)]

    assert _failures(backend, same) == [True] * 30 + [False] * 10
    assert _failures(backend, ["192.0.2.200"]) == [True]


def test_ipv6_is_counted_by_its_64(backend: Backend) -> None:
    """One customer has a /64 at least: its addresses are one."""
    same = [f"2001:db8::{host:x}" for host in range(1, 13)]

    assert _failures(backend, same) == [True] * 10 + [False] * 2
    assert _failures(backend, ["2001:db8:0:1::1"]) == [True]
