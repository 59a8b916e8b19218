"""Opens a conversation with one SMTP server: connection, greeting, EHLO, STARTTLS, AUTH.

Implements: RFC 5321 sections 3.1, 3.2 and 4.5.3.2, RFC 3207. TLS is done as the endpoint's policy
says, which `security` decided: only an opportunistic policy ever falls back to plain text (RFC 7435), for one that
authenticates the server nothing is sent before its certificate has passed (RFC 7672 section 2.2, RFC 8461 section 4.2).
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from egret.core.outcome import Remote
from egret.core.reply import Reply
from egret.core.tls_policy import PLAIN, TlsKind, TlsPolicy
from egret_egress import families, wire
from egret_egress.auth import LoggedIn, Login, Refused
from egret_egress.burst import Burst
from egret_egress.certificates import DANE_MISMATCH, NO_STARTTLS, TlsFailure, failure_of, is_vouched_for
from egret_egress.connection import Connection, ConnectionFailed, words_of
from egret_egress.session import Credentials, Endpoint, Session, Timeouts
from egret_egress.transcript import Entry, transcript
from egret_egress.wire import Peer


def _unverified_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _verified_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.hostname_checks_common_name = False  # the names that count are the alternative ones (RFC 8461 section 4.2)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@dataclass(frozen=True, slots=True)
class Dialing:
    """How every connection of this unit is made. ehlo_name: the name whose PTR record leads to our address.

    source_address: to connect from, "" = the system's choice. opportunistic, verified: TLS settings of two kinds, the
    first of which leaves it to us to look at the certificate (DANE) or not. now: for certificates' validity.
    nonce: random bytes, new for each login. has_route: whether the system knows a way to an address. burst: of the
    event loop in which connections are made.
    """

    ehlo_name: str
    timeouts: Timeouts = field(default_factory=Timeouts)
    source_address: str = ""
    opportunistic: ssl.SSLContext = field(default_factory=_unverified_context)
    verified: ssl.SSLContext = field(default_factory=_verified_context)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    nonce: Callable[[], bytes] = lambda: secrets.token_bytes(18)
    has_route: families.HasRoute = families.has_route
    burst: Burst = field(default_factory=Burst)

    def reaches(self, address: str) -> bool:
        """Tell whether connections can be made to an address of its family."""
        if self.source_address and families.family(self.source_address) != families.family(address):
            return False
        return self.has_route(address)


@dataclass(frozen=True, slots=True)
class NoSession:
    """The server did not get as far as to be asked about mail. reason: one sentence; reply: when it said why.

    tls_failure: TLS could not be had, or not as it was asked for. is_final: the host will not take mail from us however
    often it is asked; a refused login is our own fault, and not final. transcript: what was said.
    """

    reason: str
    remote: Remote
    reply: Reply | None = None
    tls_failure: TlsFailure | None = None
    is_final: bool = False
    transcript: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """A session. tls_failure: what an opportunistic policy would have wanted, and the mail can go without."""

    session: Session
    tls_failure: TlsFailure | None = None


async def open_session(endpoint: Endpoint, dialing: Dialing, deadline: float) -> Opened | NoSession:
    """Connect, read the greeting, say EHLO, start TLS and log in as the endpoint asks.

    deadline: loop time at which it must be done. Opportunistic TLS that fails leads to a second, plain connection; if
    a good certificate was wished for, first to one that takes any.
    """
    opened = await _open_once(endpoint, dialing, deadline)
    if endpoint.policy.kind is not TlsKind.OPPORTUNISTIC:
        return opened
    failure, weaker = opened.tls_failure, endpoint
    while isinstance(opened, NoSession) and opened.tls_failure is not None:
        weaker = replace(weaker, policy=_weaker(weaker.policy))
        opened = await _open_once(weaker, dialing, deadline)
    return replace(opened, tls_failure=failure or opened.tls_failure)


def _weaker(policy: TlsPolicy) -> TlsPolicy:
    return replace(policy, names=()) if _is_wish(policy) else PLAIN


def _is_wish(policy: TlsPolicy) -> bool:
    """Tell whether an opportunistic policy would like a certificate of a public authority, and says so in names."""
    return policy.kind is TlsKind.OPPORTUNISTIC and bool(policy.names) and not policy.tlsa


async def _open_once(endpoint: Endpoint, dialing: Dialing, deadline: float) -> Opened | NoSession:
    try:
        connection = await _connect(endpoint, dialing, deadline)
    except ConnectionFailed as failure:
        is_tls = isinstance(failure.error, ssl.SSLError)
        return NoSession(failure.reason, endpoint.remote, tls_failure=failure_of(failure.error) if is_tls else None)
    greeter = _Greeter(connection, endpoint, dialing, deadline)
    try:
        result = await greeter.greet()
    except ConnectionFailed as failure:
        result = greeter.lost(failure)
    except BaseException:
        connection.close()
        raise
    if isinstance(result, NoSession):
        connection.close()
        await connection.closed()
        return replace(result, transcript=transcript(greeter.talk))
    return result


async def _connect(endpoint: Endpoint, dialing: Dialing, deadline: float) -> Connection:
    loop = asyncio.get_running_loop()
    is_implicit = endpoint.policy.kind is TlsKind.IMPLICIT
    time_s = min(dialing.timeouts.connect, deadline - loop.time())
    try:
        async with asyncio.timeout(max(0.001, time_s)):
            _, connection = await loop.create_connection(
                lambda: Connection(loop, dialing.burst),
                endpoint.address,
                endpoint.port,
                local_addr=(dialing.source_address, 0) if dialing.source_address else None,
                ssl=dialing.verified if is_implicit else None,
                server_hostname=_reference(endpoint) if is_implicit else None,
            )
    except TimeoutError as error:
        raise ConnectionFailed(f"the mail server could not be connected to within {time_s:.0f} s", error) from error
    except ssl.SSLError as error:
        raise ConnectionFailed(_no_tls(error, endpoint.port), error) from error
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise ConnectionFailed(f"the mail server could not be connected to ({words})", error) from error
    return connection


def _no_tls(error: ssl.SSLError, port: int) -> str:
    """Return why a connection that begins with TLS did not come about."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the mail server could not prove who it is: {words_of(error)}"
    if error.reason in _NOT_TLS:
        return f"the mail server does not speak TLS on port {port} (is it a STARTTLS port?)"
    return f"TLS could not be agreed on with the mail server ({words_of(error)})"


