"""Opens a conversation with one SMTP server: connection, greeting, EHLO, STARTTLS, AUTH.

Implements: RFC 5321 sections 3.1, 3.2 and 4.5.3.2, RFC 3207, RFC 4954 (PLAIN).
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field, replace

from egret.core.outcome import Remote
from egret.core.reply import Reply
from egret.core.tls_policy import PLAIN, TlsKind
from egret_egress import wire
from egret_egress.connection import Connection, ConnectionFailed
from egret_egress.session import Credentials, Endpoint, Session, Timeouts
from egret_egress.wire import Peer


def _unverified_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@dataclass(frozen=True, slots=True)
class Dialing:
    """How every connection of this unit is made. ehlo_name: the name whose PTR record leads to our address.

    source_address: to connect from, "" = the system's choice. opportunistic, verified: TLS settings of the two kinds.
    """

    ehlo_name: str
    timeouts: Timeouts = field(default_factory=Timeouts)
    source_address: str = ""
    opportunistic: ssl.SSLContext = field(default_factory=_unverified_context)
    verified: ssl.SSLContext = field(default_factory=ssl.create_default_context)


@dataclass(frozen=True, slots=True)
class NoSession:
    """The server did not get as far as to be asked about mail. reason: one sentence; reply: when it said why.

    tls_failed: the trouble was with opportunistic TLS, so that a plain connection may do better. is_final: the host
    will not take mail from us however often it is asked; a refused login is our own fault, and not final.
    """

    reason: str
    remote: Remote
    reply: Reply | None = None
    tls_failed: bool = False
    is_final: bool = False


async def open_session(endpoint: Endpoint, dialing: Dialing, deadline: float) -> Session | NoSession:
    """Connect, read the greeting, say EHLO, start TLS and log in as the endpoint asks.

    deadline: loop time at which it must be done. Opportunistic TLS that fails leads to a second, plain connection.
    """
    first = await _open_once(endpoint, dialing, deadline)
    if isinstance(first, NoSession) and first.tls_failed:
        return await _open_once(replace(endpoint, policy=PLAIN), dialing, deadline)
    return first


async def _open_once(endpoint: Endpoint, dialing: Dialing, deadline: float) -> Session | NoSession:
    try:
        connection = await _connect(endpoint, dialing, deadline)
    except ConnectionFailed as failure:
        return NoSession(failure.reason, endpoint.remote)
    greeter = _Greeter(connection, endpoint, dialing, deadline)
    try:
        result = await greeter.greet()
    except ConnectionFailed as failure:
        result = NoSession(failure.reason, endpoint.remote, tls_failed=greeter.is_in_handshake)
    except BaseException:
        connection.close()
        raise
    if isinstance(result, NoSession):
        connection.close()
        await connection.closed()
    return result


async def _connect(endpoint: Endpoint, dialing: Dialing, deadline: float) -> Connection:
    loop = asyncio.get_running_loop()
    is_implicit = endpoint.policy.kind is TlsKind.IMPLICIT
    time_s = min(dialing.timeouts.connect, deadline - loop.time())
    try:
        async with asyncio.timeout(max(0.001, time_s)):
            _, connection = await loop.create_connection(
                lambda: Connection(loop),
                endpoint.address,
                endpoint.port,
                local_addr=(dialing.source_address, 0) if dialing.source_address else None,
                ssl=dialing.verified if is_implicit else None,
                server_hostname=endpoint.mx_host if is_implicit else None,
            )
    except TimeoutError as error:
        raise ConnectionFailed(f"no connection within {time_s:.0f} s") from error
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise ConnectionFailed(f"no connection ({words})") from error
    return connection


class _Greeter:
    """The beginning of one conversation. is_in_handshake: an opportunistic TLS handshake is what failed."""

    def __init__(self, connection: Connection, endpoint: Endpoint, dialing: Dialing, deadline: float) -> None:
        self.is_in_handshake = False
        self._connection = connection
        self._endpoint = endpoint
        self._dialing = dialing
        self._deadline = deadline

    async def greet(self) -> Session | NoSession:
        greeting = await self._reply(self._dialing.timeouts.greeting)
        if greeting.code // 100 != 2:
            return self._unwelcome("the server does not want to talk", greeting)
        peer = await self._hello()
        if isinstance(peer, Reply):
            return self._unwelcome("the server does not accept our name", peer)
        if self._endpoint.policy.kind not in (TlsKind.PLAIN, TlsKind.IMPLICIT):
            encrypted = await self._start_tls(peer)
            if isinstance(encrypted, NoSession):
                return encrypted
            peer = encrypted
        elif self._endpoint.policy.kind is TlsKind.IMPLICIT:
            peer = replace(peer, is_encrypted=True, is_verified=True)
        if self._endpoint.credentials is not None:
            refusal = await self._log_in(peer, self._endpoint.credentials)
            if refusal is not None:
                return refusal
        return Session(self._connection, self._endpoint, peer, self._dialing.timeouts)

    async def _reply(self, timeout_s: float) -> Reply:
        left = self._deadline - asyncio.get_running_loop().time()
        return await self._connection.reply(max(0.001, min(timeout_s, left)))

    async def _ask(self, command: bytes, timeout_s: float) -> Reply:
        if self._connection.has_unread and self._connection.is_open:
            raise ConnectionFailed("the server spoke without being asked")
        self._connection.write(command)
        return await self._reply(timeout_s)

    def _no(self, reason: str, reply: Reply | None = None) -> NoSession:
        return NoSession(reason, self._endpoint.remote, reply)

    def _unwelcome(self, reason: str, reply: Reply) -> NoSession:
        return NoSession(reason, self._endpoint.remote, reply, is_final=reply.is_permanent)

    async def _hello(self) -> Peer | Reply:
        """EHLO, or HELO for a server that does not know it (RFC 5321 section 3.2); the refusal if it takes neither."""
        timeouts, name = self._dialing.timeouts, self._dialing.ehlo_name
        reply = await self._ask(wire.ehlo(name), timeouts.hello)
        if reply.code // 100 == 2:
            return wire.peer_of(reply)
        if 500 <= reply.code <= 504:
            reply = await self._ask(wire.helo(name), timeouts.hello)
            if reply.code // 100 == 2:
                return Peer(reply.lines[0].partition(" ")[0])
        return reply

    async def _start_tls(self, peer: Peer) -> Peer | NoSession:
        is_required = self._endpoint.policy.is_required
        if not peer.offers("STARTTLS"):
            return self._no("the server does not offer the TLS that is required of it") if is_required else peer
        reply = await self._ask(b"STARTTLS\r\n", self._dialing.timeouts.hello)
        if reply.code != 220:
            return self._no("the server refused STARTTLS", reply) if is_required or reply.code == 421 else peer
        context = self._dialing.verified if is_required else self._dialing.opportunistic
        self.is_in_handshake = not is_required
        left = max(0.001, self._deadline - asyncio.get_running_loop().time())
        await self._connection.start_tls(
            context, self._endpoint.mx_host or self._endpoint.address, min(self._dialing.timeouts.tls, left)
        )
        # What was announced in plain text counts for nothing now.
        encrypted = await self._hello()
        self.is_in_handshake = False
        if isinstance(encrypted, Reply):
            return self._no("the server does not accept our name after STARTTLS", encrypted)
        return replace(encrypted, is_encrypted=True, is_verified=is_required)

    async def _log_in(self, peer: Peer, credentials: Credentials) -> NoSession | None:
        if not peer.is_verified:
            return self._no("the smarthost is not protected by verified TLS, so no password is sent")
        if "PLAIN" not in peer.extensions.get("AUTH", "").upper().split():
            return self._no("the smarthost does not offer AUTH PLAIN")
        reply = await self._ask(wire.auth_plain(credentials.user, credentials.password), self._dialing.timeouts.hello)
        return None if reply.code == 235 else self._no("the smarthost refused the login", reply)
