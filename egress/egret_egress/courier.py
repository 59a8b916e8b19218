"""Brings one message to one domain: next hops, addresses, sessions from the pool, exchanges until all is decided.

Implements: RFC 5321 sections 3.6.1 and 5.1: hosts in order, every address in order, until one server has judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from egret.contracts.handoff import Transaction
from egret.core.outcome import Bounced, Deferred, Outcome, Remote
from egret.core.reply import Reply
from egret_egress.content import Content
from egret_egress.destinations import DnsTrouble, Host, Router
from egret_egress.exchange import Envelope, Exchange, refusal_before
from egret_egress.opening import Dialing, NoSession, open_session
from egret_egress.pool import Pool
from egret_egress.session import Session
from egret_egress.wire import WireError


class TooLate(Exception):
    """The attempt may not begin any more: it is to be given back."""


class Progress(Protocol):
    """Who is told how a transaction goes. Recipients are named by their position in it."""

    def begin(self) -> None:
        """A connection is about to be used for it; raises TooLate when it may not begin."""
        ...

    async def before_dot(self, recipients: Sequence[int], remote: Remote) -> None:
        """The final dot is about to go out for these; returns once that is durable. Raises OSError."""
        ...

    def decide(self, recipient: int, outcome: Outcome) -> None:
        """The outcome of one recipient: once for each."""
        ...


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is to be brought."""

    transaction: Transaction
    content: Content
    progress: Progress

    def envelope(self, recipients: Sequence[int]) -> Envelope:
        """Return the envelope for some of the recipients."""
        transaction = self.transaction
        return Envelope(
            reverse_path=transaction.reverse_path,
            forward_paths=tuple(transaction.legs[index].forward_path for index in recipients),
            size_bytes=self.content.size_bytes,
            is_8bit=self.content.is_8bit,
            smtputf8=transaction.content.smtputf8,
            require_tls=transaction.content.require_tls,
        )


class Chooser(Protocol):
    """Knows the router of each transport."""

    async def router(self, transaction: Transaction) -> Router:
        """Return where the transaction goes. Raises Unavailable."""
        ...


class Courier:
    """Delivers parcels.

    router: where to, without a route; transports: where to with one. pool: over which connections; dialing: how new
    ones are made.
    """

    def __init__(self, router: Router, pool: Pool, dialing: Dialing, transports: Chooser | None = None) -> None:
        self._router = router
        self._transports = transports
        self._pool = pool
        self._dialing = dialing

    def turn_away(self) -> None:
        """Let no parcel wait for a connection any more."""
        self._pool.turn_away()

    async def deliver(self, parcel: Parcel) -> None:
        """Try until every recipient has an outcome.

        Raises TooLate, NoTurn and Unavailable: nothing was sent for those without an outcome. OSError: the journal
        failed.
        """
        router = await self._router_of(parcel.transaction)
        hops = await router.next_hops(parcel.transaction.domain)
        visit = _Visit(router, self._pool, self._dialing, parcel)
        if isinstance(hops, (Bounced, Deferred)):
            parcel.progress.begin()
            visit.end(hops)
            return
        for host in hops.hosts:
            await visit.host(host)
            if not visit.pending:
                return
        visit.end(visit.failure())

    async def _router_of(self, transaction: Transaction) -> Router:
        if not transaction.transport:
            return self._router
        if self._transports is None:
            raise LookupError("a courier without transports was given a transaction that names one")
        return await self._transports.router(transaction)


