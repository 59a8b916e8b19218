"""What is remembered about the transport security of others: ports, and the records that are theirs alone.

The promises of `contracts.ports` hold here too. Of these only `DomainTls` is about tenants; MTA-STS policies and the
results for reports belong to the installation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from egret.contracts.records import Page, StsPolicy
from egret.core.tlsrpt import TlsResult

REFRESH_AFTER = timedelta(hours=12)
"""A policy older than this is fetched again in the background (RFC 8461 section 10.2 asks for once a day at least)."""
UNUSED_AFTER = timedelta(days=180)
"""A policy that no attempt asked for so long is left to run out."""
SUPPORT_KEPT = timedelta(days=365)
"""What was seen of a domain's servers is forgotten after a year without a session."""


def is_stale(policy: StsPolicy, now: datetime) -> bool:
    """Tell whether a policy that still counts is to be fetched again."""
    is_used = now < policy.last_used_at + UNUSED_AFTER
    return is_used and policy.fetched_at + REFRESH_AFTER <= now < policy.valid_until


class StsPolicies(Protocol):
    """MTA-STS policies as they were fetched last, over all units."""

    def get(self, domain: str, now: datetime) -> StsPolicy | None:
        """Return the policy of a domain (A-label), None when there is none or it has run out."""
        ...

    def put(self, policy: StsPolicy) -> None:
        """Store it until `valid_until`, unless one that was fetched later stands there."""
        ...

    def stale(self, now: datetime) -> list[StsPolicy]:
        """Return those that `is_stale`, by domain."""
        ...


@dataclass(frozen=True, slots=True)
class TlsSupport:
    """What the servers of a recipient domain (A-label) offered when an account's mail last met one of them.

    require_tls: REQUIRETLS (RFC 8689) was offered inside TLS.
    """

    account: str
    domain: str
    starttls: bool
    require_tls: bool
    updated_at: datetime

    @property
    def forget_at(self) -> datetime:
        """When it says nothing any more."""
        return self.updated_at + SUPPORT_KEPT


class DomainTls(Protocol):
    """What each account's mail has met."""

    def get(self, account: str, domain: str, now: datetime) -> TlsSupport | None:
        """Return what the account saw, None when it has not met the domain or that is long ago."""
        ...

    def put(self, seen: Sequence[TlsSupport]) -> None:
        """Store, replacing what stands there; no domain of an account occurs twice."""
        ...


class TlsResults(Protocol):
    """Results for TLS reports, kept until `ResultKey.forget_at`."""

    def add(self, result: TlsResult) -> None:
        """Add its counts to those that stand there, atomically; when Unavailable, they may have been added.

        It has at most `core.tlsrpt.MAX_DETAILS` details.
        """
        ...

    def list(self, day: date, cursor: str, limit: int, now: datetime) -> Page[TlsResult]:
        """Return results of a UTC day; those of a policy domain come one after another.

        A page may have fewer than `limit` items while its cursor says that there is more.
        """
        ...
