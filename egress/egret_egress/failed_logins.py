"""Failed logins per network, counted in this process: the limits are those of the API, the counts are a unit's own."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Final

from egret.core.authlimits import windows_of

MAX_COUNTS: Final = 60_000
"""Six for each address that failed today; beyond that the oldest are forgotten."""


class FailedLogins:
    """The `AuthFailures` port in bounded memory; safe for threads."""

    def __init__(self, most: int = MAX_COUNTS) -> None:
        self._lock = threading.Lock()
        self._most = most
        self._counts: dict[str, tuple[int, datetime]] = {}
        """Failures and the end of the window, by its key; oldest first."""

    def record(self, address: str, now: datetime) -> bool:
        """Count a failure of an IP address; False, not counted, when its network is at a limit."""
        windows = windows_of(address, now)
        with self._lock:
            counted = [self._counts.get(window.key, (0, now))[0] for window in windows]
            if any(count >= window.limit for count, window in zip(counted, windows, strict=True)):
                return False
            for count, window in zip(counted, windows, strict=True):
                self._counts[window.key] = count + 1, window.ends_at
            if len(self._counts) > self._most:
                self._forget(now)
            return True

    def _forget(self, now: datetime) -> None:
        """Drop what has ended, then what is oldest, until a tenth is free."""
        left = {key: kept for key, kept in self._counts.items() if kept[1] > now}
        surplus = len(left) - self._most * 9 // 10
        for key in list(left)[: max(0, surplus)]:
            del left[key]
        self._counts = left
