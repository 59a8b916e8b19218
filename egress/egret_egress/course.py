"""Where mail for a domain goes first, and how it is protected there: found out once for messages that come together.

Kept for a few seconds, as long as one that has been found out may wait for a connection anyway. Messages of different
domains that go to the same host with the same protection share a place: one line, and connections in common.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple, Protocol

from egret.contracts.handoff import Transaction
from egret.core.outcome import Bounced, Deferred
from egret_egress.destinations import Hops, Host, Router
from egret_egress.mta_sts import Found
from egret_egress.security import Question, Security, Skip, Use

KEPT_S = 10.0
"""Shorter than a message may wait for its connection, which is how old a course can be anyway."""
MAX_COURSES = 20_000


class Stop(NamedTuple):
    """A host, and how it may be used.

    router: knows its addresses. key: equal for stops that share connections. is_first: nobody was asked before.
    """

    host: Host
    router: Router
    verdict: Use
    key: str
    is_first: bool = False


def stop_at(host: Host, router: Router, verdict: Use, transport: str, *, is_first: bool = False) -> Stop:
    """Return the stop. Its key is a text, whose hash is computed once.

    A connection has its login and its protection: it carries nothing that is to be protected otherwise.
    """
    key = f"{transport}\n{host.name}\n{host.port}\n{verdict.policy!r}"
    return Stop(host, router, verdict, key, is_first)


class Course(NamedTuple):
    """Where mail of one domain, transport and wish for protection goes.

    hops: the hosts in order, or why there are none. found: the MTA-STS policy, or why it is not known; None without
    hops. first: the first host, or why it is passed by. place: equal for all that go first to the same stop; else the
    domain. until: loop time, 0 = not to be kept.
    """

    router: Router
    hops: Hops | Bounced | Deferred
    found: Found | Deferred | None = None
    first: Stop | Skip | None = None
    place: str = ""
    until: float = 0.0


class Chooser(Protocol):
    """Knows the router of each transport."""

    async def router(self, transaction: Transaction) -> Router:
        """Return where the transaction goes. Raises Unavailable."""
        ...


def demanded(transaction: Transaction) -> bool | None:
    """Return what a transaction demands of TLS: None = what the recipient's policy does, False = nothing.

    REQUIRETLS of a bounce is a wish: for want of it the bounce is not lost (RFC 8689 section 5).
    """
    require_tls = transaction.content.require_tls
    return None if require_tls and not transaction.reverse_path else require_tls


class Courses:
    """Finds courses, and keeps those on which the dice had no say.

    own: router of what no route is for; transports: those of routes.
    """

    def __init__(self, own: Router, security: Security, transports: Chooser | None = None) -> None:
        self._own = own
        self._security = security
        self._transports = transports
        self._known: OrderedDict[tuple[str, str, bool | None], Course] = OrderedDict()

    def known(self, transaction: Transaction, now: float) -> Course | None:
        """Return a course found a short while ago. now: loop time."""
        course = self._known.get((transaction.domain, transaction.transport, demanded(transaction)))
        return course if course is not None and now < course.until else None

    def place(self, transaction: Transaction, now: float) -> str:
        """Return with whom a transaction waits: those for the same host, or as long as that is not known its domain."""
        course = self.known(transaction, now)
        return transaction.domain if course is None else course.place

    async def find(self, transaction: Transaction) -> Course:
        """Return the course, found out anew unless it is known. Raises Unavailable."""
        now = asyncio.get_running_loop().time()
        course = self.known(transaction, now)
        if course is None:
            course = await self._find(transaction)
            if course.until:
                self._keep(transaction, course)
        return course

    def _keep(self, transaction: Transaction, course: Course) -> None:
        key = (transaction.domain, transaction.transport, demanded(transaction))
        self._known[key] = course
        self._known.move_to_end(key)
        if len(self._known) > MAX_COURSES:
            self._known.popitem(last=False)

    async def _find(self, transaction: Transaction) -> Course:
        domain, require_tls = transaction.domain, demanded(transaction)
        router = await self._router_of(transaction)
        hops = await router.next_hops(domain)
        if not isinstance(hops, Hops):
            return Course(router, hops, place=domain)
        found = await self._security.of_domain(hops, require_tls=require_tls)
        if isinstance(found, Deferred):
            return Course(router, hops, found, place=domain)
        host = hops.hosts[0]
        verdict = await self._security.of_host(Question(hops, host, found, require_tls), router)
        if isinstance(verdict, Skip):
            return Course(router, hops, found, verdict, domain)
        first = stop_at(host, router, verdict, transaction.transport, is_first=True)
        if hops.is_tied:
            return Course(router, hops, found, first, domain)
        return Course(router, hops, found, first, first.key, asyncio.get_running_loop().time() + KEPT_S)

    async def _router_of(self, transaction: Transaction) -> Router:
        if not transaction.transport:
            return self._own
        if self._transports is None:
            raise LookupError("a courier without transports was given a transaction that names one")
        return await self._transports.router(transaction)
