"""How much protection a host must offer before mail goes to it: decided before connecting, as a value with its reason.

Implements: RFC 7672 section 2 (DANE, which takes precedence), RFC 8461 sections 2 and 5 (MTA-STS), RFC 8689 sections
4.2.1 (REQUIRETLS) and 4.1 (TLS-Required: No), RFC 7435 (opportunistic TLS for everything else).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from egret.contracts.metrics import Metrics, NoMetrics
from egret.contracts.records import StsPolicy
from egret.core.mtasts import StsMode, allows
from egret.core.outcome import Bounced, Deferred, Remote
from egret.core.tls_policy import OPPORTUNISTIC, TlsKind, TlsPolicy
from egret.core.tlsrpt import AppliedPolicy, PolicyType, ResultType
from egret_egress import dane, metrics
from egret_egress.certificates import TlsFailure
from egret_egress.destinations import DnsTrouble, Hops, Host, Resolver, Router, without_address
from egret_egress.exchange import NO_REQUIRETLS
from egret_egress.mta_sts import Found, MtaSts

MTA_STS = "mta-sts"
TESTING = "mta-sts, testing"
WAIVED = "tls-required: no"
_MX_MISMATCH = TlsFailure(ResultType.VALIDATION_FAILURE, "mtasts-policy-mx-mismatch")
_UNUSABLE = TlsFailure(ResultType.TLSA_INVALID, "all-unusable-records")


@dataclass(frozen=True, slots=True)
class Basis:
    """A policy that sessions are judged by in TLS reports. failure: it cannot be met, whatever the session is like."""

    policy_domain: str
    policy: AppliedPolicy
    failure: TlsFailure | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """The host may be used like this. ignored: what speaks against it, but for TLS-Required: No."""

    policy: TlsPolicy
    bases: tuple[Basis, ...] = ()
    ignored: str = ""


@dataclass(frozen=True, slots=True)
class Skip:
    """The host must not be used. policy: name of the one that says so. unmet: why REQUIRETLS cannot be kept."""

    outcome: Deferred | Bounced
    policy: str
    bases: tuple[Basis, ...] = ()
    unmet: str = ""


Verdict = Use | Skip
_NOBODY = Found()


class Security:
    """Decides.

    resolver: for TLSA records; sts: the policies of domains; without them there are none. least: what the shaping table
    asks of a provider, by the name of its MX host, None = nothing.
    """

    def __init__(
        self,
        resolver: Resolver | None = None,
        sts: MtaSts | None = None,
        counting: Metrics | None = None,
        least: Callable[[str], TlsKind | None] = lambda _: None,
    ) -> None:
        self._resolver = resolver
        self._least = least
        self._sts = sts
        self._metrics = counting or NoMetrics()

    async def of_domain(self, hops: Hops, *, require_tls: bool | None) -> Found | Deferred:
        """Return the MTA-STS policy of a recipient domain, or why mail to it has to wait."""
        has_own = all(host.policy is not None for host in hops.hosts)
        if self._sts is None or has_own:
            return _NOBODY
        try:
            return await self._sts.of(hops.domain)
        except DnsTrouble as trouble:
            if require_tls is False:
                self._metrics.count(metrics.TLS_REQUIRED_NO, ("mtastspolicy",))
                return _NOBODY
            return Deferred(
                f"it could not be found out whether {hops.domain} has an MTA-STS policy, which would "
                f"say how its mail is to be protected: {trouble}"
            )

    async def of_host(self, question: Question, router: Router) -> Verdict:
        """Say whether and how a host may be used."""
        try:
            verdict = judge(question, await self._records(question, router))
        except DnsTrouble as trouble:
            verdict = _without_address(question.host, trouble)
        verdict = at_least(self._least(question.host.name), verdict, question)
        outcome = "use" if isinstance(verdict, Use) else "skip"
        name = verdict.policy.name if isinstance(verdict, Use) else verdict.policy
        self._metrics.count(metrics.TLS_POLICIES, (metrics.tls_word(name), outcome))
        if isinstance(verdict, Skip) and verdict.unmet:
            self._metrics.count(metrics.REQUIRETLS_UNMET, (verdict.unmet,))
        if isinstance(verdict, Use) and verdict.ignored:
            self._metrics.count(metrics.TLS_REQUIRED_NO, (verdict.ignored,))
        return verdict

    async def _records(self, question: Question, router: Router) -> dane.Records | DnsTrouble | None:
        """Return what there is of DANE, or why that cannot be known. Raises DnsTrouble when the host has no address.

        That is the end for the host: asked again for its address a moment later, the DNS might answer, and nobody would
        have looked whether its certificate is published.
        """
        hops, host = question.hops, question.host
        if self._resolver is None or host.policy is not None or not hops.is_authentic:
            return None
        addresses = await router.addresses(host)
        try:
            return await dane.gather(self._resolver, hops, host, addresses)
        except DnsTrouble as trouble:
            return trouble


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a host of a domain, the domain's MTA-STS policy, and what the message asks for (RequireTLS)."""

    hops: Hops
    host: Host
    sts: Found = _NOBODY
    require_tls: bool | None = None


def judge(question: Question, records: dane.Records | DnsTrouble | None) -> Verdict:
    """Return the verdict on a host; a smarthost has its policy from whoever configured it."""
    host = question.host
    if host.policy is not None:
        if question.require_tls and not host.policy.is_authenticated:
            reason = (
                f"the message is to be encrypted on its whole way (RequireTLS), for which {host.name} is not set up"
            )
            return Skip(_refused(reason, host), host.policy.name, unmet="nopolicy")
        return Use(host.policy)
    if isinstance(records, DnsTrouble):
        verdict: Verdict = _unknown(question, records)
    elif records is not None:
        verdict = _by_dane(question, records)
    else:
        verdict = _by_sts(question)
    return _waived(verdict) if question.require_tls is False else verdict


