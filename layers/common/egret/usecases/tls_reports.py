"""Send TLS reports (RFC 8460) about a UTC day, the day after.

A recipient domain hears of all sessions for its mail; then domains of MX hosts hear of those with their hosts, unless
the same addresses have heard of them already. Ids follow from day and domain: each report is queued once.
"""

from __future__ import annotations

import enum
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial

from egret.contracts.reports import ReportDns, ReportKind
from egret.core.address import Address, AddressError
from egret.core.dmarc_report import compressed, subject
from egret.core.errors import InvalidRequest, Unavailable
from egret.core.report_mail import Letter, tls_mail
from egret.core.tlsrpt import ResultKey, TlsResult, report_addresses
from egret.core.tlsrpt_report import TlsReport, compose_json, day_range, file_name, mail_addresses, merged
from egret.usecases.report_sending import Job, Reporter, ReportPorts, Tally, each_twice, queue, remembered, reporter_of

log = logging.getLogger(__name__)


class TlsReporting(enum.StrEnum):
    """Which TLS reports are sent."""

    FAILURES = "failures"
    """Those with a failure."""
    ALL = "all"
    OFF = "off"


def send_tls_reports(
    ports: ReportPorts, day: date, until: datetime, which: TlsReporting = TlsReporting.FAILURES
) -> Tally:
    """Queue the reports about a UTC day that has ended; begin none after `until`.

    A domain whose report cannot be made or queued holds up no other; it is counted in `failed`.
    Raises Unavailable when what is to be reported cannot be read.
    """
    tally = Tally()
    reporter = reporter_of(ports.sending.settings, ports.hostname)
    if which is TlsReporting.OFF:
        return tally
    if reporter is None:
        log.warning("no TLS reports: the postmaster has no sending domain above the hostname")
        return tally
    ports = replace(ports, dns=remembered(ports.dns))
    run = _Run(ports, reporter, day, which, ports.suppressed(ReportKind.TLS), tally)
    recipients: dict[str, list[TlsResult]] = defaultdict(list)
    hosts: dict[str, list[TlsResult]] = defaultdict(list)
    for result in _results(ports, day):
        recipients[result.key.recipient_domain].append(result)
        if result.key.policy_domain != result.key.recipient_domain:
            hosts[result.key.policy_domain].append(result)
    each_twice(ports, [run.job(*item) for item in sorted(recipients.items())], until, tally)
    each_twice(ports, [run.job(*item) for item in sorted(hosts.items()) if item[0] not in recipients], until, tally)
    return tally


def _results(ports: ReportPorts, day: date) -> Iterator[TlsResult]:
    cursor, more = "", True
    while more:
        page = ports.tls_results.list(day, cursor, ports.page, ports.now())
        yield from page.items
        cursor, more = page.cursor, bool(page.cursor)


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: what all its reports have in common. told: the addresses that heard of a result."""

    ports: ReportPorts
    reporter: Reporter
    day: date
    which: TlsReporting
    suppressed: frozenset[str]
    tally: Tally
    told: dict[ResultKey, frozenset[str]] = field(default_factory=dict)

    def job(self, domain: str, results: list[TlsResult]) -> Job:
        """Return the job of the report to a domain."""
        weight = sum(result.tally.successes + result.tally.failures for result in results)
        return Job(domain, weight, partial(self.ask, domain, results))

    def ask(self, domain: str, results: list[TlsResult], dns: ReportDns) -> Callable[[], None]:
        """Ask who wants the report to a domain, and return what queues it. Raises DnsSilent."""
        found = mail_addresses(report_addresses(dns(f"_smtp._tls.{domain}")))
        to = [address for address in found if str(address).lower() not in self.suppressed]
        return partial(self._report, domain, results, to)

    def _report(self, domain: str, results: list[TlsResult], to: list[Address]) -> None:
        whom = frozenset(str(address).lower() for address in to)
        news = [result for result in results if self.told.get(result.key) != whom]
        is_worth_it = self.which is TlsReporting.ALL or any(result.tally.failures for result in news)
        if not to or not news or not is_worth_it:
            self.tally.not_wanted += 1
            return
        try:
            self._send(domain, news, to)
        except (Unavailable, InvalidRequest, AddressError):
            self.tally.failed += 1
            log.exception("TLS report not queued", extra={"domain": domain})
            return
        self.told.update(dict.fromkeys((result.key for result in news), whom))

    def _send(self, domain: str, results: list[TlsResult], to: list[Address]) -> None:
        hostname, address = self.ports.hostname, self.reporter.address
        begin, end = day_range(self.day)
        report = TlsReport(
            organization=hostname,
            contact=str(address),
            report_id=f"tls.{self.day:%Y%m%d}.{domain}@{address.domain}",
            begin=begin,
            end=end,
            policies=merged(results),
        )
        letter = Letter(
            from_=address,
            to=tuple(to),
            subject=subject(domain, hostname, report.report_id),
            date=self.ports.now(),
            report_id=report.report_id,
            text=f"This is a TLS report about sessions with mail servers of {domain} on {self.day} (RFC 8460).\n",
            user_agent=self.ports.sending.user_agent,
        )
        attachment = file_name(report, hostname, domain), compressed(compose_json(report))
        written = tls_mail(letter, domain, hostname, attachment)
        queue(self.ports, self.reporter, written, report.report_id, to, is_tls=True)
        self.tally.queued += 1
        self.tally.domains.append(domain)
