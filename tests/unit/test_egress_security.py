"""The verdict on a host, as a law over everything that may be known of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from egret.contracts.records import StsPolicy
from egret.core.mtasts import StsMode
from egret.core.outcome import Bounced, Deferred
from egret.core.tls_policy import OPPORTUNISTIC, PLAIN, Tlsa, TlsKind, TlsPolicy
from egret.core.tlsrpt import PolicyType, ResultType
from egret_egress.certificates import TlsFailure
from egret_egress.dane import Records
from egret_egress.destinations import DnsTrouble, Hops, Host
from egret_egress.mta_sts import Found
from egret_egress.security import Question, Skip, Use, Verdict, judge

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOST = Host("mx.example.org")
HOPS = Hops("example.org", "hosted.example", is_authentic=True, hosts=(HOST,))
GOOD = Records("mx.example.org", (Tlsa(3, 1, 1, bytes(32)),))
AUTHORITY = Records("mx.example.org", (Tlsa(2, 1, 1, bytes(32)),))
UNUSABLE = Records("mx.example.org", (Tlsa(1, 1, 1, bytes(32)),))
TROUBLE = DnsTrouble("the name servers fail")


def found(mode: StsMode, pattern: str = "mx.example.org") -> Found:
    """Return an MTA-STS policy."""
    age = timedelta(days=1)
    return Found(StsPolicy("example.org", "1", mode, (pattern,), age, NOW, NOW + age, NOW))


def verdict(
    records: Records | DnsTrouble | None = None, sts: Found | None = None, *, require_tls: bool | None = None
) -> Verdict:
    """Return the verdict on the host."""
    return judge(Question(HOPS, HOST, sts or Found(), require_tls), records)


RECORDS = (None, GOOD, AUTHORITY, UNUSABLE, TROUBLE)
POLICIES = (Found(), *(found(mode, pattern) for mode in StsMode for pattern in ("mx.example.org", "a.example")))


@pytest.mark.parametrize(("records", "sts"), list(product(RECORDS, POLICIES)))
def test_the_laws_of_protection(records: Records | DnsTrouble | None, sts: Found) -> None:
    """REQUIRETLS only ever adds protection, TLS-Required: No only ever takes it away, and a refusal says why."""
    normal, strict, lax = (verdict(records, sts, require_tls=wish) for wish in (None, True, False))

    assert isinstance(lax, Use)
    assert lax.policy.kind is TlsKind.OPPORTUNISTIC
    assert not isinstance(strict, Use) or (strict.policy.is_authenticated and strict == normal)
    assert not isinstance(normal, Skip) or isinstance(strict, Skip)
    for skip in (normal, strict):
        if isinstance(skip, Skip):
            assert len(skip.outcome.reason) > 40
            assert isinstance(skip.outcome, Bounced) == (skip.unmet != "")
    if records is GOOD:
        assert isinstance(normal, Use)
        assert normal.policy.kind is TlsKind.DANE


def test_dane_takes_the_names_that_matter() -> None:
    """A key of the server itself needs the host's name for SNI alone; an authority's needs those of the domain too."""
    good, authority = verdict(GOOD), verdict(AUTHORITY)

    assert isinstance(good, Use)
    assert good.policy == TlsPolicy(TlsKind.DANE, "dane", ("mx.example.org",), GOOD.found)
    assert isinstance(authority, Use)
    assert authority.policy.names == ("mx.example.org", "example.org", "hosted.example")


def test_unusable_records_leave_it_to_mta_sts() -> None:
    """TLS is a must in any case; with a policy the certificate must be good as well."""
    alone, enforced, tested = verdict(UNUSABLE), verdict(UNUSABLE, POLICIES[1]), verdict(UNUSABLE, POLICIES[3])

    kinds = [use.policy.kind for use in (alone, enforced, tested) if isinstance(use, Use)]
    assert kinds == [TlsKind.ENCRYPTED, TlsKind.PKIX, TlsKind.ENCRYPTED]


def test_every_policy_of_a_host_is_reported() -> None:
    """Bases name the policy in the words of RFC 8460."""
    use = verdict(GOOD)
    assert isinstance(use, Use)
    (basis,) = use.bases
    assert (basis.policy_domain, basis.policy.type) == ("mx.example.org", PolicyType.TLSA)
    assert basis.policy.strings == ("3 1 1 " + "00" * 32,)

    use = verdict(None, found(StsMode.ENFORCE))
    assert isinstance(use, Use)
    (basis,) = use.bases
    lines = ("version: STSv1", "mode: enforce", "mx: mx.example.org", "max_age: 86400")
    assert (basis.policy_domain, basis.policy.strings, basis.policy.mx_hosts) == ("example.org", lines, (HOST.name,))


def test_a_policy_that_cannot_be_fetched_is_reported() -> None:
    """The mail goes on without it."""
    failure = TlsFailure(ResultType.STS_WEBPKI_INVALID)
    use = verdict(None, Found(None, failure))

    assert isinstance(use, Use)
    assert use.policy == OPPORTUNISTIC
    assert [(basis.policy.type, basis.failure) for basis in use.bases] == [(PolicyType.STS, failure)]


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [
        (TlsPolicy(TlsKind.PKIX, "smarthost"), True),
        (TlsPolicy(TlsKind.IMPLICIT, "smarthost"), True),
        (TlsPolicy(TlsKind.ENCRYPTED, "smarthost, unverified"), False),
        (OPPORTUNISTIC, False),
        (PLAIN, False),
    ],
)
def test_a_smarthost_has_its_own_policy(policy: TlsPolicy, *, allowed: bool) -> None:
    """What its domain says is not asked; for REQUIRETLS it must prove who it is."""
    smarthost = Host("relay.example", 587, policy)

    def judged(*, require_tls: bool | None) -> Verdict:
        return judge(Question(HOPS, smarthost, found(StsMode.ENFORCE, "a.example"), require_tls), TROUBLE)

    assert judged(require_tls=None) == judged(require_tls=False) == Use(policy)
    strict = judged(require_tls=True)
    assert isinstance(strict, Use) is allowed
    assert allowed or (isinstance(strict, Skip) and isinstance(strict.outcome, Bounced))


def test_trouble_is_temporary_and_a_missing_policy_is_not() -> None:
    """What cannot be known now may be known later; what is known not to be there is final."""
    waiting, refused = verdict(TROUBLE, require_tls=True), verdict(None, require_tls=True)

    assert isinstance(waiting, Skip)
    assert isinstance(waiting.outcome, Deferred)
    assert isinstance(refused, Skip)
    assert refused.outcome.reply is not None
    assert refused.outcome.reply.enhanced_code == "5.7.30"