_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
"""What OpenSSL says of an answer that is no TLS; the second from version 3.2 on."""


def _reference(endpoint: Endpoint) -> str:
    """Return the name that the server is asked for (SNI), and that its certificate must have."""
    return endpoint.policy.names[0] if endpoint.policy.names else endpoint.mx_host or endpoint.address


_DEMANDS = {
    "mta-sts": "the recipient domain's MTA-STS policy demands",
    "dane": "the recipient domain's DANE records (TLSA) demand",
    "provider": "the shaping table of this installation demands of this provider",
}


def _demand(policy: TlsPolicy) -> str:
    return _DEMANDS.get(policy.name, "is demanded of this server")


class _Greeter:
    """The beginning of one conversation. is_in_handshake: an opportunistic TLS handshake is what failed.

    talk: what was said, without the login.
    """

    def __init__(self, connection: Connection, endpoint: Endpoint, dialing: Dialing, deadline: float) -> None:
        self.is_in_handshake = False
        self.talk: list[Entry] = []
        self._tls_failure: TlsFailure | None = None
        self._connection = connection
        self._endpoint = endpoint
        self._dialing = dialing
        self._deadline = deadline

    def lost(self, failure: ConnectionFailed) -> NoSession:
        """Return what a lost connection means: within the TLS handshake it is a failure of TLS."""
        remote, policy = self._endpoint.remote, self._endpoint.policy
        if not self.is_in_handshake:
            return NoSession(failure.reason, remote)
        reason = failure.reason
        if policy.is_required:
            reason = f"the mail server could not be reached with the protection that {_demand(policy)}: {reason}"
        return NoSession(reason, remote, tls_failure=failure_of(failure.error))

    async def greet(self) -> Opened | NoSession:
        greeting = await self._reply(self._dialing.timeouts.greeting)
        if greeting.code // 100 != 2:
            return self._unwelcome("the server did not want to talk to us", greeting)
        peer = await self._hello()
        if isinstance(peer, Reply):
            return self._unwelcome("the server did not want to talk to us under our name (EHLO)", peer)
        tls_failure = None
        if self._endpoint.policy.kind not in (TlsKind.PLAIN, TlsKind.IMPLICIT):
            encrypted = await self._start_tls(peer)
            if isinstance(encrypted, NoSession):
                return encrypted
            peer, tls_failure = encrypted, self._tls_failure if encrypted.is_encrypted else NO_STARTTLS
        elif self._endpoint.policy.kind is TlsKind.IMPLICIT:
            peer = replace(peer, is_encrypted=True, is_verified=True)
        if self._endpoint.credentials is not None:
            refusal = await self._log_in(peer, self._endpoint.credentials)
            if refusal is not None:
                return refusal
        session = Session(self._connection, self._endpoint, peer, self._dialing.timeouts, self.talk)
        return Opened(session, tls_failure)

    async def _reply(self, timeout_s: float) -> Reply:
        reply = await self._secret_reply(timeout_s)
        self.talk.append(reply)
        return reply

    async def _secret_reply(self, timeout_s: float) -> Reply:
        left = self._deadline - asyncio.get_running_loop().time()
        return await self._connection.reply(max(0.001, min(timeout_s, left)))

    async def _ask(self, command: bytes, timeout_s: float) -> Reply:
        self.talk.append(command)
        self._write(command)
        return await self._reply(timeout_s)

    def _write(self, line: bytes) -> None:
        if self._connection.has_unread and self._connection.is_open:
            raise ConnectionFailed("the server spoke without being asked")
        self._connection.write(line)

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
        policy = self._endpoint.policy
        if not peer.offers("STARTTLS"):
            return self._no_starttls(None) if policy.is_required else peer
        reply = await self._ask(b"STARTTLS\r\n", self._dialing.timeouts.hello)
        if reply.code != 220:
            return self._no_starttls(reply) if policy.is_required or reply.code == 421 else peer
        refusal = await self._shake_hands(policy)
        if refusal is not None:
            return refusal
        # What was announced in plain text counts for nothing now.
        encrypted = await self._hello()
        self.is_in_handshake = False
        if isinstance(encrypted, Reply):
            return self._no("the server does not accept our name after STARTTLS", encrypted)
        return replace(encrypted, is_encrypted=True, is_verified=policy.is_authenticated)

    def _no_starttls(self, reply: Reply | None) -> NoSession:
        """Without STARTTLS a required policy cannot be met; 421 says that the server goes away."""
        if not self._endpoint.policy.is_required:
            return self._no("the server refused STARTTLS and ended the connection", reply)
        what = "does not offer" if reply is None else "refused"
        reason = f"the mail server {what} encryption (STARTTLS), which {_demand(self._endpoint.policy)}"
        return replace(self._no(reason, reply), tls_failure=NO_STARTTLS)

    async def _shake_hands(self, policy: TlsPolicy) -> NoSession | None:
        """Start TLS as the policy says; return why the server is not to be trusted, if so."""
        is_pkix = policy.kind is TlsKind.PKIX or _is_wish(policy)
        context = self._dialing.verified if is_pkix else self._dialing.opportunistic
        # An opportunistic connection that is lost before the second EHLO is answered was lost to TLS, too.
        self.is_in_handshake = True
        left = max(0.001, self._deadline - asyncio.get_running_loop().time())
        await self._connection.start_tls(context, _reference(self._endpoint), min(self._dialing.timeouts.tls, left))
        self.is_in_handshake = not policy.is_required
        if policy.tlsa and not is_vouched_for(
            self._connection.ssl_object(), policy, self._endpoint.mx_host, self._dialing.now()
        ):
            if policy.kind is not TlsKind.DANE:
                self._tls_failure = DANE_MISMATCH
                return None
            reason = (
                "the mail server's certificate is not the one that its domain publishes in the DNS (DANE), so nothing "
                "was sent to it: either the records are out of date, or somebody else has answered in its place"
            )
            return replace(self._no(reason), tls_failure=DANE_MISMATCH)
        return None

    async def _log_in(self, peer: Peer, credentials: Credentials) -> NoSession | None:
        if not peer.is_verified:
            return self._no("the smarthost is not protected by verified TLS, so no password is sent")
        encryption = self._connection.ssl_object()
        certificate = (encryption.getpeercert(binary_form=True) if encryption else None) or b""
        offered = peer.extensions.get("AUTH", "")
        login = Login(credentials.user, credentials.password, offered, self._dialing.nonce(), certificate)
        step: bytes | LoggedIn | Refused = login.start()
        mechanism = ""
        while isinstance(step, bytes):
            if login.mechanism != mechanism:
                mechanism = login.mechanism
                self.talk.append(f"AUTH {mechanism} [hidden]".encode())
            self._write(step)
            reply = await self._secret_reply(self._dialing.timeouts.hello)
            if reply.code != 334:
                reply = login.without_secrets(reply)
                self.talk.append(reply)
            # Hashing a password takes as long as the server wants: not on the loop.
            step = await asyncio.to_thread(login.take, reply)
        return self._no(step.reason, step.reply) if isinstance(step, Refused) else None
