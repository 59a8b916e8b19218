"""Mail that comes back: an SMTP server that takes only what it knows and says 250 only once the object is stored.

Implements: RFC 5321 as a receiver, through aiosmtpd (content ends at CRLF.CRLF and nothing else). Knows recipients by
`Recipients`; keeps memory bounded by a budget of bytes for all messages in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv6Network
from typing import Any, Final, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from egret.contracts.metrics import Metrics, NoMetrics
from egret.contracts.ports import Blobs, Clock, Dice, SettingsReader
from egret.contracts.queues import Inbound, InboundRecipient, pack_inbound
from egret.contracts.settings import Account, SendingDomain
from egret.core import fromid
from egret.core.address import Address, AddressError
from egret.core.errors import EgretError
from egret.core.fromid import FromIdKeys
from egret_egress.inbound_content import MAX_LINE_BYTES, ByteBudget, ContentReader, Refused, Share
from egret_egress.metrics import INBOUND

log = logging.getLogger(__name__)

POSTMASTER: Final = "postmaster"
ROLES: Final = frozenset({POSTMASTER, "abuse"})
"""Local parts that every domain answers for, in any case (RFC 5321 section 4.5.1, RFC 2142 section 2)."""
NOT_NOW = "451 4.3.0 Try again later"
CHUNK_BYTES: Final = 1 << 24
"""More than a stream ever holds (twice its limit and one read), so that reading takes all of it."""


@dataclass(frozen=True, slots=True)
class InboundLimits:
    """What the server lets happen at a time.

    message_bytes: of one message (a DSN may carry back the largest message that we send). in_flight_bytes: received of
    all messages under way; each lies in memory three times while it is stored, on an instance of 1 GiB in all.
    connections: over all addresses. peer_*: of one remote address (IPv6: one /64), so that nobody alone keeps everybody
    else out; one of the largest messages. session_s: whole life of a connection; idle_s: between two commands
    (RFC 5321 4.5.3.2.7).
    """

    message_bytes: int = 32 * 1024 * 1024
    in_flight_bytes: int = 48 * 1024 * 1024
    recipients: int = 100
    connections: int = 200
    peer_in_flight_bytes: int = 32 * 1024 * 1024
    peer_connections: int = 20
    session_s: float = 30 * 60
    idle_s: float = 300


class Recipients:
    """Who is known: genuine fromids, login addresses, and those in charge. Blocking; raises Unavailable.

    hostname: ours, at which only those in charge are written to.
    """

    def __init__(self, settings: SettingsReader, keys: FromIdKeys, hostname: str = "") -> None:
        self._settings = settings
        self._keys = keys
        self._hostname = hostname.rstrip(".").lower()

    def find(self, text: str) -> InboundRecipient | None:
        """Return who a forward-path belongs to, None when nobody. text: without <>, as the client wrote it."""
        if text.lower() == POSTMASTER:  # RFC 5321 section 4.5.1: without a domain, too
            return self._in_charge(text, None)
        try:
            address = Address.parse(text)
        except AddressError:
            return None
        found = self._of_unsubscribe(text, address) or self._of_address(text, address)
        return self._of_role(text, address) if found is None and address.local_part.lower() in ROLES else found

    def _of_address(self, text: str, address: Address) -> InboundRecipient | None:
        domain = self._settings.domain_of_return_path(address.domain)
        if domain is not None and (found := self._of_fromid(text, address.local_part, domain.account)):
            return found
        own = self._settings.domain(address.domain)
        if own is not None and own.separator:
            local_part, _, tail = address.local_part.rpartition(own.separator)
            if local_part and (found := self._of_fromid(text, tail, own.account)):
                return found
            base = address.local_part.partition(own.separator)[0]
            return self._of_login(text, address) or self._of_login(text, Address(base or "-", address.domain))
        return self._of_login(text, address)

    def _of_fromid(self, text: str, candidate: str, account: str) -> InboundRecipient | None:
        genuine = fromid.verify(self._keys, candidate)
        # A fromid of one tenant does nothing at another's domain.
        if genuine is None or genuine.account != account:
            return None
        return InboundRecipient(text, genuine.account, genuine.delivery_id)

    def _of_role(self, text: str, address: Address) -> InboundRecipient | None:
        """Return who is in charge of a domain that we take mail for; nobody of any other."""
        domain = address.domain.lower()
        owned = self._settings.domain(domain) or self._settings.domain_of_return_path(domain)
        if owned is None and domain != self._hostname:
            return None
        return self._in_charge(text, owned)

    def _of_unsubscribe(self, text: str, address: Address) -> InboundRecipient | None:
        """Return whose List-Unsubscribe names this address, at a domain of that account."""
        local_part, domain = address.local_part.lower(), address.domain
        if not local_part.startswith(fromid.UNSUBSCRIBE):
            return None
        genuine = fromid.verify(self._keys, local_part.removeprefix(fromid.UNSUBSCRIBE), fromid.Purpose.UNSUBSCRIBE)
        owned = self._settings.domain_of_return_path(domain) or self._settings.domain(domain)
        if owned is None or genuine is None or genuine.account != owned.account:
            return None
        return InboundRecipient(text, genuine.account, genuine.delivery_id, unsubscribes=True)

    def _in_charge(self, text: str, owned: SendingDomain | None) -> InboundRecipient | None:
        """Return the account marked for it, else the domain's owner, else the oldest account: small ones mark nobody.

        None without any account: there is no mailbox at all.
        """
        accounts = sorted(self._settings.accounts(), key=_age)
        marked = next((account.id for account in accounts if account.is_postmaster and not account.disabled), "")
        owner = owned.account if owned is not None else next((account.id for account in accounts), "")
        account = marked or owner
        return InboundRecipient(text, account) if account else None

    def _of_login(self, text: str, address: Address) -> InboundRecipient | None:
        account = self._settings.account_of_address(str(address).lower())
        return None if account is None else InboundRecipient(text, account.id)


def _age(account: Account) -> tuple[bool, float, str]:
    """The disabled last, the oldest first."""
    created = account.created_at.timestamp() if account.created_at is not None else 0.0
    return account.disabled, created, account.id


@dataclass(frozen=True, slots=True)
class InboundPorts:
    """What receiving needs. executor: for the blocking calls."""

    recipients: Recipients
    blobs: Blobs
    clock: Clock
    dice: Dice
    executor: Executor
    metrics: Metrics = field(default_factory=NoMetrics)


class InboundServer:
    """The listener and its connections."""

    def __init__(self, ports: InboundPorts, hostname: str, limits: InboundLimits | None = None) -> None:
        self.limits = limits or InboundLimits()
        self.metrics = ports.metrics
        self.budget = ByteBudget(self.limits.in_flight_bytes, self.limits.peer_in_flight_bytes)
        self.connections: set[asyncio.BaseTransport] = set()
        self.connections_of: Counter[str] = Counter()
        self.all_ended: asyncio.Event | None = None
        self._handler = _Handler(ports, self.limits)
        self._hostname = hostname
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Smtp(self, self._handler, self._hostname), host, port)
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    async def stop(self, grace_s: float) -> None:
        """Stop listening; let connections end by themselves for a while, then cut them."""
        if self._server is None:
            return
        self._server.close()
        if self.connections:
            self.all_ended = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_s):
                    await self.all_ended.wait()
        for transport in list(self.connections):
            transport.close()
        self._server = None


class _Handler:
    """The hooks of aiosmtpd."""

    def __init__(self, ports: InboundPorts, limits: InboundLimits) -> None:
        self._ports = ports
        self._limits = limits

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name)
        self, server: SMTP, session: Session, envelope: _Envelope, address: str, options: list[str]
    ) -> str:
        """Take whom we know, refuse everybody else at once."""
        if len(envelope.recipients) >= self._limits.recipients:
            return "452 4.5.3 Too many recipients"
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._ports.executor, self._ports.recipients.find, address)
        except EgretError:
            log.warning("a recipient cannot be looked up", exc_info=True)
            return NOT_NOW
        if found is None:
            return "550 5.1.1 No such recipient here"
        envelope.recipients.append(found)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: _Envelope) -> str:  # noqa: N802
        """Say 250 when the message is stored durably, else ask to come again."""
        now = self._ports.clock.now()
        mail_id = f"{int(now.timestamp() * 1000):011x}{self._ports.dice.octets(8).hex()}"
        inbound = self._envelope(mail_id, now, session, envelope)
        raw = envelope.original_content or b""
        key = f"inbound/{now:%Y-%m-%d}/{mail_id}"
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._ports.executor, self._ports.blobs.put, key, pack_inbound(inbound, raw))
        except EgretError:
            log.warning("incoming mail cannot be stored", exc_info=True, extra={"inbound": mail_id})
            return NOT_NOW
        accounts = sorted({recipient.account for recipient in inbound.recipients})
        log.info("received", extra={"inbound": mail_id, "accounts": accounts, "size_bytes": len(raw)})
        return f"250 2.0.0 OK {mail_id}"

    def _envelope(self, mail_id: str, now: datetime, session: Session, envelope: _Envelope) -> Inbound:
        return Inbound(
            id=mail_id,
            received_at=now.isoformat(),
            mail_from=(envelope.mail_from or "").removeprefix("<>"),
            recipients=envelope.recipients,
            remote_ip=str(session.peer[0]) if session.peer else "",
            ehlo=str(session.host_name or ""),
        )

    async def handle_exception(self, error: Exception) -> str:
        """Keep our troubles to ourselves: the peer hears that it may come again, the log hears why."""
        log.error("receiving failed", exc_info=error)
        return NOT_NOW


class _Envelope(Envelope):
    """aiosmtpd's, with the recipients as we resolved them; a new one is made for each transaction."""

    def __init__(self) -> None:
        super().__init__()
        self.recipients: list[InboundRecipient] = []


