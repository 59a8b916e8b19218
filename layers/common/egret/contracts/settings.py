"""Tenants and their settings, as stored in the settings table and read through a short cache."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime, timedelta


class Scope(enum.StrEnum):
    """What an API key may do."""

    FULL = "full"
    SEND = "send"
    """Send, UploadCreate and the delivery methods of what was sent; no mailboxes, no suppression changes."""
    READ = "read"
    """Everything that changes nothing."""


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where an account hears of its deliveries.

    url: http(s). authorization: value of that header, "" for none. events: names, empty = all of the reference's.
    secrets: `whsec_…`, newest first; all sign, so that a rotation loses nothing. in_order: every event, one after the
    other, instead of the newest only. disabled: a 410 answer stops calls until the webhook is set again.
    """

    url: str
    authorization: str = ""
    events: frozenset[str] = frozenset()
    secrets: tuple[str, ...] = ()
    in_order: bool = False
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """A tenant. id: 8 characters of lower-case base32, random; name: chosen by the operator, unique."""

    id: str
    name: str
    full_name: str = ""
    addresses: tuple[str, ...] = ()
    """Login addresses in canonical form; the first is the main one. Mail to them lands in the account's mailbox."""
    uses_fromid: bool = True
    messages_per_day: int = 1000
    """Recipient deliveries per UTC day, over all paths."""
    keep_deliveries: timedelta = timedelta(days=30)
    keep_calls: timedelta = timedelta(days=7)
    idempotency_window: timedelta = timedelta(hours=24)
    """How long an Idempotency-Key is remembered, up to 7 days."""
    webhook: WebhookSettings | None = None
    incoming_webhook: WebhookSettings | None = None
    """Where it hears of mail that comes in; `events` and `in_order` mean nothing here."""
    keep_mail: timedelta = timedelta(0)
    """How long mail stays in its mailboxes, 0 = until somebody deletes it."""
    dsn_to_mailbox: bool = True
    """DSNs about its failed, delayed and suppressed deliveries are put into its Inbox."""
    unsubscribe: bool = False
    """Send adds List-Unsubscribe (RFC 8058) unless a call says otherwise; a message then has one recipient."""
    keeps_extra_headers: bool = False
    """X-Mox-Extra-* fields of submitted mail stay in it."""
    is_postmaster: bool = False
    disabled: bool = False
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key. Only its SHA-256 is stored, and it is found by that; login: the login address it belongs to."""

    hash: str
    account: str
    login: str
    scope: Scope = Scope.FULL
    name: str = ""
    created_at: datetime | None = None
    last_used_at: datetime | None = None
    """Exact to an hour, so that using a key seldom costs a write."""


@dataclass(frozen=True, slots=True)
class StoredDkimKey:
    """A DKIM key.

    wrapped: private key, PKCS8 DER, encrypted by the key wrapper. public_record: TXT value to publish.
    """

    selector: str
    algorithm: str
    """"rsa" or "ed25519"."""
    wrapped: bytes
    public_record: str


@dataclass(frozen=True, slots=True)
class SendingDomain:
    """A domain that an account sends from.

    domain, return_path_domain: A-labels. separator: set when the domain's MX is Egret, the reverse-path is then
    `local<separator>fromid@domain`; "" means `fromid@return_path_domain`.
    """

    domain: str
    account: str
    return_path_domain: str
    dkim_keys: tuple[StoredDkimKey, ...] = ()
    separator: str = ""
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class HoldRule:
    """Mail that is to wait; the fields given must all match, none given matches everything.

    account: account id. sender, recipient: an address (a@b) or a domain, lower-case A-label.
    """

    id: str
    account: str = ""
    sender: str = ""
    recipient: str = ""
    created_at: datetime | None = None

    def matches(self, account: str, header_from: str, recipient: str) -> bool:
        """Tell whether mail of this account, From address and recipient address is to wait."""
        return (
            self.account in ("", account)
            and _address_matches(self.sender, header_from)
            and _address_matches(self.recipient, recipient)
        )


def _address_matches(pattern: str, address: str) -> bool:
    if not pattern:
        return True
    lowered = address.lower()
    return lowered == pattern if "@" in pattern else lowered.rpartition("@")[2] == pattern


class SmarthostTls(enum.StrEnum):
    """How the way to a smarthost is protected."""

    STARTTLS = "starttls"
    """STARTTLS or nothing, with a certificate of a public authority for its name."""
    IMPLICIT = "implicit"
    """TLS from the first byte (RFC 8314), with such a certificate; the port is usually 465."""
    UNVERIFIED = "unverified"
    """STARTTLS or nothing, whoever answers."""
    NONE = "none"
    """Plain text, for a host beside us."""

    @property
    def is_verified(self) -> bool:
        """The smarthost must prove who it is."""
        return self in (SmarthostTls.STARTTLS, SmarthostTls.IMPLICIT)


@dataclass(frozen=True, slots=True)
class Direct:
    """To the MX hosts of the recipient's domain, over both families of addresses or only one."""

    disable_ipv4: bool = False
    disable_ipv6: bool = False


