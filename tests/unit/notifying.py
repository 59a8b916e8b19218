"""An account in memory whose sender is notified, and deliveries as the queue makes them, attempt by attempt."""

from __future__ import annotations

import email
import email.message
import email.policy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from egret.contracts.records import Acceptance, MailFilter, StoredMail
from egret.contracts.settings import Account, RetryPolicy
from egret.core.changes import Change, Claim, Record
from egret.core.compose import Composed
from egret.core.delivery import Attempt, Delivery
from egret.core.dsn import DsnReport
from egret.core.lifecycle import Refusal, apply
from egret.core.outcome import Outcome
from egret.core.retry import DeliveryRetry, next_delivery_attempt
from egret.core.trace import SessionTrace
from egret.memory.blobs import MemoryBlobs
from egret.memory.mailboxes import MemoryMailboxes
from egret.memory.settings import MemorySettings
from egret.memory.store import MemoryMailStore
from egret.usecases.notify import NotifyPorts, notify
from egret.usecases.suppress import Happening
from tests.unit.builders import ACCOUNT, HOUR, NOW, a_delivery, a_message, dsn_in

CONTENT = b"From: app@example.com\r\nMessage-ID: <1@example.com>\r\nSubject: Hello\r\n\r\nGood day.\r\n"
SUBMITTED = {"notify": "SUCCESS,FAILURE,DELAY"}
MINUTE = timedelta(minutes=1)


def changed(delivery: Delivery, change: Change) -> Delivery:
    """Return the delivery after the change."""
    result = apply(delivery, change)
    assert not isinstance(result, Refusal)
    return result


def attempted(delivery: Delivery, *outcomes: Outcome, takes_dsn: bool = False) -> Delivery:
    """Return the delivery after an attempt with each outcome, each when it is due, as the queue makes them."""
    for outcome in outcomes:
        number, at = len(delivery.attempts) + 1, delivery.not_before
        leased = changed(delivery, Claim("unit-1", at, at + HOUR))
        attempt = Attempt(number, at, MINUTE / 60, outcome, SessionTrace(takes_dsn=takes_dsn))
        policy = DeliveryRetry(max_attempts=delivery.max_attempts)
        next_at = next_delivery_attempt(number, at + MINUTE / 60, 0.5, policy)
        delivery = changed(leased, Record(attempt, next_at, at + MINUTE / 60))
    return delivery


def newest(delivery: Delivery) -> Happening:
    """Return the delivery's newest event."""
    return Happening(delivery, delivery.events[-1])


def text_of(raw: bytes) -> str:
    """Return what a person reads of a notification."""
    text = next(email.message_from_bytes(raw, policy=email.policy.default).iter_parts())
    assert isinstance(text, email.message.EmailMessage)
    return str(text.get_content()).replace("\r\n", "\n")


@dataclass
class World:
    """The ports of notify in memory, an account, and its message."""

    store: MemoryMailStore = field(default_factory=MemoryMailStore)
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    settings: MemorySettings = field(default_factory=MemorySettings)
    protected: list[bool | None] = field(default_factory=list)
    """What was asked of TLS for each that was queued."""
    queued: list[tuple[str, str, Composed]] = field(default_factory=list)
    """(key, forward-path, mail) of what was to go by SMTP."""

    def __post_init__(self) -> None:
        """Store account and message."""
        self.mailboxes = MemoryMailboxes(self.store.table)
        self.change_account()
        self.accept()

    def change_account(self, **changes: Any) -> None:
        """Change the account."""
        self.settings.put_account(Account(ACCOUNT, "acme", **changes))

    def accept(self, content: bytes = CONTENT, **changes: Any) -> None:
        """Store the message anew."""
        message = a_message(**({"size_bytes": len(content)} | changes))
        self.store.table.messages.clear()
        self.store.put_message(message, content)
        self.store.accept(Acceptance(message, (a_delivery(),)))

    def notify(self, *happenings: Happening) -> int:
        """Run it."""
        ports = NotifyPorts(
            self.store,
            self.blobs,
            self.mailboxes,
            self.settings,
            "mail.example.com",
            RetryPolicy(),
            self._queue,
        )
        return notify(ports, happenings)

    def _queue(self, account: Account, key: str, mail: Composed, recipient: str, *, require_tls: bool | None) -> None:
        assert account.id == ACCOUNT
        self.protected.append(require_tls)
        self.queued.append((key, recipient, mail))

    def inbox(self) -> list[StoredMail]:
        """Return the account's mails, newest first."""
        return list(self.mailboxes.list(ACCOUNT, MailFilter("Inbox"), "", 100, NOW).items)

    def raw(self) -> bytes:
        """Return the only mail."""
        (mail,) = self.inbox()
        raw = self.blobs.get(mail.blob)
        assert raw is not None
        assert len(raw) == mail.size_bytes
        return raw

    def read(self) -> DsnReport:
        """Return the only mail as our reader reads it."""
        report = dsn_in(self.raw())
        assert report is not None
        return report

    def told(self, delivery: Delivery) -> tuple[str, str, str]:
        """Return (action, status, diagnostic text) that the newest event of the delivery is told with."""
        self.notify(newest(delivery))
        (recipient,) = self.read().recipients
        return recipient.action, recipient.status, recipient.diagnostic_text
