"""Writes what may be written later, off the path of mail: in a thread, now and then, and once more at the end.

For what is of use but not promised. When the table does not answer, it goes back and waits; when the process dies, or
the table will not have it, it is lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from egret.contracts.ports import Clock
from egret.core.errors import Unavailable

T = TypeVar("T")
log = logging.getLogger(__name__)

LOOK_EVERY_S = 10.0
LANES = 4
"""Threads that write at a time: few, since others have more urgent work for them."""
LONGEST_S = 60.0
"""How long one flush goes on; what is left then waits for the next."""


class Notes(Protocol[T]):
    """What waits to be written; all methods are for the event loop's thread."""

    def take(self, now: datetime, *, everything: bool = False) -> list[T]:
        """Return what it is time to write, or everything, and wait for it no longer."""
        ...

    def put_back(self, items: Sequence[T], now: datetime) -> None:
        """Wait again for what could not be written; what is newer stays as it is."""
        ...


class Later(Generic[T]):
    """Brings notes to the table. write: takes up to `batch` of them; blocking, raises Unavailable.

    what: for the log.
    """

    def __init__(
        self, what: str, notes: Notes[T], write: Callable[[Sequence[T]], None], clock: Clock, batch: int = 1
    ) -> None:
        self._what = what
        self._notes = notes
        self._write = write
        self._clock = clock
        self._batch = batch

    async def keep_flushing(self, executor: Executor, every_s: float = LOOK_EVERY_S) -> None:
        """Write for ever what it is time for; cancel to stop."""
        while True:
            await asyncio.sleep(every_s)
            await self._flush(executor, LONGEST_S, everything=False)

    async def flush(self, executor: Executor, limit_s: float) -> None:
        """Write everything that waits, for up to limit_s seconds."""
        await self._flush(executor, limit_s, everything=True)

    async def _flush(self, executor: Executor, limit_s: float, *, everything: bool) -> None:
        items = self._notes.take(self._clock.now(), everything=everything)
        if not items:
            return
        batches = [items[start : start + self._batch] for start in range(0, len(items), self._batch)]
        until = time.monotonic() + limit_s
        loop = asyncio.get_running_loop()
        lanes = [batches[lane::LANES] for lane in range(min(LANES, len(batches)))]
        writing = [loop.run_in_executor(executor, self._write_all, lane, until) for lane in lanes]
        left = [item for unwritten in await asyncio.gather(*writing) for item in unwritten]
        if left:
            log.warning("not written yet: %s", self._what, extra={"left": len(left), "of": len(items)})
            self._notes.put_back(left, self._clock.now())

    def _write_all(self, batches: list[list[T]], until: float) -> list[T]:
        """Write one after another until the table does not answer or the time is over; return what is left.

        Runs in a thread.
        """
        for position, batch in enumerate(batches):
            if time.monotonic() >= until:
                return _joined(batches[position:])
            try:
                self._write(batch)
            except Unavailable as error:
                log.warning("not written: %s: %s", self._what, error.detail or error)
                return _joined(batches[position:])
            except Exception:
                log.exception("never written: %s", self._what, extra={"lost": len(batch)})
        return []


def _joined(batches: Sequence[Sequence[T]]) -> list[T]:
    return [item for batch in batches for item in batch]
