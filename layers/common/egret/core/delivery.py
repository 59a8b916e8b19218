"""A delivery: all tries to bring one message to one recipient. A message: what they carry."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from egret.core.events import Event
from egret.core.ids import index_of, message_of
from egret.core.outcome import Outcome
from egret.core.trace import NO_TRACE, SessionTrace

UNSEEN_RETENTION = timedelta(days=7)
"""Terminal deliveries stay at least this long, unseen if need be, for late DSNs and replay."""
MAX_ATTEMPTS = 8
"""Attempts unless the submission says otherwise (the reference's number)."""


class State(enum.StrEnum):
    """The states of a delivery, as the API shows them."""

    QUEUED = "queued"
    HELD = "held"
    ATTEMPTING = "attempting"
    DELIVERED = "delivered"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        """No further attempt will be made."""
        return self in TERMINAL


TERMINAL = frozenset({State.DELIVERED, State.FAILED, State.SUPPRESSED, State.CANCELED})


class Lease(msgspec.Struct, frozen=True, gc=False):
    """The right of one egress unit to make one attempt. After `until` the attempt may be asked of that unit again."""

    attempt: int
    unit: str
    until: datetime


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One finished try; the first has number 1."""

    number: int
    started_at: datetime
    duration: timedelta
    outcome: Outcome
    trace: SessionTrace = NO_TRACE


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One recipient of one message, as stored.

    account: account id. id: below 2^53. recipient: forward-path in wire form without <>. domain: its A-label domain.
    reverse_path: without <>, "" is the null reverse-path. fromid: "" where the account does not use it.
    not_before: no attempt earlier. due_at: when the sweep looks at it, None when it never need.
    expires_at: maximum age. held_at: since when on hold. ended_at: when it became terminal.
    rev: grows with each write, and is the condition of the next one.
    """

    account: str
    id: int
    recipient: str
    domain: str
    reverse_path: str
    fromid: str
    queued_at: datetime
    not_before: datetime
    expires_at: datetime
    retention: timedelta
    due_at: datetime | None = None
    state: State = State.QUEUED
    max_attempts: int = MAX_ATTEMPTS
    lease: Lease | None = None
    attempts: tuple[Attempt, ...] = ()
    events: tuple[Event, ...] = ()
    rev: int = 1
    held_at: datetime | None = None
    is_released: bool = False
    """A person let it go: rules that were there no longer hold it."""
    ended_at: datetime | None = None
    waiting: str = ""
    """Why it was put off without an attempt, one sentence, until the next attempt; `not_before` says until when."""
    notify: str = ""
    """NOTIFY of the submission (RFC 3461 section 4.1), in upper case; "" = not given."""
    orcpt: str = ""
    """ORCPT as it was given, `type;xtext` (RFC 3461 section 4.2); "" = not given."""

    @property
    def message_id(self) -> int:
        """The id of the message item that this delivery carries."""
        return message_of(self.id)

    @property
    def index(self) -> int:
        """Its position among the recipients of the submission."""
        return index_of(self.id)

    @property
    def event_seq(self) -> int:
        """The number of the newest event, 0 when there is none."""
        return self.events[-1].seq if self.events else 0

    @property
    def forget_at(self) -> datetime | None:
        """When storage may drop it, None while it is alive."""
        return self.ended_at + max(self.retention, UNSEEN_RETENTION) if self.ended_at else None

    def is_forgotten(self, now: datetime) -> bool:
        """Counts as absent for everything, whether or not storage has dropped it yet."""
        return self.forget_at is not None and self.forget_at <= now

    def is_visible(self, now: datetime) -> bool:
        """May be shown to its account: alive, or within the account's own retention."""
        return self.ended_at is None or now < self.ended_at + self.retention


class Message(msgspec.Struct, frozen=True, gc=False):
    """The facts of a submission: written once, with the content beside them.

    id: as `core.ids` makes them. message_id: the Message-ID header with <>. login: the login address that sent it.
    header_from: the From address. recipients: forward-paths in order, so that recipient i is delivery i.
    size_bytes: of the content that goes over the wire. extra: the submitter's metadata, echoed in events.
    require_tls: None = the recipient's policy decides. smtputf8: the content needs SMTPUTF8 (RFC 6531).
    ret, envid: RET and ENVID of the submission (RFC 3461 sections 4.3 and 4.4), ENVID decoded; "" = not given.
    future_release: what was asked for (RFC 4865), `for;seconds` or `until;date-time`, "" = nothing.
    mail_from: reverse-path that was given with SMTP, "" = null, or it did not come by SMTP.
    """

    account: str
    id: int
    message_id: str
    subject: str
    login: str
    header_from: str
    recipients: tuple[str, ...]
    queued_at: datetime
    size_bytes: int
    smtputf8: bool = False
    require_tls: bool | None = None
    extra: Mapping[str, str] = {}
    ret: str = ""
    envid: str = ""
    future_release: str = ""
    mail_from: str = ""
