"""An open conversation with one SMTP server: transactions one after the other, then QUIT.

Implements: RFC 5321 sections 3.3 and 4.5.3.2. How it is opened is `opening`'s; the decisions within a transaction are
`exchange`'s; which server is asked is `courier`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from egret.core.outcome import Remote
from egret.core.tls_policy import OPPORTUNISTIC, TlsPolicy
from egret.core.trace import SessionTrace
from egret_egress import wire
from egret_egress.connection import Connection, ConnectionFailed
from egret_egress.content import Content
from egret_egress.envelope import Envelope
from egret_egress.exchange import Exchange, Stage, Step
from egret_egress.transcript import Entry, transcript
from egret_egress.wire import Peer


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a server may take, in seconds. Those of replies and of the content are RFC 5321 section 4.5.3.2's.

    A reply must be complete within its time, however slowly its bytes come. attempt: from the first connection to the
    final dot, over all addresses; with `final` it stays below the 30 minutes that `UNIT_GONE_AFTER` allows.
    """

    connect: float = 30
    tls: float = 60
    greeting: float = 300
    hello: float = 300
    mail: float = 300
    rcpt: float = 300
    data: float = 120
    block: float = 180
    final: float = 600
    quit: float = 5
    attempt: float = 15 * 60

    def of(self, stage: Stage) -> float:
        """Return the time for the answer to a stage of a transaction."""
        match stage:
            case Stage.RSET | Stage.MAIL:
                return self.mail
            case Stage.RCPT:
                return self.rcpt
            case Stage.DATA:
                return self.data
            case Stage.FINAL:
                return self.final


@dataclass(frozen=True, slots=True)
class Credentials:
    """For a smarthost; only ever sent over verified TLS."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect and what is asked of it. mx_host: name for certificate and record; address: IP address."""

    mx_host: str
    address: str
    port: int = 25
    policy: TlsPolicy = OPPORTUNISTIC
    credentials: Credentials | None = None

    @property
    def remote(self) -> Remote:
        """The server as the attempt's record names it."""
        return Remote(self.mx_host, self.address)


class Conductor(Protocol):
    """Who has a transaction made: asked when its final dot is about to go."""

    def before_dot(self) -> None:
        """Note that the dot goes. What this raises ends the connection, and the message was not sent."""
        ...

    def following(self) -> Exchange | None:
        """Return a transaction of `exchange_ahead` that is to begin with the dot, and to be the next; None: none."""
        ...


