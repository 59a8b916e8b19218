"""What a unit notes about the TLS of others, with all that brings it to the table: for `unit` to put together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Executor
from dataclasses import dataclass

from egret.contracts.ports import Clock
from egret.contracts.tls import DomainTls, TlsResults
from egret_egress import domain_tls, tls_results
from egret_egress.destinations import Texts
from egret_egress.domain_tls import DomainTlsNotes
from egret_egress.report_wanted import Wanted
from egret_egress.tls_results import TlsResultNotes


@dataclass(frozen=True, slots=True)
class TlsPorts:
    """Where it is kept."""

    domains: DomainTls
    results: TlsResults


class TlsNotes:
    """The notes of one unit. support, results: whom an `observing.Observer` tells of sessions."""

    def __init__(self, ports: TlsPorts, resolver: Texts, clock: Clock) -> None:
        self.support = DomainTlsNotes()
        self.results = TlsResultNotes()
        wanted = Wanted(resolver, clock)
        self._domains = domain_tls.writing(self.support, ports.domains, clock)
        self._sessions = tls_results.writing(self.results, ports.results, clock, wanted.sift)

    def duties(self, executor: Executor) -> list[Coroutine[None, None, None]]:
        """Return what writes for ever: each is to run as a task while the unit serves."""
        return [self._domains.keep_flushing(executor), self._sessions.keep_flushing(executor)]

    async def flush(self, executor: Executor, limit_s: float) -> None:
        """Write everything, for up to limit_s seconds: when the unit drains. Raises nothing."""
        await asyncio.gather(self._domains.flush(executor, limit_s), self._sessions.flush(executor, limit_s))
