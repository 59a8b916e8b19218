"""Tells of sessions: to the reports about TLS, to what is known of recipient domains, and to the metrics.

RFC 8460 section 4.3: a session counts once for each policy that was applied to it, whether or not the mail went on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from egret.contracts.handoff import Transaction
from egret.contracts.metrics import Metrics, NoMetrics
from egret.contracts.tls import TlsSupport
from egret.core.outcome import Remote
from egret.core.tls_policy import TlsKind
from egret.core.tlsrpt import FailureDetail, TlsSession
from egret_egress import metrics
from egret_egress.certificates import TlsFailure
from egret_egress.opening import NoSession, Opened
from egret_egress.security import WAIVED, Basis, Skip, Use
from egret_egress.wire import Peer


class Results(Protocol):
    """Sums up sessions for reports."""

    def add(self, session: TlsSession, at: datetime) -> None:
        """Count one."""
        ...


class Support(Protocol):
    """Remembers what servers offer."""

    def saw(self, support: TlsSupport) -> None:
        """Note it."""
        ...


@dataclass(frozen=True, slots=True)
class Observer:
    """What is told. source_address: that sessions come from, "" when the system chooses it."""

    results: Results | None = None
    support: Support | None = None
    counting: Metrics = field(default_factory=NoMetrics)
    source_address: str = ""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def skipped(self, transaction: Transaction, verdict: Skip) -> None:
        """A host was given up before there was a connection."""
        self._report(transaction, verdict.bases, verdict.outcome.remote, None)

    def opened(self, transaction: Transaction, verdict: Use, opened: Opened) -> None:
        """A session was opened."""
        self.counting.count(metrics.SESSIONS, ("ok",))
        endpoint, peer = opened.session.endpoint, opened.session.peer
        failure = opened.tls_failure
        if failure is not None and verdict.policy.kind is TlsKind.OPPORTUNISTIC:
            if endpoint.policy.kind is TlsKind.PLAIN:
                self.counting.count(metrics.PLAIN_FALLBACKS)
            if verdict.policy.name == WAIVED and (verdict.policy.names or verdict.policy.tlsa):
                self.counting.count(metrics.TLS_REQUIRED_NO, ("badtlsa" if verdict.policy.tlsa else "badtls",))
        self._report(transaction, verdict.bases, endpoint.remote, failure, peer.name)

    def not_opened(self, transaction: Transaction, verdict: Use, failed: NoSession) -> None:
        """No session could be opened. Only what TLS is to blame for belongs into the reports."""
        result = "tls" if failed.tls_failure else "greeting" if failed.reply else "connect"
        self.counting.count(metrics.SESSIONS, (result,))
        if failed.tls_failure is not None:
            self._report(transaction, verdict.bases, failed.remote, failed.tls_failure)

    def met(self, transaction: Transaction, verdict: Use, peer: Peer) -> None:
        """A session with a server of the domain is about to be used."""
        if self.support is not None and verdict.bases:
            requires = peer.is_encrypted and peer.offers("REQUIRETLS")
            starttls = peer.is_encrypted or peer.offers("STARTTLS")
            support = TlsSupport(transaction.account, transaction.domain, starttls, requires, self.now())
            self.support.saw(support)

    def _report(
        self,
        transaction: Transaction,
        bases: tuple[Basis, ...],
        remote: Remote,
        failure: TlsFailure | None,
        helo: str = "",
    ) -> None:
        if self.results is None or _is_tls_report(transaction):
            return
        for basis in bases:
            failures = [basis.failure, failure] if basis.failure != failure else [failure]
            details = tuple(self._detail(each, remote, helo) for each in failures if each is not None)
            self.results.add(TlsSession(basis.policy_domain, transaction.domain, basis.policy, details), self.now())

    def _detail(self, failure: TlsFailure, remote: Remote, helo: str) -> FailureDetail:
        return FailureDetail(
            failure.type,
            sending_ip=self.source_address,
            receiving_mx=remote.mx_host,
            receiving_helo=helo,
            receiving_ip=remote.address,
            reason_code=failure.code,
        )


def _is_tls_report(transaction: Transaction) -> bool:
    """Tell whether it is one of our own TLS reports: its sessions are told to nobody (RFC 8460 section 5.3).

    No other mail has both a null reverse-path and `TLS-Required: No`.
    """
    return not transaction.reverse_path and transaction.content.require_tls is False
