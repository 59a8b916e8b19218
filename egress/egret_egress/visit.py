"""One message's way through the mail servers of a domain: hosts in order, every address, until one server has judged.

Implements: RFC 5321 sections 3.6.1 and 5.1, RFC 8689 section 4.2.1 (a host that does not know REQUIRETLS is passed by).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, overload

from msgspec.structs import replace

from egret.core.outcome import Bounced, Deferred, Delivered, Outcome, Remote
from egret.core.reply import Reply
from egret.core.tls_policy import SMARTHOST
from egret.core.trace import SessionTrace
from egret_egress import families, metrics
from egret_egress.course import Course, Stop, demanded, stop_at
from egret_egress.destinations import DnsTrouble, Hops, Host, without_address
from egret_egress.envelope import Envelope
from egret_egress.exchange import Exchange, lacks_requiretls, refusal_before
from egret_egress.following import NOTHING_MORE, Ahead, Shy, Upcoming
from egret_egress.mta_sts import NOTHING, Found
from egret_egress.observing import Observer
from egret_egress.opening import Dialing, NoSession, open_session
from egret_egress.pacing import Advice
from egret_egress.parcel import Parcel, TooLate
from egret_egress.pool import NotNow, Pool
from egret_egress.security import Question, Security, Skip
from egret_egress.session import Session
from egret_egress.transcript import transcript
from egret_egress.turns import Turn, Wish
from egret_egress.wire import WireError

MAX_TURNS = 3
"""Times that one message asks for another connection to a host, after the one it opened was one too many."""


@dataclass(frozen=True, slots=True)
class Means:
    """What visits are made with. security: how hosts are to be protected; observer: who is told of sessions."""

    pool: Pool
    dialing: Dialing
    security: Security = field(default_factory=Security)
    observer: Observer = field(default_factory=Observer)
    shy: Shy = field(default_factory=Shy)


@dataclass(frozen=True, slots=True)
class _Failure:
    """A host or address that did not take it."""

    outcome: Deferred | Bounced
    trace: SessionTrace


class Visit:
    """One parcel on its way.

    pending: recipients without an outcome, by position. is_stopped: the provider asked us to slow down, so that no
    other host of the domain is asked either.
    """

    __slots__ = (
        "_asked", "_begun", "_deadline", "_dialing", "_failures", "_is_host_over", "_observer", "_parcel", "_pool",
        "_security", "_shy", "_upcoming", "_wait", "is_stopped", "pending",
    )  # fmt: skip

    def __init__(self, parcel: Parcel, means: Means, upcoming: Upcoming = NOTHING_MORE) -> None:
        self.pending = list(range(len(parcel.transaction.legs)))
        self.is_stopped = False
        self._pool = means.pool
        self._dialing = means.dialing
        self._security = means.security
        self._observer = means.observer
        self._parcel = parcel
        self._failures: list[_Failure] = []
        self._deadline = 0.0
        self._is_host_over = False
        self._shy = means.shy
        self._upcoming = upcoming
        self._begun: Exchange | None = None
        self._asked = ""
        self._wait: NotNow | None = None

    async def go_on(self, ahead: Ahead) -> None:
        """Take up what has begun, and ask further hosts where that is not enough: see `make`.

        Raises TooLate when it is late for its dot, as the leases are of then.
        """
        if ahead.deadline <= asyncio.get_running_loop().time():
            self._pool.give(ahead.turn)
            raise TooLate
        self._deadline = ahead.deadline
        self._asked = ahead.stop.host.name
        await self._ask(ahead.stop, ahead)
        if self.pending and isinstance(ahead.course.hops, Hops):
            await self.make(ahead.course, ahead.course.hops)

    async def make(self, course: Course, hops: Hops) -> None:
        """Ask the hosts in order; afterwards everybody has an outcome.

        Raises NotNow for the recipients that have to wait, once all others have an outcome.
        """
        wait = self._set_aside(hops)
        if self.pending:
            await self._ask_all(course, hops)
        if wait is not None:
            raise wait

    def _set_aside(self, hops: Hops) -> NotNow | None:
        """Leave out recipients of which the provider wants to hear nothing for a while."""
        if not self._pool.holds_recipients:
            return None
        legs, name = self._parcel.transaction.legs, hops.hosts[0].name if hops.hosts else ""
        waits = {
            index: wait for index in self.pending if (wait := self._pool.recipient_hold(name, legs[index].forward_path))
        }
        self.pending = [index for index in self.pending if index not in waits]
        return max(waits.values(), key=lambda wait: wait.until, default=None)

    async def _ask_all(self, course: Course, hops: Hops) -> None:
        if isinstance(course.found, Deferred):
            self.end(course.found)
            return
        for host in hops.hosts:
            if self.is_stopped:
                break
            if host.name != self._asked:
                await self._host(host, course, hops)
            if not self.pending:
                return
        if self._wait is not None and not self._failures:
            raise self._wait  # who was put back has not been tried
        last = self._last_failure(hops)
        self.end(last.outcome, last.trace)

    def end(self, outcome: Outcome, trace: SessionTrace | None = None) -> None:
        """Give everybody who is left the same outcome."""
        self._begin()
        for index in self.pending:
            self._parcel.progress.decide(index, outcome, trace or self._trace(""))
        self.pending = []

    def _begin(self) -> None:
        self._parcel.progress.begin()
        if not self._deadline:
            self._deadline = asyncio.get_running_loop().time() + self._dialing.timeouts.attempt

    def _trace(self, policy: str, tls: str = "", said: tuple[str, ...] = ()) -> SessionTrace:
        return SessionTrace(self._parcel.transaction.transport, policy, tls, said)

    def _last_failure(self, hops: Hops) -> _Failure:
        """Return what the failures of all hosts together mean: bounced only when every one of them is final."""
        if not self._failures:
            return _Failure(Deferred(self._no_address(hops)), self._trace(""))
        temporary = [failure for failure in self._failures if isinstance(failure.outcome, Deferred)]
        return temporary[-1] if temporary else self._failures[-1]

    def _no_address(self, hops: Hops) -> str:
        """Return whose fault it is that there is no address: the domain's, or that of whoever named the smarthost."""
        transport, host = self._parcel.transaction.transport, hops.hosts[0]
        if host.policy is None:
            return "no mail server of the domain has an address in the DNS"
        whose = f" of the transport {transport}" if transport else ""
        return f"the smarthost {host.name}{whose} has no address in the DNS"

    def _fail(self, outcome: Deferred | Bounced, trace: SessionTrace) -> None:
        self._failures.append(_Failure(outcome, trace))

    # --- one host

    async def _host(self, host: Host, course: Course, hops: Hops) -> None:
        """Ask one host, if it may be used: over an idle connection if there is one, else at each of its addresses."""
        stop = course.first if host is hops.hosts[0] and course.first else await self._judge(host, course, hops)
        if isinstance(stop, Skip):
            self._observer.skipped(self._parcel.transaction, stop)
            self._fail(stop.outcome, self._trace(stop.policy))
            return
        await self._ask(stop)

    async def _judge(self, host: Host, course: Course, hops: Hops) -> Stop | Skip:
        """Say whether and how a host may be used that is not the first one."""
        transaction, found = self._parcel.transaction, course.found
        sts = found if isinstance(found, Found) else NOTHING
        question = Question(hops, host, sts, demanded(transaction))
        verdict = await self._security.of_host(question, course.router)
        if isinstance(verdict, Skip):
            return verdict
        return stop_at(host, course.router, verdict, transaction.transport)

    async def _ask(self, stop: Stop, ahead: Ahead | None = None) -> None:
        for left in reversed(range(MAX_TURNS)):
            turn = self._turn_of(ahead) or await self._turn(stop)
            ahead = None
            if turn is None:
                return
            try:
                advice = await self._use(turn, stop)
            finally:
                self._pool.give(turn)
            if advice is not Advice.AGAIN or not left:
                return
            # Others are open: over one of them the message goes as if nothing had happened.
            self._failures.pop()

    def _turn_of(self, ahead: Ahead | None) -> Turn | None:
        """Return the turn of what has begun, unless the answer to the message before has changed what may be sent."""
        if ahead is None:
            return None
        if self._pool.is_held(ahead.turn):
            self._pool.give(ahead.turn)
            return None
        self._begun = ahead.exchange
        return ahead.turn

    async def _turn(self, stop: Stop) -> Turn | None:
        """Wait for leave to send; None, with a failure, when that takes too long and the attempt has begun."""
        transaction, source = self._parcel.transaction, self._dialing.source_address
        whose, is_own_way = (transaction.domain, transaction.account), not transaction.transport
        wish = Wish(stop.key, stop.host.name, *whose, source, len(self.pending), is_own_way)
        try:
            return await self._pool.take(wish)
        except NotNow as wait:
            if not self._failures:
                raise
            self._fail(Deferred(wait.reason), self._trace(stop.verdict.policy.name))
            self.is_stopped = True
            return None

    async def _use(self, turn: Turn, stop: Stop) -> Advice:
        self._begin()
        self._is_host_over = False
        if turn.session is not None:
            session, has_begun = turn.session, self._begun is not None
            await self._talk(turn, session, stop)
            # A connection that was idle may have died of it; that says nothing of the host.
            if not self.pending or self.is_stopped or self._is_host_over or session.is_usable:
                return Advice.STOP
            if not session.is_used_up:
                self._failures.pop()
            if has_begun:
                self._shy.note(stop.host.name, asyncio.get_running_loop().time())
            await self._close(turn, session)
        is_reached = False
        for address in await self._addresses(stop):
            advice = await self._open(stop, address, turn)
            while (opened := turn.session) is not None:
                is_reached = True
                before = len(self.pending)
                await self._talk(turn, opened, stop)
                if not self.pending or self.is_stopped or self._is_host_over:
                    return Advice.STOP
                await self._close(turn, opened)
                if opened.is_used_up and len(self.pending) < before:
                    advice = await self._open(stop, address, turn)  # for those whom MAILMAX (RFC 9422) left over
            if advice is not Advice.ELSEWHERE:
                self.is_stopped = advice is Advice.STOP
                return advice
        return Advice.STOP if is_reached or not self._failures else self._pool.unreachable(turn)

    async def _close(self, turn: Turn, session: Session) -> None:
        await session.quit()
        self._pool.lost(turn)

    async def _addresses(self, stop: Stop) -> Sequence[str]:
        """Return the addresses in the order in which they are to be asked now."""
        host = stop.host
        try:
            found = await self._reachable(stop)
        except DnsTrouble as trouble:
            self._fail(Deferred(without_address(host.name, trouble)), self._trace(stop.verdict.policy.name))
            return ()
        earlier = self._parcel.transaction.earlier
        return families.in_order(found, [attempt for attempt in earlier if attempt.mx_host == host.name])

    async def _reachable(self, stop: Stop) -> tuple[str, ...]:
        return families.reachable((await stop.router.addresses(stop.host)).records, self._dialing.reaches)

    async def _open(self, stop: Stop, address: str, turn: Turn) -> Advice:
        """Open a connection for the turn; without one, say what is to be done now."""
        verdict, transaction = stop.verdict, self._parcel.transaction
        if self._deadline <= asyncio.get_running_loop().time():
            reason = "the time for one attempt was over before an address answered"
            self._fail(Deferred(reason), self._trace(verdict.policy.name))
            return Advice.ELSEWHERE
        opened = await open_session(stop.host.endpoint(address, verdict.policy), self._dialing, self._deadline)
        if not isinstance(opened, NoSession):
            self._observer.opened(transaction, verdict, opened)
            self._pool.opened(turn, opened.session)
            return Advice.ELSEWHERE
        self._observer.not_opened(transaction, verdict, opened)
        self._fail(await self._turned_away(opened, stop), self._trace(verdict.policy.name, "", opened.transcript))
        return self._pool.turned_down(turn, opened.reply) if opened.reply is not None else Advice.ELSEWHERE

    async def _turned_away(self, failed: NoSession, stop: Stop) -> Deferred | Bounced:
        if not failed.is_final:
            return Deferred(failed.reason, failed.reply, failed.remote)
        refusal = Bounced(failed.reason, failed.reply, failed.remote, names_recipient=False)
        if _is_smarthost(stop):
            return self._put_off(refusal, stop, "greeting")
        return await self._second_chance(refusal, stop, self._parcel.transaction.legs[0].attempt)

    # --- one session

    async def _talk(self, turn: Turn, session: Session, stop: Stop) -> None:
        """Run transactions on the session until everybody is decided or the server fails."""
        self._observer.met(self._parcel.transaction, stop.verdict, session.peer)
        while self.pending and not (session.is_used_up or self.is_stopped):
            put_back = await self._transact(turn, session, stop)
            if put_back is None:
                return
            self.pending = put_back

    async def _transact(self, turn: Turn, session: Session, stop: Stop) -> list[int] | None:
        """Run one transaction; return who is to be in the next one, None when the server judged nobody."""
        recipients, policy = self.pending, stop.verdict.policy.name
        exchange = self._begun or _prepare(session, self._parcel.envelope(recipients))
        self._begun = None
        if isinstance(exchange, Bounced):
            return self._cannot(exchange, session, stop)
        conductor = _Conductor(self, turn, session, stop, exchange)
        await session.transact(exchange, self._parcel.content, conductor, self._deadline)
        transaction = self._parcel.transaction
        legs = transaction.legs
        if self._pool.heard(turn, transaction, recipients, exchange.outcomes) is Advice.STOP:
            self.is_stopped, self._wait = True, self._pool.wait_of(turn)
        if (failure := exchange.host_failure) is not None:
            self._fail(failure, self._trace(policy, session.tls_version, session.transcript(exchange)))
            return None
        for index, outcome in zip(recipients, exchange.outcomes, strict=True):
            if isinstance(outcome, Bounced):
                judged = await self._reconsider(outcome, exchange, stop, legs[index].attempt)
                self._judged(index, judged, session, exchange, policy)
            elif outcome is not None:
                self._judged(index, outcome, session, exchange, policy)
        return [recipients[position] for position in exchange.put_back]

    def before_dot(self, exchange: Exchange, remote: Remote) -> None:
        """Have it noted that the dot goes to whom the server took."""
        recipients = self.pending
        accepted = [recipients[position] for position in exchange.accepted]
        self._parcel.progress.before_dot(accepted, remote)

    def follow(self, turn: Turn, session: Session, stop: Stop) -> Exchange | None:
        """Return the next transaction, to begin behind this final dot, where nothing speaks against it."""
        now = asyncio.get_running_loop().time()
        if self._shy.has(stop.host.name, now) or not stop.is_first or not self._pool.may_go_on(turn):
            return None
        upcoming = self._upcoming.peek()
        if upcoming is None:
            return None
        parcel, course = upcoming
        first, legs = course.first, parcel.transaction.legs
        if not isinstance(first, Stop) or first.key != stop.key or not self._goes_along(parcel, stop.host):
            return None
        exchange = _prepare(session, parcel.envelope(range(len(legs))), is_ahead=True)
        if exchange is None or isinstance(exchange, Bounced):
            return None
        try:
            parcel.progress.begin()
        except TooLate:
            return None
        following, deadline = self._pool.go_on(turn, len(legs)), now + self._dialing.timeouts.attempt
        self._upcoming.take(Ahead(parcel, course, first, following, exchange, deadline))
        return exchange

    def _goes_along(self, parcel: Parcel, host: Host) -> bool:
        """Say whether a parcel may go where this one does, without a further look at what is special about it."""
        transaction = parcel.transaction
        if transaction.earlier:
            return False
        return not self._pool.holds_recipients or not any(
            self._pool.recipient_hold(host.name, leg.forward_path) for leg in transaction.legs
        )

    def _judged(self, index: int, outcome: Outcome, session: Session, exchange: Exchange, policy: str) -> None:
        if not isinstance(outcome, Delivered):
            trace = self._trace(policy, session.tls_version, session.transcript(exchange))
        elif session.trace is not None:
            trace = session.trace
        else:
            transport, takes_dsn = self._parcel.transaction.transport, session.peer.offers("DSN")
            trace = session.trace = SessionTrace(transport, policy, session.tls_version, (), takes_dsn)
        self._parcel.progress.decide(index, outcome, trace)

    def _put_off(self, refusal: Bounced, stop: Stop, at: str) -> Deferred:
        """Make a smarthost's refusal of us temporary: one wrong setting must not bounce all that waits. at: label."""
        self._observer.counting.count(metrics.SMARTHOST_REFUSALS, (at,))
        reason = f"the smarthost {stop.host.name} does not let us send: {refusal.reason}"
        return Deferred(reason, refusal.reply, refusal.remote)

    async def _reconsider(self, refusal: Bounced, exchange: Exchange, stop: Stop, attempt: int) -> Deferred | Bounced:
        """Make a refusal temporary that is not about this message or recipient."""
        if not _is_smarthost(stop):
            return await self._second_chance(refusal, stop, attempt)
        # RCPT was not answered: it was MAIL that was refused.
        is_of_mail = not (refusal.names_recipient or exchange.accepted or _is_of_message(refusal))
        return self._put_off(refusal, stop, "mail") if is_of_mail else refusal

    async def _second_chance(self, refusal: Bounced, stop: Stop, attempt: int) -> Deferred | Bounced:
        """Make a first refusal by policy temporary when our address of the other family may do better."""
        reply, address = refusal.reply, refusal.remote.address
        if reply is None or attempt != 1 or not address or not families.is_policy(reply.enhanced_code):
            return refusal
        try:
            addresses = await self._reachable(stop)
        except DnsTrouble:
            return refusal
        if not families.has_second_chance(reply, attempt, address, addresses):
            return refusal
        other = "IPv6" if families.family(address) == 4 else "IPv4"
        return Deferred(f"{refusal.reason}; it is tried once more over {other}", reply, refusal.remote)

    def _cannot(self, refusal: Bounced, session: Session, stop: Stop) -> list[int] | None:
        """Decide what this server cannot take; for want of REQUIRETLS another host may, so that this one failed.

        The reply is our own, which the last line of the transcript says.
        """
        said = transcript((*session.opening, f"Egret asked for nothing: {refusal.reason}"))
        trace = self._trace(stop.verdict.policy.name, session.tls_version, said)
        if lacks_requiretls(refusal):
            self._observer.counting.count(metrics.REQUIRETLS_UNMET, ("norequiretls",))
            self._fail(refusal, trace)
            self._is_host_over = True
            return None
        for index in self.pending:
            self._parcel.progress.decide(index, refusal, trace)
        return []


