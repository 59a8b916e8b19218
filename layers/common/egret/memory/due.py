"""The due index in memory: a view of the mail table, always up to date."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import chain, islice, zip_longest

from egret.contracts.records import DueEntry, DueKind
from egret.core.ids import SHARDS, shard_of
from egret.memory.table import MailTable

COUNTED_AT_MOST = 10_000


class MemoryDueIndex:
    """The `DueIndex` port over a `MailTable`."""

    def __init__(self, table: MailTable | None = None) -> None:
        self.table = table or MailTable()

    def due(self, kind: DueKind, now: datetime, limit: int) -> list[DueEntry]:
        """Return up to `limit` entries with due_at <= now, oldest first within each shard, shards taken evenly."""
        shards: list[list[DueEntry]] = [[] for _ in range(SHARDS)]
        for entry in self._due(kind, now):
            shards[shard_of(entry.id)].append(entry)
        for shard in shards:
            shard.sort(key=lambda entry: (entry.due_at, entry.account, entry.id, entry.seq))
        taken_evenly = chain.from_iterable(zip_longest(*shards))
        return list(islice((entry for entry in taken_evenly if entry is not None), limit))

    def count(self, kind: DueKind, now: datetime) -> int:
        """Return how many are due, at most 10,000."""
        return min(COUNTED_AT_MOST, len(self._due(kind, now)))

    def _due(self, kind: DueKind, now: datetime) -> list[DueEntry]:
        with self.table.lock:
            return [entry for entry in self._entries(kind) if entry.due_at <= now]

    def _entries(self, kind: DueKind) -> Iterator[DueEntry]:
        match kind:
            case DueKind.DELIVERY:
                for delivery in self.table.deliveries.values():
                    if delivery.due_at is not None:
                        yield DueEntry(kind, delivery.account, delivery.id, delivery.due_at)
            case DueKind.SUBMISSION:
                for (account, message_id), submission in self.table.submissions.items():
                    yield DueEntry(kind, account, message_id, submission.repair_at)
            case DueKind.CALL:
                for (account, delivery_id, seq), record in self.table.calls.items():
                    if record.due_at is not None:
                        yield DueEntry(kind, account, delivery_id, record.due_at, seq)