class _Visit:
    """One parcel on its way through the hosts. pending: recipients without an outcome, by position."""

    def __init__(self, router: Router, pool: Pool, dialing: Dialing, parcel: Parcel) -> None:
        self.pending = list(range(len(parcel.transaction.legs)))
        self._router = router
        self._pool = pool
        self._dialing = dialing
        self._parcel = parcel
        self._failures: list[Deferred | Bounced] = []
        self._deadline = 0.0

    def end(self, outcome: Outcome) -> None:
        """Give everybody who is left the same outcome."""
        for index in self.pending:
            self._parcel.progress.decide(index, outcome)
        self.pending = []

    def failure(self) -> Outcome:
        """Return what the failures of all hosts together mean: bounced only when every one of them is final."""
        if not self._failures:
            return Deferred("no mail server of the domain has an address")
        temporary = [failure for failure in self._failures if isinstance(failure, Deferred)]
        return temporary[-1] if temporary else self._failures[-1]

    async def host(self, host: Host) -> None:
        """Ask one host: over an idle connection if there is one, else at each of its addresses."""
        # A connection over one transport has its login and its protection: it carries nothing of another one.
        key = (self._parcel.transaction.transport, host.name, host.port, host.policy)
        session = await self._pool.checkout(key)
        try:
            self._begin()
            if session is not None:
                await self._talk(session)
                # A connection that was idle may have died of it; that says nothing of the host.
                if not self.pending or session.is_usable:
                    return
                self._failures.pop()
                await session.quit()
                session = None
            for address in await self._addresses(host):
                session = await self._open(host, address)
                if session is not None:
                    await self._talk(session)
                    if not self.pending:
                        return
                    await session.quit()
                    session = None
        finally:
            self._pool.checkin(key, session)

    def _begin(self) -> None:
        self._parcel.progress.begin()
        if not self._deadline:
            self._deadline = asyncio.get_running_loop().time() + self._dialing.timeouts.attempt

    async def _addresses(self, host: Host) -> Sequence[str]:
        try:
            return (await self._router.addresses(host)).records
        except DnsTrouble as trouble:
            self._failures.append(Deferred(f"the address of {host.name} could not be looked up: {trouble}"))
            return ()

    async def _open(self, host: Host, address: str) -> Session | None:
        if self._deadline <= asyncio.get_running_loop().time():
            self._failures.append(Deferred("the time for one attempt was over before an address answered"))
            return None
        opened = await open_session(host.endpoint(address), self._dialing, self._deadline)
        if isinstance(opened, NoSession):
            if opened.is_final:
                refusal = Bounced(opened.reason, opened.reply, opened.remote, names_recipient=False)
                self._failures.append(refusal)
            else:
                self._failures.append(Deferred(opened.reason, opened.reply, opened.remote))
            return None
        return opened.session

    async def _talk(self, session: Session) -> None:
        """Run transactions on the session until everybody is decided or the server fails."""
        while self.pending:
            put_back = await self._transact(session, self.pending)
            if put_back is None:
                return
            self.pending = put_back

    async def _transact(self, session: Session, recipients: list[int]) -> list[int] | None:
        """Run one transaction; return who is to be in the next one, None when the server judged nobody."""
        exchange = _prepare(session, self._parcel.envelope(recipients))
        if isinstance(exchange, Bounced):
            self._decide(recipients, [exchange] * len(recipients))
            return []

        async def before_dot() -> None:
            accepted = [recipients[position] for position in exchange.accepted]
            await self._parcel.progress.before_dot(accepted, session.endpoint.remote)

        await session.transact(exchange, self._parcel.content, before_dot, self._deadline)
        if (failure := exchange.host_failure) is not None:
            self._failures.append(failure)
            return None
        self._decide(recipients, exchange.outcomes)
        return [recipients[position] for position in exchange.put_back]

    def _decide(self, recipients: Sequence[int], outcomes: Sequence[Outcome | None]) -> None:
        for index, outcome in zip(recipients, outcomes, strict=True):
            if outcome is not None:
                self._parcel.progress.decide(index, outcome)


def _prepare(session: Session, envelope: Envelope) -> Exchange | Bounced:
    """Return the transaction to run, or why this server cannot take it."""
    remote = session.endpoint.remote
    if (refusal := refusal_before(envelope, session.peer)) is not None:
        return replace(refusal, remote=remote)
    try:
        return session.exchange(envelope)
    except WireError as error:
        return Bounced(str(error), Reply(553, ("5.1.3 The address cannot be written in SMTP",)), remote)
