"""An SMTP server for whoever takes mail: the dialogue, its limits, TLS and AUTH. What is taken is its user's decision.

Implements: RFC 5321 as a receiver, 1870 (SIZE), 2034 (ENHANCEDSTATUSCODES), 2920 (PIPELINING), 3207 (STARTTLS), 4954
(AUTH: its frame, the mechanisms are the user's), 6152 (8BITMIME). Further extensions are announced by the user, and
their parameters read by `esmtp`. Subclasses aiosmtpd's protocol for the life of a connection. Content ends at CRLF.CRLF
and nothing else. Memory is bounded by a budget of bytes for all messages in flight.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import re
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, cast

from aiosmtpd.smtp import SMTP

from egret.core.authlimits import networks_of
from egret_egress import esmtp
from egret_egress.esmtp import Bad, Mail, Rcpt
from egret_egress.inbound_content import MAX_LINE_BYTES, ByteBudget, ContentReader, Refused, Share

log = logging.getLogger(__name__)

NOT_NOW: Final = "451 4.3.0 Try again later"
CHUNK_BYTES: Final = 1 << 24
"""More than a stream ever holds (twice its limit and one read), so that reading takes all of it."""
MAX_COMMAND_BYTES: Final = 4096
"""Of a command line: RFC 5321 section 4.5.3.1.4 says 512, and each extension some more."""
MAX_AUTH_BYTES: Final = 12_288
"""Of a line of AUTH (RFC 4954 section 4)."""
MAX_ERRORS: Final = 10
"""Commands of one connection that make no sense."""
MAX_NAME_CHARS: Final = 255
WIDENING: Final = (1, 3, 9)
"""Times as much as one address may have is what its network may have: IPv4 /32, /26, /21; IPv6 /64, /48, /32."""
HANDSHAKE_S: Final = 30.0
ACCEPTING_AGAIN_S: Final = 0.5
BACKLOG: Final = 100
"""Connections that nobody has accepted yet."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OF_THE_WEB = frozenset({"GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT"})
"""A browser may be made to send what looks like commands further on."""
_BEFORE_TLS = frozenset({"NOOP", "EHLO", "STARTTLS", "QUIT"})
"""What may be said before TLS where TLS is a must (RFC 3207 section 4)."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What the server lets happen at a time.

    message_bytes: of one message (a DSN may carry back the largest message that we send). in_flight_bytes: received of
    all messages under way; each lies in memory three times while it is stored, on an instance of 1 GiB in all.
    connections: over all addresses. peer_*: of one remote address (IPv6: one /64), so that nobody alone keeps everybody
    else out; one of the largest messages; for the networks around it see WIDENING. session_s: whole life of a
    connection; idle_s: between two commands (RFC 5321 4.5.3.2.7). step_s: within it, step_bytes more of a content have
    to come, or its end: who begins a large message and then dawdles holds memory that others wait for.
    """

    message_bytes: int = 32 * 1024 * 1024
    in_flight_bytes: int = 48 * 1024 * 1024
    recipients: int = 100
    connections: int = 200
    peer_in_flight_bytes: int = 32 * 1024 * 1024
    peer_connections: int = 20
    session_s: float = 30 * 60
    idle_s: float = 300
    step_s: float = 180
    step_bytes: int = 1024 * 1024


@dataclass(slots=True)
class Client:
    """Who is connected. ehlo: what it calls itself. tls: protocol and cipher, "" = none. is_extended: it said EHLO.

    is_authenticated: AUTH was answered 235. login: who it said at AUTH that it is, for the log; "" = nobody yet.
    """

    ip: str
    ehlo: str = ""
    is_extended: bool = False
    tls: str = ""
    is_authenticated: bool = False
    login: str = ""


Challenge = Callable[[bytes], Awaitable[bytes]]
"""Send a challenge, decoded; return the response, decoded. Raises AuthAborted, which is the server's to answer."""


