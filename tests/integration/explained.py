"""A service in memory with a real egress engine: what is sent is tried over real sockets, DeliveryGet explains it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any

from egret.contracts.handoff import Handoff, HandoffAnswer
from egret.contracts.queues import Hint
from egret.contracts.records import Unit
from egret.contracts.settings import RetryPolicy
from egret.contracts.webapi import DeliveryInfo
from egret.memory.units import MemoryEgress
from egret.usecases.deliver import DeliverPorts, deliver
from egret.usecases.deliveries import delivery_get
from egret.usecases.record_outcome import RecordPorts
from egret_egress.__main__ import UseCaseBook
from egret_egress.attempt import Keeping
from egret_egress.contents import Contents
from egret_egress.courier import Courier
from egret_egress.destinations import Direct, Router
from egret_egress.engine import Capacity, Engine, Parts
from egret_egress.ledger import Ledger
from egret_egress.memory_journal import MemoryJournal
from egret_egress.opening import Dialing
from egret_egress.pacing import Pacing
from egret_egress.pool import Pool
from egret_egress.providers import Providers
from egret_egress.recorder import Recorder
from egret_egress.register import Announcer, Identity
from egret_egress.session import Timeouts
from egret_egress.shaping_file import load
from tests.conformance.scripted import SHORT
from tests.integration.protected import Setting
from tests.unit.builders import ACCOUNT
from tests.unit.sending import Service, people

RETRY = RetryPolicy()


@dataclass(frozen=True)
class Way:
    """What the unit meets. port: of the mail servers; probes: targets that show whether outbound port 25 is open."""

    port: int = 1
    setting: Setting = field(default_factory=Setting)
    router: Router | None = None
    capacity: Capacity = field(default_factory=Capacity)
    probes: Sequence[tuple[str, int]] = ()
    timeouts: Timeouts = SHORT


class _Dice:
    def __init__(self) -> None:
        self._random = Random(1)

    def number(self) -> float:
        """Return the next one."""
        return self._random.random()


@dataclass
class Office:
    """A service with one egress unit. executor: of the unit's announcements."""

    service: Service
    engine: Engine
    ledger: Ledger
    recorder: Recorder
    announcer: Announcer
    executor: ThreadPoolExecutor

    async def send(self, recipient: str = "ann@example.org", **changes: Any) -> int:
        """Send a message through the API's use case; return the delivery's id, which deliver has not seen yet."""
        await self.announcer.announce(self.executor)
        return self.service.send(to=people(recipient), **changes).submissions[0].queue_msg_id

    def bring(self, *ids: int) -> None:
        """Let deliver hand over what is due."""
        service = self.service

        def hand(_: Unit, handoff: Handoff) -> HandoffAnswer:
            return self.engine.take(handoff)

        egress = MemoryEgress(hand)
        ports = DeliverPorts(
            service.store, service.suppressions, service.settings, service.units, egress, service.clock, RETRY
        )
        deliver(ports, [Hint(ACCOUNT, list(ids))])

    async def settle(self) -> None:
        """Wait until everything that the unit took is recorded or given back; announce it."""
        async with asyncio.timeout(20):
            while self.ledger.in_hand:
                await self.recorder.idle()
                await asyncio.sleep(0.002)
        await self.announcer.announce(self.executor)

    async def attempt(self, recipient: str = "ann@example.org", **changes: Any) -> DeliveryInfo:
        """Send a message, have one attempt made, and ask about it."""
        delivery = await self.send(recipient, **changes)
        self.bring(delivery)
        await self.settle()
        return self.explain(delivery)

    def explain(self, delivery: int) -> DeliveryInfo:
        """Ask DeliveryGet."""
        return delivery_get(self.service.delivering, ACCOUNT, delivery)


@contextlib.asynccontextmanager
async def working(way: Way) -> AsyncIterator[Office]:
    """Run one."""
    service = Service()
    clock, setting = service.clock, way.setting
    ledger = Ledger("unit-1", MemoryJournal())
    with ThreadPoolExecutor(4) as executor:
        recorder = Recorder(UseCaseBook(RecordPorts(service.store, clock, RETRY)), ledger, executor)
        pacing = Pacing(Providers(load()))
        loop = asyncio.get_running_loop()
        began = loop.time()
        pool = Pool(pacing=pacing, now=lambda: clock.now().timestamp() + loop.time() - began)
        identity = Identity("unit-1", "http://unit", "unit.example", ())
        load_of: Callable[[], Engine] = lambda: engine
        announcer = Announcer(
            identity, service.units, clock, load_of, way.probes, lambda at: pacing.suspensions(at, ("",))
        )
        keeping = Keeping(ledger, recorder, clock, announcer.holds)
        dialing = Dialing("unit.example", way.timeouts, verified=setting.trust.trusting(), has_route=lambda _: True)
        router = way.router or Direct(setting.dns, _Dice(), way.port)
        courier = Courier(router, pool, dialing, security=setting.security())
        engine = Engine(Parts(keeping, courier, Contents(service.blobs.get, executor)), way.capacity)
        engine.recover()
        await announcer.probe()
        await announcer.announce(executor)
        try:
            yield Office(service, engine, ledger, recorder, announcer, executor)
        finally:
            await engine.drain(2)
            await pool.close()
