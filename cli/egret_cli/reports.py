"""`egret reports`: those that others sent, and the addresses that get none from us."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from egret.contracts.reports import ReportKind, ReportSuppression
from egret.contracts.webapi import DMARCReportInfo, ReportListRequest, TLSReportInfo
from egret.usecases.accounts import account_named
from egret.usecases.reports import (
    ReportListPorts,
    ReportSuppressionPorts,
    dmarc_report_list,
    report_suppress,
    report_suppressions,
    report_unsuppress,
    tls_report_list,
)
from egret_cli.command import A_THOUSAND_YEARS, ACCOUNT, Answer, Argument, Command, Ports, days
from egret_cli.text import table

CURSOR_KEY: Final = os.urandom(32)
"""Cursors never leave this process, so they need no key of the installation."""


def _listing(ports: Ports) -> ReportListPorts:
    return ReportListPorts(ports.received_reports, ports.clock, CURSOR_KEY)


def _suppressing(ports: Ports) -> ReportSuppressionPorts:
    return ReportSuppressionPorts(ports.report_suppressions, ports.clock)


def list_dmarc(ports: Ports, arguments: Namespace) -> Answer:
    """List DMARC reports."""
    account, listing = account_named(ports.settings_writer, arguments.account).id, _listing(ports)

    def page(cursor: str) -> tuple[tuple[DMARCReportInfo, ...], str]:
        found = dmarc_report_list(listing, account, ReportListRequest(cursor=cursor))
        return found.reports, found.cursor

    reports = list(_first(page, arguments.limit))
    rows = [
        _about(report)
        | {"domain": report.domain, "policy": report.policy, "messages": report.messages}
        | {"failed": sum(row.count for row in report.rows if "pass" not in (row.dkim, row.spf))}
        for report in reports
    ]
    return Answer([_plain(report) for report in reports], table(rows, "No DMARC report came about a domain of it."))


def list_tls(ports: Ports, arguments: Namespace) -> Answer:
    """List TLS reports."""
    account, listing = account_named(ports.settings_writer, arguments.account).id, _listing(ports)

    def page(cursor: str) -> tuple[tuple[TLSReportInfo, ...], str]:
        found = tls_report_list(listing, account, ReportListRequest(cursor=cursor))
        return found.reports, found.cursor

    reports = list(_first(page, arguments.limit))
    rows = [
        _about(report)
        | {"domain": policy.domain, "policy": policy.policy_type}
        | {"sessions": policy.successful_sessions, "failed": policy.failed_sessions}
        | {"failures": [f"{each.result_type} ({each.count})" for each in policy.failures]}
        for report in reports
        for policy in report.policies
    ]
    return Answer([_plain(report) for report in reports], table(rows, "No TLS report came about a domain of it."))


def _about(report: DMARCReportInfo | TLSReportInfo) -> dict[str, object]:
    return {
        "from": report.begin,
        "to": report.end,
        "reporter": report.organization or report.reporter,
        "verified": report.verified,
    }


def _first(page: Callable[[str], tuple[tuple[Any, ...], str]], limit: int) -> Iterator[Any]:
    """Yield up to `limit` items of a listing, page by page."""
    cursor, more = "", True
    while more and limit > 0:
        found, cursor = page(cursor)
        yield from found[:limit]
        limit -= len(found)
        more = bool(cursor)


def _plain(report: DMARCReportInfo | TLSReportInfo) -> Any:
    return msgspec.to_builtins(report)


def suppress(ports: Ports, arguments: Namespace) -> Answer:
    """Put an address on the list."""
    until = None if arguments.days is None else ports.clock.now() + min(arguments.days, A_THOUSAND_YEARS)
    kind = ReportKind(arguments.kind)
    entry = report_suppress(_suppressing(ports), kind, arguments.address, until, arguments.comment)
    how_long = f"until {until:%Y-%m-%d %H:%MZ}" if until else "until it is taken off the list"
    return Answer(_data(entry), f"{entry.address} gets no {kind.value.upper()} reports {how_long}.")


def unsuppress(ports: Ports, arguments: Namespace) -> Answer:
    """Take an address off the list."""
    kind = ReportKind(arguments.kind)
    report_unsuppress(_suppressing(ports), kind, arguments.address)
    data = {"kind": kind.value, "address": arguments.address}
    return Answer(data, f"{arguments.address} gets {kind.value.upper()} reports again.")


def list_suppressed(ports: Ports, _: Namespace) -> Answer:
    """List the addresses that get no reports."""
    rows = [_data(entry) for entry in report_suppressions(_suppressing(ports))]
    return Answer(rows, table(rows, "Every address that asks for reports gets them."))


def _data(entry: ReportSuppression) -> dict[str, object]:
    return {
        "kind": entry.kind.value,
        "address": entry.address,
        "since": entry.created_at,
        "until": entry.until,
        "comment": entry.comment,
    }


KIND = Argument("kind", "of the reports", {"choices": [kind.value for kind in ReportKind]})
ADDRESS = Argument("address", "address that reports are wanted at")
LIMIT = Argument("--limit", "how many, the latest first (50)", {"type": int, "default": 50, "metavar": "N"})

COMMANDS = (
    Command("reports", "dmarc", "List the DMARC reports about an account's domains.", (ACCOUNT, LIMIT), list_dmarc),
    Command("reports", "tls", "List the TLS reports about an account's domains.", (ACCOUNT, LIMIT), list_tls),
    Command(
        "reports",
        "suppress",
        "Send an address no more reports, whoever asks for them.",
        (
            KIND,
            ADDRESS,
            Argument("--days", "for so long only", {"type": days, "metavar": "DAYS"}),
            Argument("--comment", "why", {"default": "", "metavar": "TEXT"}),
        ),
        suppress,
    ),
    Command("reports", "unsuppress", "Send an address reports again.", (KIND, ADDRESS), unsuppress),
    Command("reports", "suppressed", "List the addresses that get no reports.", (), list_suppressed),
)
