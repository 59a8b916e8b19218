"""What the servers of recipient domains offer, by account, noted after sessions and written when it is news.

A session with a domain that is known costs a look into a dictionary. Written is what was never seen, what changed, and
once a day that it is still so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta

from egret.contracts.ports import Clock
from egret.contracts.tls import DomainTls, TlsSupport
from egret_egress.later import Later, Writing

KNOWN = 50_000
"""Pairs of account and domain that are remembered: some 12 MB. Beyond, those that were not met for longest go."""
WAITING = 20_000
"""What waits to be written at most; what is beyond is noted again by the next session."""
STILL_SO = timedelta(days=1)
_STILL_SO_S = int(STILL_SO.total_seconds())
BATCH = 25
"""As many as one request to the table takes."""


class DomainTlsNotes:
    """Notes of sessions, bounded; for the event loop's thread."""

    def __init__(self, known: int = KNOWN, waiting: int = WAITING) -> None:
        self._most_known = known
        self._most_waiting = waiting
        self._known: OrderedDict[str, int] = OrderedDict()
        self._waiting: dict[str, TlsSupport] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def saw(self, support: TlsSupport) -> None:
        """Note what a server of a recipient domain offered, in a session opened or used again at updated_at."""
        key, packed = _key(support), _packed(support)
        known = self._known.get(key)
        if known is not None and _is_no_news(known, packed):
            self._known.move_to_end(key)
            return
        if key not in self._waiting and len(self._waiting) >= self._most_waiting:
            return
        self._waiting[key] = support
        self._known[key] = packed
        self._known.move_to_end(key)
        if len(self._known) > self._most_known:
            self._known.popitem(last=False)

    def take(self, now: datetime, *, everything: bool = False) -> list[TlsSupport]:
        """Return what is to be written, and wait for it no longer."""
        taken, self._waiting = list(self._waiting.values()), {}
        return taken

    def put_back(self, items: Sequence[TlsSupport], now: datetime) -> None:
        """Wait again for what could not be written, unless something newer does."""
        for item in items:
            if len(self._waiting) < self._most_waiting:
                self._waiting.setdefault(_key(item), item)
            else:
                self._known.pop(_key(item), None)


def _key(support: TlsSupport) -> str:
    return f"{support.account} {support.domain}"


def _packed(support: TlsSupport) -> int:
    """Return second and offer in one number: there are very many of them."""
    return int(support.updated_at.timestamp()) << 2 | support.starttls << 1 | support.require_tls


def _is_no_news(known: int, packed: int) -> bool:
    """Tell whether what is known says the same, and was noted less than a day ago."""
    return (known ^ packed) & 3 == 0 and (packed >> 2) - (known >> 2) < _STILL_SO_S


def writing(notes: DomainTlsNotes, port: DomainTls, clock: Clock) -> Later[TlsSupport]:
    """Return what writes the notes."""
    return Later(notes, Writing("the TLS of recipient domains", port.put, BATCH), clock)
