"""What sending reports of both kinds has in common: who sends them, to whom none go, and how they are queued."""

from __future__ import annotations

import enum
import itertools
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from egret.contracts.ports import Dice, SettingsReader
from egret.contracts.reports import DmarcEvaluations, DnsSilent, ReportDns, ReportKind, ReportSuppressions
from egret.contracts.settings import Account
from egret.contracts.tls import TlsResults
from egret.core.address import Address
from egret.core.report_mail import Written
from egret.usecases.accept import SendPorts
from egret.usecases.internal import InternalMail, send_internal

log = logging.getLogger(__name__)

MAX_ATTEMPTS: Final = 5
"""A report that cannot be delivered within hours is not worth more."""
PATIENCE: Final = timedelta(seconds=10)
"""For all that is asked of DNS about one domain, in a round: its record may name many slow name servers."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A report that may be due.

    weight: messages or sessions that it is about. ask: asks DNS who wants it, and returns what queues it then.
    """

    domain: str
    weight: int
    ask: Callable[[ReportDns], Callable[[], None]]


class Lacking(enum.Enum):
    """Why DNS has not told who wants a report."""

    SILENT = enum.auto()
    LEFT = enum.auto()


Asked = Callable[[], None] | Lacking
SideBySide = Callable[[Callable[[Job], Asked], Iterable[Job]], Iterable[Asked]]
"""`map`, one after another or in threads; what comes of the jobs comes in their order."""


@dataclass(frozen=True, slots=True)
class ReportPorts:
    """What sending reports needs. page: results that are read at a time. side_by_side: how jobs wait for DNS."""

    sending: SendPorts
    evaluations: DmarcEvaluations
    tls_results: TlsResults
    suppressions: ReportSuppressions
    dns: ReportDns
    page: int = 500
    side_by_side: SideBySide = map

    @property
    def hostname(self) -> str:
        """The name under which the installation receives and sends."""
        return self.sending.installation.hostname

    def now(self) -> datetime:
        """Return the time of day."""
        return self.sending.clock.now()

    def suppressed(self, kind: ReportKind) -> frozenset[str]:
        """Return the addresses, in lower case, that get no reports of a kind."""
        return frozenset(entry.address for entry in self.suppressions.list(self.now()) if entry.kind is kind)


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who sends our reports: the account that they are queued for, and their From address."""

    account: Account
    address: Address


@dataclass(slots=True)
class Tally:
    """What became of the reports of a run.

    queued: those of an earlier run included. unanswered: DNS was silent. left: there was no time to look at them.
    """

    queued: int = 0
    not_wanted: int = 0
    unanswered: int = 0
    too_large: int = 0
    failed: int = 0
    left: int = 0
    domains: list[str] = field(default_factory=list)
    """That reports were queued about."""


def reporter_of(settings: SettingsReader, hostname: str) -> Reporter | None:
    """Return who sends reports: the postmaster's sending domain that is the hostname, or the closest one above it.

    None when there is none: a report that nobody vouches for is not believed (RFC 9990 section 3.5.2).
    """
    labels = hostname.split(".")
    for at in range(len(labels)):
        domain = settings.domain(".".join(labels[at:]))
        if domain is None or domain.disabled or not domain.dkim_keys:
            continue
        account = settings.account(domain.account)
        if account is not None and account.is_postmaster and not account.disabled:
            return Reporter(account, Address("postmaster", domain.domain))
    return None


def queue(
    ports: ReportPorts, reporter: Reporter, written: Written, key: str, to: Iterable[Address], *, is_tls: bool
) -> None:
    """Queue a report once for its key. Raises Unavailable.

    A DMARC report has a reverse-path of its own, so that what becomes of it is known; a TLS report has none: RFC 8460
    section 5.3 wants no word about it.
    """
    mail = InternalMail(
        key=key,
        headers=written.headers,
        body=written.body,
        recipients=tuple(str(address) for address in to),
        uses_fromid=not is_tls,
        max_attempts=MAX_ATTEMPTS,
        require_tls=False if is_tls else None,
    )
    send_internal(ports.sending, reporter.account, mail)


def each_twice(ports: ReportPorts, jobs: Sequence[Job], until: datetime, tally: Tally) -> None:
    """Do the jobs; once more at the end those for which DNS was silent. After `until` none is begun."""
    silent, left = _round(ports, in_turn(jobs, ports.sending.dice), until)
    tally.left += len(left)
    tally.unanswered += sum(map(len, _round(ports, silent, until)))


def in_turn(jobs: Sequence[Job], dice: Dice) -> list[Job]:
    """Return all jobs, in turn the one of most weight and one by lot.

    Who makes up thousands of domains with slow DNS, a mail for each, does not stand before those who write much; and
    whoever writes how much, each has a chance when the time does not suffice.
    """
    largest = sorted(jobs, key=lambda job: -job.weight)
    drawn = sorted(jobs, key=lambda _: dice.number())
    return list(dict.fromkeys(itertools.chain.from_iterable(zip(largest, drawn, strict=True))))


def _round(ports: ReportPorts, jobs: Sequence[Job], until: datetime) -> tuple[list[Job], list[Job]]:
    """Do the jobs once; return those for which DNS was silent, and those for which there was no time."""

    def ask(job: Job) -> Asked:
        if ports.now() >= until:
            return Lacking.LEFT
        try:
            return job.ask(_patient(ports))
        except DnsSilent as error:
            log.warning("DNS does not tell where reports go", extra={"domain": job.domain, "error": str(error)})
            return Lacking.SILENT

    lacking: dict[Lacking, list[Job]] = {Lacking.SILENT: [], Lacking.LEFT: []}
    for job, asked in zip(jobs, ports.side_by_side(ask, jobs), strict=True):
        if isinstance(asked, Lacking):
            lacking[asked].append(job)
        elif ports.now() >= until:
            lacking[Lacking.LEFT].append(job)
        else:
            asked()
    return lacking[Lacking.SILENT], lacking[Lacking.LEFT]


def _patient(ports: ReportPorts) -> ReportDns:
    """Return the DNS for one job: it is silent once it has taken its time."""
    until = ports.now() + PATIENCE

    def ask(name: str) -> tuple[str, ...]:
        if ports.now() >= until:
            raise DnsSilent(detail=f"{name}: no time left for it")
        return ports.dns(name)

    return ask


def remembered(dns: ReportDns) -> ReportDns:
    """Return the same DNS, asked once for each name."""
    known: dict[str, tuple[str, ...]] = {}

    def ask(name: str) -> tuple[str, ...]:
        if name not in known:
            known[name] = dns(name)
        return known[name]

    return ask
