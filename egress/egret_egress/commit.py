"""Group commit: many waiters, one write, one fsync."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

MOST_TURNS = 8
"""Turns of the loop for which a commit waits while each brings somebody more: an fsync is worth some waiting."""


class GroupCommit:
    """Runs `write`, then a blocking `sync` in a thread of its own; all who ask while one is running share the next."""

    def __init__(self, write: Callable[[], None], sync: Callable[[], None]) -> None:
        self._write = write
        self._sync = sync
        self._thread = ThreadPoolExecutor(1, "journal")
        self._waiting: list[asyncio.Future[None]] = []
        self._runner: asyncio.Task[None] | None = None

    def commit(self) -> asyncio.Future[None]:
        """Return what is done when everything noted before this call is durable; it raises OSError."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append(done)
        if self._runner is None or self._runner.done():
            self._runner = loop.create_task(self._run())
        return done

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await self._gather()
            waiting, self._waiting = self._waiting, []
            error: Exception | None = None
            try:
                self._write()
                await loop.run_in_executor(self._thread, self._sync)
            except Exception as failed:  # noqa: BLE001 (a bug, too, is for whoever waits: they would wait for ever)
                error = failed
            for done in waiting:
                if done.done():
                    continue  # canceled
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)

    async def _gather(self) -> None:
        """Let everybody get on board who runs in this turn of the loop, and in the next ones while more come."""
        for _ in range(MOST_TURNS):
            before = len(self._waiting)
            await asyncio.sleep(0)
            if len(self._waiting) == before:
                return

    def close(self) -> None:
        """End the thread after the sync that it may be making."""
        self._thread.shutdown(wait=True)
