"""An egress engine with everything around it in memory, and a small SMTP server for it to talk to."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from egret.contracts.handoff import Content, Handoff, Leg, Transaction
from egret.contracts.metrics import Metrics, NoMetrics
from egret.core.delivery import Attempt, Lease
from egret.core.errors import Unavailable
from egret.memory.clock import FakeClock
from egret.usecases.record_outcome import Ended
from egret_egress.attempt import Keeping
from egret_egress.contents import Contents
from egret_egress.courier import Courier
from egret_egress.destinations import Fixed, Host, Router
from egret_egress.engine import Capacity, Engine, Parts
from egret_egress.ledger import JournalFile, Ledger
from egret_egress.memory_journal import MemoryJournal
from egret_egress.opening import Dialing
from egret_egress.pacing import Pacing
from egret_egress.pool import Pool, PoolLimits
from egret_egress.recorder import Recorder
from egret_egress.session import Timeouts
from tests.conformance.scripted import SHORT, NoDns, listening

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LEASE = timedelta(minutes=40)
ACCOUNT = "aaaaaaaa"
UNHURRIED = Timeouts()
"""For loops in virtual time."""


class Notebook:
    """A `Book` in memory. failures: how many calls are refused before the first is kept."""

    def __init__(self, failures: int = 0) -> None:
        self.outcomes: dict[tuple[int, int], Attempt] = {}
        self.released: list[tuple[int, int]] = []
        self.waits: dict[int, tuple[datetime | None, str]] = {}
        self.calls = 0
        self._failures = failures
        self._lock = threading.Lock()

    def _count(self) -> None:
        self.calls += 1
        if self.calls <= self._failures:
            raise Unavailable

    def record(self, account: str, delivery_id: int, attempt: Attempt) -> None:
        """Keep it."""
        with self._lock:
            self._count()
            self.outcomes[delivery_id, attempt.number] = attempt

    def record_all(self, ended: Sequence[Ended]) -> None:
        """Keep them, one after the other."""
        for one in ended:
            self.record(*one)

    def release(
        self, account: str, delivery_id: int, lease: Lease, until: datetime | None = None, waiting: str = ""
    ) -> None:
        """Keep it."""
        with self._lock:
            self._count()
            self.released.append((delivery_id, lease.attempt))
            self.waits[delivery_id] = (until, waiting)


@dataclass
class Sink:
    """A well-behaved SMTP server. bodies: what it took; connections: how many were made.

    gate: when set, the final dot is answered only after it opens.
    """

    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    gate: asyncio.Event | None = None
    dots: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        try:
            await self._serve(reader, writer)
        finally:
            self.open_now -= 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                writer.write(b"250-sink\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
            elif verb == b"DATA":
                writer.write(b"354 go\r\n")
                self.bodies.append(await reader.readuntil(b"\r\n.\r\n"))
                self.dots.set()
                if self.gate is not None:
                    await self.gate.wait()
                writer.write(b"250 2.0.0 ok\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250 ok\r\n")


@contextlib.asynccontextmanager
async def sinking(sink: Sink) -> AsyncIterator[Sink]:
    """Run a sink on a free loopback port."""
    async with listening(sink.serve) as port:
        sink.port = port
        yield sink


@dataclass
class Rig:
    """An engine and what stands around it."""

    engine: Engine
    ledger: Ledger
    pool: Pool
    recorder: Recorder
    clock: FakeClock
    book: Notebook

    async def settle(self) -> None:
        """Wait until everything that was taken is recorded or given back."""
        async with asyncio.timeout(20):
            while self.ledger.in_hand:
                await self.recorder.idle()
                await asyncio.sleep(0.002)


@dataclass
class Wishes:
    """What a test wants other than usual."""

    book: Notebook = field(default_factory=Notebook)
    journal: JournalFile = field(default_factory=MemoryJournal)
    capacity: Capacity = field(default_factory=Capacity)
    limits: PoolLimits = field(default_factory=PoolLimits)
    router: Router | None = None
    fetch: Callable[[str], bytes | None] = lambda _: None
    may_begin: Callable[[datetime], bool] = lambda _: True
    metrics: Metrics = field(default_factory=NoMetrics)
    pacing: Pacing | None = None
    executor: Executor | None = None
    timeouts: Timeouts = SHORT


@contextlib.asynccontextmanager
async def rig_for(port: int, wishes: Wishes | None = None) -> AsyncIterator[Rig]:
    """Run an engine that delivers everything to a loopback port, or where the wishes say, and drain it at the end."""
    wishes = wishes or Wishes()
    clock = FakeClock(NOW)
    ledger = Ledger("unit-1", wishes.journal)
    with wishes.executor or ThreadPoolExecutor(4) as executor:
        recorder = Recorder(wishes.book, ledger, executor, first_pause_s=0.001)
        pool = Pool(wishes.limits, wishes.pacing)
        router = wishes.router or Fixed(Host("127.0.0.1", port), NoDns())
        courier = Courier(router, pool, Dialing("unit.example", wishes.timeouts))
        keeping = Keeping(ledger, recorder, clock, wishes.may_begin, wishes.metrics)
        engine = Engine(Parts(keeping, courier, Contents(wishes.fetch, executor)), wishes.capacity)
        engine.recover()
        try:
            yield Rig(engine, ledger, pool, recorder, clock, wishes.book)
        finally:
            await engine.drain(2)
            await pool.close()


def transaction(
    *ids: int, domain: str = "example.org", account: str = ACCOUNT, content: Content | None = None
) -> Transaction:
    """Return a transaction to some recipients of a domain."""
    legs = [Leg(id_, 1, f"r{id_}@{domain}") for id_ in ids]
    content = content or Content(22, b"Subject: x\r\n\r\nhello\r\n")
    return Transaction(account, ids[0] >> 10 << 10, domain, "s@example.net", legs, content, NOW + LEASE)


def handoff(*transactions: Transaction) -> Handoff:
    """Return a handoff to unit-1."""
    return Handoff("unit-1", list(transactions))
