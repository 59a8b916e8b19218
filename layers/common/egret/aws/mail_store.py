"""The queue in DynamoDB and S3: messages, plans, deliveries."""

from __future__ import annotations

import heapq
import secrets
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from egret.aws.idempotency import completed_item, is_reserved
from egret.aws.keys import delivery_key, mail_partition, message_key, partition_of_shard, plan_key
from egret.aws.mail_items import (
    StoredMessage,
    delivery_item,
    message_item,
    message_item_of_object,
    plan_item,
    read_delivery,
    read_message,
    read_plan,
)
from egret.aws.mailboxes import mail_items
from egret.aws.own_fromids import fromid_item, is_free
from egret.aws.table import ABSENT, Condition, Item, Range, Table, key_of, n
from egret.contracts.ports import Blobs
from egret.contracts.records import Acceptance, DeliveryFilter, Page
from egret.core.delivery import Delivery, Message
from egret.core.errors import Conflict
from egret.core.ids import INDEX_BITS, MAX_ID, SHARDS, first_id_at, last_id_at, shard_of

MessageKey = tuple[str, int]
_LAST_INDEX = (1 << INDEX_BITS) - 1

LIST_PAGE = 50
"""Deliveries read at a time from each shard."""
LIST_EXAMINED = 5000
"""Deliveries looked at for one page of a listing, so that a rare filter costs a bounded time: the page may be short."""


