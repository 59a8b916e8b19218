"""The suppression list in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from egret.contracts.settings import Suppression
from egret.core.suppression import Strikes

Key = tuple[str, str]
"""(account, base address)."""


class MemorySuppressions:
    """The `Suppressions` port."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entries: dict[Key, Suppression] = {}
        self._strikes: dict[Key, Strikes] = {}

    def find(self, keys: Sequence[Key]) -> dict[Key, Suppression]:
        """Return the entries (removed and expired ones included) of many (account, base address)."""
        with self._lock:
            return {key: self._entries[key] for key in keys if key in self._entries}

    def put_new(self, entry: Suppression) -> Suppression | None:
        """Add an entry unless one is there that does not give way to it: then return that."""
        key = (entry.account, entry.base_address)
        with self._lock:
            known = self._entries.get(key)
            if known is not None and not known.gives_way_to(entry):
                return known
            self._entries[key] = entry
            return None

    def remove(self, account: str, base_address: str, at: datetime) -> bool:
        """Mark as removed; False when there is none that is active at that time."""
        with self._lock:
            known = self._entries.get((account, base_address))
            if known is None or not known.is_active_at(at):
                return False
            self._entries[account, base_address] = replace(known, removed_at=at)
            return True

    def list(self, account: str, now: datetime) -> list[Suppression]:
        """Return the active entries of an account, oldest first."""
        with self._lock:
            own = [entry for (owner, _), entry in self._entries.items() if owner == account and entry.is_active_at(now)]
        return sorted(own, key=lambda entry: (entry.created_at, entry.id))

    def find_strikes(self, keys: Sequence[Key]) -> dict[Key, Strikes]:
        """Return the failures in a row of many (account, base address), those without any left out."""
        with self._lock:
            return {key: self._strikes[key] for key in keys if key in self._strikes}

    def put_strikes(self, account: str, base_address: str, old: Strikes, new: Strikes) -> bool:
        """Store `new` if `old` stands there; False when somebody was faster."""
        with self._lock:
            if self._strikes.get((account, base_address), Strikes()) != old:
                return False
            self._strikes[account, base_address] = new
            return True
