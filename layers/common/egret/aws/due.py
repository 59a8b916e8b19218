"""The due index: a sparse secondary index over (due_shard, due_at) of the mail table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain, islice, zip_longest

from egret.aws.keys import DUE_INDEX, instant, micros
from egret.aws.table import Item, Table, key_of, number
from egret.contracts.records import DueEntry, DueKind
from egret.core.ids import SHARDS

COUNTED_AT_MOST = 10_000


class DynamoDueIndex:
    """The `DueIndex` port. There are as many shards of each kind as an account has."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def due(self, kind: DueKind, now: datetime, limit: int) -> list[DueEntry]:
        """Return up to `limit` entries with due_at <= now, oldest first within each shard, shards taken evenly."""
        shards = self._table.side_by_side(
            lambda shard: self._table.due(DUE_INDEX, shard, micros(now), limit), list(_shards(kind))
        )
        taken_evenly = chain.from_iterable(zip_longest(*shards))
        return [_entry(kind, item) for item in islice((item for item in taken_evenly if item is not None), limit)]

    def count(self, kind: DueKind, now: datetime) -> int:
        """Return how many are due, at most 10,000."""
        total = 0
        for shard in _shards(kind):
            total += self._table.count_due(DUE_INDEX, shard, micros(now), COUNTED_AT_MOST - total)
            if total >= COUNTED_AT_MOST:
                return COUNTED_AT_MOST
        return total


def _shards(kind: DueKind) -> Iterator[str]:
    return (f"{kind.value}#{shard}" for shard in range(SHARDS))


def _entry(kind: DueKind, item: Item) -> DueEntry:
    """Read the key of a delivery (D#id), a plan (P#id) or a call (W#id#seq)."""
    pk, sk = key_of(item)
    _, any_id, *seq = sk.split("#")
    return DueEntry(kind, pk.split("#")[1], int(any_id), instant(number(item, "due_at")), int(seq[0]) if seq else 0)
