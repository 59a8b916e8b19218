"""Open connections by MX host: reused, limited, closed when idle.

Whoever wants to talk to a host checks out a slot of it, with an idle session when there is one, and checks it in again.
A host without connections costs nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from egret_egress.session import Session


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many connections there may be, and for how long.

    per_host: open to one MX host at a time. messages: transactions on one connection. idle_s: seconds that a connection
    waits for the next message (receivers close after minutes; being gone first is polite). idle_total: over all hosts.
    """

    per_host: int = 20
    messages: int = 100
    idle_s: float = 15.0
    idle_total: int = 500


@dataclass(slots=True)
class _HostState:
    busy: int = 0
    idle: deque[Session] = field(default_factory=deque)
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    @property
    def is_empty(self) -> bool:
        return not (self.busy or self.idle or self.waiting)


class NoTurn(Exception):
    """The unit drains: nobody waits for a connection any more."""


class Pool:
    """Slots and idle sessions of every host that is in use."""

    def __init__(self, limits: PoolLimits | None = None) -> None:
        self._limits = limits or PoolLimits()
        self._hosts: dict[Hashable, _HostState] = {}
        self._idle: OrderedDict[Session, tuple[Hashable, float]] = OrderedDict()
        self._sweeper: asyncio.TimerHandle | None = None
        self._partings: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._turns_away = False

    @property
    def open_connections(self) -> int:
        """Connections in use and idle ones."""
        return sum(state.busy for state in self._hosts.values()) + len(self._idle)

    async def checkout(self, host: Hashable) -> Session | None:
        """Wait for a slot of the host; return an idle session or None, when one is to be opened. Then: `checkin`.

        Raises NoTurn when there is no free slot and the pool turns away.
        """
        state = self._hosts.setdefault(host, _HostState())
        if state.busy >= self._limits.per_host:
            if self._turns_away:
                raise NoTurn
            turn = asyncio.get_running_loop().create_future()
            state.waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._forget_turn(host, state, turn)
                raise
        else:
            state.busy += 1
        return self._take_idle(state)

    def turn_away(self) -> None:
        """Let nobody wait: those who do are told now, others when they come and no slot is free."""
        self._turns_away = True
        for state in self._hosts.values():
            while state.waiting:
                turn = state.waiting.popleft()
                if not turn.done():
                    turn.set_exception(NoTurn())

    def _forget_turn(self, host: Hashable, state: _HostState, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self._free_slot(host, state)  # it came at the moment of the cancellation
        elif turn in state.waiting:
            state.waiting.remove(turn)

    def _take_idle(self, state: _HostState) -> Session | None:
        while state.idle:
            session = state.idle.pop()  # the one used last is the least likely to be closed by the other side
            del self._idle[session]
            session.when_lost(None)
            if session.is_usable:
                return session
            self._part(session)
        return None

    def checkin(self, host: Hashable, session: Session | None) -> None:
        """Give the slot back, with the session if there is one: it is kept for the next message or closed."""
        state = self._hosts[host]
        if session is not None:
            if session.is_usable and session.transactions < self._limits.messages and not self._is_closing:
                self._keep(host, state, session)
            else:
                self._part(session)
        self._free_slot(host, state)

    def _free_slot(self, host: Hashable, state: _HostState) -> None:
        while state.waiting:
            turn = state.waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the slot passes on: busy stays as it is
                return
        state.busy -= 1
        self._tidy(host, state)

    def _tidy(self, host: Hashable, state: _HostState) -> None:
        if state.is_empty:
            self._hosts.pop(host, None)

    def _keep(self, host: Hashable, state: _HostState, session: Session) -> None:
        loop = asyncio.get_running_loop()
        state.idle.append(session)
        self._idle[session] = (host, loop.time() + self._limits.idle_s)
        session.when_lost(lambda: self._drop(session))
        if len(self._idle) > self._limits.idle_total:
            self._retire(next(iter(self._idle)))
        if self._sweeper is None:
            self._sweeper = loop.call_later(self._limits.idle_s, self._sweep)

    def _drop(self, session: Session) -> None:
        """Forget an idle session."""
        if (known := self._idle.pop(session, None)) is not None:
            state = self._hosts[known[0]]
            state.idle.remove(session)
            self._tidy(known[0], state)

    def _retire(self, session: Session) -> None:
        session.when_lost(None)
        self._drop(session)
        self._part(session)

    def _sweep(self) -> None:
        """Close what has been idle for too long; oldest first, so the first young one ends it."""
        loop = asyncio.get_running_loop()
        self._sweeper = None
        while self._idle:
            session, (_, until) = next(iter(self._idle.items()))
            if until > loop.time():
                self._sweeper = loop.call_at(until, self._sweep)
                return
            self._retire(session)

    def _part(self, session: Session) -> None:
        task = asyncio.get_running_loop().create_task(session.quit())
        self._partings.add(task)
        task.add_done_callback(self._partings.discard)

    async def close(self) -> None:
        """Close idle connections politely and keep none from now on; those in use close at their check-in."""
        self._is_closing = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for session in list(self._idle):
            self._retire(session)
        while self._partings:
            await asyncio.gather(*self._partings, return_exceptions=True)
