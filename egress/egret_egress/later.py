"""Writes what may be written later, off the path of mail: in a thread, now and then, and once more at the end.

For what is of use but not promised. When the table does not answer, it goes back and waits; when the process dies, or
the table will not have it, it is lost.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from egret.contracts.ports import Clock
from egret.core.errors import Unavailable

T = TypeVar("T")
log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
LANES = 2
"""Threads that write at a time, for each kind of note: together fewer than there are, since the unit's announcement and
the contents of messages are more urgent."""
LONGEST_S = 60.0
"""How long one flush goes on; what is left then waits for the next."""


Sift = Callable[[Sequence[T]], Awaitable[list[T]]]
"""Returns those that are worth writing."""


class Notes(Protocol[T]):
    """What waits to be written; all methods are for the event loop's thread."""

    def take(self, now: datetime, *, everything: bool = False) -> list[T]:
        """Return what it is time to write, or everything, and wait for it no longer."""
        ...

    def put_back(self, items: Sequence[T], now: datetime) -> None:
        """Wait again for what could not be written; what is newer stays as it is."""
        ...


@dataclass(frozen=True, slots=True)
class Writing(Generic[T]):
    """How notes are written. what: they are, for the log.

    write: takes up to `batch` of them; blocking, raises Unavailable.
    """

    what: str
    write: Callable[[Sequence[T]], None]
    batch: int = 1
    sift: Sift[T] | None = None


class Later(Generic[T]):
    """Brings notes to the table."""

    def __init__(self, notes: Notes[T], writing: Writing[T], clock: Clock) -> None:
        self._notes = notes
        self._how = writing
        self._clock = clock

    async def keep_flushing(self, executor: Executor, every_s: float = LOOK_EVERY_S) -> None:
        """Write for ever what it is time for; cancel to stop."""
        while True:
            await asyncio.sleep(every_s)
            await self._flush(executor, LONGEST_S, everything=False)

    async def flush(self, executor: Executor, limit_s: float) -> None:
        """Write everything that waits, for up to limit_s seconds. Raises nothing."""
        await self._flush(executor, limit_s, everything=True)

    async def _flush(self, executor: Executor, limit_s: float, *, everything: bool) -> None:
        until = time.monotonic() + limit_s
        taken = self._notes.take(self._clock.now(), everything=everything)
        items = await self._sifted(taken, limit_s) if taken else []
        if items:
            await self._written(items, executor, until)

    async def _written(self, items: list[T], executor: Executor, until: float) -> None:
        """Write in several threads; what is left when they end waits again, also when we are told to stop meanwhile."""
        size, stop = self._how.batch, threading.Event()
        batches = [items[start : start + size] for start in range(0, len(items), size)]
        loop = asyncio.get_running_loop()
        lanes = [batches[lane::LANES] for lane in range(min(LANES, len(batches)))]
        writing = [loop.run_in_executor(executor, self._write_all, lane, until, stop) for lane in lanes]
        try:
            await asyncio.wait(writing)
        finally:
            stop.set()
            await asyncio.wait(writing)
            left = [item for lane in writing for item in lane.result()]
            if left:
                log.warning("not written yet: %s", self._how.what, extra={"left": len(left), "of": len(items)})
                self._notes.put_back(left, self._clock.now())

    async def _sifted(self, items: list[T], limit_s: float) -> list[T]:
        """Return what is worth writing; when that cannot be found out in time, everything waits again."""
        if self._how.sift is None:
            return items
        try:
            async with asyncio.timeout(limit_s):
                return await self._how.sift(items)
        except TimeoutError:
            log.warning("not written yet: %s", self._how.what, extra={"left": len(items), "of": len(items)})
            self._notes.put_back(items, self._clock.now())
            return []
        except asyncio.CancelledError:
            self._notes.put_back(items, self._clock.now())
            raise
        except Exception:
            log.exception("never written: %s", self._how.what, extra={"lost": len(items)})
            return []

    def _write_all(self, batches: list[list[T]], until: float, stop: threading.Event) -> list[T]:
        """Write one after another until the table does not answer, or the time is over; return what is left.

        Runs in a thread.
        """
        for position, batch in enumerate(batches):
            if stop.is_set() or time.monotonic() >= until:
                return _joined(batches[position:])
            try:
                self._how.write(batch)
            except Unavailable as error:
                log.warning("not written: %s: %s", self._how.what, error.detail or error)
                return _joined(batches[position:])
            except Exception:
                log.exception("never written: %s", self._how.what, extra={"lost": len(batch)})
        return []


def _joined(batches: Sequence[Sequence[T]]) -> list[T]:
    return [item for batch in batches for item in batch]
