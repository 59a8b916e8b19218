"""Brings one message to one domain: the router says where to, a visit does the rest.

Which router it is depends on the route that the transaction came with.
"""

from __future__ import annotations

from typing import Protocol

from egret.contracts.handoff import Transaction
from egret.core.outcome import Bounced, Deferred
from egret_egress.destinations import Router
from egret_egress.following import NOTHING_MORE, Ahead, Upcoming
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

    def drop(self, ahead: Ahead) -> None:
        """Bring a parcel that has begun no further: its connection is closed before it was sent."""
        self._means.pool.give(ahead.turn)

    async def deliver(self, parcel: Parcel, upcoming: Upcoming = NOTHING_MORE, ahead: Ahead | None = None) -> None:
        """Try until every recipient has an outcome. ahead: of this parcel, when its transaction has begun.

        Raises TooLate, NoTurn, NotNow and Unavailable: nothing was sent for those without an outcome. OSError: the
        journal failed.
        """
        if ahead is not None:
            visit = Visit(ahead.router, parcel, self._means, upcoming)
            await visit.go_on(ahead)
            if not visit.pending:
                return
        else:
            visit = Visit(await self._router_of(parcel.transaction), parcel, self._means, upcoming)
        hops = await visit.router.next_hops(parcel.transaction.domain)
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
