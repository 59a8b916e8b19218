"""DMARCReportList and TLSReportList: what others reported about an account's domains."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from egret.contracts.encoding import encode
from egret.contracts.reports import ReceivedReport
from egret.contracts.webapi import MAX_ANSWER_BYTES, ReportListRequest
from egret.core.dmarc_report import DkimAuth, Override, SpfAuth
from egret.core.errors import InvalidRequest
from egret.memory.clock import FakeClock
from egret.memory.reports import MemoryReceivedReports
from egret.usecases.report_intake import MAX_ROWS, _bounded
from egret.usecases.reports import MOST, ReportListPorts, dmarc_report_list, tls_report_list
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT
from tests.unit.reporting import a_row, a_tls_report, an_aggregate


def ports(*reports: ReceivedReport) -> ReportListPorts:
    """Return the ports, with these reports."""
    received = MemoryReceivedReports()
    for report in reports:
        received.put(report)
    return ReportListPorts(received, FakeClock(NOW), b"key")


def test_a_dmarc_report_is_shown() -> None:
    """Results in the form of Authentication-Results, reasons as one text."""
    row = a_row(
        reasons=(Override("forwarded"), Override("other", "arc=pass")),
        spf_results=(SpfAuth("mx.example", "none", "helo"), SpfAuth("example.net", "pass")),
        dkim_results=(DkimAuth("example.net", "", "pass"), DkimAuth("esp.example", "k1", "fail")),
    )
    report = replace(an_aggregate(), rows=((row, 3),))
    (info,) = dmarc_report_list(
        ports(ReceivedReport(ACCOUNT, NOW, report, "google.com", is_verified=True, left_out=4)),
        ACCOUNT,
        ReportListRequest(),
    ).reports

    assert (info.domain, info.policy, info.messages, info.rows_left_out) == ("example.net", "reject", 3, 4)
    assert (info.reporter, info.verified, info.testing) == ("google.com", True, False)
    (shown,) = info.rows
    assert shown.reasons == ("forwarded", "other: arc=pass")
    assert shown.dkim_results == ("pass header.d=example.net", "fail header.d=esp.example header.s=k1")
    assert shown.spf_results == ("none smtp.helo=mx.example", "pass smtp.mailfrom=example.net")


def test_a_tls_report_is_shown() -> None:
    """With each failure."""
    (info,) = tls_report_list(ports(ReceivedReport(ACCOUNT, NOW, a_tls_report())), ACCOUNT, ReportListRequest()).reports
    first = info.policies[0]

    assert (first.domain, first.policy_type, first.successful_sessions, first.failed_sessions) == (
        "example.net",
        "sts",
        7,
        3,
    )
    assert [(each.result_type, each.count) for each in first.failures] == [
        ("certificate-expired", 2),
        ("starttls-not-supported", 1),
    ]


def test_pages_and_their_cursors() -> None:
    """A cursor is good for its listing and account alone."""
    reports = [ReceivedReport(ACCOUNT, NOW, replace(an_aggregate(), report_id=str(at))) for at in range(3)]
    listing = ports(*reports)
    first = dmarc_report_list(listing, ACCOUNT, ReportListRequest(limit=2))
    rest = dmarc_report_list(listing, ACCOUNT, ReportListRequest(limit=2, cursor=first.cursor))

    assert {info.report_id for info in (*first.reports, *rest.reports)} == {"0", "1", "2"}
    assert rest.cursor == ""
    for account, listed in ((OTHER_ACCOUNT, dmarc_report_list), (ACCOUNT, tls_report_list)):
        with pytest.raises(InvalidRequest):
            listed(listing, account, ReportListRequest(cursor=first.cursor))


@pytest.mark.parametrize("limit", [-1, MOST + 1])
def test_a_limit_has_bounds(limit: int) -> None:
    """Reports are large."""
    with pytest.raises(InvalidRequest):
        dmarc_report_list(ports(), ACCOUNT, ReportListRequest(limit=limit))


def test_a_tenant_sees_nothing_of_another() -> None:
    """Nor that there is something."""
    assert (
        dmarc_report_list(
            ports(ReceivedReport(OTHER_ACCOUNT, NOW, an_aggregate())), ACCOUNT, ReportListRequest()
        ).reports
        == ()
    )


def test_a_page_of_the_largest_reports_can_be_answered() -> None:
    """A Lambda's answer has 6 MB at most, with base64."""
    dkim = (DkimAuth("d" * 250, "s" * 250, "pass", "h" * 250),) * 20
    rows = tuple((a_row(source_ip=f"2001:db8::{at:x}", dkim_results=dkim), 1) for at in range(MAX_ROWS))
    kept, left_out = _bounded(replace(an_aggregate(), rows=rows))
    reports = [ReceivedReport(ACCOUNT, NOW, replace(kept, report_id=str(at)), left_out=left_out) for at in range(MOST)]
    answer = dmarc_report_list(ports(*reports), ACCOUNT, ReportListRequest())

    assert left_out > 0
    assert len(answer.reports) == MOST
    assert len(encode(answer)) < MAX_ANSWER_BYTES
    assert len(msgspec.msgpack.encode(kept)) < 350_000