class _Conductor:
    """The `session.Conductor` of one transaction of a visit."""

    __slots__ = ("_exchange", "_session", "_stop", "_turn", "_visit")

    def __init__(self, visit: Visit, turn: Turn, session: Session, stop: Stop, exchange: Exchange) -> None:
        self._visit = visit
        self._turn = turn
        self._session = session
        self._stop = stop
        self._exchange = exchange

    def before_dot(self) -> None:
        self._visit.before_dot(self._exchange, self._session.remote)

    def following(self) -> Exchange | None:
        return self._visit.follow(self._turn, self._session, self._stop)


def _is_smarthost(stop: Stop) -> bool:
    return stop.verdict.policy.name.startswith(SMARTHOST)


def _is_of_message(refusal: Bounced) -> bool:
    """Say whether MAIL was refused for the message's size (RFC 1870 section 6.1), which no setting mends."""
    reply = refusal.reply
    return reply is not None and (reply.code == 552 or reply.enhanced_code.startswith(("5.3.4", "5.2.3")))


@overload
def _prepare(session: Session, envelope: Envelope) -> Exchange | Bounced: ...
@overload
def _prepare(session: Session, envelope: Envelope, *, is_ahead: Literal[True]) -> Exchange | Bounced | None: ...
def _prepare(session: Session, envelope: Envelope, *, is_ahead: bool = False) -> Exchange | Bounced | None:
    """Return the transaction to run, or why this server cannot take it; None: it cannot begin behind a dot."""
    remote = session.remote
    if (refusal := refusal_before(envelope, session.peer)) is not None:
        return replace(refusal, remote=remote)
    try:
        return session.exchange_ahead(envelope) if is_ahead else session.exchange(envelope)
    except WireError as error:
        return Bounced(
            str(error), Reply(553, ("5.1.3 The address cannot be written in SMTP",)), remote, names_recipient=False
        )