class _Smtp(SMTP):
    """aiosmtpd's server with limits that hold over all connections and for each peer."""

    line_length_limit = MAX_LINE_BYTES

    def __init__(self, owner: InboundServer, handler: _Handler, hostname: str) -> None:
        super().__init__(
            handler,
            hostname=hostname,
            ident="ESMTP",
            data_size_limit=owner.limits.message_bytes,
            enable_SMTPUTF8=True,
            timeout=owner.limits.idle_s,
            loop=asyncio.get_running_loop(),
        )
        self._owner = owner
        self._life: asyncio.TimerHandle | None = None
        self._counted: asyncio.BaseTransport | None = None
        self._peer = ""

    def _create_envelope(self) -> _Envelope:
        return _Envelope()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Turn away whoever is too many."""
        owner = self._owner
        self._peer = _peer_of(transport)
        is_too_many = len(owner.connections) >= owner.limits.connections
        if is_too_many or owner.connections_of[self._peer] >= owner.limits.peer_connections:
            # uvloop's transports are no asyncio.WriteTransport by inheritance.
            cast("asyncio.WriteTransport", transport).write(b"421 4.3.2 Too many connections, try again later\r\n")
            transport.close()
            return
        self._counted = transport
        owner.connections.add(transport)
        owner.connections_of[self._peer] += 1
        self._life = self.loop.call_later(owner.limits.session_s, transport.close)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        if self._counted is None:
            return
        owner = self._owner
        owner.connections.discard(self._counted)
        owner.connections_of[self._peer] -= 1
        if not owner.connections_of[self._peer]:
            del owner.connections_of[self._peer]
        if owner.all_ended is not None and not owner.connections:
            owner.all_ended.set()
        if self._life is not None:
            self._life.cancel()
        super().connection_lost(error)

    def eof_received(self) -> bool | None:
        """Close, too, when the client does: aiosmtpd gives the session up here, and may not have begun it yet."""
        if self._counted is not None:
            super().eof_received()
        return False

    def data_received(self, data: bytes) -> None:
        """Leave alone what was turned away."""
        if self._counted is not None:
            super().data_received(data)

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802 (aiosmtpd's name)
        """Receive content while there is memory for it; aiosmtpd's own needs a hundred times that of short lines."""
        if await self.check_helo_needed():
            return
        envelope = self.envelope
        if envelope is None or not envelope.rcpt_tos or arg:
            await self.push("501 Syntax: DATA" if arg else "503 Error: need RCPT command")
            return
        if not self._owner.budget.has_room(self._peer, _announced(envelope)):
            await self._answer(Refused.NO_MEMORY.value)
            return
        share = Share(self._owner.budget, self._peer)
        try:
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            status = await self._receive(ContentReader(self._owner.limits.message_bytes, share))
        finally:
            share.give_back()
        self.envelope = self._create_envelope()
        await self._answer(status)

    async def _answer(self, reply: str) -> None:
        """Say what becomes of a message, and count it."""
        self._owner.metrics.count(INBOUND, (reply[:3],))
        await self.push(reply)

    async def _receive(self, reader: ContentReader) -> str:
        """Read to the end of the content and have it stored; return the reply."""
        rest = None
        while rest is None:
            chunk = await self._reader.read(CHUNK_BYTES)
            if not chunk:  # a connection that ends cancels this; should it not, nobody hears the reply
                raise ConnectionError("the connection ended within the content")
            rest = reader.feed(chunk)
            self._reset_timeout()
        if rest:
            # The chunk was all there was: what is put back stands before everything that comes.
            self._reader.feed_data(rest)
        content = reader.take()
        if isinstance(content, Refused):
            return content.value
        assert self.envelope is not None  # noqa: S101
        self.envelope.content = self.envelope.original_content = content
        del content
        return str(await self._call_handler_hook("DATA"))


def _peer_of(transport: asyncio.BaseTransport) -> str:
    """Return what counts as one peer: an IPv4 address, or the /64 of an IPv6 one."""
    peername = transport.get_extra_info("peername")
    host = str(peername[0]).partition("%")[0] if peername else ""
    return str(IPv6Network((host, 64), strict=False)) if ":" in host else host


def _announced(envelope: Any) -> int:
    """Return the SIZE that the client gave at MAIL; 0 when it gave none."""
    for option in envelope.mail_options:
        keyword, _, value = str(option).partition("=")
        if keyword.upper() == "SIZE" and value.isascii() and value.isdigit():
            return int(value[:12])
    return 0
