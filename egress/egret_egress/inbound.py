"""Mail that comes back: an SMTP server that takes only what it knows and says 250 only once the object is stored.

The dialogue is `smtp_server`'s; here is who is a recipient, and where mail goes. Knows recipients by `Recipients`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from egret.contracts.metrics import Metrics, NoMetrics
from egret.contracts.ports import Blobs, Clock, Dice, SettingsReader
from egret.contracts.queues import Inbound, InboundRecipient, pack_inbound
from egret.contracts.settings import Account, SendingDomain
from egret.core import fromid
from egret.core.address import Address, AddressError
from egret.core.errors import EgretError
from egret.core.fromid import FromIdKeys
from egret_egress.esmtp import Mail, Rcpt
from egret_egress.metrics import INBOUND
from egret_egress.smtp_server import NOT_NOW, Challenge, Client, ServerLimits, Service, SmtpServer

log = logging.getLogger(__name__)

POSTMASTER: Final = "postmaster"
ROLES: Final = frozenset({POSTMASTER, "abuse"})
"""Local parts that every domain answers for, in any case (RFC 5321 section 4.5.1, RFC 2142 section 2)."""


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
        found = self._of_address(text, address)
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


class InboundServer(SmtpServer):
    """The server of port 25."""

    def __init__(self, ports: InboundPorts, hostname: str, limits: ServerLimits | None = None) -> None:
        def answered(reply: str) -> None:
            ports.metrics.count(INBOUND, (reply[:3],))

        service = Service(
            hostname,
            converse=lambda client: _Receiving(ports, client),
            extensions=lambda _: ("SMTPUTF8",),
            answered=answered,
        )
        super().__init__(service, limits)


class _Receiving:
    """The conversation with one client."""

    def __init__(self, ports: InboundPorts, client: Client) -> None:
        self._ports = ports
        self._client = client

    async def greet(self) -> str:
        """Be there for everybody."""
        return ""

    async def auth(self, mechanism: str, initial: bytes | None, challenge: Challenge) -> str:
        """Know nobody."""
        return "502 5.5.1 AUTH is not offered"

    async def mail(self, mail: Mail) -> _Incoming:
        """Begin with any sender."""
        return _Incoming(self._ports, self._client, mail)


class _Incoming:
    """One mail that comes in."""

    def __init__(self, ports: InboundPorts, client: Client, mail: Mail) -> None:
        self._ports = ports
        self._client = client
        self._mail = mail
        self._recipients: list[InboundRecipient] = []

    async def rcpt(self, rcpt: Rcpt) -> str:
        """Take whom we know, refuse everybody else at once."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._ports.executor, self._ports.recipients.find, rcpt.forward_path)
        except EgretError:
            log.warning("a recipient cannot be looked up", exc_info=True)
            return NOT_NOW
        if found is None:
            return "550 5.1.1 No such recipient here"
        self._recipients.append(found)
        return "250 2.1.5 OK"

    async def content(self, content: bytes) -> str:
        """Say 250 when the message is stored durably, else ask to come again."""
        now = self._ports.clock.now()
        mail_id = f"{int(now.timestamp() * 1000):011x}{self._ports.dice.octets(8).hex()}"
        inbound = self._envelope(mail_id, now)
        key = f"inbound/{now:%Y-%m-%d}/{mail_id}"
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._ports.executor, self._ports.blobs.put, key, pack_inbound(inbound, content))
        except EgretError:
            log.warning("incoming mail cannot be stored", exc_info=True, extra={"inbound": mail_id})
            return NOT_NOW
        accounts = sorted({recipient.account for recipient in inbound.recipients})
        log.info("received", extra={"inbound": mail_id, "accounts": accounts, "size_bytes": len(content)})
        return f"250 2.0.0 OK {mail_id}"

    def _envelope(self, mail_id: str, now: datetime) -> Inbound:
        return Inbound(
            id=mail_id,
            received_at=now.isoformat(),
            mail_from=self._mail.reverse_path,
            recipients=self._recipients,
            remote_ip=self._client.ip,
            ehlo=self._client.ehlo,
            tls=self._client.tls,
            smtputf8=self._mail.smtputf8,
            require_tls=self._mail.require_tls,
        )
