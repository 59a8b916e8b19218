"""Group commit: many waiters, one write, one fsync."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class GroupCommit:
    """Runs `write`, then a blocking `sync` in a thread of its own; all who ask while one is running share the next."""

    def __init__(self, write: Callable[[], None], sync: Callable[[], None]) -> None:
        self._write = write
        self._sync = sync
        self._thread = ThreadPoolExecutor(1, "journal")
        self._next: asyncio.Future[None] | None = None
        self._runner: asyncio.Task[None] | None = None

    async def commit(self) -> None:
        """Return when everything noted before this call is durable. Raises OSError."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            if self._runner is None or self._runner.done():
                self._runner = asyncio.get_running_loop().create_task(self._run())
        await asyncio.shield(self._next)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._next is not None:
            # Everybody who runs in this turn of the loop gets on board before the thread starts.
            await asyncio.sleep(0)
            waiting, self._next = self._next, None
            try:
                self._write()
                await loop.run_in_executor(self._thread, self._sync)
            except OSError as error:
                waiting.set_exception(error)
                waiting.exception()  # seen, also when every waiter has gone
            else:
                waiting.set_result(None)

    def close(self) -> None:
        """End the thread after the sync that it may be making."""
        self._thread.shutdown(wait=True)
