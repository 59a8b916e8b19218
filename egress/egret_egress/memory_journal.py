"""A journal in memory, for tests and the simulator."""

from __future__ import annotations

from collections.abc import Iterable


class MemoryJournal:
    """A `ledger.JournalFile`."""

    def __init__(self, records: Iterable[bytes] = ()) -> None:
        self._records = list(records)

    def append(self, *records: bytes) -> None:
        """Add records."""
        self._records += records

    def read_all(self) -> list[bytes]:
        """Return the records."""
        return list(self._records)

    def rotate(self, records: Iterable[bytes]) -> None:
        """Replace them."""
        self._records = list(records)

    def crash(self) -> MemoryJournal:
        """Return what a new process finds."""
        return MemoryJournal(self._records)
