"""Results of TLS sessions, summed up in memory for the reports to recipient domains (RFC 8460), and written at times.

Successes are only numbers: they may wait for ten minutes, so that a busy domain costs a write then and not one a
session. Failures are written after one. What a process has not written when it dies is missing in the report, no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from egret.contracts.ports import Clock
from egret.contracts.tls import TlsResults
from egret.core.tlsrpt import MAX_DETAILS, FailureDetail, ResultKey, ResultType, Tally, TlsResult, TlsSession
from egret_egress.later import Later, Sift, Writing

KEYS = 30_000
"""Domains, hosts and policies that results wait for at a time: some 30 MB. Sessions with more are not counted."""
AT_ONCE = 5_000
"""Results that are taken at a time while the unit works: more would keep the event loop from its mail."""
FAILURE_WAITS = timedelta(minutes=1)
SUCCESS_WAITS = timedelta(minutes=10)
KINDS = MAX_DETAILS - len(ResultType)
"""Kinds of failure told apart for a key and day; each result type alone may come on top, for all further ones."""


@dataclass(slots=True)
class _Counts:
    """What is not written yet of one key."""

    since: datetime
    successes: int = 0
    failures: int = 0
    details: dict[FailureDetail, int] = field(default_factory=dict)

    def add(self, tally: Tally) -> None:
        self.successes += tally.successes
        self.failures += tally.failures
        for detail, count in tally.details.items():
            self.details[detail] = self.details.get(detail, 0) + count

    def is_due(self, now: datetime) -> bool:
        return self.since + (FAILURE_WAITS if self.failures else SUCCESS_WAITS) <= now


class TlsResultNotes:
    """Sums of sessions, bounded; for the event loop's thread. dropped: sessions that were not counted."""

    def __init__(self, keys: int = KEYS) -> None:
        self.dropped = 0
        self._most = keys
        self._waiting: dict[ResultKey, _Counts] = {}
        self._kinds: dict[ResultKey, set[FailureDetail]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, session: TlsSession, at: datetime) -> None:
        """Count a session that was opened, or failed to be, at this instant.

        Not for smarthosts, nor for a connection that is used again.
        """
        self._add(session.key(at), session.tally, at)

    def _add(self, key: ResultKey, tally: Tally, at: datetime) -> None:
        counts = self._waiting.get(key)
        if counts is None:
            if len(self._waiting) >= self._most:
                self.dropped += tally.successes + tally.failures
                return
            counts = self._waiting[key] = _Counts(at)
        counts.add(self._told_apart(key, tally) if tally.details else tally)

    def _told_apart(self, key: ResultKey, tally: Tally) -> Tally:
        """Return the tally with failures of too many kinds counted by their type alone."""
        kinds = self._kinds.get(key)
        if kinds is None:
            if len(self._kinds) >= self._most:
                self._kinds.pop(next(iter(self._kinds)))
            kinds = self._kinds[key] = set()
        details: dict[FailureDetail, int] = {}
        for detail, count in tally.details.items():
            if detail not in kinds and len(kinds) < KINDS:
                kinds.add(detail)
            kept = detail if detail in kinds else detail.bare
            details[kept] = details.get(kept, 0) + count
        return Tally(tally.successes, tally.failures, details)

    def take(self, now: datetime, *, everything: bool = False) -> list[TlsResult]:
        """Return what has waited long enough, or is of a day that ended, and wait for it no longer.

        When half of the room is used, nothing waits for its time.
        """
        is_all = everything or len(self._waiting) > self._most // 2
        today = now.astimezone(UTC).date()
        due = [key for key, counts in self._waiting.items() if is_all or key.day < today or counts.is_due(now)]
        if not everything:
            del due[AT_ONCE:]
        self._kinds = {key: kinds for key, kinds in self._kinds.items() if key.day >= today}
        return [_result(key, self._waiting.pop(key)) for key in due]

    def put_back(self, items: Sequence[TlsResult], now: datetime) -> None:
        """Wait again for what could not be written, together with what came meanwhile."""
        for item in items:
            if now < item.key.forget_at:
                self._add(item.key, item.tally, now)


def _result(key: ResultKey, counts: _Counts) -> TlsResult:
    return TlsResult(key, Tally(counts.successes, counts.failures, counts.details))


def writing(notes: TlsResultNotes, port: TlsResults, clock: Clock, sift: Sift[TlsResult]) -> Later[TlsResult]:
    """Return what writes the notes: one at a time, so that what failed is known and nothing is added twice.

    sift: `report_wanted.Wanted.sift`: most domains want no reports, and what nobody would be told is not written.
    """

    def write(results: Sequence[TlsResult]) -> None:
        for result in results:
            port.add(result)

    return Later(notes, Writing("results of TLS sessions", write, sift=sift), clock)
