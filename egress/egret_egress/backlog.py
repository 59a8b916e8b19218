"""Transactions that wait: by place, and there in turns between accounts, and within an account between domains."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_Queue = deque[tuple[T, float]]


class Backlog(Generic[T]):
    """Queues by (place, account, domain). What has no waiting work costs nothing. monotonic: seconds.

    A place is where several domains may wait for the same: their host, or while that is not known the domain itself.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._places: dict[str, OrderedDict[str, OrderedDict[str, _Queue[T]]]] = {}
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(self._counts.values())

    @property
    def age_s(self) -> float:
        """How long the oldest item has waited, 0 when there is none; looks at every queue."""
        heads = [
            queue[0][1]
            for accounts in self._places.values()
            for domains in accounts.values()
            for queue in domains.values()
        ]
        return self._monotonic() - min(heads) if heads else 0.0

    def add(self, place: str, account: str, domain: str, item: T) -> None:
        """Put an item at the end of the queue of its account and domain."""
        accounts = self._places.get(place)
        if accounts is None:
            accounts = self._places[place] = OrderedDict()
            self._counts[place] = 0
        domains = accounts.get(account)
        if domains is None:
            domains = accounts[account] = OrderedDict()
        queue = domains.get(domain)
        if queue is None:
            queue = domains[domain] = deque()
        queue.append((item, self._monotonic()))
        self._counts[place] += 1

    def count(self, place: str) -> int:
        """Return how many items wait at a place."""
        return self._counts.get(place, 0)

    def pop(self, place: str) -> T | None:
        """Take the next item, None when there is none; its account and its domain then stand at the end of the line."""
        accounts = self._places.get(place)
        if accounts is None:
            return None
        account, domains = next(iter(accounts.items()))
        domain, queue = next(iter(domains.items()))
        item, _ = queue.popleft()
        if not queue:
            del domains[domain]
        elif len(domains) > 1:
            domains.move_to_end(domain)
        if not domains:
            del accounts[account]
        elif len(accounts) > 1:
            accounts.move_to_end(account)
        if accounts:
            self._counts[place] -= 1
        else:
            del self._places[place], self._counts[place]
        return item

    def peek(self, place: str) -> T | None:
        """Return what `pop` would take."""
        accounts = self._places.get(place)
        if accounts is None:
            return None
        domains = next(iter(accounts.values()))
        return next(iter(domains.values()))[0][0]

    def pop_all(self) -> list[T]:
        """Take everything."""
        queues = [
            queue for accounts in self._places.values() for domains in accounts.values() for queue in domains.values()
        ]
        items = [item for queue in queues for item, _ in queue]
        self._places.clear()
        self._counts.clear()
        return items
