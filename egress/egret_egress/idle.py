"""Open connections that wait for the next message, and those that are being closed."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from egret_egress.session import Session
from egret_egress.turns import Host


class IdleSessions:
    """The idle sessions of all hosts, at most `total`. gone: told of every one that has been closed."""

    def __init__(self, total: int, gone: Callable[[Host], None]) -> None:
        self._total = total
        self._gone = gone
        self._sessions: OrderedDict[Session, tuple[Host, float]] = OrderedDict()
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep_at = 0.0
        self._partings: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def take(self, host: Host) -> Session | None:
        """Return a session of the host that can be used, None when there is none."""
        while host.idle:
            session = host.idle.pop()  # the one used last is the least likely to be closed by the other side
            host.group.idle -= 1
            del self._sessions[session]
            session.when_lost(None)
            if session.is_usable:
                return session
            self.part(host, session)
        return None

    def keep(self, host: Host, session: Session, idle_s: float) -> None:
        """Let a session wait for that long."""
        loop = asyncio.get_running_loop()
        host.idle.append(session)
        host.group.idle += 1
        until = loop.time() + idle_s
        self._sessions[session] = (host, until)
        session.when_lost(lambda: self._lost(session))
        if len(self._sessions) > self._total:
            self.retire(next(iter(self._sessions)))
        if self._sweeper is None or until < self._sweep_at:
            self._sweep_by(until)

    def retire(self, session: Session) -> None:
        """Close an idle session."""
        session.when_lost(None)
        if (host := self._drop(session)) is not None:
            self.part(host, session)

    def part(self, host: Host, session: Session) -> None:
        """Close a session politely; it counts until it is gone."""
        task = asyncio.get_running_loop().create_task(session.quit())
        self._partings.add(task)
        host.group.closing += 1
        task.add_done_callback(lambda done: self._parted(done, host))

    def _parted(self, task: asyncio.Task[None], host: Host) -> None:
        self._partings.discard(task)
        host.group.closing -= 1
        self._gone(host)

    def _drop(self, session: Session) -> Host | None:
        known = self._sessions.pop(session, None)
        if known is None:
            return None
        known[0].idle.remove(session)
        known[0].group.idle -= 1
        return known[0]

    def _lost(self, session: Session) -> None:
        """The other side closed it, or spoke."""
        if (host := self._drop(session)) is not None:
            self._gone(host)

    def _sweep(self) -> None:
        """Close what has been idle for too long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._sweeper = None
        for session in [session for session, (_, until) in self._sessions.items() if until <= now]:
            self.retire(session)
        if self._sessions:
            soonest = min(until for _, until in self._sessions.values())
            # Not for each session by itself: they are looked through from end to end.
            self._sweep_by(max(soonest, now + min(1.0, soonest - now + 0.1)))

    def _sweep_by(self, at: float) -> None:
        """Sweep at an instant (loop time), instead of when it was planned."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._sweep_at = at
        self._sweeper = asyncio.get_running_loop().call_at(at, self._sweep)

    async def close(self) -> None:
        """Close all of them politely."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for session in list(self._sessions):
            self.retire(session)
        while self._partings:
            await asyncio.gather(*self._partings, return_exceptions=True)
