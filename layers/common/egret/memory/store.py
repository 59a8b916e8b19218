"""The queue in memory: messages, deliveries, idempotency keys and what is due."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from egret.contracts.ports import Blobs
from egret.contracts.records import Acceptance, DeliveryFilter, IdempotencyRecord, Page
from egret.contracts.stream import StreamRecord
from egret.core.delivery import Delivery, Message
from egret.core.errors import Conflict
from egret.core.ids import message_of
from egret.memory.blobs import MemoryBlobs
from egret.memory.due import MemoryDueIndex
from egret.memory.idempotency import MemoryIdempotency
from egret.memory.table import Key, MailTable, StoredMessage, Submission

MAX_TABLE_BYTES = 32 * 1024
"""Larger contents become blobs."""


class MemoryMailStore(MemoryDueIndex, MemoryIdempotency):
    """The ports `MailStore`, `DueIndex` and `Idempotency` over one `MailTable`.

    blobs: where large contents go; a store of its own when not given. `stream` has every change of a delivery.
    """

    def __init__(self, table: MailTable | None = None, blobs: Blobs | None = None) -> None:
        super().__init__(table)
        self._blobs = blobs or MemoryBlobs()

    @property
    def stream(self) -> list[StreamRecord]:
        """Every change of a delivery, oldest first; consumers keep their own position."""
        return self.table.stream

    def drop_forgotten(self, now: datetime) -> int:
        """Drop expired items as the time to live of the table does; return how many deliveries."""
        return self.table.drop_forgotten(now)

    # --- accepting

    def put_message(self, message: Message, content: bytes) -> bool:
        """Store facts and content; False when the id is taken in that account (nothing is written then)."""
        with self.table.lock:
            return self._put_message(message, content)

    def accept(self, acceptance: Acceptance) -> bool:
        """Commit the one delivery of a stored message; False when the idempotency reservation is lost."""
        with self.table.lock:
            if not self._holds_reservation(acceptance.idempotency):
                return False
            self._refuse_used(acceptance)
            self.expand(acceptance.deliveries)
            self._complete(acceptance)
            return True

    def accept_several(self, acceptance: Acceptance, content: bytes, repair_at: datetime) -> bool | None:
        """Commit a message with all its deliveries: True, False (reservation lost) or None (id taken)."""
        key = _key(acceptance.message)
        with self.table.lock:
            if self._is_repeated(acceptance):
                return True
            if not self._holds_reservation(acceptance.idempotency):
                return False
            if not self._put_message(acceptance.message, content):
                return None
            self.table.submissions[key] = Submission(acceptance.deliveries, repair_at)
            self._complete(acceptance)
            return True

    def _is_repeated(self, acceptance: Acceptance) -> bool:
        key = _key(acceptance.message)
        message, submission = self.table.messages.get(key), self.table.submissions.get(key)
        if message is None or submission is None:
            return False
        return message.message == acceptance.message and submission.deliveries == acceptance.deliveries

    def _put_message(self, message: Message, content: bytes) -> bool:
        key = _key(message)
        if key in self.table.messages:
            return False
        kept: bytes | str = content
        if len(content) > MAX_TABLE_BYTES:
            kept = f"content/{message.account}/{message.id}"
            self._blobs.put(kept, content)
        self.table.messages[key] = StoredMessage(message, kept)
        return True

    def _holds_reservation(self, record: IdempotencyRecord | None) -> bool:
        if record is None:
            return True
        known = self.table.idempotency.get((record.account, record.key_hash))
        return known is not None and known.token == record.token

    def _refuse_used(self, acceptance: Acceptance) -> None:
        own, now = acceptance.own_fromid, acceptance.message.queued_at
        if own is None:
            return
        known = self.table.own_fromids.get((own.account, own.text), own)
        if known.delivery_id != own.delivery_id and known.forget_at > now:
            raise Conflict(detail="the fromid leads to another delivery")

    def _complete(self, acceptance: Acceptance) -> None:
        if acceptance.sent is not None:
            self.table.put_mail(acceptance.sent)
        record, own = acceptance.idempotency, acceptance.own_fromid
        if own is not None:
            self.table.own_fromids[own.account, own.text] = own
        if record is not None:
            self.table.idempotency[record.account, record.key_hash] = record

    def expand(self, deliveries: Iterable[Delivery]) -> None:
        """Put deliveries that do not exist yet; existing ones, whatever their state, stay as they are."""
        for delivery in deliveries:
            with self.table.lock:
                if (delivery.account, delivery.id) not in self.table.deliveries:
                    self.table.write(delivery)

    def close(self, account: str, message_id: int) -> None:
        """Drop the repair entry of a submission whose deliveries are all expanded."""
        with self.table.lock:
            self.table.submissions.pop((account, message_id), None)

    def planned(self, account: str, message_id: int) -> tuple[Delivery, ...]:
        """Return the deliveries as committed; () when closed or absent."""
        with self.table.lock:
            submission = self.table.submissions.get((account, message_id))
            return submission.deliveries if submission else ()

    # --- messages

    def message(self, account: str, message_id: int) -> Message | None:
        """Return the facts, None when absent."""
        return self.messages([(account, message_id)]).get((account, message_id))

    def messages(self, keys: Sequence[Key]) -> dict[Key, Message]:
        """Return the facts of many, absent ones left out."""
        with self.table.lock:
            return {key: self.table.messages[key].message for key in keys if key in self.table.messages}

    def content(self, account: str, message_id: int) -> bytes | None:
        """Return the message as it goes over the wire, None when absent."""
        with self.table.lock:
            stored = self.table.messages.get((account, message_id))
        if stored is None:
            return None
        return self._blobs.get(stored.content) if isinstance(stored.content, str) else stored.content

    def contents(self, keys: Sequence[Key]) -> dict[Key, tuple[Message, bytes | str]]:
        """Return facts and content of many: bytes, or the blob key (str)."""
        with self.table.lock:
            found = {key: self.table.messages[key] for key in keys if key in self.table.messages}
        return {key: (stored.message, stored.content) for key, stored in found.items()}

    # --- deliveries

    def get(self, account: str, delivery_id: int, now: datetime) -> Delivery | None:
        """Return the delivery, None when absent or forgotten."""
        return self.get_many([(account, delivery_id)], now).get((account, delivery_id))

    def get_many(self, keys: Sequence[Key], now: datetime) -> dict[Key, Delivery]:
        """Return many at once, absent and forgotten ones left out."""
        with self.table.lock:
            found = {key: self.table.deliveries[key] for key in keys if key in self.table.deliveries}
        return {key: delivery for key, delivery in found.items() if not delivery.is_forgotten(now)}

    def replace(self, old: Delivery, new: Delivery) -> bool:
        """Write `new` if the stored `rev` is still `old.rev`; False when somebody was faster."""
        with self.table.lock:
            stored = self.table.deliveries.get((old.account, old.id))
            if stored is None or stored.rev != old.rev:
                return False
            self.table.write(new)
            return True

    def replace_many(self, pairs: Sequence[tuple[Delivery, Delivery]]) -> Sequence[bool]:
        """Do `replace` for each (old, new); the answers stand in the same order."""
        return [self.replace(old, new) for old, new in pairs]

    def list(self, account: str, wanted: DeliveryFilter, cursor: str, limit: int, now: datetime) -> Page[Delivery]:
        """Return an account's deliveries, newest first. The cursor is the id of the last one given."""
        with self.table.lock:
            own = [delivery for (owner, _), delivery in self.table.deliveries.items() if owner == account]
        older = (d for d in own if not cursor or d.id < int(cursor))
        matching = sorted((d for d in older if _matches(d, wanted, now)), key=lambda d: -d.id)
        items = tuple(matching[:limit])
        return Page(items, str(items[-1].id) if len(matching) > limit else "")

    def reap(self, account: str, message_id: int, now: datetime) -> bool:
        """Remove a message and its content if none of its deliveries exists any more; True when removed."""
        key = (account, message_id)
        with self.table.lock:
            if key not in self.table.messages or key in self.table.submissions or self._has_deliveries(key, now):
                return False
            stored = self.table.messages.pop(key)
        if isinstance(stored.content, str):
            self._blobs.delete(stored.content)
        return True

    def _has_deliveries(self, key: Key, now: datetime) -> bool:
        return any(
            (owner, message_of(delivery_id)) == key and not delivery.is_forgotten(now)
            for (owner, delivery_id), delivery in self.table.deliveries.items()
        )


def _key(message: Message) -> Key:
    return message.account, message.id


def _matches(delivery: Delivery, wanted: DeliveryFilter, now: datetime) -> bool:
    return (
        not delivery.is_forgotten(now)
        and (not wanted.states or delivery.state in wanted.states)
        and wanted.recipient in ("", delivery.recipient)
        and wanted.message_id in (0, delivery.message_id)
        and (wanted.since is None or wanted.since <= delivery.queued_at)
        and (wanted.until is None or delivery.queued_at < wanted.until)
    )
