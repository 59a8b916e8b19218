"""The contracts of reporting: evaluations by day and interval, suppressed addresses, reports that came in."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import groupby
from typing import Any

from egret.contracts.reports import (
    EVALUATIONS_KEPT,
    RECEIVED_KEPT,
    DmarcEvaluation,
    ReceivedReport,
    ReportKind,
    ReportSuppression,
)
from egret.core.dmarc_report import PublishedPolicy
from tests.integration.contract.backends import Backend
from tests.samples import NOON
from tests.unit.builders import ACCOUNT, OTHER_ACCOUNT
from tests.unit.reporting import a_row, a_tls_report, an_aggregate

TODAY = NOON.date()
MINUTE = timedelta(minutes=1)


def an_evaluation(**changes: Any) -> DmarcEvaluation:
    """Return an evaluation of the day, with the changes."""
    values: dict[str, Any] = {
        "id": "in-1",
        "at": NOON,
        "hours": 24,
        "policy": PublishedPolicy("example.net", "reject"),
        "row": a_row(),
        "rua": ("mailto:d@example.net!10m",),
    }
    return DmarcEvaluation(**(values | changes))


def every(backend: Backend, hours: int = 24, limit: int = 1000) -> list[DmarcEvaluation]:
    """Return the evaluations of the day, read in pages."""
    found: list[DmarcEvaluation] = []
    cursor = ""
    while True:
        page = backend.dmarc_evaluations.list(TODAY, hours, cursor, limit, NOON)
        found += page.items
        cursor = page.cursor
        if not cursor:
            return found


def test_an_evaluation_comes_back_as_it_was(backend: Backend) -> None:
    """Once, however often the same mail is taken in."""
    one = an_evaluation(is_optional=True)
    backend.dmarc_evaluations.put(one)
    backend.dmarc_evaluations.put(one)

    assert every(backend) == [one]


def test_evaluations_are_apart_by_day_and_interval(backend: Backend) -> None:
    """And are forgotten two days after the mail, whether storage has dropped them or not."""
    ones = [an_evaluation(), an_evaluation(hours=1, id="in-3"), an_evaluation(at=NOON + timedelta(days=1), id="in-2")]
    for one in ones:
        backend.dmarc_evaluations.put(one)

    assert every(backend) == ones[:1]
    assert every(backend, hours=1) == ones[1:2]
    late = NOON + EVALUATIONS_KEPT
    assert backend.dmarc_evaluations.list(TODAY, 24, "", 10, late - MINUTE).items == (ones[0],)
    assert backend.dmarc_evaluations.list(TODAY, 24, "", 10, late).items == ()


def test_a_domain_stands_together_whatever_the_pages(backend: Backend) -> None:
    """Nothing is listed twice or left out."""
    domains = [f"{letter}.example" for letter in "abcdefgh"] + ["a.example.net", "a.example-b.net"]
    ones = [
        an_evaluation(id=f"in-{at}", at=NOON + at * MINUTE, policy=PublishedPolicy(domain, "none"))
        for domain in domains
        for at in range(3)
    ]
    for one in ones:
        backend.dmarc_evaluations.put(one)

    for limit in (1, 4, 1000):
        listed = every(backend, limit=limit)
        assert sorted(listed, key=repr) == sorted(ones, key=repr)
        assert len(list(groupby(listed, lambda one: one.policy.domain))) == len(domains)


def test_addresses_that_get_no_reports(backend: Backend) -> None:
    """By kind and address, until they run out or are taken off."""
    port = backend.report_suppressions
    for_good = ReportSuppression(ReportKind.DMARC, "d@example.net", NOON, comment="bounces")
    for_now = ReportSuppression(ReportKind.TLS, "t@example.net", NOON, NOON + MINUTE)
    for entry in (for_now, replace(for_good, comment="old"), for_good):
        port.put(entry)

    assert list(port.list(NOON)) == [for_good, for_now]
    assert list(port.list(NOON + MINUTE)) == [for_good]
    assert port.remove(ReportKind.TLS, "d@example.net") is False
    assert port.remove(ReportKind.DMARC, "d@example.net") is True
    assert port.remove(ReportKind.DMARC, "d@example.net") is False


def test_a_report_comes_back_as_it_was(backend: Backend) -> None:
    """Of both kinds, to its account alone, until its time is over."""
    dmarc = ReceivedReport(ACCOUNT, NOON, an_aggregate(), "google.com", is_verified=True, left_out=2)
    tls = ReceivedReport(ACCOUNT, NOON, a_tls_report())
    backend.received_reports.put(dmarc)
    backend.received_reports.put(tls)

    def listed(account: str, kind: ReportKind, later: timedelta = timedelta(0)) -> tuple[ReceivedReport, ...]:
        return backend.received_reports.list(account, kind, "", 10, NOON + later).items

    assert listed(ACCOUNT, ReportKind.DMARC) == (dmarc,)
    assert listed(ACCOUNT, ReportKind.TLS) == (tls,)
    assert listed(OTHER_ACCOUNT, ReportKind.DMARC) == ()
    assert listed(ACCOUNT, ReportKind.TLS, RECEIVED_KEPT) == ()


def test_the_latest_report_comes_first_whatever_the_pages(backend: Backend) -> None:
    """A repetition replaces what it repeats; another reporter's of the same id does not."""
    report = an_aggregate()
    ones = [
        ReceivedReport(ACCOUNT, NOON, replace(report, report_id=str(at), end=report.end + (at // 3) * MINUTE))
        for at in range(9)
    ]
    ones.append(replace(ones[0], reporter="mallory.example"))
    for one in ones:
        backend.received_reports.put(one)
    again = replace(ones[0], left_out=7)
    backend.received_reports.put(again)

    for limit in (1, 2, 100):
        found: list[ReceivedReport] = []
        cursor, more = "", True
        while more:
            page = backend.received_reports.list(ACCOUNT, ReportKind.DMARC, cursor, limit, NOON)
            found += page.items
            cursor, more = page.cursor, bool(page.cursor)
        assert sorted(map(repr, found)) == sorted(map(repr, [again, *ones[1:]]))
        assert [one.report.end for one in found] == sorted((one.report.end for one in found), reverse=True)
