"""What the pool keeps account of: wishes, turns, and hosts that are in use, by the limits that they share."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import NamedTuple

from egret_egress.line import Line
from egret_egress.pacing import Lane
from egret_egress.session import Session


class Wish(NamedTuple):
    """What is to be sent. key: connections with equal keys carry each other's messages (host, port, policy, …).

    mx_host: by whose name the provider is known. source: address to connect from, "" = the system's. is_own_way: no
    route's, so that what holds it up holds up all mail to the domain that has no route.
    """

    key: Hashable
    mx_host: str = ""
    domain: str = ""
    account: str = ""
    source: str = ""
    recipients: int = 1
    is_own_way: bool = True


class Host:
    """One key. busy: turns in use; dialing: of those, without a session. is_failing: the last connection failed."""

    __slots__ = ("busy", "dialing", "group", "idle", "is_failing", "key", "waiting")

    def __init__(self, key: Hashable, group: Group) -> None:
        self.key = key
        self.group = group
        self.busy = 0
        self.dialing = 0
        self.waiting = 0
        self.is_failing = False
        self.idle: deque[Session] = deque()


class Group:
    """All hosts that share a lane; without one, a single host. favourite: the one served last, `run` times in a row.

    idle, closing: connections.
    """

    __slots__ = ("closing", "favourite", "hosts", "idle", "key", "lane", "line", "run", "timer")

    def __init__(self, key: Hashable, lane: Lane | None) -> None:
        self.key = key
        self.lane = lane
        self.line: Line[Waiter] = Line()
        self.hosts: dict[Host, None] = {}
        self.favourite: Host | None = None
        self.run = 0
        self.idle = 0
        self.closing = 0
        self.timer: asyncio.TimerHandle | None = None


class Turn:
    """Leave to send one message. session: None = open a connection, and tell the pool how that went."""

    __slots__ = ("began_at", "host", "is_counted", "is_dialing", "session")

    def __init__(self, host: Host, session: Session | None, began_at: float = 0.0) -> None:
        self.host = host
        self.session = session
        self.began_at = began_at
        self.is_dialing = False
        self.is_counted = session is not None


class Waiter:
    """Somebody in the line for a turn."""

    __slots__ = ("account", "future", "host", "place", "wish")

    def __init__(self, wish: Wish, host: Host, future: asyncio.Future[Turn]) -> None:
        self.wish = wish
        self.host = host
        self.future = future
        self.account = wish.account
        self.place = (id(host), wish.domain)
