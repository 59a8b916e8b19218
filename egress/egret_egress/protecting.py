"""A unit's parts for the security of transport, put together: what decides, what is told, and what both keep."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass

from egret.contracts.metrics import Metrics
from egret.contracts.ports import Clock
from egret.contracts.tls import StsPolicies
from egret.core.tls_policy import TlsKind
from egret_egress.destinations import Resolver
from egret_egress.mta_sts import MtaSts
from egret_egress.observing import Observer
from egret_egress.security import Security
from egret_egress.sts_fetch import Fetching, HttpsFetch
from egret_egress.tls_notes import TlsNotes, TlsPorts


@dataclass(frozen=True, slots=True)
class TlsStores:
    """What is kept for all units: policies that were fetched, and what is noted of sessions."""

    policies: StsPolicies
    notes: TlsPorts


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the parts work with. resolver: of public addresses; fetching: how policy hosts are reached.

    least: see `Security`.
    """

    resolver: Resolver
    fetching: Fetching
    clock: Clock
    metrics: Metrics
    executor: Executor
    source_address: str = ""
    least: Callable[[str], TlsKind | None] = lambda _: None


class Protection:
    """The parts. stores: None = there are no MTA-STS policies and nothing is noted (a sink, a benchmark)."""

    def __init__(self, stores: TlsStores | None, around: Surroundings) -> None:
        self._executor = around.executor
        self._sts: MtaSts | None = None
        self._notes: TlsNotes | None = None
        if stores is not None:
            fetch = HttpsFetch(around.fetching)
            self._sts = MtaSts(around.resolver, fetch, stores.policies, around.clock, around.executor)
            self._notes = TlsNotes(stores.notes, around.resolver, around.clock)
        self.security = Security(around.resolver, self._sts, around.metrics, around.least)
        self.observer = Observer(
            self._notes.results if self._notes else None,
            self._notes.support if self._notes else None,
            around.metrics,
            around.source_address,
            around.clock.now,
        )

    def duties(self) -> list[Coroutine[None, None, None]]:
        """Return what runs for as long as the unit serves."""
        duties = [] if self._sts is None else [self._sts.keep_fresh()]
        return duties if self._notes is None else [*duties, *self._notes.duties(self._executor)]

    async def flush(self, limit_s: float) -> None:
        """Write what is noted, for up to limit_s seconds. Raises nothing."""
        if self._notes is not None:
            await self._notes.flush(self._executor, limit_s)
