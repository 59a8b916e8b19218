"""Mail that comes back: an SMTP server that takes only what it knows and says 250 only once the object is stored.

The dialogue is `smtp_dialogue`'s; here is who is a recipient, and where mail goes. Knows recipients by `Recipients`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from msgspec import structs

from egret.contracts.metrics import Metrics, NoMetrics
from egret.contracts.ports import Blobs, Clock, Dice, SettingsReader
from egret.contracts.queues import Inbound, InboundRecipient, pack_inbound
from egret.contracts.reports import DmarcEvaluations
from egret.contracts.settings import SendingDomain
from egret.contracts.verdicts import Verdicts
from egret.core import fromid
from egret.core.address import Address, AddressError
from egret.core.errors import EgretError
from egret.core.fromid import FromIdKeys
from egret.usecases.dmarc_evaluations import evaluate
from egret.usecases.postmaster import age, postmaster
from egret_egress.esmtp import Mail, Rcpt
from egret_egress.inbound_trace import MAX_HEADER_BYTES, Arrival, header_size, is_looping, trace, without_claims
from egret_egress.judging import Judge
from egret_egress.metrics import INBOUND
from egret_egress.rates import Rate, Rates
from egret_egress.smtp_limits import ServerLimits
from egret_egress.smtp_server import SmtpServer
from egret_egress.smtp_service import NOT_NOW, Challenge, Client, Service
from egret_egress.spf_check import Sender, Spf

log = logging.getLogger(__name__)

POSTMASTER: Final = "postmaster"
ROLES: Final = frozenset({POSTMASTER, "abuse"})
"""Local parts that every domain answers for, in any case (RFC 5321 section 4.5.1, RFC 2142 section 2)."""
TOO_MANY_UNKNOWN: Final = "421 4.7.0 Too many unknown recipients, try again later"
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)


OwnLookup = Callable[[str, str], int]


class Recipients:
    """Who is known: genuine fromids, login addresses, and those in charge. Blocking; raises Unavailable.

    hostname: ours, at which only those in charge are written to. own: the delivery that a fromid which a submitter of
    the account chose leads to, by account and text in lower case, 0 = none.
    """

    def __init__(
        self, settings: SettingsReader, keys: FromIdKeys, hostname: str = "", own: OwnLookup | None = None
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._own = own
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
            if local_part and (found := self._of_genuine(text, tail, own.account)):
                return found
            if found := self._of_own(text, address.local_part.partition(own.separator)[2], own.account):
                return found
            base = address.local_part.partition(own.separator)[0]
            return self._of_login(text, address) or self._of_login(text, Address(base or "-", address.domain))
        return self._of_login(text, address)

    def _of_fromid(self, text: str, candidate: str, account: str) -> InboundRecipient | None:
        return self._of_genuine(text, candidate, account) or self._of_own(text, candidate, account)

    def _of_own(self, text: str, candidate: str, account: str) -> InboundRecipient | None:
        """Return whose delivery a fromid of the submitter's own leads to; relays may have changed its case."""
        delivery = self._own(account, candidate.lower()) if self._own is not None and candidate else 0
        return InboundRecipient(text, account, delivery) if delivery else None

    def _of_genuine(self, text: str, candidate: str, account: str) -> InboundRecipient | None:
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
        accounts = self._settings.accounts()
        if (marked := postmaster(accounts)) is not None:
            return InboundRecipient(text, marked.id)
        oldest = min(accounts, key=age, default=None)
        account = owned.account if owned is not None else oldest.id if oldest is not None else ""
        return InboundRecipient(text, account) if account else None

    def _of_login(self, text: str, address: Address) -> InboundRecipient | None:
        account = self._settings.account_of_address(str(address).lower())
        return None if account is None else InboundRecipient(text, account.id)


@dataclass(frozen=True, slots=True)
class InboundPorts:
    """What receiving needs.

    executor: for the blocking calls. judge: None = nobody looks at who sent a mail. evaluations: where it is noted what
    DMARC had refused, for the reports to its domain; what is taken is noted by who takes it in. None = no reports.
    """

    recipients: Recipients
    blobs: Blobs
    clock: Clock
    dice: Dice
    executor: Executor
    metrics: Metrics = field(default_factory=NoMetrics)
    judge: Judge | None = None
    evaluations: DmarcEvaluations | None = None


