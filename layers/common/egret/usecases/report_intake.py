"""Take in the reports that others send us about domains of ours, and note what DMARC said of any mail that came.

Anybody can write a report: it goes to the account of the domain that it is about, with who vouches for it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Final, TypeVar, assert_never

from egret.contracts.ports import SettingsReader
from egret.contracts.queues import Inbound
from egret.contracts.reports import DmarcEvaluations, ReceivedReport, ReceivedReports
from egret.core.dmarc_reading import Unreadable, read_dmarc
from egret.core.dmarc_report import AggregateReport
from egret.core.report_payload import Payload, payloads
from egret.core.tlsrpt_reading import read_tls
from egret.core.tlsrpt_report import PolicyResult, TlsReport
from egret.usecases.dmarc_evaluations import evaluate
from egret.usecases.postmaster import postmaster

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_ROWS: Final = 500
"""Rows that are kept of a report, those of most messages; of a TLS report, policies."""
MAX_SIZE: Final = 250_000
"""Characters of all rows that are kept: an item of the table holds 400 KB."""
MAX_DOMAINS: Final = 10
"""Domains of a TLS report; it is about one, as a rule, and each costs questions for its account."""
MAX_LABELS: Final = 8
"""Names on the way up from a domain that are asked for its account."""


@dataclass(frozen=True, slots=True)
class ReportIntake:
    """What taking in reports needs. evaluations: None = no DMARC reports are sent."""

    received: ReceivedReports
    settings: SettingsReader
    evaluations: DmarcEvaluations | None = None


def take_in(intake: ReportIntake, envelope: Inbound, raw: bytes, at: datetime) -> int:
    """Deal with a mail that came at this instant; return how many reports of others were in it.

    Idempotent. Raises Unavailable.
    """
    is_ours = any(not recipient.delivery_id for recipient in envelope.recipients)
    found = 0
    for payload in payloads(raw) if is_ours else ():
        report = _read(payload, envelope)
        if report is not None:
            _keep(intake, envelope, report, at)
            found += 1
    if intake.evaluations is not None:
        evaluate(intake.evaluations, envelope, at, is_report=found > 0)
    return found


def _read(payload: Payload, envelope: Inbound) -> AggregateReport | TlsReport | None:
    """Return the report, None when it is none; attachments that only look like one are common."""
    if payload.trouble:
        read: AggregateReport | TlsReport | Unreadable = Unreadable(payload.trouble)
    else:
        read = read_tls(payload.data) if payload.is_json else read_dmarc(payload.data)
    if isinstance(read, Unreadable):
        log.info("no report", extra={"mail": envelope.id, "reason": read.reason})
        return None
    return read


def _keep(intake: ReportIntake, envelope: Inbound, report: AggregateReport | TlsReport, at: datetime) -> None:
    verdicts = envelope.verdicts
    reporter = verdicts.header_from if verdicts else ""
    for account, part in _parts(intake.settings, report):
        kept, left_out = _bounded(part)
        intake.received.put(
            ReceivedReport(
                account=account,
                received_at=at,
                report=kept,
                reporter=reporter,
                is_verified=verdicts is not None and verdicts.msg_from_validated,
                left_out=left_out,
            )
        )
        log.info("report taken in", extra={"mail": envelope.id, "account": account, "left_out": left_out})


# --- whose it is


def _parts(
    settings: SettingsReader, report: AggregateReport | TlsReport
) -> Iterator[tuple[str, AggregateReport | TlsReport]]:
    """Yield accounts, each with what of the report is about its domains; nobody's domains are the postmaster's."""
    match report:
        case AggregateReport():
            authors = Counter(row.header_from for row, _ in report.rows)
            wanted = [report.policy.domain, *(domain for domain, _ in authors.most_common(3))]
            if account := _owner(settings, wanted):
                yield account, report
        case TlsReport():
            domains = islice(dict.fromkeys(policy.policy_domain for policy in report.policies), MAX_DOMAINS)
            owners = {domain: _owner(settings, [domain]) for domain in domains}
            by_account: dict[str, list[PolicyResult]] = {}
            for policy in report.policies:
                if account := owners.get(policy.policy_domain, ""):
                    by_account.setdefault(account, []).append(policy)
            for account, policies in by_account.items():
                yield account, replace(report, policies=tuple(policies))
        case _:
            assert_never(report)


def _owner(settings: SettingsReader, domains: Iterable[str]) -> str:
    """Return the account of the first domain that has one, itself or above it; else the postmaster's, "" for none."""
    for name in dict.fromkeys(name for domain in domains for name in _upward(domain)):
        found = settings.domain(name) or settings.domain_of_return_path(name)
        if found is not None:
            return found.account
    in_charge = postmaster(settings.accounts())
    return in_charge.id if in_charge is not None else ""


def _upward(domain: str) -> list[str]:
    """Return the domain and those above it, without top-level domains."""
    labels = domain.split(".")[-MAX_LABELS:]
    return [".".join(labels[at:]) for at in range(max(1, len(labels) - 1))] if len(domain) <= 253 else []


# --- how much of it


def _bounded(report: AggregateReport | TlsReport) -> tuple[AggregateReport | TlsReport, int]:
    """Return the report with as many rows as can be kept, and how many others there were."""
    match report:
        case AggregateReport():
            rows = _first(sorted(report.rows, key=lambda each: -each[1]))
            kept: AggregateReport | TlsReport = replace(report, rows=tuple(rows), errors=report.errors[:10])
            return kept, len(report.rows) - len(rows)
        case TlsReport():
            policies = _first(sorted(report.policies, key=lambda each: -each.failures))
            return replace(report, policies=tuple(policies)), len(report.policies) - len(policies)
        case _:
            assert_never(report)


def _first(rows: Sequence[T]) -> list[T]:
    """Return the first rows, as many as may be kept: each counts with all characters that it has."""
    room, kept = MAX_SIZE, []
    for row in rows[:MAX_ROWS]:
        room -= len(repr(row).encode("utf-8", "replace"))
        if room < 0:
            break
        kept.append(row)
    return kept
