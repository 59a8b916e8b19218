"""The contract of `TlsResults`: counts that several units add to, listed by day and policy domain."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import groupby

from egret.core.tlsrpt import (
    MAX_DETAILS,
    AppliedPolicy,
    FailureDetail,
    PolicyType,
    ResultKey,
    ResultType,
    Tally,
    TlsResult,
    total,
)
from tests.integration.contract.backends import Backend
from tests.samples import DAY, NOON

TODAY = NOON.date()
NO_POLICY = AppliedPolicy(PolicyType.NONE)
STS = AppliedPolicy(PolicyType.STS, ("version: STSv1", "mode: enforce", "mx: *.example.net"), ("*.example.net",))
EXPIRED = FailureDetail(
    ResultType.CERTIFICATE_EXPIRED,
    sending_ip="192.0.2.1",
    receiving_mx="mx1.example.net",
    receiving_helo="mx1.example.net ü",
    receiving_ip="2001:db8::25",
    additional_information="https://example.net/ü",
    reason_code="certificate-expired-since-2031-02-01",
)
NOT_OFFERED = FailureDetail(ResultType.STARTTLS_NOT_SUPPORTED, receiving_mx="mx2.example.net")


def _result(
    tally: Tally, domain: str = "example.net", policy: AppliedPolicy = NO_POLICY, recipient: str = ""
) -> TlsResult:
    return TlsResult(ResultKey(domain, TODAY, recipient or domain, policy), tally)


def _all(backend: Backend, limit: int = 1000) -> list[TlsResult]:
    """Return the results of the day, read in pages."""
    found: list[TlsResult] = []
    cursor = ""
    while True:
        page = backend.tls_results.list(TODAY, cursor, limit, NOON)
        found += page.items
        cursor = page.cursor
        assert len(page.items) <= limit
        if not cursor:
            return found


def test_a_result_comes_back_as_it_was(backend: Backend) -> None:
    """Policy, patterns, counts, and every field of each detail."""
    result = _result(Tally(7, 3, {EXPIRED: 2, NOT_OFFERED: 1}), policy=STS)
    backend.tls_results.add(result)

    assert _all(backend) == [result]


def test_counts_of_a_key_add_up(backend: Backend) -> None:
    """Sessions and each kind of failure; a kind that is new joins the others."""
    parts = [Tally(1), Tally(0, 2, {EXPIRED: 2}), Tally(3, 1, {EXPIRED: 1, NOT_OFFERED: 1}), Tally()]
    for part in parts:
        backend.tls_results.add(_result(part))

    assert _all(backend) == [_result(Tally(4, 3, {EXPIRED: 3, NOT_OFFERED: 1}))]
    assert _all(backend) == [_result(total(parts))]


def test_units_that_add_at_once_lose_nothing(backend: Backend) -> None:
    """Twenty additions from eight threads to one key."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(backend.tls_results.add, [_result(Tally(1, 1, {EXPIRED: 1}))] * 20))

    assert _all(backend) == [_result(Tally(20, 20, {EXPIRED: 20}))]


def test_as_many_details_as_a_result_may_have(backend: Backend) -> None:
    """All in one addition."""
    details = {FailureDetail(ResultType.VALIDATION_FAILURE, reason_code=str(index)): 1 for index in range(MAX_DETAILS)}
    result = _result(Tally(0, MAX_DETAILS, details))
    backend.tls_results.add(result)

    assert _all(backend) == [result]


def test_keys_are_counted_apart(backend: Backend) -> None:
    """By policy domain, recipient domain and policy; a policy that changed during the day is another one."""
    results = [
        _result(Tally(1)),
        _result(Tally(2), policy=STS),
        _result(Tally(4), policy=AppliedPolicy(PolicyType.STS, ("version: STSv1", "mode: none"))),
        _result(Tally(8), "mx.example.net", recipient="example.net"),
        _result(Tally(16), "mx.example.net", recipient="example.org"),
    ]
    for result in results:
        backend.tls_results.add(result)

    assert sorted(result.tally.successes for result in _all(backend)) == [1, 2, 4, 8, 16]
    assert {result.key for result in _all(backend)} == {result.key for result in results}


def test_a_policy_domain_stands_together_whatever_the_pages(backend: Backend) -> None:
    """Nothing is listed twice or left out, and who sends a report meets each domain once."""
    names = [f"{letter}.example" for letter in "abcdefgh"] + ["a.example.net", "a.example-b.net", "xn--a-ecp.example"]
    results = [_result(Tally(1), name, recipient=recipient) for name in names for recipient in ("r.test", "s.test")]
    for result in results:
        backend.tls_results.add(result)

    for limit in (1, 3, 22, 1000):
        listed = [result.key.policy_domain for result in _all(backend, limit)]

        assert sorted(listed) == sorted(names * 2)
        assert len(list(groupby(listed))) == len(names)


def test_days_are_apart_and_forgotten_after_three(backend: Backend) -> None:
    """Counted from the end of the UTC day, whether storage has removed it or not."""
    result = _result(Tally(1))
    backend.tls_results.add(result)
    midnight = NOON.replace(hour=0) + DAY

    def listed(day_offset: int, now_offset: timedelta) -> tuple[TlsResult, ...]:
        return backend.tls_results.list(TODAY + day_offset * DAY, "", 10, midnight + now_offset).items

    assert listed(1, timedelta(0)) == listed(-1, timedelta(0)) == ()
    assert listed(0, 3 * DAY - timedelta(microseconds=1)) == (result,)
    assert listed(0, 3 * DAY) == ()
