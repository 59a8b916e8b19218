"""Transactions that wait: by recipient domain, and within it in turns between accounts."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Backlog(Generic[T]):
    """Queues by (domain, account). A domain or an account without waiting work costs nothing. monotonic: seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._domains: dict[str, OrderedDict[str, deque[tuple[T, float]]]] = {}
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(self._counts.values())

    @property
    def age_s(self) -> float:
        """How long the oldest item has waited, 0 when there is none; looks at every queue."""
        heads = [queue[0][1] for accounts in self._domains.values() for queue in accounts.values()]
        return self._monotonic() - min(heads) if heads else 0.0

    def add(self, domain: str, account: str, item: T) -> None:
        """Put an item at the end of its account's queue."""
        self._domains.setdefault(domain, OrderedDict()).setdefault(account, deque()).append((item, self._monotonic()))
        self._counts[domain] = self._counts.get(domain, 0) + 1

    def count(self, domain: str) -> int:
        """Return how many items wait for a domain."""
        return self._counts.get(domain, 0)

    def pop(self, domain: str) -> T | None:
        """Take the next item of a domain, None when there is none; its account then stands at the end of the line."""
        accounts = self._domains.get(domain)
        if accounts is None:
            return None
        account, items = next(iter(accounts.items()))
        item, _ = items.popleft()
        if items:
            accounts.move_to_end(account)
        else:
            del accounts[account]
        self._counts[domain] -= 1
        if not accounts:
            del self._domains[domain], self._counts[domain]
        return item

    def peek(self, domain: str) -> T | None:
        """Return what `pop` would take."""
        accounts = self._domains.get(domain)
        return next(iter(accounts.values()))[0][0] if accounts else None

    def pop_all(self) -> list[T]:
        """Take everything."""
        queues = [queue for accounts in self._domains.values() for queue in accounts.values()]
        items = [item for queue in queues for item, _ in queue]
        self._domains.clear()
        self._counts.clear()
        return items