@dataclass(frozen=True, slots=True)
class InboundPolicy:
    """What is taken of whom.

    rejects: mail that fails DMARC is refused where its domain asks for that, and mail without exactly one From domain.
    has_requiretls: REQUIRETLS is offered. unproven_recipients: of one mail whose sender SPF does not vouch for.
    unknown_recipients: refused in one connection before it ends. messages, unknown: of networks, in a minute
    and in an hour.
    """

    rejects: bool = False
    has_requiretls: bool = True
    unproven_recipients: int = 10
    unknown_recipients: int = 20
    messages: tuple[Rate, ...] = (Rate(MINUTE, (600, 1800, 5400)), Rate(HOUR, (6_000, 18_000, 54_000)))
    unknown: tuple[Rate, ...] = (Rate(MINUTE, (60, 180, 540)), Rate(HOUR, (300, 900, 2700)))


class InboundServer(SmtpServer):
    """The server of port 25. tls: None = TLS is not offered."""

    def __init__(
        self,
        ports: InboundPorts,
        hostname: str,
        limits: ServerLimits | None = None,
        policy: InboundPolicy | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        limits = limits or ServerLimits()
        door = _Door(ports, hostname, policy or InboundPolicy(), limits.recipients)
        service = Service(
            hostname,
            converse=lambda client: _Receiving(door, client),
            extensions=door.extensions,
            tls=tls,
            auth_needs_tls=False,  # there is none, with TLS or without
            answered=lambda reply: ports.metrics.count(INBOUND, (reply[:3],)),
        )
        super().__init__(service, limits)


class _Door:
    """What all connections share."""

    def __init__(self, ports: InboundPorts, hostname: str, policy: InboundPolicy, recipients: int) -> None:
        self.ports = ports
        self.hostname = hostname
        self.policy = policy
        self.messages = Rates(policy.messages, ports.clock)
        self.unknown = Rates(policy.unknown, ports.clock)
        self._limits = f"LIMITS RCPTMAX={recipients}"

    def extensions(self, client: Client) -> tuple[str, ...]:
        """Return the lines of EHLO."""
        has_requiretls = self.policy.has_requiretls and bool(client.tls)
        return ("SMTPUTF8", self._limits, *(("REQUIRETLS",) if has_requiretls else ()))


class _Receiving:
    """The conversation with one client."""

    def __init__(self, door: _Door, client: Client) -> None:
        self.door = door
        self.client = client
        self.unknown = 0
        self._incoming: _Incoming | None = None

    async def greet(self) -> str:
        """Be there for everybody who does not try out addresses."""
        return TOO_MANY_UNKNOWN if self.door.unknown.is_over(self.client.ip) else ""

    async def auth(self, mechanism: str, initial: bytes | None, challenge: Challenge) -> str:
        """Know nobody."""
        return "502 5.5.1 AUTH is not offered"

    async def mail(self, mail: Mail) -> _Incoming | str:
        """Begin with any sender."""
        if self.door.messages.is_over(self.client.ip):
            return "450 4.7.1 Too many messages from your network, try again later"
        if self._incoming is not None:
            self._incoming.drop()
        self._incoming = _Incoming(self, mail)
        return self._incoming


class _Incoming:
    """One mail that comes in."""

    def __init__(self, session: _Receiving, mail: Mail) -> None:
        self._session = session
        self._door = session.door
        self._ports = session.door.ports
        self._client = session.client
        self._mail = mail
        self._recipients: list[InboundRecipient] = []
        self._spf: asyncio.Task[Spf] | None = None

    async def rcpt(self, rcpt: Rcpt) -> str:
        """Take whom we know, refuse everybody else at once."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._ports.executor, self._ports.recipients.find, rcpt.forward_path)
        except EgretError:
            log.warning("a recipient cannot be looked up", exc_info=True)
            return NOT_NOW
        if found is None:
            return self._unknown()
        if len(self._recipients) >= self._door.policy.unproven_recipients and not await self._is_proven():
            return "452 4.5.3 Too many recipients for a sender without SPF"
        if not self._recipients:
            # From here on it costs us look-ups, whether or not its content ever comes.
            self._door.messages.count(self._client.ip)
        self._recipients.append(found)
        if self._spf is None and self._ports.judge is not None:
            # While the client goes on, for as long as nobody is waiting.
            sender = Sender(self._client.ip, self._client.ehlo, self._mail.reverse_path)
            self._spf = loop.create_task(self._ports.judge.spf(sender))
        return "250 2.1.5 OK"

    def drop(self) -> None:
        """Look no more at who sent it: it has ended, or will never be brought."""
        if self._spf is not None:
            self._spf.cancel()

    def _unknown(self) -> str:
        self._door.unknown.count(self._client.ip)
        self._session.unknown += 1
        is_guessing = self._session.unknown >= self._door.policy.unknown_recipients
        if is_guessing or self._door.unknown.is_over(self._client.ip):
            return TOO_MANY_UNKNOWN
        return "550 5.1.1 No such recipient here"

    async def _is_proven(self) -> bool:
        return self._spf is None or (await self._spf).result == "pass"

    async def content(self, content: bytes) -> str:
        """Say 250 when the message is stored durably, else ask to come again."""
        loop = asyncio.get_running_loop()
        refused = await loop.run_in_executor(self._ports.executor, _refusal, content, self._door.hostname)
        if refused:
            return refused
        verdicts = await self._verdicts(content)
        if verdicts is not None and self._is_rejected(verdicts):
            await loop.run_in_executor(self._ports.executor, self._note_rejected, verdicts)
            return _rejection(verdicts)
        arrival = self._arrival()
        inbound = self._envelope(arrival, verdicts)
        key = f"inbound/{arrival.at:%Y-%m-%d}/{arrival.id}"

        def store() -> None:
            # In one step: each further copy of a large message is one that others have no memory for.
            head = pack_inbound(inbound, trace(arrival, verdicts))
            self._ports.blobs.put(key, b"".join([head, *without_claims(content, arrival.hostname)]))

        try:
            await loop.run_in_executor(self._ports.executor, store)
        except EgretError:
            log.warning("incoming mail cannot be stored", exc_info=True, extra={"inbound": arrival.id})
            return NOT_NOW
        accounts = sorted({recipient.account for recipient in inbound.recipients})
        dmarc = verdicts.dmarc if verdicts is not None else ""
        size = len(content)
        log.info("received", extra={"inbound": arrival.id, "accounts": accounts, "size_bytes": size, "dmarc": dmarc})
        return f"250 2.0.0 OK {arrival.id}"

    async def _verdicts(self, content: bytes) -> Verdicts | None:
        if self._ports.judge is None or self._spf is None:
            return None
        return await self._ports.judge.verdicts(self._client.ip, await self._spf, content)

    def _is_rejected(self, verdicts: Verdicts) -> bool:
        """Tell whether the From domain wants it refused, or there is none to ask, and it is no answer to what we sent.

        Else a second From would be the way round every policy (RFC 9989 section 11.5).
        """
        is_failed = verdicts.dmarc == "permerror" or (verdicts.dmarc == "fail" and verdicts.policy == "reject")
        return is_failed and self._door.policy.rejects and not any(one.delivery_id for one in self._recipients)

    def _note_rejected(self, verdicts: Verdicts) -> None:
        """Note for the report what is refused; it is refused whether or not that could be noted."""
        if self._ports.evaluations is None:
            return
        arrival = self._arrival()
        envelope = self._envelope(arrival, structs.replace(verdicts, disposition="reject"))
        try:
            evaluate(self._ports.evaluations, envelope, arrival.at)
        except EgretError:
            log.warning("refused mail is not noted", exc_info=True, extra={"inbound": arrival.id})

    def _arrival(self) -> Arrival:
        now = self._ports.clock.now()
        return Arrival(
            id=f"{int(now.timestamp() * 1000):011x}{self._ports.dice.octets(8).hex()}",
            at=now,
            hostname=self._door.hostname,
            ip=self._client.ip,
            ehlo=self._client.ehlo,
            is_extended=self._client.is_extended,
            tls=self._client.tls,
            smtputf8=self._mail.smtputf8,
            require_tls=self._mail.require_tls,
            mail_from=self._mail.reverse_path,
            recipient=self._recipients[0].address if len(self._recipients) == 1 else "",
        )

    def _envelope(self, arrival: Arrival, verdicts: Verdicts | None) -> Inbound:
        return Inbound(
            id=arrival.id,
            received_at=arrival.at.isoformat(),
            mail_from=arrival.mail_from,
            recipients=self._recipients,
            remote_ip=arrival.ip,
            ehlo=arrival.ehlo,
            tls=arrival.tls,
            verdicts=verdicts,
            smtputf8=arrival.smtputf8,
            require_tls=arrival.require_tls,
        )


def _refusal(content: bytes, hostname: str) -> str:
    """Return the reply to content that is not taken, "" to all other."""
    if header_size(content) > MAX_HEADER_BYTES:
        return "554 5.6.0 The header of the message is too large"
    return "554 5.4.6 The message goes round in a loop" if is_looping(content, hostname) else ""


def _rejection(verdicts: Verdicts) -> str:
    """Return the reply to mail that DMARC has refused."""
    if verdicts.dmarc == "permerror":
        return "550 5.7.1 DMARC needs one From field with an address, or several of one domain"
    return f"550 5.7.1 DMARC of {verdicts.header_from} fails, and its policy is to reject"