_RANKS = (TlsKind.OPPORTUNISTIC, TlsKind.ENCRYPTED, TlsKind.PKIX)
PROVIDER = "provider"


def at_least(least: TlsKind | None, verdict: Verdict, question: Question) -> Verdict:
    """Ask for more where a provider is known to want it, unless the message or whoever configured the host says no."""
    if least is None or isinstance(verdict, Skip) or question.host.policy is not None or question.require_tls is False:
        return verdict
    policy = verdict.policy
    if policy.kind not in _RANKS or _RANKS.index(policy.kind) >= _RANKS.index(least):
        return verdict
    name = PROVIDER if policy.name == OPPORTUNISTIC.name else policy.name
    names = (question.host.name,) if least is TlsKind.PKIX else policy.names
    return replace(verdict, policy=TlsPolicy(least, name, names))


def _refused(reason: str, host: Host) -> Bounced:
    return Bounced(reason, NO_REQUIRETLS, Remote(host.name), names_recipient=False)


def _without_address(host: Host, trouble: DnsTrouble) -> Skip:
    return Skip(Deferred(without_address(host.name, trouble), None, Remote(host.name)), OPPORTUNISTIC.name)


def _unknown(question: Question, trouble: DnsTrouble) -> Skip:
    host = question.host
    reason = (
        f"it could not be looked up whether the mail server {host.name} has DANE records (TLSA) in the DNS: {trouble}; "
        "without knowing it, the mail might go to somebody who pretends to be that server"
    )
    failure = TlsFailure(ResultType.DNSSEC_INVALID, "bogus" if trouble.is_bogus else "lookup-failed")
    basis = Basis(host.name, AppliedPolicy(PolicyType.TLSA, mx_hosts=(host.name,)), failure)
    return Skip(Deferred(reason, None, Remote(host.name)), dane.NAME, (basis,))


def _by_dane(question: Question, records: dane.Records) -> Verdict:
    """DANE takes precedence; records that cannot be used leave authentication to MTA-STS, and TLS a must."""
    policy = dane.policy_of(records, question.hops, question.host)
    applied = AppliedPolicy(PolicyType.TLSA, records.strings, (question.host.name,))
    if policy.kind is TlsKind.DANE:
        return Use(policy, (Basis(question.host.name, applied),))
    basis = Basis(question.host.name, applied, _UNUSABLE)
    by_sts = _by_sts(question)
    if isinstance(by_sts, Skip) or by_sts.policy.kind is TlsKind.PKIX:
        return replace(by_sts, bases=(basis, *by_sts.bases))
    return Use(policy, (basis, *by_sts.bases))


def _by_sts(question: Question) -> Verdict:
    hops, host, found = question.hops, question.host, question.sts
    policy = found.policy
    if policy is None or policy.mode is StsMode.NONE:
        applied = AppliedPolicy(PolicyType.NONE if found.failure is None else PolicyType.STS)
        basis = Basis(hops.domain, applied, found.failure)
        return _unprotected(question, basis) if question.require_tls else Use(OPPORTUNISTIC, (basis,))
    is_named = allows(policy.mx, host.name)
    basis = Basis(hops.domain, _applied(policy), None if is_named else _MX_MISMATCH)
    if policy.mode is StsMode.TESTING:
        if question.require_tls:
            return _unprotected(question, basis)
        names = (host.name,) if is_named else ()
        return Use(TlsPolicy(TlsKind.OPPORTUNISTIC, TESTING, names), (basis,))
    if is_named:
        return Use(TlsPolicy(TlsKind.PKIX, MTA_STS, (host.name,)), (basis,))
    reason = (
        f"the DNS names {host.name} as a mail server of {hops.domain}, but the domain's own security policy (MTA-STS) "
        "does not, so nothing was sent to it: it may be somebody else's"
    )
    return Skip(Deferred(reason, None, Remote(host.name)), MTA_STS, (basis,))


def _applied(policy: StsPolicy) -> AppliedPolicy:
    lines = ["version: STSv1", f"mode: {policy.mode}", *(f"mx: {pattern}" for pattern in policy.mx)]
    lines.append(f"max_age: {int(policy.max_age.total_seconds())}")
    return AppliedPolicy(PolicyType.STS, tuple(lines), policy.mx)


def _unprotected(question: Question, basis: Basis) -> Skip:
    domain, host = question.hops.domain, question.host
    reason = (
        f"the message is to be encrypted on its whole way (RequireTLS), and {domain} publishes nothing by which its "
        f"mail server {host.name} could prove who it is: neither DANE records nor an MTA-STS policy in mode enforce"
    )
    return Skip(_refused(reason, host), OPPORTUNISTIC.name, (basis,), unmet="nopolicy")


def _waived(verdict: Verdict) -> Use:
    """Make of every demand a wish: TLS-Required: No asks for delivery, with as much protection as can be had."""
    if isinstance(verdict, Skip):
        ignored = "mtastsmx" if verdict.policy == MTA_STS else "badtlsa"
        return Use(TlsPolicy(TlsKind.OPPORTUNISTIC, WAIVED), verdict.bases, ignored)
    if verdict.policy.kind is TlsKind.OPPORTUNISTIC:
        return verdict
    names = verdict.policy.names if verdict.policy.is_authenticated else ()
    return replace(verdict, policy=TlsPolicy(TlsKind.OPPORTUNISTIC, WAIVED, names, verdict.policy.tlsa))
