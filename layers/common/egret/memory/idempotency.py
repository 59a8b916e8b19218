"""Idempotency-Keys in memory."""

from __future__ import annotations

from datetime import datetime

from egret.contracts.records import IdempotencyRecord, IdempotencyState
from egret.memory.table import MailTable


class MemoryIdempotency:
    """The `Idempotency` port over a `MailTable`."""

    def __init__(self, table: MailTable | None = None) -> None:
        self.table = table or MailTable()

    def reserve(self, record: IdempotencyRecord, now: datetime) -> tuple[IdempotencyState, str]:
        """Reserve the key in flight until record.expires_at; the second value is the response when DONE, else ""."""
        with self.table.lock:
            known = self.table.idempotency.get((record.account, record.key_hash))
            if known is None or known.expires_at <= now:
                self.table.idempotency[record.account, record.key_hash] = record
                return IdempotencyState.NEW, ""
        return _judge(known, record)

    def release(self, record: IdempotencyRecord) -> None:
        """Give up a reservation that is still the caller's and in flight."""
        with self.table.lock:
            known = self.table.idempotency.get((record.account, record.key_hash))
            if known is not None and known.token == record.token and not known.response:
                del self.table.idempotency[record.account, record.key_hash]


def _judge(known: IdempotencyRecord, record: IdempotencyRecord) -> tuple[IdempotencyState, str]:
    if known.body_hash != record.body_hash:
        return IdempotencyState.CONFLICT, ""
    if known.response:
        return IdempotencyState.DONE, known.response
    # Our own reservation: an answer that got lost on its way, asked for again.
    return (IdempotencyState.NEW if known.token == record.token else IdempotencyState.IN_FLIGHT), ""
