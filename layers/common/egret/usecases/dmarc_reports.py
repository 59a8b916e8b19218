"""Send DMARC aggregate reports (RFC 9990): every whole hour, those whose interval ends then.

Each evaluation belongs to one report: that of its domain and its length of interval. The id of a report follows from
these, so that a run that is repeated, or several at once, queue each report once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Final

from egret.contracts.reports import DmarcEvaluation, ReportDns, ReportKind
from egret.core.address import AddressError
from egret.core.dmarc_report import (
    AggregateReport,
    Row,
    compose_xml,
    compressed,
    file_name,
    intervals_ending,
    subject,
)
from egret.core.errors import InvalidRequest, Unavailable
from egret.core.header import date_time
from egret.core.report_destinations import Destination, agreed, destinations
from egret.core.report_mail import Letter, Written, dmarc_mail
from egret.usecases.report_sending import Job, Reporter, ReportPorts, Tally, each_twice, queue, remembered, reporter_of

log = logging.getLogger(__name__)

MAX_ROWS: Final = 20_000
"""Rows of a report; mail of further kinds is left out, and the report says so."""
ROOM_FOR_QUEUE: Final = 4096
"""Octets that the queue puts before a message: Received and signatures."""


@dataclass(slots=True)
class _Group:
    """The evaluations of a domain in an interval, added up."""

    domain: str
    begin: datetime
    end: datetime
    newest: DmarcEvaluation | None = None
    rows: Counter[Row] = field(default_factory=Counter)
    left_out: int = 0
    is_worth_it: bool = False

    def add(self, one: DmarcEvaluation) -> None:
        if one.row in self.rows or len(self.rows) < MAX_ROWS:
            self.rows[one.row] += 1
        else:
            self.left_out += 1
        self.is_worth_it = self.is_worth_it or not one.is_optional
        if self.newest is None or self.newest.at <= one.at:
            self.newest = one


def send_dmarc_reports(ports: ReportPorts, end: datetime, until: datetime) -> Tally:
    """Queue the reports whose interval ends at this whole hour; begin none after `until`.

    A domain whose report cannot be made or queued holds up no other; it is counted in `failed`.
    Raises Unavailable when what is to be reported cannot be read.
    """
    tally = Tally()
    reporter = reporter_of(ports.sending.settings, ports.hostname)
    if reporter is None:
        log.warning("no DMARC reports: the postmaster has no sending domain above the hostname")
        return tally
    ports = replace(ports, dns=remembered(ports.dns))
    run = _Run(ports, reporter, ports.suppressed(ReportKind.DMARC), tally)
    jobs: list[Job] = []
    for begin, hours in intervals_ending(end.astimezone(UTC)):
        groups = (group for group in _groups(ports, begin, end, hours) if group.is_worth_it)
        jobs += (Job(group.domain, group.rows.total(), partial(run.ask, group)) for group in groups)
    each_twice(ports, jobs, until, tally)
    return tally


def _groups(ports: ReportPorts, begin: datetime, end: datetime, hours: int) -> Iterator[_Group]:
    for domain, ones in groupby(_evaluations(ports, begin, hours), lambda one: one.policy.domain):
        group = _Group(domain, begin, end - timedelta(seconds=1))
        for one in ones:
            if begin <= one.at < end:
                group.add(one)
        yield group


def _evaluations(ports: ReportPorts, begin: datetime, hours: int) -> Iterator[DmarcEvaluation]:
    """Yield those of the interval's day; those of a domain come one after another."""
    cursor, more = "", True
    while more:
        page = ports.evaluations.list(begin.date(), hours, cursor, ports.page, ports.now())
        yield from page.items
        cursor, more = page.cursor, bool(page.cursor)


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: what all its reports have in common."""

    ports: ReportPorts
    reporter: Reporter
    suppressed: frozenset[str]
    tally: Tally

    def ask(self, group: _Group, dns: ReportDns) -> Callable[[], None]:
        """Ask who wants the report about a domain, and return what queues it. Raises DnsSilent."""
        assert group.newest is not None  # noqa: S101 - a group that is worth it has an evaluation
        wanted = agreed(group.domain, destinations(group.newest.rua), dns)
        to = [one for one in wanted if one.key not in self.suppressed]
        return partial(self._report, group, group.newest, to)

    def _report(self, group: _Group, newest: DmarcEvaluation, to: list[Destination]) -> None:
        if not to:
            self.tally.not_wanted += 1
            return
        try:
            self._send(group, newest, to)
        except (Unavailable, InvalidRequest, AddressError):
            self.tally.failed += 1
            log.exception("DMARC report not queued", extra={"domain": group.domain})

    def _send(self, group: _Group, newest: DmarcEvaluation, to: list[Destination]) -> None:
        report = self._made(group, newest)
        written, to = self._written(report, to)
        queue(
            self.ports,
            self.reporter,
            written,
            report.report_id,
            [one.address for one in to],
            is_tls=False,
        )
        self.tally.queued += 1
        self.tally.domains.append(group.domain)

    def _made(self, group: _Group, newest: DmarcEvaluation) -> AggregateReport:
        address = self.reporter.address
        lacking = (f"{group.left_out} messages of further kinds are left out",) if group.left_out else ()
        return AggregateReport(
            org_name=self.ports.hostname,
            email=str(address),
            report_id=f"dmarc.{group.begin:%Y%m%d%H}.{newest.hours}.{group.domain}@{address.domain}",
            begin=group.begin,
            end=group.end,
            policy=newest.policy,
            rows=tuple(sorted(group.rows.items())),
            errors=lacking,
            generator=self.ports.sending.user_agent,
        )

    def _written(self, report: AggregateReport, to: list[Destination]) -> tuple[Written, list[Destination]]:
        """Return the mail and who gets it; when it is too large for all, a mail that says so."""
        data = compressed(compose_xml(report))
        name = file_name(report, self.ports.hostname)
        size_bytes = dmarc_mail(self._letter(report, to, _words(report)), name, data).size_bytes + ROOM_FOR_QUEUE
        takers = [one for one in to if one.takes(size_bytes)]
        if takers:
            return dmarc_mail(self._letter(report, takers, _words(report)), name, data), takers
        self.tally.too_large += 1
        text = self._too_large(report, size_bytes, to)
        return dmarc_mail(self._letter(report, to, text)), to

    def _letter(self, report: AggregateReport, to: list[Destination], text: str) -> Letter:
        return Letter(
            from_=self.reporter.address,
            to=tuple(one.address for one in to),
            subject=subject(report.policy.domain, self.ports.hostname, report.report_id),
            date=self.ports.now(),
            report_id=report.report_id,
            text=text,
            user_agent=self.ports.sending.user_agent,
        )

    def _too_large(self, report: AggregateReport, size_bytes: int, to: list[Destination]) -> str:
        """Return the short report of RFC 7489 section 7.2.2, which RFC 9990 section 3.5 still allows."""
        lines = [
            "There is a DMARC aggregate report for you, and it is larger than your record allows.",
            "",
            f"Report-Date: {date_time(self.ports.now())}",
            f"Report-Domain: {report.policy.domain}",
            f"Report-ID: {report.report_id}",
            f"Report-Size: {size_bytes}",
            f"Submitter: {self.ports.hostname}",
            *(f"Submitting-URI: mailto:{one.address}!{one.max_bytes}" for one in to),
        ]
        return "\n".join(lines) + "\n"


def _words(report: AggregateReport) -> str:
    return (
        f"This is a DMARC aggregate report about mail from {report.policy.domain}, which its DMARC record asks for.\n\n"
        f"From:     {report.begin:%Y-%m-%d %H:%M:%SZ}\nTo:       {report.end:%Y-%m-%d %H:%M:%SZ}\n"
        f"Messages: {report.messages}\n"
    )
