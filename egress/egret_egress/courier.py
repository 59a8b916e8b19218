"""Brings one message to one domain: its course says where to, a visit does the rest."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from egret_egress.course import Chooser, Course, Courses
from egret_egress.destinations import Hops, Router
from egret_egress.following import NOTHING_MORE, Ahead, Upcoming
from egret_egress.observing import Observer
from egret_egress.opening import Dialing
from egret_egress.parcel import Parcel
from egret_egress.pool import Pool
from egret_egress.security import Security
from egret_egress.visit import Means, Visit


class Courier:
    """Delivers parcels.

    router: where to, without a route; transports: where to with one. pool: over which connections; dialing: how new
    ones are made. security: how they are protected; observer: who is told of them. courses: what is known of all that.
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
        security = security or Security()
        self.courses = Courses(router, security, transports)
        self._pool = pool
        self._means = Means(pool, dialing, security, observer or Observer())

    def turn_away(self) -> None:
        """Let no parcel wait for a connection any more."""
        self._pool.turn_away()

    def drop(self, ahead: Ahead) -> None:
        """Bring a parcel that has begun no further: its connection is closed before it was sent."""
        self._pool.give(ahead.turn)

    async def deliver(self, parcel: Parcel, upcoming: Upcoming = NOTHING_MORE, course: Course | None = None) -> None:
        """Try until every recipient has an outcome.

        Raises TooLate, NoTurn, NotNow and Unavailable: nothing was sent for those without an outcome. JournalFailing
        as well.
        """
        course = course or await self.courses.find(parcel.transaction)
        visit = Visit(parcel, self._means, upcoming)
        if isinstance(course.hops, Hops):
            await visit.make(course, course.hops)
        else:
            visit.end(course.hops)

    def go_on(self, ahead: Ahead, upcoming: Upcoming) -> Coroutine[Any, Any, None]:
        """Deliver a parcel whose transaction has begun; else as `deliver`."""
        return Visit(ahead.parcel, self._means, upcoming).go_on(ahead)
