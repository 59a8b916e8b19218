"""Results for TLS reports in DynamoDB: an item for each key, whose counts grow by atomic additions.

A day lies in several partitions, so that all units can write all of theirs at once.
"""

from __future__ import annotations

from datetime import date, datetime
from itertools import islice

import msgspec

from egret.aws.keys import digest, ttl
from egret.aws.table import Item, Key, Range, Table, b, key_of, n, number
from egret.contracts.records import Page
from egret.core.errors import ContractError
from egret.core.tlsrpt import AppliedPolicy, FailureDetail, ResultKey, Tally, TlsResult, forget_at

SHARDS = "0123456789abcdef"
HASH_DIGITS = 16
_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode_policy = msgspec.msgpack.Decoder(AppliedPolicy).decode
_decode_detail = msgspec.msgpack.Decoder(FailureDetail).decode


class DynamoTlsResults:
    """The `TlsResults` port.

    `p`: the policy packed. `y`, `x`: sessions that succeeded and failed. For each kind of failure, named by a hash:
    `k_<hash>` the kind packed, `c_<hash>` how often.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, result: TlsResult) -> None:
        """Add its counts to those that stand there, atomically; when Unavailable, they may have been added."""
        key, tally = result.key, result.tally
        sums = ["y :y", "x :x"]
        facts = ["#ttl = :ttl", "p = :p"]
        values = {":y": n(tally.successes), ":x": n(tally.failures)}
        values |= {":ttl": n(ttl(key.forget_at)), ":p": b(_encode(key.policy))}
        for number_, (detail, count) in enumerate(tally.details.items()):
            packed = _encode(detail)
            name = _hash(packed)
            sums.append(f"c_{name} :c{number_}")
            facts.append(f"k_{name} = :k{number_}")
            values |= {f":c{number_}": n(count), f":k{number_}": b(packed)}
        self._table.update(_key(key), f"ADD {', '.join(sums)} SET {', '.join(facts)}", values)

    def list(self, day: date, cursor: str, limit: int, now: datetime) -> Page[TlsResult]:
        """Return results of a UTC day. The cursor is the shard and the sort key of the last one given."""
        if now >= forget_at(day):
            return Page(())
        first, last = cursor[:1] or SHARDS[0], cursor[1:]
        found: list[tuple[str, Item]] = []
        for shard in SHARDS[SHARDS.index(first) :]:
            room = limit + 1 - len(found)
            items = self._table.query(_after(day, shard, last), room)
            found += [(shard, item) for item in islice(items, room)]
            last = ""
            if len(found) > limit:
                break
        results = tuple(_read(day, item) for _, item in found[:limit])
        return Page(results, _cursor(*found[limit - 1]) if len(found) > limit else "")


def _partition(day: date, shard: str) -> str:
    return f"TLSRPT#{day.isoformat()}#{shard}"


def _after(day: date, shard: str, last: str) -> Range:
    """Return the range of a shard behind a sort key; nothing begins with it but the hash of a policy ends it."""
    return Range(_partition(day, shard), f"{last}#", "\U0010ffff") if last else Range(_partition(day, shard))


def _cursor(shard: str, item: Item) -> str:
    return shard + key_of(item)[1]


def _key(key: ResultKey) -> Key:
    shard = digest(key.policy_domain)[0]
    policy = _hash(_encode(key.policy))
    return _partition(key.day, shard), f"{key.policy_domain}#{key.recipient_domain}#{policy}"


def _hash(packed: bytes) -> str:
    return digest(packed.hex())[:HASH_DIGITS]


def _read(day: date, item: Item) -> TlsResult:
    policy_domain, recipient_domain, _ = key_of(item)[1].split("#")
    try:
        key = ResultKey(policy_domain, day, recipient_domain, _decode_policy(item["p"]["B"]))
        details = {_decode_detail(kind["B"]): _count(item, name) for name, kind in item.items() if name[:2] == "k_"}
    except msgspec.MsgspecError as error:
        raise ContractError(detail=f"result {key_of(item)} cannot be read: {error}") from error
    return TlsResult(key, Tally(number(item, "y"), number(item, "x"), details))


def _count(item: Item, name: str) -> int:
    return number(item, f"c_{name[2:]}")
