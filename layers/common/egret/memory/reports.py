"""Reporting, in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, date, datetime

from egret.contracts.records import Page
from egret.contracts.reports import DmarcEvaluation, ReceivedReport, ReportKind, ReportSuppression


class MemoryDmarcEvaluations:
    """The `DmarcEvaluations` port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[tuple[str, datetime, str], DmarcEvaluation] = {}

    def put(self, evaluation: DmarcEvaluation) -> None:
        """Store; one of the same id, domain and instant is the same."""
        with self._lock:
            self._all[evaluation.policy.domain, evaluation.at, evaluation.id] = evaluation

    def list(self, day: date, hours: int, cursor: str, limit: int, now: datetime) -> Page[DmarcEvaluation]:
        """Return those of a UTC day whose interval has this length. The cursor is the position of the next one."""
        with self._lock:
            every = sorted(self._all.items(), key=lambda each: each[0])
        found = [one for _, one in every if one.hours == hours and one.at.astimezone(UTC).date() == day]
        kept = [one for one in found if now < one.forget_at]
        start = int(cursor or 0)
        return Page(tuple(kept[start : start + limit]), str(start + limit) if start + limit < len(kept) else "")


class MemoryReportSuppressions:
    """The `ReportSuppressions` port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[tuple[ReportKind, str], ReportSuppression] = {}

    def put(self, entry: ReportSuppression) -> None:
        """Add, replacing what stands there for the address and kind."""
        with self._lock:
            self._all[entry.kind, entry.address] = entry

    def remove(self, kind: ReportKind, address: str) -> bool:
        """Take off; False when it is not there."""
        with self._lock:
            return self._all.pop((kind, address), None) is not None

    def list(self, now: datetime) -> Sequence[ReportSuppression]:
        """Return those that have not run out, by kind and address."""
        with self._lock:
            return [entry for _, entry in sorted(self._all.items()) if entry.is_active(now)]


class MemoryReceivedReports:
    """The `ReceivedReports` port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[tuple[str, ReportKind, datetime, tuple[str, ...]], ReceivedReport] = {}

    def put(self, report: ReceivedReport) -> None:
        """Store, replacing an earlier copy of the same report."""
        with self._lock:
            self._all[report.account, report.kind, report.report.end, report.identity] = report

    def list(self, account: str, kind: ReportKind, cursor: str, limit: int, now: datetime) -> Page[ReceivedReport]:
        """Return an account's, the latest first. The cursor is the position of the next one."""
        with self._lock:
            every = sorted(self._all.items(), key=lambda each: each[0], reverse=True)
        found = [one for key, one in every if key[:2] == (account, kind) and now < one.forget_at]
        start = int(cursor or 0)
        return Page(tuple(found[start : start + limit]), str(start + limit) if start + limit < len(found) else "")
