"""Dice that fall the same way for the same seed."""

from __future__ import annotations

import random


class SeededDice:
    """The `Dice` of tests and of the simulator. Not for keys or tokens of anything real."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def number(self) -> float:
        """Return a float in [0, 1)."""
        return self._random.random()

    def bits(self, count: int) -> int:
        """Return an integer of `count` random bits."""
        return self._random.getrandbits(count)

    def octets(self, count: int) -> bytes:
        """Return `count` random bytes."""
        return self._random.randbytes(count)
