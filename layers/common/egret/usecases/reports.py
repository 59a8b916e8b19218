"""Show the reports that an account's domains got, and keep the list of addresses that get none from us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from egret.contracts.ports import Clock
from egret.contracts.reports import ReceivedReport, ReceivedReports, ReportKind, ReportSuppression, ReportSuppressions
from egret.contracts.webapi import (
    DMARCReportInfo,
    DMARCReportListResult,
    DMARCReportRow,
    ErrorCode,
    ReportListRequest,
    TLSReportFailure,
    TLSReportInfo,
    TLSReportListResult,
    TLSReportPolicy,
)
from egret.core import cursor
from egret.core.address import Address, AddressError
from egret.core.dmarc_report import AggregateReport, DkimAuth, Row, SpfAuth
from egret.core.errors import InvalidRequest
from egret.core.tlsrpt_report import PolicyResult, TlsReport

MOST: Final = 15
"""Reports of a page: each may have 250,000 characters."""


@dataclass(frozen=True, slots=True)
class ReportListPorts:
    """What the methods need. cursor_key: `Secrets.cursor`."""

    received: ReceivedReports
    clock: Clock
    cursor_key: bytes


def dmarc_report_list(ports: ReportListPorts, account: str, request: ReportListRequest) -> DMARCReportListResult:
    """Return a page of DMARC reports, the latest first. Raises InvalidRequest `user` for a bad limit or cursor."""
    found, sealed = _page(ports, account, ReportKind.DMARC, request)
    infos = tuple(_dmarc(one, one.report) for one in found if isinstance(one.report, AggregateReport))
    return DMARCReportListResult(reports=infos, cursor=sealed)


def tls_report_list(ports: ReportListPorts, account: str, request: ReportListRequest) -> TLSReportListResult:
    """Return a page of TLS reports, the latest first. Raises InvalidRequest `user` for a bad limit or cursor."""
    found, sealed = _page(ports, account, ReportKind.TLS, request)
    infos = tuple(_tls(one, one.report) for one in found if isinstance(one.report, TlsReport))
    return TLSReportListResult(reports=infos, cursor=sealed)


def _page(
    ports: ReportListPorts, account: str, kind: ReportKind, request: ReportListRequest
) -> tuple[Sequence[ReceivedReport], str]:
    limit, scope = request.limit or MOST, f"{account} reports {kind.value}"
    if not 0 < limit <= MOST:
        raise InvalidRequest(ErrorCode.USER, f"Limit must be from 1 to {MOST}, or 0 for the usual number.")
    at = cursor.unseal(ports.cursor_key, scope, request.cursor)
    if at is None:
        raise InvalidRequest(ErrorCode.USER, "The cursor does not belong to this listing.")
    page = ports.received.list(account, kind, at, limit, ports.clock.now())
    return page.items, cursor.seal(ports.cursor_key, scope, page.cursor)


def _dmarc(one: ReceivedReport, report: AggregateReport) -> DMARCReportInfo:
    policy = report.policy
    return DMARCReportInfo(
        report_id=report.report_id,
        organization=report.org_name,
        contact=report.email,
        reporter=one.reporter,
        verified=one.is_verified,
        received=one.received_at,
        begin=report.begin,
        end=report.end,
        domain=policy.domain,
        policy=policy.p,
        subdomain_policy=policy.sp,
        nonexistent_policy=policy.np,
        dkim_alignment=policy.adkim,
        spf_alignment=policy.aspf,
        testing=policy.testing == "y",
        errors=report.errors,
        messages=report.messages,
        rows=tuple(_row(row, count) for row, count in report.rows),
        rows_left_out=one.left_out,
    )


def _row(row: Row, count: int) -> DMARCReportRow:
    return DMARCReportRow(
        source_ip=row.source_ip,
        count=count,
        disposition=row.disposition,
        dkim=row.dkim,
        spf=row.spf,
        header_from=row.header_from,
        envelope_from=row.envelope_from,
        envelope_to=row.envelope_to,
        reasons=tuple(filter(None, (": ".join(filter(None, (each.type, each.comment))) for each in row.reasons))),
        dkim_results=tuple(map(_signature, row.dkim_results)),
        spf_results=tuple(map(_spf, row.spf_results)),
    )


def _signature(one: DkimAuth) -> str:
    """Return a result as Authentication-Results writes it (RFC 8601 section 2.2)."""
    selector = f" header.s={one.selector}" if one.selector else ""
    return f"{one.result} header.d={one.domain}{selector}"


def _spf(one: SpfAuth) -> str:
    return f"{one.result} smtp.{'helo' if one.scope == 'helo' else 'mailfrom'}={one.domain}"


def _tls(one: ReceivedReport, report: TlsReport) -> TLSReportInfo:
    return TLSReportInfo(
        report_id=report.report_id,
        organization=report.organization,
        contact=report.contact,
        reporter=one.reporter,
        verified=one.is_verified,
        received=one.received_at,
        begin=report.begin,
        end=report.end,
        policies=tuple(map(_tls_policy, report.policies)),
        policies_left_out=one.left_out,
    )


def _tls_policy(policy: PolicyResult) -> TLSReportPolicy:
    failures = tuple(
        TLSReportFailure(
            result_type=detail.result_type.value,
            count=count,
            sending_ip=detail.sending_ip,
            receiving_mx=detail.receiving_mx,
            receiving_ip=detail.receiving_ip,
            reason_code=detail.reason_code,
            additional_information=detail.additional_information,
        )
        for detail, count in policy.details
    )
    return TLSReportPolicy(
        domain=policy.policy_domain,
        policy_type=policy.policy_type,
        policy=policy.policy_strings,
        mx_hosts=policy.mx_hosts,
        successful_sessions=policy.successes,
        failed_sessions=policy.failures,
        failures=failures,
    )


# --- the list of addresses that get none ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReportSuppressionPorts:
    """What the operator's commands need."""

    suppressions: ReportSuppressions
    clock: Clock


def report_suppress(
    ports: ReportSuppressionPorts, kind: ReportKind, address: str, until: datetime | None, comment: str
) -> ReportSuppression:
    """Send an address no more reports of a kind, until an instant or for good.

    Raises InvalidRequest `badAddress`, `user` for an instant that is over.
    """
    now = ports.clock.now()
    if until is not None and until <= now:
        raise InvalidRequest(ErrorCode.USER, "The time until which no reports are sent must lie ahead.")
    entry = ReportSuppression(kind, _address(address), now, until, comment)
    ports.suppressions.put(entry)
    return entry


def report_unsuppress(ports: ReportSuppressionPorts, kind: ReportKind, address: str) -> None:
    """Send an address reports again. Raises InvalidRequest `badAddress`; `error` when it is not on the list."""
    if not ports.suppressions.remove(kind, _address(address)):
        raise InvalidRequest(ErrorCode.ERROR, "The address is not on the list.")


def report_suppressions(ports: ReportSuppressionPorts) -> Sequence[ReportSuppression]:
    """Return those that have not run out, by kind and address."""
    return ports.suppressions.list(ports.clock.now())


def _address(text: str) -> str:
    try:
        return str(Address.parse(text)).lower()
    except AddressError as error:
        raise InvalidRequest(ErrorCode.BAD_ADDRESS, str(error)) from error
