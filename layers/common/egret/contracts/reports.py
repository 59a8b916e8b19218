"""Reporting: what is kept for DMARC reports that we send, whom we send none, and the reports that we got.

The promises of `contracts.ports` hold here too.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from egret.contracts.records import Page
from egret.core.dmarc_report import AggregateReport, PublishedPolicy, Row
from egret.core.errors import EgretError
from egret.core.tlsrpt_report import TlsReport

EVALUATIONS_KEPT = timedelta(hours=48)
"""Longer than the longest interval, so that a report can be made late."""
RECEIVED_KEPT = timedelta(days=400)
"""More than a year of reports, for the console."""


class ReportKind(enum.StrEnum):
    """What a report is about."""

    DMARC = "dmarc"
    TLS = "tls"


class DnsSilent(EgretError):
    """DNS gave no answer, neither yes nor no."""


class ReportDns(Protocol):
    """DNS, as far as reporting asks it."""

    def __call__(self, name: str) -> tuple[str, ...]:
        """Return the TXT records at a name, each with its strings joined; () for none. Raises DnsSilent."""
        ...


@dataclass(frozen=True, slots=True)
class DmarcEvaluation:
    """What DMARC said of one mail, for the report to the domain that its record names.

    id: of the incoming mail. hours: length of the interval that it belongs to. is_optional: alone, it is not worth a
    report. rua: as published. policy.domain is the domain that the report is about.
    """

    id: str
    at: datetime
    hours: int
    policy: PublishedPolicy
    row: Row
    rua: tuple[str, ...]
    is_optional: bool = False

    @property
    def forget_at(self) -> datetime:
        """When nobody asks for it any more."""
        return self.at + EVALUATIONS_KEPT


class DmarcEvaluations(Protocol):
    """Evaluations, until they are reported."""

    def put(self, evaluation: DmarcEvaluation) -> None:
        """Store; one of the same id, domain and instant is the same."""
        ...

    def list(self, day: date, hours: int, cursor: str, limit: int, now: datetime) -> Page[DmarcEvaluation]:
        """Return those of a UTC day whose interval has this length; those of a domain come one after another.

        A page may have fewer than `limit` items while its cursor says that there is more.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReportSuppression:
    """An address (lower case) that gets no reports of a kind. until: None = for good."""

    kind: ReportKind
    address: str
    created_at: datetime
    until: datetime | None = None
    comment: str = ""

    def is_active(self, now: datetime) -> bool:
        """It has not run out."""
        return self.until is None or now < self.until


class ReportSuppressions(Protocol):
    """Whom the installation sends no reports; apart from the suppression lists of its accounts."""

    def put(self, entry: ReportSuppression) -> None:
        """Add, replacing what stands there for the address and kind."""
        ...

    def remove(self, kind: ReportKind, address: str) -> bool:
        """Take off; False when it is not there."""
        ...

    def list(self, now: datetime) -> Sequence[ReportSuppression]:
        """Return those that have not run out, by kind and address."""
        ...


@dataclass(frozen=True, slots=True)
class ReceivedReport:
    """A report that somebody sent us about a domain of an account.

    reporter: From domain of its mail, "" when there is not exactly one. is_verified: DMARC vouches for that domain.
    left_out: rows (of a TLS report: policies) that it had beside those kept.
    """

    account: str
    received_at: datetime
    report: AggregateReport | TlsReport
    reporter: str = ""
    is_verified: bool = False
    left_out: int = 0

    @property
    def kind(self) -> ReportKind:
        """What it is about."""
        return ReportKind.DMARC if isinstance(self.report, AggregateReport) else ReportKind.TLS

    @property
    def identity(self) -> tuple[str, ...]:
        """What a repetition of the report has in common with it, beside kind and end.

        What DMARC does not vouch for is no repetition of what it does.
        """
        who = self.reporter if self.is_verified else f"{self.reporter} unverified"
        match self.report:
            case AggregateReport() as report:
                return (who, report.org_name, report.report_id, report.policy.domain)
            case TlsReport() as report:
                return (who, report.organization, report.report_id)

    @property
    def forget_at(self) -> datetime:
        """When storage may drop it."""
        return self.received_at + RECEIVED_KEPT


class ReceivedReports(Protocol):
    """Reports of others, for the accounts whose domains they are about."""

    def put(self, report: ReceivedReport) -> None:
        """Store, replacing an earlier copy of the same report."""
        ...

    def list(self, account: str, kind: ReportKind, cursor: str, limit: int, now: datetime) -> Page[ReceivedReport]:
        """Return an account's, by the end of what they are about, the latest first.

        A page may have fewer than `limit` items while its cursor says that there is more.
        """
        ...
