"""The contracts of `Clock` and `Dice`."""

from __future__ import annotations

from datetime import timedelta

from tests.integration.contract.backends import Backend


def test_now_is_aware_and_utc(backend: Backend) -> None:
    """And never goes back between two questions."""
    first, second = backend.clock.now(), backend.clock.now()

    assert first.utcoffset() == timedelta(0)
    assert first <= second


def test_dice_fall_in_their_ranges(backend: Backend) -> None:
    """Floats below 1, integers below 2^count, octets of the count; not always the same."""
    numbers = [backend.dice.number() for _ in range(200)]
    bits = [backend.dice.bits(9) for _ in range(2000)]
    octets = [backend.dice.octets(16) for _ in range(200)]

    assert all(0 <= number < 1 for number in numbers)
    assert len(set(numbers)) > 100
    assert max(numbers) - min(numbers) > 0.5
    assert 0 <= min(bits) < 100
    assert 400 < max(bits) < 512
    assert {len(each) for each in octets} == {16}
    assert len(set(octets)) == 200
    assert backend.dice.octets(0) == b""
