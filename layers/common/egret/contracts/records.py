"""Records and values that go through the ports: what is stored, asked for and answered, without behaviour of storage.

Instants are aware and UTC. What is kept for long has its wire form in the adapters.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from egret.contracts.queues import Call
from egret.core.delivery import Delivery, Message, State
from egret.core.errors import EgretError
from egret.core.mtasts import StsMode

T = TypeVar("T")


class IdempotencyState(enum.Enum):
    """What an Idempotency-Key was found to be."""

    NEW = "new"
    """Now reserved for the caller, as in flight."""
    DONE = "done"
    """The same request was accepted before: give `response` again."""
    CONFLICT = "conflict"
    """The key was used with another body."""
    IN_FLIGHT = "in flight"


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """A key of an account and what became of its request.

    key_hash, body_hash: SHA-256 hex. response: JSON text, "" in flight.
    token: random, of the request that reserved it: only that request may complete it.
    """

    account: str
    key_hash: str
    body_hash: str
    expires_at: datetime
    token: str
    response: str = ""


@dataclass(frozen=True, slots=True)
class OwnFromId:
    """A fromid that a submitter chose. text: lower case. forget_at: when it may lead to another one."""

    account: str
    text: str
    delivery_id: int
    forget_at: datetime


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What makes a submission accepted, in one atomic write.

    idempotency: the completed record, written in the same transaction; its reservation must still be the caller's.
    sent: the copy in the account's mailbox, put there in the same transaction as by `Mailboxes.put`; its id is new and
    it has no source.
    own_fromid: leads to the one delivery, written in the same transaction; it must not lead to another.
    """

    message: Message
    deliveries: tuple[Delivery, ...]
    idempotency: IdempotencyRecord | None = None
    sent: StoredMail | None = None
    own_fromid: OwnFromId | None = None


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries of an account to list; the default of a field = any.

    recipient: exact address. since <= queued_at < until.
    """

    states: frozenset[State] = frozenset()
    recipient: str = ""
    message_id: int = 0
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a listing; cursor: where it goes on, "" at the end. Opaque, bound to the account by the use case."""

    items: tuple[T, ...]
    cursor: str = ""


class DueKind(enum.StrEnum):
    """What the due index holds."""

    DELIVERY = "delivery"
    SUBMISSION = "submission"
    """A submission of several recipients whose expansion may have been cut short; id = message id."""
    CALL = "call"
    """A webhook call to be made again; id = delivery id, seq = its event."""


@dataclass(frozen=True, slots=True)
class DueEntry:
    """One entry of the due index."""

    kind: DueKind
    account: str
    id: int
    due_at: datetime
    seq: int = 0


