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
from egret_egress.pacing import Advice
from egret_egress.pool import NotNow, Pool
from egret_egress.session import Session
from egret_egress.turns import Turn, Wish
from egret_egress.wire import WireError

MAX_TURNS = 3
"""Times that one message asks for another connection to a host, after the one it opened was one too many."""


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
        transaction, legs = self.transaction, [self.transaction.legs[index] for index in recipients]
        return Envelope(
            reverse_path=transaction.reverse_path,
            forward_paths=tuple([leg.forward_path for leg in legs]),
            size_bytes=self.content.size_bytes,
            is_8bit=self.content.is_8bit,
            smtputf8=transaction.content.smtputf8,
            require_tls=transaction.content.require_tls,
            envid=f"{transaction.account}.{transaction.message_id}",
            ret=transaction.ret,
            notify=tuple([leg.notify for leg in legs]),
            orcpts=tuple([leg.orcpt for leg in legs]),
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

        Raises TooLate, NoTurn, NotNow and Unavailable: nothing was sent for those without an outcome. OSError: the
        journal failed.
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
            if visit.is_stopped:
                break
        visit.end(visit.failure())

    async def _router_of(self, transaction: Transaction) -> Router:
        if not transaction.transport:
            return self._router
        if self._transports is None:
            raise LookupError("a courier without transports was given a transaction that names one")
        return await self._transports.router(transaction)


class _Visit:
    """One parcel on its way through the hosts.

    pending: recipients without an outcome, by position. is_stopped: the provider asked us to slow down, so that no
    other host of the domain is asked either.
    """

    def __init__(self, router: Router, pool: Pool, dialing: Dialing, parcel: Parcel) -> None:
        self.pending = list(range(len(parcel.transaction.legs)))
        self.is_stopped = False
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
        for left in reversed(range(MAX_TURNS)):
            turn = await self._turn(host)
            if turn is None:
                return
            try:
                advice = await self._use(turn, host)
            finally:
                self._pool.give(turn)
            if advice is not Advice.AGAIN or not left:
                return
            # Others are open: over one of them the message goes as if nothing had happened.
            self._failures.pop()

    async def _turn(self, host: Host) -> Turn | None:
        """Wait for leave to send; None, with a failure, when that takes too long and the attempt has begun."""
        transaction = self._parcel.transaction
        # A connection over one transport has its login and its protection: it carries nothing of another one.
        key = (transaction.transport, host.name, host.port, host.policy)
        source = self._dialing.source_address
        wish = Wish(key, host.name, transaction.domain, transaction.account, source, len(self.pending))
        try:
            return await self._pool.take(wish)
        except NotNow as wait:
            if not self._failures:
                raise
            self._failures.append(Deferred(wait.reason))
            self.is_stopped = True
            return None

    async def _use(self, turn: Turn, host: Host) -> Advice:
        self._begin()
        if turn.session is not None:
            session = turn.session
            await self._talk(turn, session)
            # A connection that was idle may have died of it; that says nothing of the host.
            if not self.pending or self.is_stopped or session.is_usable:
                return Advice.STOP
            if not session.is_used_up:
                self._failures.pop()
            await self._close(turn, session)
        is_reached = False
        for address in await self._addresses(host):
            advice = await self._open(host, address, turn)
            while (opened := turn.session) is not None:
                is_reached = True
                before = len(self.pending)
                await self._talk(turn, opened)
                if not self.pending or self.is_stopped:
                    return Advice.STOP
                await self._close(turn, opened)
                if opened.is_used_up and len(self.pending) < before:
                    advice = await self._open(host, address, turn)  # for those whom MAILMAX (RFC 9422) left over
            if advice is not Advice.ELSEWHERE:
                self.is_stopped = advice is Advice.STOP
                return advice
        return Advice.STOP if is_reached or not self._failures else self._pool.unreachable(turn)

    async def _close(self, turn: Turn, session: Session) -> None:
        await session.quit()
        self._pool.lost(turn)

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

    async def _open(self, host: Host, address: str, turn: Turn) -> Advice:
        """Open a connection for the turn; without one, say what is to be done now."""
        if self._deadline <= asyncio.get_running_loop().time():
            self._failures.append(Deferred("the time for one attempt was over before an address answered"))
            return Advice.ELSEWHERE
        opened = await open_session(host.endpoint(address), self._dialing, self._deadline)
        if not isinstance(opened, NoSession):
            self._pool.opened(turn, opened.session)
            return Advice.ELSEWHERE
        if opened.is_final:
            refusal = Bounced(opened.reason, opened.reply, opened.remote, names_recipient=False)
            self._failures.append(refusal)
        else:
            self._failures.append(Deferred(opened.reason, opened.reply, opened.remote))
        return self._pool.turned_down(turn, opened.reply) if opened.reply is not None else Advice.ELSEWHERE

    async def _talk(self, turn: Turn, session: Session) -> None:
        """Run transactions on the session until everybody is decided or the server fails."""
        while self.pending and not session.is_used_up:
            put_back = await self._transact(turn, session, self.pending)
            if put_back is None:
                return
            self.pending = put_back

    async def _transact(self, turn: Turn, session: Session, recipients: list[int]) -> list[int] | None:
        """Run one transaction; return who is to be in the next one, None when the server judged nobody."""
        exchange = _prepare(session, self._parcel.envelope(recipients))
        if isinstance(exchange, Bounced):
            self._decide(recipients, [exchange] * len(recipients))
            return []

        async def before_dot() -> None:
            accepted = [recipients[position] for position in exchange.accepted]
            await self._parcel.progress.before_dot(accepted, session.endpoint.remote)

        await session.transact(exchange, self._parcel.content, before_dot, self._deadline)
        paths = (self._parcel.transaction.legs[index].forward_path for index in recipients)
        self.is_stopped = self._pool.heard(turn, zip(paths, exchange.outcomes, strict=True)) is Advice.STOP
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
