"""How a unit makes itself known: its id, its announcement every 10 seconds, the probe of outbound port 25."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from egret.contracts.handoff import VERSION
from egret.contracts.ports import Clock, Units
from egret.contracts.records import UNIT_VALIDITY, Suspension, Unit
from egret.core.errors import Unavailable
from egret_egress.holdings import Full

log = logging.getLogger(__name__)

ANNOUNCE_EVERY_S = 10.0
DOMAIN_FULL = "as much mail to this domain is being sent as there may be at a time"
ACCOUNT_FULL = "as much mail of this account is being sent as there may be at a time"
PROBE_EVERY_S = 300.0
PROBE_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change while the unit runs. url: where deliver reaches it; hostname: its EHLO and PTR name."""

    unit_id: str
    url: str
    hostname: str
    source_addresses: tuple[str, ...]


class Load(Protocol):
    """How busy the unit is; asked at each announcement."""

    @property
    def room(self) -> int:
        """How many more deliveries would be taken now."""
        ...

    @property
    def full(self) -> list[Full]:
        """The domains and accounts nothing new is taken of, while there is room for others."""
        ...


class Announcer:
    """Keeps the unit's row alive. targets: (host, port) of the probe, () = port 25 is taken for open.

    port25: whether it is open, None = not asked. paced: what providers have asked to wait for, at an instant.
    """

    def __init__(
        self,
        identity: Identity,
        units: Units,
        clock: Clock,
        load: Callable[[], Load],
        targets: Sequence[tuple[str, int]],
        paced: Callable[[datetime], Sequence[Suspension]] = lambda _: (),
    ) -> None:
        self._identity = identity
        self._units = units
        self._clock = clock
        self._load = load
        self._paced = paced
        self._full: set[Full] = set()
        self._targets = list(targets)
        self.port25: bool | None = False if targets else None
        self._valid_until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Whether the last announcement that was written has not run out: only then may attempts begin."""
        return self._valid_until is not None and now < self._valid_until

    async def announce(self, executor: Executor) -> bool:
        """Write the row once; False, and a line in the log, when the table does not answer."""
        now = self._clock.now()
        identity = self._identity
        unit = Unit(
            id=identity.unit_id,
            url=identity.url,
            hostname=identity.hostname,
            source_addresses=identity.source_addresses,
            port25=self.port25 is not False,
            port25_asked=self.port25 is not None,
            room=self._load().room,
            valid_until=now + UNIT_VALIDITY,
            suspensions=(*self._suspensions(now + UNIT_VALIDITY), *self._paced(now)),
            handoff_version=VERSION,
        )
        try:
            await asyncio.get_running_loop().run_in_executor(executor, self._units.put, unit)
        except Unavailable as error:
            log.warning("not announced: %s", error)
            return False
        self._valid_until = unit.valid_until
        return True

    def _suspensions(self, until: datetime) -> tuple[Suspension, ...]:
        """Suspend who was full at the last announcement, too: a burst that is over in seconds need not wait.

        Otherwise deliver would lease every minute what is only refused.
        """
        full, before = self._load().full, self._full
        self._full = set(full)
        return tuple(
            Suspension(one.domain, until, ACCOUNT_FULL if one.account else DOMAIN_FULL, one.account)
            for one in full
            if one in before
        )

    async def keep_announcing(self, executor: Executor, every_s: float = ANNOUNCE_EVERY_S) -> None:
        """Announce for ever; cancel to stop."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.announce(executor)
            except Exception:
                log.exception("the announcement failed")

    async def probe(self) -> None:
        """Find out whether outbound port 25 is open, if there are targets: one that greets us is enough."""
        if self._targets:
            results = await asyncio.gather(*(_greets(host, port) for host, port in self._targets))
            if any(results) != self.port25:
                log.warning("outbound port 25 is %s", "open" if any(results) else "closed")
            self.port25 = any(results)

    async def keep_probing(self, every_s: float = PROBE_EVERY_S) -> None:
        """Probe for ever; cancel to stop."""
        while self._targets:
            await self.probe()
            await asyncio.sleep(every_s)


async def _greets(host: str, port: int) -> bool:
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            greeting = await reader.read(3)
            writer.write(b"QUIT\r\n")
            return greeting[:1] in (b"2", b"4", b"5")
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