@dataclass(frozen=True, slots=True)
class CallResult:
    """One call made. status: HTTP status or 0. error: sentence or "". response: first 512 bytes as text."""

    started_at: datetime
    duration: timedelta
    status: int
    error: str = ""
    response: str = ""


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A webhook call after its latest try: kept for the account's retention.

    state: "delivered", "failed" (given up), "waiting" (due_at says when), "superseded" or "canceled".
    """

    call: Call
    url: str
    event: str
    state: str
    results: tuple[CallResult, ...]
    forget_at: datetime
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Breaker:
    """Failures in a row of one account's URL; while `open_until` lies ahead no call is made."""

    failures: int = 0
    open_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class PostAnswer:
    """What a webhook receiver answered. status 0: no answer, see error. body: at most 512 bytes."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Suspension:
    """Why and until when a unit begins no attempts to a recipient domain ("*" = any) for an account ("" = any).

    only_direct: the domain's own mail servers ask for it, so that what goes through a smarthost need not wait.
    host: not "" = it is about what routes send to this host, whatever the domain; domain is "" then.
    """

    domain: str
    until: datetime
    reason: str
    account: str = ""
    only_direct: bool = False
    host: str = ""

    def covers(self, account: str, domain: str, now: datetime, *, is_direct: bool = True, smarthost: str = "") -> bool:
        """Say whether a delivery of this account to this domain has to wait.

        is_direct: it goes to the MX hosts. smarthost: the host that its route gives.
        """
        if self.host:
            return now < self.until and smarthost == self.host
        is_meant = self.domain in ("*", domain) and self.account in ("", account)
        return now < self.until and is_meant and (is_direct or not self.only_direct)


@dataclass(frozen=True, slots=True)
class Unit:
    """An egress unit as it announces itself.

    url: base URL of its private HTTP endpoint. room: deliveries it would take.
    port25: outbound port 25 (or its smarthost) works, as far as is known. A unit past valid_until is not used; past
    gone_at it is gone for good, since by then it has stopped every transaction by itself.
    """

    id: str
    url: str
    hostname: str
    source_addresses: tuple[str, ...]
    port25: bool
    room: int
    valid_until: datetime
    suspensions: tuple[Suspension, ...] = ()
    handoff_version: int = 1
    """The newest version of `contracts.handoff` that it understands."""
    port25_asked: bool = True
    """False: nobody has tried whether port 25 is open, and it is taken for open."""

    def is_usable(self, now: datetime, *, needs_port25: bool = True) -> bool:
        """May be handed transactions; needs_port25: False for those that go over a smarthost of their own."""
        return (self.port25 or not needs_port25) and self.room > 0 and now < self.valid_until

    def suspends(
        self, account: str, domain: str, now: datetime, *, is_direct: bool = True, smarthost: str = ""
    ) -> bool:
        """Begins no attempts of this account to this domain now; is_direct, smarthost as in `Suspension.covers`."""
        return any(
            one.covers(account, domain, now, is_direct=is_direct, smarthost=smarthost) for one in self.suspensions
        )


UNIT_VALIDITY = timedelta(seconds=60)
"""How long an announcement holds; units renew it every 10 s and start no transaction on one that has run out."""


UNIT_GONE_AFTER = timedelta(minutes=35)
"""After valid_until + this, no transaction of the unit can still be running (the longest takes 30 minutes)."""


class HandoffRefused(EgretError):
    """The unit takes nothing of this (draining, another unit's, malformed), or no connection was made."""


@dataclass(frozen=True, slots=True)
class StoredMail:
    """A message in an account's mailbox.

    id: as `core.ids`, made of received_at. blob: key of the raw message (objects under inbound/ begin with the envelope
    line). to: addresses of To and Cc, the first few. thread: names its conversation within the account.
    """

    account: str
    id: int
    mailbox: str
    blob: str
    size_bytes: int
    received_at: datetime
    mail_from: str = ""
    rcpt_to: str = ""
    header_from: str = ""
    subject: str = ""
    message_id: str = ""
    remote_ip: str = ""
    is_dsn: bool = False
    flags: frozenset[str] = frozenset()
    source: str = ""
    """Id of the incoming mail: the same mail is stored once."""
    to: tuple[str, ...] = ()
    thread: str = ""
    mail_from_validated: bool = False
    msg_from_validated: bool = False
    dkim_domains: tuple[str, ...] = ()
    expires_at: datetime | None = None
    """None = it stays until somebody deletes it."""
    is_news: bool = False
    """The account's incoming webhook hears of it, when it is put."""
    rev: int = 1
    """One higher with each change."""

    def is_expired(self, now: datetime) -> bool:
        """Tell whether its time is over: it counts as absent then."""
        return self.expires_at is not None and self.expires_at <= now


@dataclass(frozen=True, slots=True)
class MailFilter:
    """Which mail of an account to list; the default of a field = any.

    mailbox, thread: exact. from_, to, subject: parts of it, in any case; to: of the envelope's recipient or one in To
    and Cc. flags: all of these; without: none of these. since <= received_at < until.
    """

    mailbox: str = ""
    thread: str = ""
    from_: str = ""
    to: str = ""
    subject: str = ""
    flags: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    is_dsn: bool | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, mail: StoredMail, now: datetime) -> bool:
        """Tell whether a mail is to be listed; what is over is not."""
        return (
            not mail.is_expired(now)
            and self.mailbox in ("", mail.mailbox)
            and self.thread in ("", mail.thread)
            and self.is_dsn in (None, mail.is_dsn)
            and self.flags <= mail.flags
            and self.without.isdisjoint(mail.flags)
            and (self.since is None or self.since <= mail.received_at)
            and (self.until is None or mail.received_at < self.until)
            and self._has_words(mail)
        )

    def _has_words(self, mail: StoredMail) -> bool:
        return (
            _within(self.from_, mail.header_from, mail.mail_from)
            and _within(self.to, mail.rcpt_to, *mail.to)
            and _within(self.subject, mail.subject)
        )


def _within(wanted: str, *texts: str) -> bool:
    folded = wanted.casefold()
    return not folded or any(folded in text.casefold() for text in texts)


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """The MTA-STS policy of a recipient domain, as it was fetched last (RFC 8461).

    domain: A-label. id: of the TXT record that announced it. mx: patterns as `core.mtasts` has them. It counts until
    valid_until = fetched_at + max_age, whatever happens to record and policy host before. last_used_at: when an attempt
    last asked for it, exact to a day; what nobody uses is not kept for ever.
    """

    domain: str
    id: str
    mode: StsMode
    mx: tuple[str, ...]
    max_age: timedelta
    fetched_at: datetime
    valid_until: datetime
    last_used_at: datetime