@dataclass(frozen=True, slots=True)
class Smarthost:
    """To one host that brings it on. host: A-label name, or IP address.

    user: "" = no login. password: encrypted by the key wrapper in the context `Transport.context`, b"" without a user.
    """

    host: str
    port: int = 587
    tls: SmarthostTls = SmarthostTls.STARTTLS
    user: str = ""
    password: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Fail:
    """To nobody: each attempt fails with this SMTP code, for good with 5yz, for the time being with 4yz."""

    code: int = 554
    message: str = "Mail of this kind is not sent."


@dataclass(frozen=True, slots=True)
class Transport:
    """A way for mail, which routes name (`core.routing.Route`). name: lower-case letters, digits and hyphens."""

    name: str
    way: Direct | Smarthost | Fail

    @property
    def context(self) -> str:
        """What its password is bound to when it is encrypted; no domain has a colon in it."""
        return f"transport:{self.name}"


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address that an account's mail no longer goes to.

    base_address: `Address.base_address()`, the key. kind: "bounce", "complaint", "unsubscribe" or "manual".
    source_event: id of the event that put it here, "" if there is none. evidence: what was said or done, in its own
    words, for those who doubt it. expires_at: from then on the entry counts as absent, None = it stays.
    removed_at: set when a person took it off; the entry then only keeps a replay from putting it back.
    """

    account: str
    id: int
    base_address: str
    original_address: str
    created_at: datetime
    manual: bool = False
    reason: str = ""
    kind: str = "bounce"
    source_event: str = ""
    removed_at: datetime | None = None
    evidence: str = ""
    expires_at: datetime | None = None

    def is_active_at(self, now: datetime) -> bool:
        """Mail to it is refused."""
        return self.removed_at is None and not self.has_expired(now)

    def has_expired(self, now: datetime) -> bool:
        """It was for a time, and the time is over."""
        return self.expires_at is not None and self.expires_at <= now

    def gives_way_to(self, other: Suppression) -> bool:
        """Tell whether another entry of the address, an event of old replayed perhaps, may take the place of this one.

        One that was removed gives way to what happened later. An active one gives way to what came later and lasts
        longer, and to the recipient's own word: who takes off what a bounce has left must still see that.
        """
        if self.removed_at is not None:
            return self.removed_at <= other.created_at
        if self.created_at > other.created_at:
            return False
        if other.is_of_recipient and not self.is_of_recipient:
            return True
        return self.expires_at is not None and (other.expires_at is None or self.expires_at < other.expires_at)

    @property
    def is_of_recipient(self) -> bool:
        """The recipient wants no mail."""
        return self.kind in ("complaint", "unsubscribe")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long a delivery is tried; a setting of the installation."""

    base: timedelta = timedelta(minutes=7.5)
    max_attempts: int = 8
    max_age: timedelta = timedelta(hours=72)
    lease: timedelta = timedelta(minutes=40)
    """Longer than the longest transaction (30 min in the engine) and its wait for a slot."""
    hint_grace: timedelta = timedelta(seconds=90)


DEFAULT_RETRY = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Installation:
    """Facts of this deployment.

    hostname: the egress's public name (EHLO, Received, Reporting-MTA, Message-ID of accounts without a domain).
    max_message_bytes: of a composed message. local: local mode (loopback webhooks allowed).
    pedantic: MessageGet refuses mail that the standards do not allow, instead of making the best of it.
    public_url: https URL of the API for links in mail, "" = that at which it is called.
    """

    hostname: str
    max_message_bytes: int = 25 * 1024 * 1024
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    local: bool = False
    pedantic: bool = False
    public_url: str = ""
