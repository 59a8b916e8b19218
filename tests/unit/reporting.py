"""Reports for the tests of reporting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from egret.core.dmarc_report import AggregateReport, DkimAuth, Override, PublishedPolicy, Row, SpfAuth
from egret.core.tlsrpt import FailureDetail, ResultType
from egret.core.tlsrpt_report import PolicyResult, TlsReport, day_range

MIDNIGHT = datetime(2026, 3, 5, tzinfo=UTC)


def a_row(**changes: Any) -> Row:
    """Return a row of mail that passed, with the changes."""
    values: dict[str, Any] = {
        "source_ip": "192.0.2.1",
        "disposition": "pass",
        "dkim": "pass",
        "spf": "fail",
        "header_from": "example.net",
        "envelope_from": "bounces.example.net",
        "dkim_results": (DkimAuth("example.net", "s1", "pass"), DkimAuth("esp.example", "k", "fail", "no such key")),
        "spf_results": (SpfAuth("bounces.example.net", "softfail", "mfrom"),),
    }
    return Row(**(values | changes))


def an_aggregate(**changes: Any) -> AggregateReport:
    """Return a report of a day about example.net, with the changes."""
    values: dict[str, Any] = {
        "org_name": "mail.egret.example",
        "email": "postmaster@egret.example",
        "report_id": "dmarc.2026030424.example.net@egret.example",
        "begin": MIDNIGHT - timedelta(days=1),
        "end": MIDNIGHT - timedelta(seconds=1),
        "policy": PublishedPolicy(
            "example.net", "reject", "none", "reject", "r", "s", "1", testing="n", discovery_method="treewalk"
        ),
        "rows": (
            (a_row(), 3),
            (a_row(source_ip="2001:db8::1", disposition="none", dkim="fail", reasons=(Override("other", "a & b"),)), 1),
        ),
        "generator": "egret/0.1",
    }
    return AggregateReport(**(values | changes))


def a_tls_report(**changes: Any) -> TlsReport:
    """Return a report about a day of example.net with failures of two kinds, with the changes."""
    begin, end = day_range((MIDNIGHT - timedelta(days=1)).date())
    expired = FailureDetail(ResultType.CERTIFICATE_EXPIRED, "192.0.2.1", "mx.example.net", "mx", "192.0.2.9")
    details = ((expired, 2), (FailureDetail(ResultType.STARTTLS_NOT_SUPPORTED), 1))
    strings = ("version: STSv1", "mode: enforce")
    policy = PolicyResult("sts", "example.net", strings, ("*.example.net",), 7, 3, details)
    values: dict[str, Any] = {
        "organization": "mail.egret.example",
        "contact": "postmaster@egret.example",
        "report_id": "tls.20260304.example.net@egret.example",
        "begin": begin,
        "end": end,
        "policies": (policy, PolicyResult("no-policy-found", "example.net", successes=1)),
    }
    return TlsReport(**(values | changes))
