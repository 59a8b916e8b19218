"""How often something came from a network."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from egret.memory.clock import FakeClock
from egret_egress.rates import Rate, Rates

NOW = datetime(2026, 5, 1, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def test_each_size_of_network_has_its_own_limit() -> None:
    """An address, and the networks around it, IPv4 and IPv6."""
    counted = Rates([Rate(MINUTE, (2, 3, 4))], FakeClock(NOW))
    for ip in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"):
        counted.count(ip)
    over = {"192.0.2.1": True, "192.0.2.3": True, "192.0.3.1": False, "2001:db8::3": True, "2001:db8:0:1::": False}
    assert {ip: counted.is_over(ip) for ip in over} == over


def test_a_window_ends() -> None:
    """What was in it counts no longer; a longer one beside it still holds."""
    clock = FakeClock(NOW)
    counted = Rates([Rate(MINUTE, (1, 1, 1)), Rate(HOUR, (2, 2, 2))], clock)
    counted.count("192.0.2.1")
    assert counted.is_over("192.0.2.1")
    clock.advance(MINUTE)
    assert not counted.is_over("192.0.2.1")
    counted.count("192.0.2.1")
    clock.advance(MINUTE)
    assert counted.is_over("192.0.2.1")
    clock.advance(HOUR)
    assert not counted.is_over("192.0.2.1")


def test_memory_is_bounded() -> None:
    """With very many networks, three for each address, all begin anew."""
    counted = Rates([Rate(MINUTE, (1, 10**9, 10**9))], FakeClock(NOW), max_networks=10)
    addresses = [f"10.{number}.0.1" for number in range(100)]
    for ip in addresses:
        counted.count(ip)
    remembered = [ip for ip in addresses if counted.is_over(ip)]
    assert 0 < len(remembered) <= 4
    assert remembered == addresses[-len(remembered) :]