class AuthAborted(Exception):
    """The client gave AUTH up, or its response is no base64. reply: what it hears."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


class Transaction(Protocol):
    """One mail that a client brings. Replies have an enhanced code."""

    async def rcpt(self, rcpt: Rcpt) -> str:
        """Return the reply to RCPT: 250 takes the recipient."""
        ...

    async def content(self, content: bytes) -> str:
        """Return the reply to the end of the content; it has CRLF at its end and no doubled dots."""
        ...


class Conversation(Protocol):
    """What a user of the server decides in one connection. A reply of 421 ends it."""

    async def greet(self) -> str:
        """Return "" to be there for the client, else the reply that takes the place of the greeting."""
        ...

    async def auth(self, mechanism: str, initial: bytes | None, challenge: Challenge) -> str:
        """Return the reply to AUTH: 235 when the client is who it says. mechanism: one of those announced."""
        ...

    async def mail(self, mail: Mail) -> Transaction | str:
        """Return the transaction that begins (250 is said), or the reply by which MAIL is refused."""
        ...


def _nothing(_: Any) -> Sequence[str]:
    return ()


def _uncounted(_: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Service:
    """What a server is for.

    converse: makes the user's side of a connection. extensions: further lines of EHLO for a client; AUTH is left out
    while it needs TLS that is not there. tls: a new certificate may be loaded into it, None = no TLS. is_implicit: TLS
    from the first byte. needs_tls: before all else. answered: hears the reply to each message.
    """

    hostname: str
    converse: Callable[[Client], Conversation]
    extensions: Callable[[Client], Sequence[str]] = _nothing
    tls: ssl.SSLContext | None = None
    is_implicit: bool = False
    needs_tls: bool = False
    auth_needs_tls: bool = True
    answered: Callable[[str], None] = _uncounted


class SmtpServer:
    """The listener and its connections."""

    def __init__(self, service: Service, limits: ServerLimits | None = None) -> None:
        self.service = service
        self.limits = limits or ServerLimits()
        self.budget = ByteBudget(self.limits.in_flight_bytes, self.limits.peer_in_flight_bytes)
        self.connections: set[Connection] = set()
        self.connections_of: Counter[str] = Counter()
        self.all_ended: asyncio.Event | None = None
        self._server: asyncio.Server | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: set[asyncio.Task[None]] = set()

    def is_full_for(self, networks: Sequence[str]) -> bool:
        """Tell whether there are too many connections, in all or of somebody's networks."""
        most = [self.limits.peer_connections * times for times in WIDENING]
        count = len(self.connections) + len(self._handshakes)
        return count >= self.limits.connections or any(
            self.connections_of[network] >= limit for network, limit in zip(networks, most, strict=False)
        )

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port."""
        if self.service.is_implicit:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
            listener.setblocking(False)
            self._accepting = asyncio.create_task(self._accept(listener))
            own: int = listener.getsockname()[1]
            return own
        self._server = await asyncio.get_running_loop().create_server(lambda: Connection(self), host, port)
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    async def _accept(self, listener: socket.socket) -> None:
        """Accept connections that begin with TLS, for ever. Loops tell of those only once the handshake is made."""
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                try:
                    accepted, address = await loop.sock_accept(listener)
                except OSError as error:  # no descriptor is left, or the client is gone
                    log.warning("no connection can be accepted", extra={"error": str(error)})
                    await asyncio.sleep(ACCEPTING_AGAIN_S)
                    continue
                ip = str(address[0])
                networks = networks_of(ip)
                if self.is_full_for(networks):
                    accepted.close()
                    continue
                self.connections_of.update(networks)
                handshake = loop.create_task(self._shake_hands(accepted, ip))
                self._handshakes.add(handshake)
                handshake.add_done_callback(partial(self._shaken, networks))

    async def _shake_hands(self, accepted: socket.socket, ip: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self), accepted, ssl=self.service.tls, ssl_handshake_timeout=HANDSHAKE_S
            )
        except OSError as error:
            _tell_of_handshake(ip, error)

    def _shaken(self, networks: Sequence[str], handshake: asyncio.Task[None]) -> None:
        """Count a handshake no longer; what came of it counts itself."""
        self._handshakes.discard(handshake)
        self.uncount(networks)

    def uncount(self, networks: Sequence[str]) -> None:
        """Count a connection from networks no longer."""
        self.connections_of.subtract(networks)
        for network in networks:
            if not self.connections_of[network]:
                del self.connections_of[network]

    async def stop(self, grace_s: float) -> None:
        """Stop listening; let connections end by themselves for a while, then cut them."""
        if self._server is None and self._accepting is None:
            return
        if self._server is not None:
            self._server.close()
        for task in (self._accepting, *self._handshakes):
            if task is not None:
                task.cancel()
        if self.connections:
            self.all_ended = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.all_ended.wait()
        for connection in list(self.connections):
            connection.end()
        self._server = self._accepting = None


class Connection(SMTP):
    """aiosmtpd's protocol with the dialogue of its own, and limits over all connections and for each peer."""

    line_length_limit = MAX_LINE_BYTES

    def __init__(self, owner: SmtpServer) -> None:
        super().__init__(
            None, hostname=owner.service.hostname, timeout=owner.limits.idle_s, loop=asyncio.get_running_loop()
        )
        self._owner = owner
        self._service = owner.service
        self._limits = owner.limits
        self._life: asyncio.TimerHandle | None = None
        self._is_counted = False
        self._is_over = False
        self._is_waiting = False
        self._errors = 0
        self._networks: list[str] = []
        self._client = Client("")
        self._conversation: Conversation
        self._offered: frozenset[str] = frozenset()
        self._transaction: Transaction | None = None
        self._mail: Mail | None = None
        self._recipients = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Turn away whoever is too many."""
        owner = self._owner
        peername = transport.get_extra_info("peername")
        self._client.ip = str(peername[0]) if peername else ""
        self._networks = networks_of(self._client.ip)
        # With TLS from the first byte that was asked, and the connection counted, when it was accepted.
        if not self._service.is_implicit and owner.is_full_for(self._networks):
            # uvloop's transports are no asyncio.WriteTransport by inheritance.
            cast("asyncio.WriteTransport", transport).write(b"421 4.3.2 Too many connections, try again later\r\n")
            transport.close()
            return
        self._is_counted = True
        owner.connections.add(self)
        owner.connections_of.update(self._networks)
        self._life = self.loop.call_later(owner.limits.session_s, self.cut)
        super().connection_made(transport)
        if self._service.is_implicit:
            self._client.tls = _tls_of(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        if self._is_counted:
            self._forget()
            super().connection_lost(error)

    def _forget(self) -> None:
        """Make room for others; at the first call only."""
        owner = self._owner
        if self not in owner.connections:
            return
        owner.connections.discard(self)
        owner.uncount(self._networks)
        if owner.all_ended is not None and not owner.connections:
            owner.all_ended.set()
        for timer in (self._life, self._timeout_handle):
            if timer is not None:
                timer.cancel()

    def eof_received(self) -> bool | None:
        """Close, too, when the client does: aiosmtpd gives the session up here, and may not have begun it yet."""
        if self._is_counted:
            super().eof_received()
        return False

    def data_received(self, data: bytes) -> None:
        """Leave alone what was turned away."""
        if self._is_counted:
            super().data_received(data)

    def end(self) -> None:
        """Close the connection because the server ends; who could say a command hears so (RFC 5321 section 3.8)."""
        if self._is_waiting and self.transport is not None:
            self._writer.write(b"421 4.3.2 The server ends, try again later\r\n")
        self.cut()

    def cut(self) -> None:
        """Close the connection, whatever is under way."""
        if self.transport is not None:
            self.transport.close()

    def _timeout_cb(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self._writer.write(b"421 4.4.2 Nothing was heard for too long\r\n")
        self.cut()

    # --- the dialogue

    async def _handle_client(self) -> None:
        try:
            await self._serve()
        except ConnectionError:
            log.info("a client was lost", extra={"peer": self._client.ip})
        finally:
            self._writer.close()

    async def _serve(self) -> None:
        """Greet, and answer command after command."""
        conversation = self._service.converse(self._client)
        self._conversation = conversation
        refused = await self._asked(conversation.greet())
        if refused:
            await self._say(refused)
            return
        await self.push(f"220 {self.hostname} ESMTP")
        while not self._is_over and self.transport is not None:
            try:
                await self._answer_next()
            except (ConnectionError, asyncio.IncompleteReadError):
                return

    async def _answer_next(self) -> None:
        self._is_waiting = True
        line = await self._line(MAX_AUTH_BYTES)
        self._is_waiting = False
        if line is None:
            return
        verb, _, argument = line.partition(" ")
        command = verb.upper()
        if len(line.encode()) > MAX_COMMAND_BYTES and command != "AUTH":
            await self._mistake("500 5.5.2 The line is too long")
            return
        method = self._smtp_methods.get(command) if command.isalpha() else None
        if command in _OF_THE_WEB:
            await self._say("421 4.7.0 This is no web server")
        elif method is None:
            await self._mistake("500 5.5.1 Unknown command")
        elif self._service.needs_tls and not self._client.tls and command not in _BEFORE_TLS:
            await self._mistake("530 5.7.0 Say STARTTLS first")
        else:
            self._reset_timeout()
            await method(argument.strip(" "))

    async def _line(self, limit_bytes: int) -> str | None:
        """Return a line without its end; None when it is none, and was answered.

        Raises IncompleteReadError at the end of the connection.
        """
        try:
            raw = await self._reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            await self._skip_line(error)
            raw = b""
        if len(raw) > limit_bytes or not raw:
            await self._mistake("500 5.5.2 The line is too long")
            return None
        if not raw.endswith(b"\r\n"):
            # What one server takes for the end of a line and the next does not, mail is smuggled by.
            self._is_over = True
            await self._mistake("500 5.5.2 Lines end in CRLF")
            return None
        try:
            line = raw[:-2].decode()
        except UnicodeDecodeError:
            await self._mistake("500 5.5.2 Neither ASCII nor UTF-8")
            return None
        if _CONTROL.search(line):
            await self._mistake("500 5.5.2 Control characters in a command")
            return None
        return line

    async def _skip_line(self, overrun: asyncio.LimitOverrunError) -> None:
        while True:
            await self._reader.read(overrun.consumed)
            try:
                await self._reader.readuntil(b"\n")
                return
            except asyncio.LimitOverrunError as error:
                overrun = error

    async def _asked(self, answer: Awaitable[str]) -> str:
        """Return the user's reply; our own troubles are kept to ourselves: the client may come again."""
        try:
            return await answer
        except Exception:
            log.exception("receiving failed", extra={"peer": self._client.ip})
            return NOT_NOW

    async def _say(self, reply: str, told: str = "refused") -> None:
        """Send a reply; 421 ends the connection. told: what the log says of it when it is a refusal."""
        if reply[:1] in ("4", "5"):
            login = {"login": self._client.login[:MAX_NAME_CHARS]} if self._client.login else {}
            log.info(told, extra={"peer": self._client.ip, "reply": reply, **login})
        self._is_over = self._is_over or reply.startswith("421")
        await self.push(reply)

    async def _mistake(self, reply: str, told: str = "refused") -> None:
        """Refuse a command that makes no sense; whoever makes too many of them is sent away."""
        self._errors += 1
        await self._say(reply if self._errors < MAX_ERRORS else "421 4.7.0 Too many errors", told)

    def _set_rset_state(self) -> None:
        self._transaction = self._mail = None
        self._recipients = 0

    # --- commands

    async def smtp_HELO(self, hostname: str) -> None:  # noqa: N802 (aiosmtpd's name, here and below)
        """Answer HELO."""
        if await self._hear_name(hostname):
            self._client.is_extended = False
            self._offered = frozenset()
            await self.push(f"250 {self.hostname}")

    async def smtp_EHLO(self, hostname: str) -> None:  # noqa: N802
        """Answer EHLO with what is offered now."""
        if not await self._hear_name(hostname):
            return
        self._client.is_extended = True
        lines = [f"SIZE {self._limits.message_bytes}", "8BITMIME", "PIPELINING", "ENHANCEDSTATUSCODES"]
        if self._service.tls is not None and not self._client.tls:
            lines.append("STARTTLS")
        if not self._service.needs_tls or self._client.tls:
            lines += self._extensions()
        self._offered = frozenset(line.partition(" ")[0] for line in lines)
        lines = [self.hostname, *lines]
        await self.push("\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]))

    def _extensions(self) -> list[str]:
        has_auth = not self._service.auth_needs_tls or bool(self._client.tls)
        return [line for line in self._service.extensions(self._client) if has_auth or not line.startswith("AUTH ")]

    async def _hear_name(self, name: str) -> bool:
        if not name or " " in name or len(name) > MAX_NAME_CHARS:
            await self._mistake("501 5.5.4 A greeting names its host")
            return False
        self._set_rset_state()
        self._client.ehlo = name
        return True

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        """Begin TLS and forget all that was said before (RFC 3207 section 4.2)."""
        if arg:
            await self._mistake("501 5.5.4 STARTTLS takes no argument")
        elif self._service.tls is None:
            await self._mistake("502 5.5.1 TLS is not offered")
        elif self._client.tls:
            await self._mistake("503 5.5.1 TLS is there already")
        else:
            await self._start_tls(self._service.tls)

    async def _start_tls(self, context: ssl.SSLContext) -> None:
        transport: Any = self.transport
        # Nothing may come between: what is in the buffer when the reply goes out was said in the clear.
        transport.pause_reading()
        self._reader._buffer.clear()  # type: ignore[attr-defined]  # noqa: SLF001
        self._writer.write(b"220 2.0.0 Go ahead\r\n")
        try:
            secured: Any = await self.loop.start_tls(
                transport, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
            )
        except (OSError, ssl.SSLError) as error:
            _tell_of_handshake(self._client.ip, error)
            self._forget()
            self._is_over = True
            return
        self.transport = self._transport = secured
        self._over_ssl = True
        # asyncio has no public way to give a stream its new transport.
        self._reader._transport = secured  # type: ignore[attr-defined]  # noqa: SLF001
        self._writer._transport = secured  # type: ignore[attr-defined]  # noqa: SLF001
        self._client.tls = _tls_of(secured)
        self._client.ehlo, self._client.is_extended, self._offered = "", False, frozenset()
        self._set_rset_state()
        self._reset_timeout()

    async def smtp_AUTH(self, arg: str) -> None:  # noqa: N802
        """Have the client authenticated by the user of the server."""
        refusal = self._without_auth()
        if refusal:
            await self._mistake(refusal)
            return
        mechanism, _, initial = arg.partition(" ")
        mechanisms = next((line.split(" ")[1:] for line in self._extensions() if line.startswith("AUTH ")), list[str]())
        if mechanism.upper() not in mechanisms:
            await self._mistake("504 5.5.4 The mechanism is not offered")
            return
        self._client.login = ""
        try:
            first = _decode(initial) if initial else None
            reply = await self._conversation.auth(mechanism.upper(), first, self._challenge)
        except AuthAborted as aborted:
            reply = aborted.reply
        except (ConnectionError, asyncio.IncompleteReadError):
            raise
        except Exception:
            log.exception("authenticating failed", extra={"peer": self._client.ip})
            reply = "454 4.7.0 Try again later"
        if reply.startswith("235"):
            self._client.is_authenticated = True
            await self.push(reply)
        else:
            await self._mistake(reply, "login failed")

    def _without_auth(self) -> str:
        """Return why AUTH cannot be now, "" when it can."""
        if self._service.auth_needs_tls and not self._client.tls:
            return "538 5.7.11 TLS is needed for this"
        if "AUTH" not in self._offered:
            return "502 5.5.1 AUTH is not offered"
        if self._client.is_authenticated or self._transaction is not None:
            return "503 5.5.1 Not now"
        return ""

    async def _challenge(self, challenge: bytes) -> bytes:
        await self.push(b"334 " + base64.b64encode(challenge))
        line = await self._line(MAX_AUTH_BYTES)
        self._reset_timeout()
        if line is None:
            raise AuthAborted("501 5.5.2 AUTH has ended")
        if line == "*":
            raise AuthAborted("501 5.7.0 AUTH is given up")
        return _decode(line)

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        """Begin a transaction."""
        if not self._client.ehlo:
            await self._mistake("503 5.5.1 Say EHLO first")
            return
        if self._transaction is not None:
            await self._mistake("503 5.5.1 A transaction has begun already")
            return
        mail = esmtp.mail(arg or "", self._offered)
        if isinstance(mail, Bad):
            await self._mistake(mail.reply)
            return
        if (mail.size or 0) > self._limits.message_bytes:
            await self._say(Refused.TOO_LARGE.value)
            return
        try:
            begun = await self._conversation.mail(mail)
        except Exception:
            log.exception("receiving failed", extra={"peer": self._client.ip})
            begun = NOT_NOW
        if isinstance(begun, str):
            await self._say(begun)
            return
        self._transaction, self._mail = begun, mail
        await self.push("250 2.1.0 OK")

    async def smtp_RCPT(self, arg: str | None) -> None:  # noqa: N802
        """Add a recipient."""
        if self._transaction is None or self._mail is None:
            await self._mistake("503 5.5.1 Say MAIL first")
            return
        rcpt = esmtp.rcpt(arg or "", self._offered, smtputf8=self._mail.smtputf8)
        if isinstance(rcpt, Bad):
            await self._mistake(rcpt.reply)
            return
        if self._recipients >= self._limits.recipients:
            await self._say("452 4.5.3 Too many recipients")
            return
        reply = await self._asked(self._transaction.rcpt(rcpt))
        self._recipients += reply.startswith("2")
        await self._say(reply)

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802
        """Receive content while there is memory for it; aiosmtpd's own needs a hundred times that of short lines."""
        if arg:
            await self._mistake("501 5.5.4 DATA takes no argument")
            return
        if self._transaction is None or self._mail is None:
            await self._mistake("503 5.5.1 Say MAIL first")
            return
        if not self._recipients:
            await self._say("503 5.5.1 There is no recipient")
            return
        if not self._owner.budget.has_room(self._networks[0], self._mail.size or 0):
            await self._answer(Refused.NO_MEMORY.value)
            return
        share = Share(self._owner.budget, self._networks[0])
        try:
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            status = await self._receive(ContentReader(self._limits.message_bytes, share), self._transaction)
        finally:
            share.give_back()
        self._set_rset_state()
        await self._answer(status)

    async def _answer(self, reply: str) -> None:
        """Say what becomes of a message, and have it counted."""
        self._service.answered(reply)
        await self._say(reply)

    async def _receive(self, reader: ContentReader, transaction: Transaction) -> str:
        """Read to the end of the content and hand it over; return the reply."""
        rest, limits, received, next_step = None, self._owner.limits, 0, 0
        while rest is None:
            if received >= next_step:
                next_step = received + limits.step_bytes
                self._reset_timeout(limits.step_s)
            chunk = await self._reader.read(CHUNK_BYTES)
            if not chunk:  # a connection that ends cancels this; should it not, nobody hears the reply
                raise ConnectionError("the connection ended within the content")
            received += len(chunk)
            rest = reader.feed(chunk)
        self._reset_timeout()
        if rest:
            # The chunk was all there was: what is put back stands before everything that comes.
            self._reader.feed_data(rest)
        content = reader.take()
        if isinstance(content, Refused):
            return content.value
        return await self._asked(transaction.content(content))

    async def smtp_RSET(self, arg: str) -> None:  # noqa: N802
        """Forget the transaction."""
        if arg:
            await self._mistake("501 5.5.4 RSET takes no argument")
            return
        self._set_rset_state()
        await self.push("250 2.0.0 OK")

    async def smtp_NOOP(self, arg: str) -> None:  # noqa: N802
        """Do nothing."""
        await self.push("250 2.0.0 OK")

    async def smtp_QUIT(self, arg: str) -> None:  # noqa: N802
        """End the connection."""
        if arg:
            await self._mistake("501 5.5.4 QUIT takes no argument")
            return
        self._is_over = True
        await self.push("221 2.0.0 Bye")

    async def smtp_HELP(self, arg: str) -> None:  # noqa: N802
        """Say where help is."""
        await self.push("214 2.0.0 See RFC 5321")

    async def smtp_VRFY(self, arg: str) -> None:  # noqa: N802
        """Tell nobody who is here (RFC 5321 section 7.3)."""
        await self.push("252 2.0.0 Send some mail, and see" if arg else "501 5.5.4 VRFY needs an argument")

    async def smtp_EXPN(self, arg: str) -> None:  # noqa: N802
        """Tell nobody who is here."""
        await self._mistake("502 5.5.1 EXPN is not offered")


def _tell_of_handshake(ip: str, error: OSError) -> None:
    """Log why there is no TLS. Who only looks whether somebody listens ends the connection without any error."""
    if text := str(error):
        log.info("the TLS handshake failed", extra={"peer": ip, "error": text})
    else:
        log.info("a connection ended before TLS was there", extra={"peer": ip})


def _decode(text: str) -> bytes:
    """Return what base64 stands for, "=" for nothing (RFC 4954 section 4). Raises AuthAborted."""
    if text == "=":
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise AuthAborted("501 5.5.2 This is no base64") from error


def _tls_of(transport: asyncio.BaseTransport) -> str:
    """Return protocol and cipher."""
    session: Any = transport.get_extra_info("ssl_object")
    return f"{session.version()} {session.cipher()[0]}"
