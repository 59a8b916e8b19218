"""TLS reports: what is counted, and that the order of counting makes no difference."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.tlsrpt import (
    MAX_POLICY_TEXT,
    MAX_TEXT,
    AppliedPolicy,
    FailureDetail,
    PolicyType,
    ResultType,
    Tally,
    TlsSession,
    forget_at,
    report_addresses,
    total,
)

NO_POLICY = AppliedPolicy(PolicyType.NONE)
DETAILS = st.builds(FailureDetail, st.sampled_from(ResultType), reason_code=st.sampled_from(["", "a", "b"]))
COUNTS = st.integers(0, 1000)
TALLIES = st.builds(Tally, COUNTS, COUNTS, st.dictionaries(DETAILS, st.integers(1, 1000), max_size=5))


@given(st.lists(TALLIES, max_size=6), st.randoms(use_true_random=False))
def test_sums_do_not_depend_on_the_order(tallies: list[Tally], random: object) -> None:
    """Units add whenever they like."""
    shuffled = list(tallies)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert total(shuffled) == total(tallies)


@given(st.lists(TALLIES, max_size=6), st.integers(0, 6))
def test_sums_do_not_depend_on_the_cuts(tallies: list[Tally], cut: int) -> None:
    """Flushing in between is the same as flushing once at the end."""
    assert total(tallies[:cut]) + total(tallies[cut:]) == total(tallies)


@given(TALLIES)
def test_nothing_added_changes_nothing(tally: Tally) -> None:
    """The empty tally is neutral, and details of a type are the sum of its kinds."""
    assert tally + Tally() == Tally() + tally == tally
    assert sum(tally.by_type.values()) == sum(tally.details.values())


def test_a_session_without_failures_is_a_success() -> None:
    """TLS as the policy asks for."""
    assert TlsSession("example.net", "example.net", NO_POLICY).tally == Tally(1)


def test_a_session_with_several_failures_is_one_failed_session() -> None:
    """The types are not exclusive (RFC 8460 section 4.3)."""
    failures = (FailureDetail(ResultType.CERTIFICATE_EXPIRED), FailureDetail(ResultType.CERTIFICATE_HOST_MISMATCH))
    session = TlsSession("example.net", "example.net", NO_POLICY, (*failures, failures[0]))

    assert session.tally == Tally(0, 1, dict.fromkeys(failures, 1))


def test_the_day_is_that_of_utc() -> None:
    """Half past midnight in Zurich is still yesterday (RFC 8460 section 4.1)."""
    key = TlsSession("example.net", "example.net", NO_POLICY).key(
        datetime(2026, 3, 2, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    )

    assert key.day == date(2026, 3, 1)
    assert key.forget_at == forget_at(date(2026, 3, 1)) == datetime(2026, 3, 5, tzinfo=UTC)


def test_what_the_server_says_is_kept_short_and_printable() -> None:
    """A greeting of a megabyte with control characters is no way to fill the table."""
    said = "mx\r\n\x00\x1b[2J" + "a" * 1_000_000
    detail = FailureDetail(ResultType.VALIDATION_FAILURE, "192.0.2.1", said, said, "192.0.2.2", said, said)
    session = TlsSession("example.net", "example.net", NO_POLICY, (detail,))
    (kept,) = session.tally.details

    for text in (kept.receiving_mx, kept.receiving_helo, kept.additional_information, kept.reason_code):
        assert len(text) <= MAX_TEXT
        assert text.startswith("mx[2Ja")
        assert text.isprintable()


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["v=TLSRPTv1;rua=mailto:reports@example.com"], ("mailto:reports@example.com",)),
        (["v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt"], ("https://reporting.example.com/v1/tlsrpt",)),
        (
            ["v=TLSRPTv1 ; rua=mailto:a@example.com , https://b.example/ ;"],
            ("mailto:a@example.com", "https://b.example/"),
        ),
        (["v=TLSRPTv1; ext=1; rua=MAILTO:a@example.com; more=x y"], ("MAILTO:a@example.com",)),
        (["v=spf1 -all", "v=TLSRPTv1; rua=mailto:a@example.com", ""], ("mailto:a@example.com",)),
        (["v=TLSRPTv1; rua=ftp://example.com/,mailto:a@example.com"], ("mailto:a@example.com",)),
        ([], ()),
        (["v=TLSRPTv1"], ()),
        (["v=TLSRPTv1; rua="], ()),
        (["v=TLSRPTv1; rua=mailto:nobody"], ()),
        (["v=TLSRPTv1; nonsense; rua=mailto:a@example.com"], ()),
        (["rua=mailto:a@example.com; v=TLSRPTv1"], ()),
        (["v=TLSRPTv2; rua=mailto:a@example.com"], ()),
        (["v=TLSRPTv1; rua=mailto:a@example.com", "v=TLSRPTv1; rua=mailto:b@example.com"], ()),
    ],
)
def test_who_wants_reports(texts: list[str], expected: tuple[str, ...]) -> None:
    """Exactly one record, of the form that RFC 8460 section 3 gives it."""
    assert report_addresses(texts) == expected


@given(st.lists(st.text(), max_size=3))
def test_no_record_is_too_strange(texts: list[str]) -> None:
    """Whatever stands in DNS, the answer is a list of URIs."""
    for uri in report_addresses(texts):
        assert uri.lower().startswith(("mailto:", "https:"))


@given(st.lists(st.text(max_size=2 * MAX_POLICY_TEXT), max_size=5))
def test_a_long_policy_is_cut_between_strings(strings: list[str]) -> None:
    """What is kept is the beginning, whole strings only, and short policies are kept whole."""
    policy = AppliedPolicy(PolicyType.STS, tuple(strings), tuple(strings))
    kept = TlsSession("example.net", "example.net", policy).key(datetime(2026, 3, 1, tzinfo=UTC)).policy

    assert kept.strings == kept.mx_hosts == policy.strings[: len(kept.strings)]
    assert sum(map(len, kept.strings)) <= MAX_POLICY_TEXT
    if sum(map(len, strings)) <= MAX_POLICY_TEXT:
        assert kept == policy
