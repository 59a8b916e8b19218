"""The messages of the transactions in hand: fetched once, shared, forgotten with the last transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from egret.contracts import handoff
from egret_egress.content import Content


@dataclass(slots=True)
class _Shared:
    users: int = 0
    fetched: asyncio.Task[Content | None] | None = field(default=None)


class Contents:
    """Contents by reference. fetch: blocking, returns the object or None; may raise Unavailable."""

    def __init__(self, fetch: Callable[[str], bytes | None], executor: Executor) -> None:
        self._fetch = fetch
        self._executor = executor
        self._shared: dict[str, _Shared] = {}

    async def acquire(self, content: handoff.Content) -> Content | None:
        """Return the message, None when the object does not exist; then `release` it. Raises Unavailable."""
        if content.inline is not None:
            return Content(content.inline)
        shared = self._shared.setdefault(content.key, _Shared())
        shared.users += 1
        if shared.fetched is None:
            shared.fetched = asyncio.get_running_loop().create_task(self._load(content.key))
        try:
            return await asyncio.shield(shared.fetched)
        except BaseException:
            self.release(content)
            raise

    async def _load(self, key: str) -> Content | None:
        raw = await asyncio.get_running_loop().run_in_executor(self._executor, self._fetch, key)
        return None if raw is None else Content(raw)

    def release(self, content: handoff.Content) -> None:
        """One user of the content less."""
        if content.inline is not None:
            return
        shared = self._shared.get(content.key)
        if shared is not None:
            shared.users -= 1
            if shared.users <= 0:
                del self._shared[content.key]
