"""The contract of `Units`: announcements of egress units."""

from __future__ import annotations

from dataclasses import replace

from egret.contracts.records import Suspension, Unit
from tests.integration.contract.backends import Backend
from tests.samples import EXACT, HOUR, MINUTE, NOON


def _unit(name: str) -> Unit:
    return Unit(
        id=name,
        url="http://10.0.0.7:1081",
        hostname="mail.example.com",
        source_addresses=("192.0.2.25", "2001:db8::25"),
        port25=True,
        room=400,
        valid_until=NOON + MINUTE + EXACT,
        suspensions=(
            Suspension("example.net", NOON + HOUR, "421 too many connections", only_direct=True),
            Suspension("*", NOON, "ü", "aaaaaaaa"),
            Suspension("", NOON, "slow down", host="relay.example.com"),
        ),
    )


def _names(backend: Backend) -> list[str]:
    return sorted(unit.id for unit in backend.units.list())


def test_announcement_comes_back_as_it_was(backend: Backend) -> None:
    """Every field, the suspensions in their order."""
    backend.units.put(_unit("unit-a"))

    assert _unit("unit-a") == backend.units.get("unit-a")
    assert [_unit("unit-a")] == backend.units.list()


def test_newer_announcement_replaces(backend: Backend) -> None:
    """A unit has one: its latest."""
    newer = replace(_unit("unit-a"), port25=False, room=0, valid_until=NOON + HOUR, suspensions=(), port25_asked=False)
    backend.units.put(_unit("unit-a"))
    backend.units.put(newer)

    assert [newer] == backend.units.list()


def test_units_long_gone_are_listed_until_removed(backend: Backend) -> None:
    """Validity is the caller's question: leases of dead units must be found out."""
    for name, age in (("unit-a", 0), ("unit-b", 1000)):
        backend.units.put(replace(_unit(name), valid_until=NOON - age * HOUR))

    assert _names(backend) == ["unit-a", "unit-b"]
    for _ in range(2):
        backend.units.remove("unit-b")
    assert _names(backend) == ["unit-a"]
    assert backend.units.get("unit-b") is None


def test_unknown_unit_is_none(backend: Backend) -> None:
    """Nobody announced it, and removing it is no error."""
    backend.units.remove("unit-z")

    assert backend.units.get("unit-z") is None
    assert backend.units.list() == []
