"""Whether names can be looked up at all: without a resolver every attempt would fail for now, so none is begun."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from egret_egress.holdings import Full
from egret_egress.register import ANNOUNCE_EVERY_S, Load

log = logging.getLogger(__name__)

FAILURES = 2
"""Probes in a row that fail before the resolver counts as dead: one datagram may get lost."""

AGAIN_S = 1.0
"""Until it is asked again after the first failure: each second in which a dead one counts as up costs attempts."""


class ResolverProbe:
    """What is known of the resolver of the world's names. ask: whether it answers now; None = it is not asked.

    One that is asked is not up before its first answer.
    """

    def __init__(self, ask: Callable[[], Awaitable[bool]] | None) -> None:
        self._ask = ask
        self._failures = FAILURES
        self.is_up = ask is None

    async def probe(self) -> None:
        """Ask once."""
        if self._ask is None:
            return
        self._failures = 0 if await self._ask() else self._failures + 1
        is_up = self._failures < FAILURES
        if is_up != self.is_up:
            log.warning("the resolver %s", "answers" if is_up else "does not answer: nothing is taken until it does")
        self.is_up = is_up

    async def keep_probing(self, every_s: float = ANNOUNCE_EVERY_S, again_s: float = AGAIN_S) -> None:
        """Probe for ever; cancel to stop."""
        while self._ask is not None:
            await asyncio.sleep(again_s if self.is_up and self._failures else every_s)
            await self.probe()


class ResolvingLoad:
    """The `Load` of a unit that has no room while no name can be looked up. load: asked at each announcement."""

    def __init__(self, load: Callable[[], Load], resolver: ResolverProbe) -> None:
        self._load = load
        self._resolver = resolver

    @property
    def room(self) -> int:
        """How many more deliveries would be taken now."""
        return self._load().room if self._resolver.is_up else 0

    @property
    def full(self) -> list[Full]:
        """The domains and accounts nothing new is taken of."""
        return self._load().full
