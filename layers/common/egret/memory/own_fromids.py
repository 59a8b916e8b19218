"""Fromids that submitters chose, in memory."""

from __future__ import annotations

from datetime import datetime

from egret.memory.table import MailTable


class MemoryOwnFromIds:
    """The `OwnFromIds` port over the table of a `MemoryMailStore`."""

    def __init__(self, table: MailTable) -> None:
        self._table = table

    def find(self, account: str, text: str, now: datetime) -> int:
        """Return the delivery that a fromid (lower case) of the account leads to, 0 when there is none."""
        with self._table.lock:
            known = self._table.own_fromids.get((account, text))
        return known.delivery_id if known is not None and known.forget_at > now else 0
