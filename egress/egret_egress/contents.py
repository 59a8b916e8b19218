"""The messages of the transactions in hand: fetched once, shared, counted once, forgotten with the last transaction.

A message with many recipients comes as many transactions, in several handoffs, and most of them wait for a connection:
it stays from the first that is taken to the last that is done, and takes its bytes of the unit's budget once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from egret.contracts import handoff
from egret.contracts.handoff import Transaction
from egret_egress.content import Content
from egret_egress.holdings import Holdings


@dataclass(slots=True)
class _Shared:
    """A message that is fetched. account, domain, size_bytes: whose transaction brought it, and what that counts."""

    account: str
    domain: str
    size_bytes: int
    users: int = 0
    fetched: asyncio.Task[Content | None] | None = field(default=None)


class Contents:
    """Contents by reference. fetch: blocking, returns the object or None; may raise Unavailable."""

    def __init__(self, fetch: Callable[[str], bytes | None], executor: Executor) -> None:
        self.held = Holdings()
        """Bytes of everything in hand, whether it has been fetched or not."""
        self._fetch = fetch
        self._executor = executor
        self._shared: dict[str, _Shared] = {}

    def fits(self, transaction: Transaction, capacity: int) -> bool:
        """Say whether the content may be taken in hand within a capacity of bytes; one that is there takes nothing."""
        is_there = transaction.content.inline is None and transaction.content.key in self._shared
        return is_there or self.held.may_add(transaction.account, transaction.domain, capacity)

    def hold(self, transaction: Transaction) -> None:
        """Take the content of a transaction in hand, until `let_go`."""
        content, whose = transaction.content, (transaction.account, transaction.domain)
        if content.inline is not None:
            self.held.add(*whose, content.size_bytes)
            return
        shared = self._shared.get(content.key)
        if shared is None:
            shared = self._shared[content.key] = _Shared(*whose, content.size_bytes)
            self.held.add(*whose, content.size_bytes)
        shared.users += 1

    def let_go(self, transaction: Transaction) -> None:
        """Take it out of hand; the last one forgets the message."""
        content = transaction.content
        if content.inline is not None:
            self.held.add(transaction.account, transaction.domain, -content.size_bytes)
            return
        shared = self._shared[content.key]
        shared.users -= 1
        if not shared.users:
            del self._shared[content.key]
            self.held.add(shared.account, shared.domain, -shared.size_bytes)

    async def get(self, content: handoff.Content) -> Content | None:
        """Return the message of a transaction in hand, None when the object does not exist. Raises Unavailable."""
        if content.inline is not None:
            return Content(content.inline)
        shared = self._shared[content.key]
        if shared.fetched is None:
            shared.fetched = asyncio.get_running_loop().create_task(self._load(content.key))
        fetching = shared.fetched
        try:
            return await asyncio.shield(fetching)
        except Exception:
            if shared.fetched is fetching:
                shared.fetched = None  # the next one asks again
            raise

    async def _load(self, key: str) -> Content | None:
        raw = await asyncio.get_running_loop().run_in_executor(self._executor, self._fetch, key)
        return None if raw is None else Content(raw)
