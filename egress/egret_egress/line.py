"""Who waits for a connection, in a fair order: accounts in turns, and within each its hosts and domains in turns."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """Somebody in the line. place: what they wait for, such as host and domain."""

    @property
    def account(self) -> str:
        """Whose message it is."""
        ...

    @property
    def place(self) -> Hashable:
        """Equal for those who wait for the same."""
        ...


W = TypeVar("W", bound=Waiting)


class Line(Generic[W]):
    """The line itself; empty parts of it cost nothing."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[str, OrderedDict[Hashable, deque[W]]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, waiter: W) -> None:
        """Stand at the end, behind those of the same account and place."""
        places = self._accounts.get(waiter.account)
        if places is None:
            places = self._accounts[waiter.account] = OrderedDict()
        queue = places.get(waiter.place)
        if queue is None:
            queue = places[waiter.place] = deque()
        queue.append(waiter)
        self._count += 1

    def first(self) -> W:
        """Return whose turn it is; the line must not be empty."""
        places = next(iter(self._accounts.values()))
        return next(iter(places.values()))[0]

    def heads(self) -> Iterator[W]:
        """Give the first of every account's every place, in order; stop before the line is changed."""
        for places in self._accounts.values():
            for queue in places.values():
                yield queue[0]

    def take(self, waiter: W) -> None:
        """Let a head go: its account and its place stand at the end now."""
        self.remove(waiter)
        if (places := self._accounts.get(waiter.account)) is not None:
            self._accounts.move_to_end(waiter.account)
            if waiter.place in places:
                places.move_to_end(waiter.place)

    def remove(self, waiter: W) -> None:
        """Leave the line; who is not in it raises KeyError or ValueError."""
        places = self._accounts[waiter.account]
        queue = places[waiter.place]
        if queue[0] is waiter:
            queue.popleft()
        else:
            queue.remove(waiter)
        self._count -= 1
        if not queue:
            del places[waiter.place]
            if not places:
                del self._accounts[waiter.account]

    def clear(self) -> list[W]:
        """Let everybody go; return them."""
        everybody = [waiter for places in self._accounts.values() for queue in places.values() for waiter in queue]
        self._accounts.clear()
        self._count = 0
        return everybody
