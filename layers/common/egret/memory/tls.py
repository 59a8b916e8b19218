"""What is remembered about the transport security of others, in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import date, datetime

from egret.contracts.records import Page, StsPolicy
from egret.contracts.tls import TlsSupport, is_stale
from egret.core.tlsrpt import ResultKey, Tally, TlsResult


class MemoryStsPolicies:
    """The `StsPolicies` port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._policies: dict[str, StsPolicy] = {}

    def get(self, domain: str, now: datetime) -> StsPolicy | None:
        """Return the policy of a domain, None when there is none or it has run out."""
        with self._lock:
            policy = self._policies.get(domain)
        return policy if policy is not None and now < policy.valid_until else None

    def put(self, policy: StsPolicy) -> None:
        """Store it, unless one that was fetched later stands there."""
        with self._lock:
            known = self._policies.get(policy.domain)
            if known is None or known.fetched_at <= policy.fetched_at:
                self._policies[policy.domain] = policy

    def stale(self, now: datetime) -> list[StsPolicy]:
        """Return those that are to be fetched again, by domain."""
        with self._lock:
            policies = sorted(self._policies.values(), key=lambda policy: policy.domain)
        return [policy for policy in policies if is_stale(policy, now)]


class MemoryDomainTls:
    """The `DomainTls` port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], TlsSupport] = {}

    def get(self, account: str, domain: str, now: datetime) -> TlsSupport | None:
        """Return what the account saw, None when it has not met the domain or that is long ago."""
        with self._lock:
            seen = self._seen.get((account, domain))
        return seen if seen is not None and now < seen.forget_at else None

    def put(self, seen: Sequence[TlsSupport]) -> None:
        """Store, replacing what stands there."""
        with self._lock:
            self._seen.update({(each.account, each.domain): each for each in seen})


class MemoryTlsResults:
    """The `TlsResults` port."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[ResultKey, Tally] = {}

    def add(self, result: TlsResult) -> None:
        """Add its counts to those that stand there."""
        with self._lock:
            self._tallies[result.key] = self._tallies.get(result.key, Tally()) + result.tally

    def list(self, day: date, cursor: str, limit: int, now: datetime) -> Page[TlsResult]:
        """Return results of a UTC day, by policy domain. The cursor is the position of the next one."""
        with self._lock:
            of_day = [TlsResult(*each) for each in self._tallies.items() if each[0].day == day]
        found = sorted((each for each in of_day if now < each.key.forget_at), key=_order)
        start = int(cursor or 0)
        more = start + limit < len(found)
        return Page(tuple(found[start : start + limit]), str(start + limit) if more else "")


def _order(result: TlsResult) -> tuple[str, str, str]:
    return result.key.policy_domain, result.key.recipient_domain, repr(result.key.policy)
