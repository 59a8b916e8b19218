"""What sending reports of both kinds has in common: who sends them, to whom none go, and how they are queued."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from egret.contracts.ports import SettingsReader
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


@dataclass(frozen=True, slots=True)
class ReportPorts:
    """What sending reports needs. page: results that are read at a time."""

    sending: SendPorts
    evaluations: DmarcEvaluations
    tls_results: TlsResults
    suppressions: ReportSuppressions
    dns: ReportDns
    page: int = 500

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
    """What became of the reports of a run. queued: those of an earlier run included. unanswered: DNS was silent."""

    queued: int = 0
    not_wanted: int = 0
    unanswered: int = 0
    too_large: int = 0
    failed: int = 0
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


def each_twice(names: Iterable[str], work: Callable[[str], None], tally: Tally) -> None:
    """Do the work for each domain; once more at the end where DNS was silent."""
    again = [name for name in names if not _answered(name, work)]
    tally.unanswered += sum(not _answered(name, work) for name in again)


def _answered(name: str, work: Callable[[str], None]) -> bool:
    try:
        work(name)
    except DnsSilent as error:
        log.warning("DNS does not tell where reports go", extra={"domain": name, "error": str(error)})
        return False
    return True


def remembered(dns: ReportDns) -> ReportDns:
    """Return the same DNS, asked once for each name."""
    known: dict[str, tuple[str, ...]] = {}

    def ask(name: str) -> tuple[str, ...]:
        if name not in known:
            known[name] = dns(name)
        return known[name]

    return ask
