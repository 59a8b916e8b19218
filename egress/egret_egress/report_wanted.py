"""Which domains want TLS reports: those that say so in DNS (RFC 8460 section 3). Asked before results are written."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta

from egret.contracts.ports import Clock
from egret.core.tlsrpt import TlsResult, report_addresses
from egret_egress.destinations import DnsTrouble, Texts

KNOWN = 50_000
"""Domains that are remembered: some 10 MB."""
HOLDS = timedelta(hours=1)
"""How long an answer counts: a domain that begins to want reports misses no more than that of its first day."""
DOUBT_HOLDS = timedelta(minutes=5)
AT_A_TIME = 32


class Wanted:
    """Asks DNS, and remembers; for the event loop's thread."""

    def __init__(self, resolver: Texts, clock: Clock, known: int = KNOWN) -> None:
        self._resolver = resolver
        self._clock = clock
        self._most = known
        self._known: OrderedDict[str, tuple[bool, datetime]] = OrderedDict()

    async def sift(self, results: Sequence[TlsResult]) -> list[TlsResult]:
        """Return those of which the recipient domain, or the policy domain, wants to hear."""
        names = {name for result in results for name in (result.key.recipient_domain, result.key.policy_domain)}
        slots = asyncio.Semaphore(AT_A_TIME)

        async def ask(name: str) -> tuple[str, bool]:
            async with slots:
                return name, await self._wants(name)

        wants = dict(await asyncio.gather(*map(ask, sorted(names))))
        return [result for result in results if wants[result.key.recipient_domain] or wants[result.key.policy_domain]]

    async def _wants(self, domain: str) -> bool:
        now = self._clock.now()
        known = self._known.get(domain)
        if known is not None and now < known[1]:
            self._known.move_to_end(domain)
            return known[0]
        try:
            texts = (await self._resolver.txt(f"_smtp._tls.{domain}")).records
        except DnsTrouble:
            # Kept rather than lost: who sends the reports asks again.
            self._remember(domain, wants=True, until=now + DOUBT_HOLDS)
            return True
        wants = bool(report_addresses(texts))
        self._remember(domain, wants=wants, until=now + HOLDS)
        return wants

    def _remember(self, domain: str, *, wants: bool, until: datetime) -> None:
        self._known[domain] = wants, until
        self._known.move_to_end(domain)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
