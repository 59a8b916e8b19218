"""Idempotency-Keys in DynamoDB: one item for each key, reserved by a condition, completed with the acceptance."""

from __future__ import annotations

from datetime import datetime

from egret.aws import codec
from egret.aws.keys import account_partition, instant, micros, ttl
from egret.aws.table import Condition, Item, Key, Table, b, n, number, s, text
from egret.contracts.records import IdempotencyRecord, IdempotencyState

PLAIN_RESPONSE_BYTES = 512
"""Answers up to this size are stored as they stand; those of many recipients are longer and very regular."""


class DynamoIdempotency:
    """The `Idempotency` port."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def reserve(self, record: IdempotencyRecord, now: datetime) -> tuple[IdempotencyState, str]:
        """Reserve the key in flight until record.expires_at; the second value is the response when DONE, else ""."""
        free = Condition("attribute_not_exists(pk) OR x <= :now", {":now": n(micros(now))})
        known = self._table.put_if(completed_item(record), free)
        return (IdempotencyState.NEW, "") if known is None else _judge(_read(known), record)

    def release(self, record: IdempotencyRecord) -> None:
        """Give up a reservation that is still the caller's and in flight."""
        mine = is_reserved(record)
        self._table.delete_if(_key(record), Condition(f"{mine.expression} AND attribute_not_exists(d)", mine.values))


def completed_item(record: IdempotencyRecord) -> Item:
    """Return the item of a record.

    `h`: body hash, `t`: token, `x`: end in microseconds, `d`: response, absent in flight.
    """
    pk, sk = _key(record)
    item = {
        "pk": s(pk),
        "sk": s(sk),
        "h": s(record.body_hash),
        "t": s(record.token),
        "x": n(micros(record.expires_at)),
        "ttl": n(ttl(record.expires_at)),
    }
    if record.response:
        item["d"] = b(codec.encode_above(record.response.encode(), PLAIN_RESPONSE_BYTES))
    return item


def is_reserved(record: IdempotencyRecord) -> Condition:
    """Return the condition that the stored record is still that of the request which reserved it."""
    return Condition("t = :token", {":token": s(record.token)})


def _key(record: IdempotencyRecord) -> Key:
    return account_partition(record.account), f"I#{record.key_hash}"


def _read(item: Item) -> IdempotencyRecord:
    response = codec.decode(item["d"]["B"]).decode() if "d" in item else ""
    account, key_hash = item["pk"]["S"].split("#")[1], item["sk"]["S"].split("#")[1]
    return IdempotencyRecord(account, key_hash, text(item, "h"), instant(number(item, "x")), text(item, "t"), response)


def _judge(known: IdempotencyRecord, record: IdempotencyRecord) -> tuple[IdempotencyState, str]:
    if known.body_hash != record.body_hash:
        return IdempotencyState.CONFLICT, ""
    if known.response:
        return IdempotencyState.DONE, known.response
    # Our own reservation: an answer that got lost on its way, asked for again.
    return (IdempotencyState.NEW if known.token == record.token else IdempotencyState.IN_FLIGHT), ""