class DynamoMailStore:
    """The `MailStore` port. blobs: where large contents go. examined: see LIST_EXAMINED."""

    def __init__(self, table: Table, blobs: Blobs, examined: int = LIST_EXAMINED) -> None:
        self._table = table
        self._blobs = blobs
        self._examined = examined

    # --- accepting

    def put_message(self, message: Message, content: bytes) -> bool:
        """Store facts and content; False when the id is taken in that account."""
        return self._put_message(message, content) is None

    def _put_message(self, message: Message, content: bytes) -> Item | None:
        """Store; None when done, else the item that has the id already."""
        item = message_item(message, content)
        if item is not None:
            return self._table.put_if(item, ABSENT)
        # A key of its own: the id may be taken, and then the object of the other message must stay as it is.
        blob_key = f"content/{message.account}/{message.id}.{secrets.token_hex(4)}"
        item = message_item_of_object(message, blob_key)
        self._blobs.put(blob_key, content)
        known = self._table.put_if(item, ABSENT)
        if known is not None:
            self._blobs.delete(blob_key)
        return known

    def accept(self, acceptance: Acceptance) -> bool:
        """Commit the one delivery of a stored message; False when the idempotency reservation is lost."""
        (delivery,) = acceptance.deliveries
        return self._commit(delivery_item(delivery), acceptance)

    def _commit(self, item: Item, acceptance: Acceptance) -> bool:
        """Write the item that commits a submission, and what goes with it; False when the reservation is lost.

        An item that is there already is of this very submission: its id was made unique by the message.
        """
        record, sent, own = acceptance.idempotency, acceptance.sent, acceptance.own_fromid
        if record is None and sent is None and own is None:
            self._table.put_if(item, ABSENT)
            return True
        parts = [self._table.putting(item, ABSENT)]
        if record is not None:
            parts.append(self._table.putting(completed_item(record), is_reserved(record)))
        if sent is not None:
            parts += map(self._table.putting, mail_items(sent))
        if own is not None:
            parts.append(self._table.putting(fromid_item(own), is_free(own, acceptance.message.queued_at)))
        failed = self._table.transact(parts)
        if own is not None and failed[-1]:
            raise Conflict(detail="the fromid leads to another delivery")
        return record is None or not failed[1]

    def accept_several(self, acceptance: Acceptance, content: bytes, repair_at: datetime) -> bool | None:
        """Commit a message with all its deliveries: True, False (reservation lost) or None (id taken).

        The message is written first and seen by nobody; the plan of its deliveries, an item of its own that is dropped
        when they are expanded, is the commit.
        """
        message = acceptance.message
        known = self._put_message(message, content)
        if known is not None and not self._is_repeat(known, acceptance):
            return None
        if self._commit(plan_item(message, acceptance.deliveries, repair_at), acceptance):
            return True
        if known is None:
            self._drop_message(message.account, message.id)
        return False

    def _is_repeat(self, known: Item, acceptance: Acceptance) -> bool:
        """Tell whether a stored message is that of a repeated, unfinished acceptance."""
        first = acceptance.deliveries[0]
        return (
            read_message(known).message == acceptance.message
            and self._table.get(delivery_key(first.account, first.id)) is None
        )

    def expand(self, deliveries: Iterable[Delivery]) -> None:
        """Put deliveries that do not exist yet; existing ones, whatever their state, stay as they are."""
        self._table.side_by_side(self._put_new, tuple(deliveries))

    def _put_new(self, delivery: Delivery) -> None:
        self._table.put_if(delivery_item(delivery), ABSENT)

    def close(self, account: str, message_id: int) -> None:
        """Drop the repair entry of a submission whose deliveries are all expanded. Idempotent."""
        self._table.delete(plan_key(account, message_id))

    def planned(self, account: str, message_id: int) -> tuple[Delivery, ...]:
        """Return the deliveries that a submission committed, as they were then; () when closed or absent."""
        plan, message = plan_key(account, message_id), message_key(account, message_id)
        found = self._table.get_many([plan, message])
        if plan not in found or message not in found:
            return ()
        return read_plan(found[plan], read_message(found[message]).message)

    # --- messages

    def message(self, account: str, message_id: int) -> Message | None:
        """Return the facts, None when absent."""
        return self.messages([(account, message_id)]).get((account, message_id))

    def messages(self, keys: Sequence[MessageKey]) -> dict[MessageKey, Message]:
        """Return the facts of many (account, message id), absent ones left out."""
        return {key: stored.message for key, stored in self._stored(keys).items()}

    def content(self, account: str, message_id: int) -> bytes | None:
        """Return the message as it goes over the wire, None when absent."""
        stored = self._stored([(account, message_id)]).get((account, message_id))
        if stored is None:
            return None
        return self._blobs.get(stored.content) if isinstance(stored.content, str) else stored.content

    def contents(self, keys: Sequence[MessageKey]) -> dict[MessageKey, tuple[Message, bytes | str]]:
        """Return facts and content of many: bytes from the table, or the key (str) of a blob."""
        return {key: (stored.message, stored.content) for key, stored in self._stored(keys).items()}

    def _stored(self, keys: Sequence[MessageKey]) -> dict[MessageKey, StoredMessage]:
        items = self._table.get_many(message_key(*key) for key in keys)
        read = map(read_message, items.values())
        return {(stored.message.account, stored.message.id): stored for stored in read}

    # --- deliveries

    def get(self, account: str, delivery_id: int, now: datetime) -> Delivery | None:
        """Return the delivery, None when absent or forgotten."""
        return self.get_many([(account, delivery_id)], now).get((account, delivery_id))

    def get_many(self, keys: Sequence[MessageKey], now: datetime) -> dict[MessageKey, Delivery]:
        """Return many (account, delivery id) at once, absent and forgotten ones left out."""
        items = self._table.get_many(delivery_key(*key) for key in keys)
        read = map(read_delivery, items.values())
        return {(found.account, found.id): found for found in read if not found.is_forgotten(now)}

    def replace(self, old: Delivery, new: Delivery) -> bool:
        """Write `new`, events included, if the stored `rev` is still `old.rev`; False when somebody was faster."""
        unchanged = Condition("rev = :rev", {":rev": n(old.rev)})
        return self._table.put_if(delivery_item(new, old.event_seq), unchanged) is None

    def replace_many(self, pairs: Sequence[tuple[Delivery, Delivery]]) -> Sequence[bool]:
        """Do `replace` for each (old, new), side by side; the answers stand in the same order."""
        return self._table.side_by_side(lambda pair: self.replace(*pair), pairs)

    def list(self, account: str, wanted: DeliveryFilter, cursor: str, limit: int, now: datetime) -> Page[Delivery]:
        """Return an account's deliveries, newest first. The cursor is the id of the last one looked at."""
        first, last = _id_range(wanted, cursor)
        shards = [shard_of(wanted.message_id)] if wanted.message_id else range(SHARDS)
        newest = heapq.merge(
            *(self._newest(account, shard, first, last) for shard in shards), key=lambda delivery: -delivery.id
        )
        found: list[Delivery] = []
        for examined, delivery in enumerate(newest):
            if examined == self._examined:
                return Page(tuple(found), str(delivery.id + 1))
            if _matches(delivery, wanted, now):
                if len(found) == limit:
                    return Page(tuple(found), str(found[-1].id))
                found.append(delivery)
        return Page(tuple(found))

    def _newest(self, account: str, shard: int, first: int, last: int) -> Iterator[Delivery]:
        partition = partition_of_shard(account, shard)
        wanted = Range(partition, f"D#{first:016d}", f"D#{last:016d}", newest_first=True)
        return map(read_delivery, self._table.query(wanted, LIST_PAGE)) if first <= last else iter(())

    # --- the end

    def reap(self, account: str, message_id: int, now: datetime) -> bool:
        """Remove a message and its content if none of its deliveries exists any more; True when removed."""
        plan, message = plan_key(account, message_id), message_key(account, message_id)
        found = self._table.get_many([plan, message])
        if plan in found or message not in found or self._has_deliveries(account, message_id, now):
            return False
        self._drop(found[message])
        return True

    def _has_deliveries(self, account: str, message_id: int, now: datetime) -> bool:
        first, last = delivery_key(account, message_id), delivery_key(account, message_id | _LAST_INDEX)
        items = self._table.query(Range(mail_partition(account, message_id), first[1], last[1]), 100)
        return any(not read_delivery(item).is_forgotten(now) for item in items)

    def _drop_message(self, account: str, message_id: int) -> None:
        item = self._table.get(message_key(account, message_id))
        if item is not None:
            self._drop(item)

    def _drop(self, item: Item) -> None:
        """Remove the object, then the item: after a crash in between the item still says what to remove."""
        if "k" in item:
            self._blobs.delete(item["k"]["S"])
        self._table.delete(key_of(item))


def _id_range(wanted: DeliveryFilter, cursor: str) -> tuple[int, int]:
    """Return the first and the last delivery id that a listing may show: an id is made when its mail is queued."""
    first, last = (wanted.message_id, wanted.message_id | _LAST_INDEX) if wanted.message_id else (0, MAX_ID)
    if wanted.since is not None:
        first = max(first, first_id_at(wanted.since))
    if wanted.until is not None:
        last = min(last, last_id_at(wanted.until))
    return first, min(last, int(cursor) - 1) if cursor else last


def _matches(delivery: Delivery, wanted: DeliveryFilter, now: datetime) -> bool:
    return (
        not delivery.is_forgotten(now)
        and (not wanted.states or delivery.state in wanted.states)
        and wanted.recipient in ("", delivery.recipient)
        and wanted.message_id in (0, delivery.message_id)
        and (wanted.since is None or wanted.since <= delivery.queued_at)
        and (wanted.until is None or delivery.queued_at < wanted.until)
    )
