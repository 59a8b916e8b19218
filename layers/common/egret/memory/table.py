"""The mail table in memory: what the adapters of messages, deliveries and webhook calls share, under one lock."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime

from egret.contracts.records import Breaker, CallRecord, IdempotencyRecord, OwnFromId, StoredMail
from egret.contracts.stream import MailRecord, StreamRecord
from egret.core.delivery import Delivery, Message

Key = tuple[str, int]
"""(account, id)."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """Facts and content: bytes in the table, or the key (str) of a blob."""

    message: Message
    content: bytes | str


@dataclass(frozen=True, slots=True)
class Submission:
    """The deliveries that a submission of several recipients committed, until all are expanded."""

    deliveries: tuple[Delivery, ...]
    repair_at: datetime


@dataclass(slots=True)
class MailTable:
    """The items by key. Every read and write of more than one step holds `lock`."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    messages: dict[Key, StoredMessage] = field(default_factory=dict)
    submissions: dict[Key, Submission] = field(default_factory=dict)
    deliveries: dict[Key, Delivery] = field(default_factory=dict)
    idempotency: dict[tuple[str, str], IdempotencyRecord] = field(default_factory=dict)
    calls: dict[tuple[str, int, int], CallRecord] = field(default_factory=dict)
    breakers: dict[tuple[str, str], Breaker] = field(default_factory=dict)
    mails: dict[Key, StoredMail] = field(default_factory=dict)
    mail_sources: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """Id by (account, source, rcpt_to) of every mail with a source, removed ones too."""
    removed_mails: set[Key] = field(default_factory=set)
    threads: dict[tuple[str, str], str] = field(default_factory=dict)
    """Thread by (account, Message-ID)."""
    own_mailboxes: set[tuple[str, str]] = field(default_factory=set)
    """(account, name)."""
    own_fromids: dict[tuple[str, str], OwnFromId] = field(default_factory=dict)
    """By account and text."""
    stream: list[StreamRecord] = field(default_factory=list)
    """Every change of a delivery, oldest first: what the table's change stream carries."""
    mail_stream: list[MailRecord] = field(default_factory=list)
    """Every change of a mail in a mailbox, which the same stream carries."""

    def write(self, delivery: Delivery) -> None:
        """Put a delivery in the place of what is there; one record of the stream."""
        key = (delivery.account, delivery.id)
        self.stream.append(StreamRecord(self.deliveries.get(key), delivery))
        self.deliveries[key] = delivery

    def put_mail(self, mail: StoredMail) -> bool:
        """Store a mail unless its source and rcpt_to, or its id, are there."""
        key, source = (mail.account, mail.id), (mail.account, mail.source, mail.rcpt_to)
        with self.lock:
            if key in self.mails or source in self.mail_sources:
                return False
            if mail.source:
                self.mail_sources[source] = mail.id
            self.write_mail(mail)
            return True

    def write_mail(self, mail: StoredMail) -> None:
        """Put a mail in the place of what is there; one record of the stream."""
        key = (mail.account, mail.id)
        self.mail_stream.append(MailRecord(self.mails.get(key), mail))
        self.mails[key] = mail

    def drop_mail(self, mail: StoredMail) -> None:
        """Remove a mail; one record of the stream."""
        del self.mails[mail.account, mail.id]
        self.mail_stream.append(MailRecord(mail, None))

    def drop_forgotten(self, now: datetime) -> int:
        """Do what the table's time to live does, some time or other: drop expired items; return how many deliveries."""
        with self.lock:
            gone = [delivery for delivery in self.deliveries.values() if delivery.is_forgotten(now)]
            for delivery in gone:
                del self.deliveries[delivery.account, delivery.id]
                self.stream.append(StreamRecord(delivery, None))
            for mail in [mail for mail in self.mails.values() if mail.is_expired(now)]:
                self.drop_mail(mail)
            self.idempotency = {key: kept for key, kept in self.idempotency.items() if kept.expires_at > now}
            self.own_fromids = {key: kept for key, kept in self.own_fromids.items() if kept.forget_at > now}
            self.calls = {key: kept for key, kept in self.calls.items() if kept.forget_at > now}
            return len(gone)
