"""Simulated mailbox providers, and senders that reach them through the engine's own courier, pool and pacing.

Everything runs on an event loop whose clock jumps to the next thing that happens: an hour takes seconds. Connections
are in memory, so that the bytes of every conversation are those that would go over the wire.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

from egret.contracts.handoff import Content as HandedContent
from egret.contracts.handoff import Leg, Transaction
from egret.core.outcome import Delivered, Outcome, Remote
from egret.core.tls_policy import PLAIN
from egret.core.trace import SessionTrace
from egret_egress.content import Content
from egret_egress.courier import Courier
from egret_egress.destinations import Answer, Hops, Host
from egret_egress.opening import Dialing
from egret_egress.pacing import Pacing
from egret_egress.parcel import Parcel
from egret_egress.pool import NotNow, Pool, PoolLimits
from egret_egress.providers import Providers
from egret_egress.shaping import Shaping

START = datetime(2026, 3, 4, 10, 0, tzinfo=UTC)
INSTANT = 1e-6
"""Seconds between two events that must not change places: a loop's timers of the same instant may."""
T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """A selector that does not wait: it moves the loop's clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("nothing will ever happen")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time, whose connections lead to simulated providers.

    providers: by the name of their MX host. names: of MX hosts, by IP address.
    """

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self.providers: dict[str, Provider] = {}
        self.names: dict[str, str] = {}

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._jumping.now

    async def create_connection(  # type: ignore[override]  # only what the engine uses
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int, **_: object
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Connect to a provider."""
        provider = self.providers[self.names[host]]
        await asyncio.sleep(provider.rtt())
        protocol = factory()
        transport = _Pipe(self, protocol, provider)
        protocol.connection_made(transport)
        return transport, protocol


def run_virtually(main: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on a virtual loop."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()


@dataclass
class Provider:
    """A provider and what it saw.

    connections, per_second: what it allows, the latter over the last second or, `in_steps`, within each second.
    ban_after: deferrals (0 = never) after which it takes nothing for ban_s.
    """

    rng: Random
    connections: int
    per_second: int
    in_steps: bool = False
    ban_after: int = 0
    ban_s: float = 600.0
    banned_until: float = 0.0
    rtt_s: float = 0.02
    work_s: float = 0.05
    open: int = 0
    most_open: int = 0
    taken: list[float] = field(default_factory=list)
    deferred: list[float] = field(default_factory=list)
    bans: int = 0
    _offered: deque[float] = field(default_factory=deque)
    _until_ban: int = 0

    def rtt(self) -> float:
        """Return how long something is on its way."""
        return self.rtt_s * (0.8 + 0.4 * self.rng.random())

    def work(self) -> float:
        """Return how long a message is looked at."""
        return self.work_s * (0.5 + self.rng.random())

    def welcomes(self, now: float) -> str:
        """Return the greeting; other than 220 the connection is closed."""
        if now < self.banned_until:
            return self._defer(now, "421 4.7.0 you are banned")
        if self.open > self.connections:
            return self._defer(now, "421 4.7.0 too many connections")
        self.most_open = max(self.most_open, self.open)
        return "220 mx.example ESMTP"

    def judges(self, now: float) -> str:
        """Return the reply to MAIL; after 421 the connection is closed."""
        if now < self.banned_until:
            return self._defer(now, "421 4.7.0 you are banned")
        while self._offered and self._is_over(self._offered[0], now):
            self._offered.popleft()
        self._offered.append(now)
        return "250 ok" if len(self._offered) <= self.per_second else self._defer(now, "421 4.7.0 too fast")

    def _is_over(self, at: float, now: float) -> bool:
        return int(at) < int(now) if self.in_steps else at <= now - 1

    def _defer(self, now: float, reply: str) -> str:
        self.deferred.append(now)
        self._until_ban += 1
        if self.ban_after and self._until_ban >= self.ban_after and now >= self.banned_until:
            self.banned_until, self._until_ban = now + self.ban_s, 0
            self.bans += 1
        return reply


class _Pipe(asyncio.Transport):
    """The engine's end of a connection, with the server behind it."""

    def __init__(self, loop: VirtualLoop, protocol: asyncio.Protocol, provider: Provider) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._provider = provider
        self._is_closed = False
        self._is_in_data = False
        self._unread = b""
        self._there_at = self._here_at = 0.0
        provider.open += 1
        greeting = provider.welcomes(loop.time())
        self._answer(greeting, 0.0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Bring it to the server."""
        if not self._is_closed:
            self._there_at = self._after(self._there_at, 0.0)
            self._loop.call_at(self._there_at, self._receive, bytes(data))

    def _after(self, last: float, work_s: float) -> float:
        """Return when something arrives that is sent now: nothing overtakes what was sent before."""
        return max(last + INSTANT, self._loop.time() + self._provider.rtt() / 2) + work_s

    def _receive(self, data: bytes) -> None:
        self._unread += data
        while not self._is_closed and b"\r\n" in self._unread:
            if self._is_in_data:
                _, dot, rest = self._unread.partition(b"\r\n.\r\n")
                if not dot:
                    return
                self._unread, self._is_in_data = rest, False
                self._provider.taken.append(self._loop.time())
                self._answer("250 2.0.0 taken", self._provider.work())
                continue
            line, _, self._unread = self._unread.partition(b"\r\n")
            self._command(line.split(b" ")[0].partition(b":")[0].upper())

    def _command(self, verb: bytes) -> None:
        if verb == b"EHLO":
            self._answer("250-mx.example\r\n250 PIPELINING", 0.0)
        elif verb == b"MAIL":
            self._answer(self._provider.judges(self._loop.time()), 0.0)
        elif verb == b"DATA":
            self._is_in_data = True
            self._answer("354 go on", 0.0)
        elif verb == b"QUIT":
            self._answer("221 bye", 0.0)
        else:
            self._answer("250 ok", 0.0)

    def _answer(self, text: str, after_s: float) -> None:
        """Send a reply, in order; 221 and 421 are the last."""
        is_last = text.startswith(("221", "421"))
        self._here_at = self._after(self._here_at, after_s)
        self._loop.call_at(self._here_at, self._bring, text.encode() + b"\r\n", is_last)
        if is_last:
            self._gone()

    def _bring(self, data: bytes, is_last: bool) -> None:
        if self._protocol is not None:
            self._protocol.data_received(data)
            if is_last:
                self._protocol.eof_received()
                self.abort()

    def _gone(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._provider.open -= 1

    def abort(self) -> None:
        """End it; the other side hears of it a little later."""
        self._loop.call_later(self._provider.rtt() / 2, self._gone)
        self._loop.call_soon(self._lose)

    def _lose(self) -> None:
        protocol, self._protocol = self._protocol, None  # type: ignore[assignment]
        if protocol is not None:
            protocol.connection_lost(None)

    def close(self) -> None:
        """As `abort`."""
        self.abort()

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Nothing is known."""
        return default


class To:
    """A router that knows one host for each domain."""

    def __init__(self, hosts: dict[str, Host]) -> None:
        self._hosts = hosts

    async def next_hops(self, domain: str) -> Hops:
        return Hops(domain, domain, is_authentic=False, hosts=(self._hosts[domain],))

    async def addresses(self, host: Host) -> Answer[str]:
        return Answer(host.addresses, host.name)


class _Notes:
    """A `courier.Progress` for one recipient."""

    outcome: Outcome | None = None

    def begin(self) -> None:
        """It may always begin."""

    def before_dot(self, recipients: Sequence[int], remote: Remote) -> None:
        """Nothing is kept."""

    def decide(self, recipient: int, outcome: Outcome, trace: SessionTrace) -> None:
        self.outcome = outcome


BODY = Content(b"Subject: x\r\n\r\nhello\r\n")


class Senders:
    """Many workers that always have something to send to the hosts of simulated providers."""

    def __init__(self, loop: VirtualLoop, shaping: Shaping, hosts: dict[str, str]) -> None:
        """Take the names of the MX hosts by recipient domain."""
        self._loop = loop
        self.pacing = Pacing(Providers(shaping))
        self.pool = Pool(PoolLimits(), self.pacing, self._now)
        loop.names = {f"192.0.2.{number}": name for number, name in enumerate(dict.fromkeys(hosts.values()))}
        address = {name: address for address, name in loop.names.items()}
        known = {domain: Host(name, 25, PLAIN, addresses=(address[name],)) for domain, name in hosts.items()}
        self._courier = Courier(To(known), self.pool, Dialing("unit.example"))
        self.delivered: dict[tuple[str, str], int] = {}

    async def run(self, workers: Sequence[tuple[str, str]], seconds: float) -> None:
        """Let one worker for each (account, domain) send for so long."""
        tasks = [asyncio.ensure_future(self._work(account, domain)) for account, domain in workers]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended
        await self.pool.close()

    def _now(self) -> float:
        return START.timestamp() + self._loop.time()

    async def _work(self, account: str, domain: str) -> None:
        while True:
            notes = _Notes()
            try:
                await self._courier.deliver(Parcel(_transaction(account, domain), BODY, notes))
            except NotNow as wait:
                await asyncio.sleep(wait.until - self._now())
                continue
            if isinstance(notes.outcome, Delivered):
                key = (account, domain)
                self.delivered[key] = self.delivered.get(key, 0) + 1


def _transaction(account: str, domain: str) -> Transaction:
    content = HandedContent(BODY.size_bytes, b"")
    until = START + timedelta(days=1)
    return Transaction(account, 1024, domain, "s@example.net", [Leg(1024, 1, f"r@{domain}")], content, until)
