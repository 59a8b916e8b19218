"""The next message behind the final dot of this one: what RFC 2920 allows, and what may be lost by it.

Implements: RFC 2920 section 3.1. The commands of the next transaction go out with the end of this one. Nothing is sent
twice by that: until its own 354 and its own dot the next message is only announced, and a connection that ends before
has not taken it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from egret_egress.course import Course, Stop
from egret_egress.exchange import Exchange
from egret_egress.parcel import Parcel
from egret_egress.turns import Turn

SHY_S = 3600.0
"""How long a host that did not go on well is spoken to in good order."""
MAX_SHY = 1000


class Ahead:
    """A parcel whose transaction has begun: it goes on at its course's first stop, with this turn.

    deadline: loop time of its dot.
    """

    __slots__ = ("course", "deadline", "exchange", "parcel", "stop", "turn")

    def __init__(
        self, parcel: Parcel, course: Course, stop: Stop, turn: Turn, exchange: Exchange, deadline: float
    ) -> None:
        self.parcel = parcel
        self.course = course
        self.stop = stop
        self.turn = turn
        self.exchange = exchange
        self.deadline = deadline


class Upcoming(Protocol):
    """What whoever brings a parcel would bring next."""

    def peek(self) -> tuple[Parcel, Course] | None:
        """Return the next parcel, and its course, if both are at hand; nothing is taken by that."""
        ...

    def take(self, ahead: Ahead) -> None:
        """Its transaction begins now: it is to be delivered next, with this, or given to `Courier.drop`."""
        ...


class _NothingMore:
    def peek(self) -> None:
        return None

    def take(self, ahead: Ahead) -> None:
        raise AssertionError("there was nothing to take")


NOTHING_MORE: Upcoming = _NothingMore()


class Shy:
    """Hosts that ended the conversation, or refused it, when the next transaction came with the dot."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def note(self, host: str, now: float) -> None:
        """Remember one. now: loop time, as in `has`."""
        self._until[host] = now + SHY_S
        self._until.move_to_end(host)
        if len(self._until) > MAX_SHY:
            self._until.popitem(last=False)

    def has(self, host: str, now: float) -> bool:
        """Whether it is one of them."""
        return bool(self._until) and self._until.get(host, 0.0) > now
