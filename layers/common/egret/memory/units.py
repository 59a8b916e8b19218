"""Egress units in memory: their announcements, and a way to them that calls a function."""

from __future__ import annotations

import threading
from collections.abc import Callable

from egret.contracts.handoff import Handoff, HandoffAnswer, decode_answer, decode_handoff, encode
from egret.contracts.records import Unit


class MemoryUnits:
    """The `Units` port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._units: dict[str, Unit] = {}

    def put(self, unit: Unit) -> None:
        """Announce."""
        with self._lock:
            self._units[unit.id] = unit

    def list(self) -> list[Unit]:
        """Return every unit ever announced and not removed, by id."""
        with self._lock:
            return sorted(self._units.values(), key=lambda unit: unit.id)

    def get(self, unit_id: str) -> Unit | None:
        """Return one unit, None when it was removed or never was."""
        with self._lock:
            return self._units.get(unit_id)

    def remove(self, unit_id: str) -> None:
        """Withdraw."""
        with self._lock:
            self._units.pop(unit_id, None)


class MemoryEgress:
    """The `Egress` port: `engine` plays the units; it may raise `Unavailable` and `HandoffRefused`."""

    def __init__(self, engine: Callable[[Unit, Handoff], HandoffAnswer]) -> None:
        self.engine = engine

    def hand(self, unit: Unit, handoff: Handoff) -> HandoffAnswer:
        """Hand over, through the form of the wire in both directions."""
        answer = self.engine(unit, decode_handoff(encode(handoff)))
        return decode_answer(encode(answer))
