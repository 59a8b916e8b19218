"""A service in memory that has an account with a sending domain, for the tests of the use cases of the API."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from egret.contracts.caller import Caller
from egret.contracts.queues import Hint
from egret.contracts.settings import Account, Installation, Scope, SendingDomain, StoredDkimKey
from egret.contracts.webapi import NameAddress, SendRequest, SendResult
from egret.core.compose import Composed
from egret.core.delivery import Delivery
from egret.core.dkim import dns_record
from egret.core.secrets import Secrets, derive, fromid_keys
from egret.memory.blobs import MemoryBlobs
from egret.memory.clock import FakeClock
from egret.memory.counters import MemoryCounters
from egret.memory.dice import SeededDice
from egret.memory.mailboxes import MemoryMailboxes
from egret.memory.own_fromids import MemoryOwnFromIds
from egret.memory.queue import MemoryQueue
from egret.memory.reports import MemoryReceivedReports
from egret.memory.settings import MemoryKeyWrapper, MemorySettings
from egret.memory.store import MemoryMailStore
from egret.memory.suppressions import MemorySuppressions
from egret.memory.tls import MemoryDomainTls
from egret.memory.units import MemoryUnits
from egret.usecases.accept import SendPorts
from egret.usecases.deliveries import DeliveryPorts
from egret.usecases.domains import PrivateKey
from egret.usecases.internal import InternalMail, send_internal
from egret.usecases.notify import NotifyPorts
from egret.usecases.send import send
from egret.usecases.signing import SigningKeys
from egret.usecases.suppressions import SuppressionPorts
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT

LOGIN = "app@example.com"
OTHER_LOGIN = "app@example.org"
WRAPPER = MemoryKeyWrapper(b"k" * 32)
SECRETS: Secrets = derive("a secret of the installation under test", fromid_keys("another one of its secrets"))


@cache
def private_keys() -> tuple[rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey]:
    """Return a key of each kind, the same for every test of a run."""
    return rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()


@cache
def dkim_keys(domain: str) -> tuple[StoredDkimKey, ...]:
    """Return both keys as the settings of a domain have them."""
    stored = []
    pair: tuple[PrivateKey, PrivateKey] = private_keys()
    for algorithm, key in zip(("rsa", "ed25519"), pair, strict=True):
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        wrapped = WRAPPER.wrap(der, domain)
        stored.append(StoredDkimKey(f"eg-{algorithm}", algorithm, wrapped, dns_record(key.public_key())))
    return tuple(stored)


def an_account(**changes: Any) -> Account:
    """Return the account under test, with the changes."""
    values: dict[str, Any] = {"id": ACCOUNT, "name": "acme", "full_name": "Acme", "addresses": (LOGIN,)}
    return Account(**(values | changes))


def a_domain(**changes: Any) -> SendingDomain:
    """Return the sending domain of the account under test, with the changes."""
    values: dict[str, Any] = {
        "domain": "example.com",
        "account": ACCOUNT,
        "return_path_domain": "bounces.example.com",
        "dkim_keys": dkim_keys("example.com"),
    }
    return SendingDomain(**(values | changes))


def a_request(**changes: Any) -> SendRequest:
    """Return a small request that is accepted, with the changes."""
    values: dict[str, Any] = {"to": people("ann@example.net"), "subject": "Hello", "text": "Good morning.\n"}
    return SendRequest(**(values | changes))


def people(*addresses: str) -> tuple[NameAddress, ...]:
    """Return recipients without names."""
    return tuple(NameAddress(address=address) for address in addresses)


@dataclass
class Service:
    """All ports, in memory; two accounts with a domain each."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    dice: SeededDice = field(default_factory=lambda: SeededDice(1))
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    settings: MemorySettings = field(default_factory=MemorySettings)
    counters: MemoryCounters = field(default_factory=MemoryCounters)
    suppressions: MemorySuppressions = field(default_factory=MemorySuppressions)
    domain_tls: MemoryDomainTls = field(default_factory=MemoryDomainTls)
    received_reports: MemoryReceivedReports = field(default_factory=MemoryReceivedReports)
    hints: MemoryQueue[Hint] = field(default_factory=MemoryQueue)
    units: MemoryUnits = field(default_factory=MemoryUnits)
    installation: Installation = field(default_factory=lambda: Installation("mail.egret.example"))

    def __post_init__(self) -> None:
        self.store = MemoryMailStore(blobs=self.blobs)
        self.mailboxes = MemoryMailboxes(self.store.table)
        self.own_fromids = MemoryOwnFromIds(self.store.table)
        self.keys = SigningKeys(WRAPPER)
        self.settings.put_account(an_account())
        self.settings.put_domain(a_domain())
        self.settings.put_account(an_account(id=OTHER_ACCOUNT, name="other", addresses=(OTHER_LOGIN,)))
        self.settings.put_domain(
            a_domain(
                domain="example.org",
                account=OTHER_ACCOUNT,
                return_path_domain="bounces.example.org",
                dkim_keys=dkim_keys("example.org"),
            )
        )

    @property
    def sending(self) -> SendPorts:
        """The ports of send."""
        return SendPorts(
            store=self.store,
            idempotency=self.store,
            counters=self.counters,
            suppressions=self.suppressions,
            blobs=self.blobs,
            mailboxes=self.mailboxes,
            settings=self.settings,
            hints=self.hints,
            clock=self.clock,
            dice=self.dice,
            keys=self.keys,
            secrets=SECRETS,
            installation=self.installation,
            user_agent="egret/test",
        )

    @property
    def notifying(self) -> NotifyPorts:
        """The ports of notify."""
        return NotifyPorts(
            store=self.store,
            blobs=self.blobs,
            mailboxes=self.mailboxes,
            settings=self.settings,
            hostname=self.installation.hostname,
            retry=self.installation.retry,
            queue_mail=self._queue,
        )

    def _queue(self, account: Account, key: str, mail: Composed, recipient: str, *, require_tls: bool | None) -> None:
        internal = InternalMail(key, mail.headers, mail.body, (recipient,), require_tls=require_tls)
        send_internal(self.sending, account, internal)

    @property
    def delivering(self) -> DeliveryPorts:
        """The ports of the delivery methods."""
        return DeliveryPorts(self.store, self.settings, self.units, self.hints, self.clock, SECRETS.cursor)

    @property
    def suppressing(self) -> SuppressionPorts:
        """The ports of the suppression methods."""
        return SuppressionPorts(self.suppressions, self.clock, self.dice)

    def caller(self, account: str = ACCOUNT) -> Caller:
        """Return a caller with a key of the account's main address."""
        found = self.settings.account(account)
        assert found is not None
        return Caller(found, found.addresses[0], Scope.FULL)

    def change_account(self, **changes: Any) -> None:
        """Change settings of the account under test."""
        self.settings.put_account(replace(self.caller().account, **changes))

    def send(self, idempotency_key: str = "", **changes: Any) -> SendResult:
        """Send `a_request()` with the changes, as the account under test."""
        return send(self.sending, self.caller(), a_request(**changes), idempotency_key)

    def delivery(self, delivery_id: int, account: str = ACCOUNT) -> Delivery:
        """Return a stored delivery."""
        found = self.store.get(account, delivery_id, self.clock.now())
        assert found is not None
        return found

    def content(self, result: SendResult) -> bytes:
        """Return the message that was stored for a result."""
        first = result.submissions[0].queue_msg_id
        found = self.store.content(ACCOUNT, first >> 10 << 10)
        assert found is not None
        return found

    @property
    def stored_count(self) -> int:
        """How many deliveries there are, expanded or planned."""
        return len(self.store.table.deliveries) + len(self.store.table.submissions)
