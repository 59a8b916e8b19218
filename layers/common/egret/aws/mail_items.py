"""Items of messages, plans and deliveries: what the mail table holds of the queue.

A message: `d` = length of the facts (4 bytes), facts, content, deflated together, since they share most of their words.
Content that stays large is an object instead, `k` its key. A delivery: `d` packed, and as attributes what conditions,
the due index and filters of the change stream need: `rev`, `st` (state), `ev` (number of the newest event), `news`
("1" when this very write brought an event), `due_shard` with `due_at` (microseconds), `ttl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from egret.aws import codec, packing
from egret.aws.keys import delivery_key, instant, message_key, micros, plan_key, ttl
from egret.aws.table import Item, Value, b, key_of, n, number, s, text
from egret.contracts.records import DueKind
from egret.core.delivery import Delivery, Message, State
from egret.core.errors import ContractError, InvalidRequest
from egret.core.ids import index_of, shard_of

MAX_CONTENT_BYTES = 8 * 1024
"""Compressed content up to this size stays in the table: a write unit per KB is cheaper than an object until here."""
MAX_FACTS_BYTES = 350 * 1024
"""An item has at most 400 KB. A thousand of the longest addresses fit; only extra data can exceed it."""
PLAIN_DELIVERY_BYTES = 640
"""A packed delivery up to this size fits into one write unit as it stands."""
_LENGTH_BYTES = 4


class StoredMessage(msgspec.Struct, frozen=True):
    """A message item as read. content: bytes, or the key (str) of an object."""

    message: Message
    content: bytes | str


class _PackedMessage(msgspec.Struct, array_like=True, frozen=True, gc=False):
    message_id: str
    subject: str
    login: str
    header_from: str
    recipients: tuple[str, ...]
    queued_at: int
    size_bytes: int
    smtputf8: bool
    require_tls: bool | None
    extra: dict[str, str]
    ret: str = ""
    envid: str = ""
    future_release: str = ""
    mail_from: str = ""


class _PlannedDelivery(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """recipient: None = that of the message with the same index."""

    index: int
    state: str
    rev: int
    due_at: int | None
    recipient: str | None
    packed: packing.PackedDelivery


_encode = msgspec.msgpack.Encoder().encode
_decode_message = msgspec.msgpack.Decoder(_PackedMessage).decode
_decode_delivery = msgspec.msgpack.Decoder(packing.PackedDelivery).decode
_decode_plan = msgspec.msgpack.Decoder(tuple[_PlannedDelivery, ...]).decode


def due_shard(kind: DueKind, any_id: int) -> str:
    """Return the partition of the due index that an entry lies in."""
    return f"{kind.value}#{shard_of(any_id)}"


def due_attributes(kind: DueKind, any_id: int, due_at: datetime | None) -> Item:
    """Return the attributes that put an item into the due index."""
    return {} if due_at is None else {"due_shard": s(due_shard(kind, any_id)), "due_at": n(micros(due_at))}


def _key_attributes(key: tuple[str, str]) -> Item:
    return {"pk": s(key[0]), "sk": s(key[1])}


def _unpacked(error: msgspec.MsgspecError, item: Mapping[str, Value]) -> ContractError:
    return ContractError(detail=f"item {key_of(item)[1]} cannot be read: {error}")


# --- messages


def message_item(message: Message, content: bytes) -> Item | None:
    """Return the item that holds facts and content; None when the content is too large for that."""
    facts = _encode(_pack_message(message))
    stored = codec.encode(len(facts).to_bytes(_LENGTH_BYTES, "big") + facts + content)
    if len(stored) > MAX_CONTENT_BYTES:
        return None
    return _key_attributes(message_key(message.account, message.id)) | {"d": b(stored)}


def message_item_of_object(message: Message, blob_key: str) -> Item:
    """Return the item of a message whose content is an object; InvalidRequest when even the facts do not fit."""
    facts = _encode(_pack_message(message))
    stored = codec.encode(len(facts).to_bytes(_LENGTH_BYTES, "big") + facts)
    if len(stored) > MAX_FACTS_BYTES:
        raise InvalidRequest("user", "The recipients, the subject and the extra data together are too large.")
    return _key_attributes(message_key(message.account, message.id)) | {"d": b(stored), "k": s(blob_key)}


def read_message(item: Item) -> StoredMessage:
    """Return the message of an item; raises ContractError."""
    raw = codec.decode(item["d"]["B"])
    end = _LENGTH_BYTES + int.from_bytes(raw[:_LENGTH_BYTES], "big")
    try:
        packed = _decode_message(raw[_LENGTH_BYTES:end])
    except msgspec.MsgspecError as error:
        raise _unpacked(error, item) from error
    return StoredMessage(_unpack_message(packed, item), text(item, "k") or raw[end:])


def _pack_message(message: Message) -> _PackedMessage:
    return _PackedMessage(
        message.message_id,
        message.subject,
        message.login,
        message.header_from,
        message.recipients,
        micros(message.queued_at),
        message.size_bytes,
        message.smtputf8,
        message.require_tls,
        dict(message.extra),
        message.ret,
        message.envid,
        message.future_release,
        message.mail_from,
    )


def _unpack_message(packed: _PackedMessage, item: Item) -> Message:
    account, message_id = _account_and_id(item)
    return Message(
        account=account,
        id=message_id,
        message_id=packed.message_id,
        subject=packed.subject,
        login=packed.login,
        header_from=packed.header_from,
        recipients=packed.recipients,
        queued_at=instant(packed.queued_at),
        size_bytes=packed.size_bytes,
        smtputf8=packed.smtputf8,
        require_tls=packed.require_tls,
        extra=packed.extra,
        ret=packed.ret,
        envid=packed.envid,
        future_release=packed.future_release,
        mail_from=packed.mail_from,
    )


def _account_and_id(item: Mapping[str, Value]) -> tuple[str, int]:
    pk, sk = key_of(item)
    return pk.split("#")[1], int(sk.split("#")[1])


# --- deliveries


def delivery_item(delivery: Delivery, known_events: int = 0) -> Item:
    """Return the item of a delivery. known_events: number of the newest event in the form that it replaces."""
    raw = _encode(packing.pack(delivery))
    item = {
        **_key_attributes(delivery_key(delivery.account, delivery.id)),
        "d": b(codec.encode_above(raw, PLAIN_DELIVERY_BYTES)),
        "rev": n(delivery.rev),
        "st": s(delivery.state.value),
        "ev": n(delivery.event_seq),
        **due_attributes(DueKind.DELIVERY, delivery.id, delivery.due_at),
    }
    if delivery.event_seq > known_events:
        item["news"] = s("1")
    if delivery.forget_at is not None:
        item["ttl"] = n(ttl(delivery.forget_at))
    return item


def read_delivery(item: Mapping[str, Value]) -> Delivery:
    """Return the delivery of an item; raises ContractError."""
    account, delivery_id = _account_and_id(item)
    due_at = instant(number(item, "due_at")) if "due_at" in item else None
    try:
        packed = _decode_delivery(codec.decode(item["d"]["B"]))
    except msgspec.MsgspecError as error:
        raise _unpacked(error, item) from error
    facts = packing.Facts(account, delivery_id, State(text(item, "st")), number(item, "rev"), due_at)
    return packing.unpack(packed, facts)


# --- plans


def plan_item(message: Message, deliveries: tuple[Delivery, ...], repair_at: datetime) -> Item:
    """Return the item that commits the deliveries of a submission; what the message tells is left out."""
    planned = tuple(_pack_planned(delivery, message.recipients) for delivery in deliveries)
    return {
        **_key_attributes(plan_key(message.account, message.id)),
        "d": b(codec.encode(_encode(planned))),
        **due_attributes(DueKind.SUBMISSION, message.id, repair_at),
    }


def read_plan(item: Item, message: Message) -> tuple[Delivery, ...]:
    """Return the deliveries of a plan; raises ContractError."""
    try:
        planned = _decode_plan(codec.decode(item["d"]["B"]))
    except msgspec.MsgspecError as error:
        raise _unpacked(error, item) from error
    return tuple(_unpack_planned(one, message) for one in planned)


def _pack_planned(delivery: Delivery, recipients: tuple[str, ...]) -> _PlannedDelivery:
    packed = packing.pack(delivery)
    index = index_of(delivery.id)
    is_told = index < len(recipients) and recipients[index] == delivery.recipient
    return _PlannedDelivery(
        index,
        delivery.state.value,
        delivery.rev,
        None if delivery.due_at is None else micros(delivery.due_at),
        None if is_told else delivery.recipient,
        msgspec.structs.replace(packed, recipient=""),
    )


def _unpack_planned(planned: _PlannedDelivery, message: Message) -> Delivery:
    recipient = message.recipients[planned.index] if planned.recipient is None else planned.recipient
    facts = packing.Facts(
        message.account,
        message.id | planned.index,
        State(planned.state),
        planned.rev,
        None if planned.due_at is None else instant(planned.due_at),
    )
    return packing.unpack(msgspec.structs.replace(planned.packed, recipient=recipient), facts)