class Session:
    """An open conversation that can carry transactions one after the other.

    remote: the server, for records. transactions: how many it has carried. is_usable: it may carry another one.
    opening: what was said before the first. trace: of what was delivered over it, once that is known: what goes over
    one session has one transport and policy.
    """

    def __init__(
        self,
        connection: Connection,
        endpoint: Endpoint,
        peer: Peer,
        timeouts: Timeouts,
        opening: Sequence[Entry] = (),
    ) -> None:
        self.opening = opening
        self.endpoint = endpoint
        self.remote = endpoint.remote
        self.peer = peer
        self.transactions = 0
        self.needs_reset = False
        self.trace: SessionTrace | None = None
        self._connection = connection
        self._timeouts = timeouts
        self._must_close = False
        self._most_recipients = 0
        self._ahead: Exchange | None = None

    @property
    def is_usable(self) -> bool:
        """Open, in step, not about to be closed by the server, and not used up."""
        return self._is_in_step and not self.is_used_up

    @property
    def is_used_up(self) -> bool:
        """It has carried as many transactions as the server allows (MAILMAX, RFC 9422 section 4)."""
        return 0 < self.peer.limits.mail <= self.transactions

    @property
    def _is_in_step(self) -> bool:
        return self._connection.is_quiet() and not self._must_close and self._ahead is None

    @property
    def tls_version(self) -> str:
        """TLS version in use, "" in plain text."""
        return self._connection.tls_version()

    def transcript(self, exchange: Exchange) -> tuple[str, ...]:
        """Return what was said to open the session and in one transaction, not what others said in theirs."""
        before = self.transactions - 1
        earlier = f"{before} earlier message{'s' if before > 1 else ''} went over this connection"
        return transcript((*self.opening, *((earlier,) if before > 0 else ()), *exchange.talk))

    def when_lost(self, callback: Callable[[], None] | None) -> None:
        """Call back once the connection ends (for idle ones in a pool), as it now does when the server speaks."""
        self._connection.on_lost = callback

    def exchange(self, envelope: Envelope) -> Exchange:
        """Return a transaction to run here; raises wire.WireError when a path cannot be written."""
        return Exchange(envelope, self.peer, self.remote, reset=self.needs_reset, most=self._most_recipients)

    def exchange_ahead(self, envelope: Envelope) -> Exchange | None:
        """Return a transaction for `Upcoming`, None when this session can carry no other. Raises wire.WireError.

        It resets nothing: it goes out only behind a dot, and whatever the answer, the server starts anew after it
        (RFC 5321 section 4.1.1.4).
        """
        if self.is_used_up:
            return None
        exchange = Exchange(envelope, self.peer, self.remote, most=self._most_recipients)
        exchange.is_ahead = True
        return exchange

    async def transact(
        self,
        exchange: Exchange,
        content: Content,
        conductor: Conductor,
        deadline: float,
    ) -> None:
        """Run the transaction; afterwards every recipient has an outcome or is put back.

        deadline: loop time by which the dot must have gone. What the conductor raises passes through.
        """
        self.transactions += 1
        connection = self._connection
        try:
            step = self._begin(exchange)
            while step is not Step.DONE:
                if step is Step.CONTENT:
                    await self._send_content(exchange, content, conductor, deadline)
                elif step is not Step.WAIT:
                    connection.write(step)
                reply = connection.next_reply()
                if reply is None:
                    reply = await connection.reply(self._time_for(exchange, deadline))
                    self._note_unsent(exchange)
                step = exchange.take(reply)
        except ConnectionFailed as failure:
            self._note_unsent(exchange)
            exchange.fail(failure.reason)
        except BaseException:
            self._give_up()
            raise
        self.needs_reset = exchange.needs_reset
        if exchange.learned:
            self._most_recipients = exchange.learned
        if exchange.must_close:
            self._give_up()

    def _note_unsent(self, exchange: Exchange) -> None:
        """Tell the transaction when its dot has not gone: nothing that was heard can be the answer to it."""
        if self._connection.has_unsent:
            exchange.dot_stays()

    def _give_up(self) -> None:
        self._must_close = True
        self._connection.close()

    def _begin(self, exchange: Exchange) -> bytes | Step:
        """Return the first bytes, or Step.WAIT when they went out with the last dot."""
        ahead, self._ahead = self._ahead, None
        if ahead is exchange:
            return Step.WAIT
        if ahead is not None:
            self._give_up()
        if self._connection.has_unread and self._connection.is_open:
            raise ConnectionFailed("the server spoke without being asked")
        return exchange.start()

    def _time_for(self, exchange: Exchange, deadline: float) -> float:
        """Before the dot the whole attempt is bounded, after it the answer alone counts."""
        own = self._timeouts.of(exchange.stage)
        return own if exchange.dot_sent else min(own, self._left(deadline))

    @staticmethod
    def _left(deadline: float) -> float:
        return max(0.001, deadline - asyncio.get_running_loop().time())

    async def _send_content(self, exchange: Exchange, content: Content, conductor: Conductor, deadline: float) -> None:
        """Send content and dot, unless the server answers before its time: then its answer is read as it is."""
        connection = self._connection
        last = b""
        for chunk in content.chunks():
            if last:
                if not connection.is_quiet():
                    return
                connection.write(last)
                await connection.drain(min(self._timeouts.block, self._left(deadline)))
            last = chunk
        if not connection.is_quiet():
            return
        following = conductor.following() if exchange.may_be_followed else None
        # One write, and one packet for a small message. Between the note and the dot lies the rest of this turn of the
        # loop (ADR 24); a connection that ends in it has the dot unsent.
        end = last + wire.DOT if following is None else b"".join((last, wire.DOT, following.start()))
        self._ahead = following
        conductor.before_dot()
        exchange.dot_goes()
        connection.write(end)

    async def quit(self) -> None:
        """Part politely: QUIT, a short wait for the answer, close."""
        try:
            if self._is_in_step:
                self._connection.write(b"QUIT\r\n")
                await self._connection.reply(self._timeouts.quit)
        except ConnectionFailed:
            pass
        finally:
            self._give_up()
        await self._connection.closed()

    async def abort(self) -> None:
        """Close at once."""
        self._give_up()
        await self._connection.closed()
