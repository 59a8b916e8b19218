"""Fromids that submitters chose, in DynamoDB: one item for each."""

from __future__ import annotations

from datetime import datetime

from egret.aws.keys import digest, fromid_partition, micros, ttl
from egret.aws.table import Condition, Item, Key, Table, n, number, s
from egret.contracts.records import OwnFromId


class DynamoOwnFromIds:
    """The `OwnFromIds` port."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, account: str, text: str, now: datetime) -> int:
        """Return the delivery that a fromid (lower case) of the account leads to, 0 when there is none."""
        item = self._table.get(_key(account, text))
        return number(item, "dl") if item is not None and number(item, "x") > micros(now) else 0


def fromid_item(own: OwnFromId) -> Item:
    """Return the item of a fromid. `dl`: delivery id, `x`: end in microseconds."""
    pk, sk = _key(own.account, own.text)
    return {
        "pk": s(pk),
        "sk": s(sk),
        "dl": n(own.delivery_id),
        "x": n(micros(own.forget_at)),
        "ttl": n(ttl(own.forget_at)),
    }


def is_free(own: OwnFromId, now: datetime) -> Condition:
    """Return the condition that the fromid leads nowhere, or to this very delivery."""
    values = {":now": n(micros(now)), ":dl": n(own.delivery_id)}
    return Condition("attribute_not_exists(pk) OR x <= :now OR dl = :dl", values)


def _key(account: str, text: str) -> Key:
    return fromid_partition(account), digest(text)
