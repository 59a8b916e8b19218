"""The mail table in memory: what the adapters of messages, deliveries and webhook calls share, under one lock."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime

from egret.contracts.records import Breaker, CallRecord, IdempotencyRecord, OwnFromId, StoredMail
from egret.contracts.stream import StreamRecord
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
    mail_sources: set[tuple[str, str, str]] = field(default_factory=set)
    """(account, source, rcpt_to) of every mail with a source."""
    own_fromids: dict[tuple[str, str], OwnFromId] = field(default_factory=dict)
    """By account and text."""
    stream: list[StreamRecord] = field(default_factory=list)
    """Every change of a delivery, oldest first: what the table's change stream carries."""

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
            self.mails[key] = mail
            if mail.source:
                self.mail_sources.add(source)
            return True

    def drop_forgotten(self, now: datetime) -> int:
        """Do what the table's time to live does, some time or other: drop expired items; return how many deliveries."""
        with self.lock:
            gone = [delivery for delivery in self.deliveries.values() if delivery.is_forgotten(now)]
            for delivery in gone:
                del self.deliveries[delivery.account, delivery.id]
                self.stream.append(StreamRecord(delivery, None))
            self.idempotency = {key: kept for key, kept in self.idempotency.items() if kept.expires_at > now}
            self.own_fromids = {key: kept for key, kept in self.own_fromids.items() if kept.forget_at > now}
            self.calls = {key: kept for key, kept in self.calls.items() if kept.forget_at > now}
            return len(gone)
