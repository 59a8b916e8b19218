"""Counters in memory: recipients per day, failed logins per network."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime

from egret.core.authlimits import windows_of


class MemoryCounters:
    """The `Counters` port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._days: Counter[tuple[str, str]] = Counter()

    def add(self, account: str, day: str, count: int, limit: int) -> bool:
        """Add `count` to the day unless the sum would exceed `limit`; False then, nothing added."""
        with self._lock:
            if self._days[account, day] + count > limit:
                return False
            self._days[account, day] += count
            return True

    def used(self, account: str, day: str) -> int:
        """Return the sum of the day."""
        with self._lock:
            return self._days[account, day]


class MemoryAuthFailures:
    """The `AuthFailures` port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: Counter[str] = Counter()

    def record(self, address: str, now: datetime) -> bool:
        """Count a failure of an IP address; False when its network is over a limit."""
        windows = windows_of(address, now)
        with self._lock:
            if any(self._failures[window.key] >= window.limit for window in windows):
                return False
            self._failures.update(window.key for window in windows)
            return True
