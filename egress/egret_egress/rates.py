"""How often something came from a network: fixed windows, three sizes of network, bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from egret.contracts.ports import Clock
from egret.core.authlimits import networks_of

MAX_NETWORKS = 100_000
"""Counted in one window; beyond that all begin at nothing anew."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Times within a window that are allowed. limits: for each size of network, narrowest first."""

    window: timedelta
    limits: tuple[int, int, int]


@dataclass(slots=True)
class _Window:
    number: int = -1
    counts: Counter[str] = field(default_factory=Counter)


class Rates:
    """Counts of one kind of thing. max_networks: counted in one window, beyond which all begin at nothing anew."""

    def __init__(self, rates: Sequence[Rate], clock: Clock, max_networks: int = MAX_NETWORKS) -> None:
        self._windows = [(rate, _Window()) for rate in rates]
        self._clock = clock
        self._max_networks = max_networks

    def count(self, ip: str) -> None:
        """Note one more."""
        networks = networks_of(ip)
        for rate, window in self._windows:
            self._turn(rate, window)
            if len(window.counts) > self._max_networks:
                window.counts.clear()
            window.counts.update(networks)

    def is_over(self, ip: str) -> bool:
        """Tell whether as many as are allowed were noted already."""
        networks = networks_of(ip)
        for rate, window in self._windows:
            self._turn(rate, window)
            if any(window.counts[name] >= most for name, most in zip(networks, rate.limits, strict=False)):
                return True
        return False

    def _turn(self, rate: Rate, window: _Window) -> None:
        number = int(self._clock.now().timestamp() // rate.window.total_seconds())
        if number != window.number:
            window.number = number
            window.counts.clear()
