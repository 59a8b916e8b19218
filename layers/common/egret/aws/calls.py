"""Records of webhook calls and the breakers of their URLs in DynamoDB."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from egret.aws import codec
from egret.aws.keys import MICROSECOND, account_partition, call_key, digest, instant, micros, ttl
from egret.aws.mail_items import due_attributes
from egret.aws.table import Item, Key, Table, b, key_of, n, number, s
from egret.contracts.queues import Call
from egret.contracts.records import Breaker, CallRecord, CallResult, DueKind
from egret.core.errors import ContractError

PLAIN_BYTES = 640
"""A packed record up to this size fits into one write unit as it stands."""


class _PackedResult(msgspec.Struct, array_like=True, frozen=True, gc=False):
    started_at: int
    duration: int
    status: int
    error: str
    response: str


class _PackedCall(msgspec.Struct, array_like=True, frozen=True, gc=False):
    call: Call
    url: str
    event: str
    state: str
    forget_at: int
    results: tuple[_PackedResult, ...]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_PackedCall).decode


class DynamoCalls:
    """The `Calls` port."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, record: CallRecord) -> None:
        """Write the record of (account, delivery, seq), replacing an older one."""
        self._table.put(_item(record))

    def get(self, account: str, delivery_id: int, seq: int, now: datetime) -> CallRecord | None:
        """Return the record, None when absent or past its retention."""
        item = self._table.get(call_key(account, delivery_id, seq))
        record = None if item is None else _read(item)
        return record if record is not None and now < record.forget_at else None

    def breaker(self, account: str, url: str) -> Breaker:
        """Return the state of a URL, a closed breaker when none is stored."""
        item = self._table.get(_breaker_key(account, url))
        if item is None:
            return Breaker()
        return Breaker(number(item, "n"), instant(number(item, "x")) if "x" in item else None)

    def put_breaker(self, account: str, url: str, breaker: Breaker) -> None:
        """Store it; a closed one without failures is deleted."""
        pk, sk = _breaker_key(account, url)
        if breaker == Breaker():
            self._table.delete((pk, sk))
            return
        open_until = {} if breaker.open_until is None else {"x": n(micros(breaker.open_until))}
        self._table.put({"pk": s(pk), "sk": s(sk), "n": n(breaker.failures), **open_until})


def _breaker_key(account: str, url: str) -> Key:
    return account_partition(account), f"B#{digest(url)}"


def _item(record: CallRecord) -> Item:
    call = record.call
    pk, sk = call_key(call.account, call.delivery_id, call.seq)
    results = tuple(
        _PackedResult(micros(one.started_at), one.duration // MICROSECOND, one.status, one.error, one.response)
        for one in record.results
    )
    packed = _PackedCall(call, record.url, record.event, record.state, micros(record.forget_at), results)
    return {
        "pk": s(pk),
        "sk": s(sk),
        "d": b(codec.encode_above(_encode(packed), PLAIN_BYTES)),
        "ttl": n(ttl(record.forget_at)),
        **due_attributes(DueKind.CALL, call.delivery_id, record.due_at),
    }


def _read(item: Item) -> CallRecord:
    try:
        packed = _decode(codec.decode(item["d"]["B"]))
    except msgspec.MsgspecError as error:
        raise ContractError(detail=f"item {key_of(item)[1]} cannot be read: {error}") from error
    results = tuple(
        CallResult(instant(one.started_at), timedelta(microseconds=one.duration), one.status, one.error, one.response)
        for one in packed.results
    )
    due_at = instant(number(item, "due_at")) if "due_at" in item else None
    return CallRecord(packed.call, packed.url, packed.event, packed.state, results, instant(packed.forget_at), due_at)
