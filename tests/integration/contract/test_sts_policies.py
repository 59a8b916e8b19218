"""The contract of `StsPolicies`: MTA-STS policies over all units."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from egret.contracts.records import StsPolicy
from egret.core.mtasts import StsMode
from tests.integration.contract.backends import Backend
from tests.samples import DAY, EXACT, HOUR, NOON

WEEK = timedelta(weeks=1)


def _policy(domain: str = "example.net", fetched_before: timedelta = timedelta(0)) -> StsPolicy:
    """Return a policy that was fetched so long before noon, for a week from then, and just used."""
    fetched_at = NOON + EXACT - fetched_before
    return StsPolicy(
        domain=domain,
        id="20310301T120000",
        mode=StsMode.ENFORCE,
        mx=("mx1.example.net", "*.mx.example.net"),
        max_age=WEEK,
        fetched_at=fetched_at,
        valid_until=fetched_at + WEEK,
        last_used_at=NOON,
    )


def test_a_policy_comes_back_as_it_was(backend: Backend) -> None:
    """Every field, each mode, a policy without hosts too."""
    for mode in StsMode:
        policy = replace(_policy(f"{mode}.example.net"), mode=mode, mx=_policy().mx if mode is not StsMode.NONE else ())
        backend.sts_policies.put(policy)

        assert policy == backend.sts_policies.get(policy.domain, NOON)


def test_a_domain_without_policy_has_none(backend: Backend) -> None:
    """Neither have the domains above and below one that has."""
    backend.sts_policies.put(_policy())

    assert [backend.sts_policies.get(name, NOON) for name in ("net", "sub.example.net", "example.org")] == [None] * 3


def test_a_policy_counts_until_it_has_run_out(backend: Backend) -> None:
    """To the microsecond, whether storage has removed it or not (RFC 8461 section 3.2)."""
    policy = _policy()
    backend.sts_policies.put(policy)

    assert backend.sts_policies.get(policy.domain, policy.valid_until - timedelta(microseconds=1)) == policy
    assert backend.sts_policies.get(policy.domain, policy.valid_until) is None


def test_the_policy_that_was_fetched_last_stands(backend: Backend) -> None:
    """A unit that is behind does not bring an older one back; one that notes a use replaces its own."""
    old, new = replace(_policy(fetched_before=HOUR), id="old"), replace(_policy(), id="new")
    used = replace(new, last_used_at=NOON + DAY)
    for policy in (old, new, old, used):
        backend.sts_policies.put(policy)

    assert used == backend.sts_policies.get("example.net", NOON)


def test_what_is_to_be_refreshed(backend: Backend) -> None:
    """Older than 12 hours, still valid, and asked for within 180 days."""
    year = 365 * DAY
    policies = [
        _policy("fresh.example", 12 * HOUR - timedelta(minutes=1)),
        _policy("stale.example", 12 * HOUR + timedelta(minutes=1)),
        _policy("old.example", 6 * DAY),
        _policy("run-out.example", 8 * DAY),
        replace(_policy("unused.example", 181 * DAY), last_used_at=NOON - 180 * DAY, valid_until=NOON + year),
        replace(_policy("rarely-used.example", 181 * DAY), last_used_at=NOON - 179 * DAY, valid_until=NOON + year),
    ]
    for policy in policies:
        backend.sts_policies.put(policy)

    stale = [policy.domain for policy in backend.sts_policies.stale(NOON)]

    assert stale == ["old.example", "rarely-used.example", "stale.example"]
