"""MTA-STS policies in DynamoDB: one partition for all, since there are few thousand such domains."""

from __future__ import annotations

from datetime import datetime

import msgspec

from egret.aws.keys import micros, ttl
from egret.aws.table import Condition, Item, Key, Range, Table, b, key_of, n, s
from egret.contracts.records import StsPolicy
from egret.contracts.tls import is_stale
from egret.core.errors import ContractError

PARTITION = "STS"
_decode = msgspec.msgpack.Decoder(StsPolicy).decode


class DynamoStsPolicies:
    """The `StsPolicies` port. `d`: the policy packed, `f`: fetched_at in microseconds."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def get(self, domain: str, now: datetime) -> StsPolicy | None:
        """Return the policy of a domain, None when there is none or it has run out."""
        item = self._table.get(_key(domain))
        policy = None if item is None else _read(item)
        return policy if policy is not None and now < policy.valid_until else None

    def put(self, policy: StsPolicy) -> None:
        """Store it, unless one that was fetched later stands there."""
        pk, sk = _key(policy.domain)
        fetched = n(micros(policy.fetched_at))
        item = {"pk": s(pk), "sk": s(sk), "f": fetched, "d": b(msgspec.msgpack.encode(policy))}
        newest = Condition("attribute_not_exists(pk) OR f <= :fetched", {":fetched": fetched})
        self._table.put_if(item | {"ttl": n(ttl(policy.valid_until))}, newest)

    def stale(self, now: datetime) -> list[StsPolicy]:
        """Return those that are to be fetched again, by domain."""
        policies = map(_read, self._table.query(Range(PARTITION)))
        return [policy for policy in policies if is_stale(policy, now)]


def _key(domain: str) -> Key:
    return PARTITION, domain


def _read(item: Item) -> StsPolicy:
    try:
        return _decode(item["d"]["B"])
    except msgspec.MsgspecError as error:
        raise ContractError(detail=f"the MTA-STS policy of {key_of(item)[1]} cannot be read: {error}") from error
