"""Brings one message to one domain: the router says where to, a visit does the rest.

Which router it is depends on the route that the transaction came with.
"""

from __future__ import annotations

from typing import Protocol

from egret.contracts.handoff import Transaction
from egret.core.outcome import Bounced, Deferred
from egret_egress.destinations import Router
from egret_egress.observing import Observer
from egret_egress.opening import Dialing
from egret_egress.parcel import Parcel
from egret_egress.pool import Pool
from egret_egress.security import Security
from egret_egress.visit import Means, Visit


class Chooser(Protocol):
    """Knows the router of each transport."""

    async def router(self, transaction: Transaction) -> Router:
        """Return where the transaction goes. Raises Unavailable."""
        ...


class Courier:
    """Delivers parcels.

    router: where to, without a route; transports: where to with one. pool: over which connections; dialing: how new
    ones are made. security: how they are protected; observer: who is told of them.
    """

    def __init__(
        self,
        router: Router,
        pool: Pool,
        dialing: Dialing,
        transports: Chooser | None = None,
        *,
        security: Security | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._router = router
        self._transports = transports
        self._pool = pool
        self._means = Means(pool, dialing, security or Security(), observer or Observer())

    def turn_away(self) -> None:
        """Let no parcel wait for a connection any more."""
        self._pool.turn_away()

    async def deliver(self, parcel: Parcel) -> None:
        """Try until every recipient has an outcome.

        Raises TooLate, NoTurn, NotNow and Unavailable: nothing was sent for those without an outcome. OSError: the
        journal failed.
        """
        router = await self._router_of(parcel.transaction)
        hops = await router.next_hops(parcel.transaction.domain)
        visit = Visit(router, parcel, self._means)
        if isinstance(hops, (Bounced, Deferred)):
            visit.end(hops)
        else:
            await visit.make(hops)

    async def _router_of(self, transaction: Transaction) -> Router:
        if not transaction.transport:
            return self._router
        if self._transports is None:
            raise LookupError("a courier without transports was given a transaction that names one")
        return await self._transports.router(transaction)
