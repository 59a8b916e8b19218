"""Queues in memory, with all that a queue may do to a record: hand it out twice, late, in another order, or lose it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

from egret.core.errors import Unavailable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Received(Generic[T]):
    """A record handed to a consumer. receipt: what to delete it by. receives: how often it was handed out, from 1."""

    receipt: int
    body: T
    receives: int


class MemoryQueue(Generic[T]):
    """The ports `HintQueue` (of `Hint`) and `CallQueue` (of `Call`), and the consumer's side of both.

    A record taken is in flight until it is deleted, or given back, which stands for its visibility timeout.
    is_down: putting raises `Unavailable`.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._receipts = count(1)
        self._waiting: list[Received[T]] = []
        self._in_flight: dict[int, Received[T]] = {}
        self.is_down = False

    def put(self, bodies: Sequence[T], /) -> None:
        """Queue records."""
        if self.is_down:
            raise Unavailable(detail="the queue is down")
        with self._lock:
            self._waiting += [Received(next(self._receipts), body, 0) for body in bodies]

    def take(self, limit: int = 10) -> list[Received[T]]:
        """Hand out up to `limit` records, oldest first; they are in flight then."""
        with self._lock:
            head, self._waiting = self._waiting[:limit], self._waiting[limit:]
            taken = [Received(next(self._receipts), record.body, record.receives + 1) for record in head]
            self._in_flight |= {record.receipt: record for record in taken}
            return taken

    def delete(self, *receipts: int) -> None:
        """Forget records that were handed out: they are done. Idempotent."""
        with self._lock:
            for receipt in receipts:
                self._in_flight.pop(receipt, None)

    def give_back(self, *receipts: int) -> None:
        """Let records that were handed out wait again, behind the others."""
        with self._lock:
            for receipt in receipts:
                record = self._in_flight.pop(receipt, None)
                if record is not None:
                    self._waiting.append(record)

    def give_back_all(self) -> None:
        """Let everything in flight wait again: the consumer has died."""
        with self._lock:
            self.give_back(*self._in_flight)

    def lose(self, position: int = 0) -> None:
        """Lose a waiting record."""
        with self._lock:
            del self._waiting[position]

    def duplicate(self, position: int = 0) -> None:
        """Make a waiting record wait twice."""
        with self._lock:
            self._waiting.append(Received(next(self._receipts), self._waiting[position].body, 0))

    def delay(self, position: int = 0) -> None:
        """Move a waiting record behind all others."""
        with self._lock:
            self._waiting.append(self._waiting.pop(position))

    @property
    def waiting(self) -> list[T]:
        """What waits, oldest first."""
        with self._lock:
            return [record.body for record in self._waiting]

    @property
    def in_flight(self) -> list[T]:
        """What was handed out and not yet deleted."""
        with self._lock:
            return [record.body for record in self._in_flight.values()]

    def __len__(self) -> int:
        """Return how many records wait."""
        return len(self._waiting)
