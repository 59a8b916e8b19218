"""TLS reports: what we write can be read, and what strangers write does no harm."""

from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.dmarc_reading import MAX_COUNT, Unreadable
from egret.core.tlsrpt import AppliedPolicy, FailureDetail, PolicyType, ResultKey, ResultType, Tally, TlsResult
from egret.core.tlsrpt_reading import MAX_OCTETS, read_tls
from egret.core.tlsrpt_report import (
    PolicyResult,
    TlsReport,
    compose_json,
    day_range,
    file_name,
    mail_addresses,
    merged,
)
from tests.unit.reporting import a_tls_report

DAY = date(2026, 3, 4)
EXPIRED = FailureDetail(ResultType.CERTIFICATE_EXPIRED, receiving_mx="mx.example.net")
STS = AppliedPolicy(PolicyType.STS, ("version: STSv1",), ("mx.example.net",))
OF_HOST = AppliedPolicy(PolicyType.TLSA, ("3 1 1 aa",), ("mx.example.net",))


def a_result(policy_domain: str, recipient: str, policy: AppliedPolicy, tally: Tally) -> TlsResult:
    """Return a result of the day."""
    return TlsResult(ResultKey(policy_domain, DAY, recipient, policy), tally)


def test_a_report_is_read_as_it_was_written() -> None:
    """Every field of RFC 8460."""
    assert read_tls(compose_json(a_tls_report()).encode()) == a_tls_report()


@pytest.mark.rfc("8460", "4.4")
def test_the_json_has_the_keys_of_the_standard() -> None:
    """And leaves out what is not known."""
    whole = json.loads(compose_json(a_tls_report()))

    assert list(whole) == ["organization-name", "date-range", "contact-info", "report-id", "policies"]
    assert whole["date-range"] == {"start-datetime": "2026-03-04T00:00:00Z", "end-datetime": "2026-03-04T23:59:59Z"}
    first, second = whole["policies"]
    assert first["policy"] == {
        "policy-type": "sts",
        "policy-domain": "example.net",
        "policy-string": ["version: STSv1", "mode: enforce"],
        "mx-host": ["*.example.net"],
    }
    assert first["summary"] == {"total-successful-session-count": 7, "total-failure-session-count": 3}
    assert first["failure-details"][1] == {"result-type": "starttls-not-supported", "failed-session-count": 1}
    assert "failure-details" not in second


def test_equal_policies_and_details_are_added_up() -> None:
    """Of a recipient domain; what is about one of its MX hosts stands under it, too."""
    found = merged(
        [
            a_result("example.net", "example.net", STS, Tally(3, 1, {EXPIRED: 1})),
            a_result("mx.example.net", "example.net", OF_HOST, Tally(2)),
            a_result("example.net", "example.net", STS, Tally(1, 2, {EXPIRED: 2})),
            a_result("mx.example.net", "example.org", OF_HOST, Tally(5)),
        ]
    )

    assert found == (
        PolicyResult("sts", "example.net", ("version: STSv1",), ("mx.example.net",), 4, 3, ((EXPIRED, 3),)),
        PolicyResult("tlsa", "example.net", ("3 1 1 aa",), ("mx.example.net",), 2),
        PolicyResult("tlsa", "example.org", ("3 1 1 aa",), ("mx.example.net",), 5),
    )


def test_the_file_name_of_the_standard() -> None:
    """RFC 8460 section 5.1."""
    assert file_name(a_tls_report(), "mx.egret.example", "example.net") == (
        "mx.egret.example!example.net!1772582400!1772668799.json.gz"
    )


def test_only_mail_addresses_are_written_to_each_once() -> None:
    """The other scheme is a server to post to; a parameter of the URI is no part of the address."""
    uris = ("mailto:A@example.net", "https://example.net/v1", "mailto:a@EXAMPLE.net?subject=x", "mailto:%62@x.example")

    assert [str(address) for address in mail_addresses((*uris, "mailto:"))] == ["A@example.net", "b@x.example"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"mx-host": "mx.example.net"}, ("mx.example.net",)),
        ({"mx-host": None}, ()),
        ({"mx-host": ["a", 1, None, "b"]}, ("a", "b")),
        ({"mx-host": {"x": 1}}, ()),
    ],
)
def test_what_reporters_get_wrong_is_read(changes: dict[str, object], expected: tuple[str, ...]) -> None:
    """An MX host alone instead of a list, and values of a wrong type."""
    whole = json.loads(compose_json(a_tls_report()))
    whole["policies"][0]["policy"] |= changes
    found = read_tls(b"\xef\xbb\xbf\r\n" + json.dumps(whole).encode())

    assert isinstance(found, TlsReport)
    assert found.policies[0].mx_hosts == expected


def test_a_result_that_nobody_knows_keeps_its_word() -> None:
    """And huge or negative counts are bounded."""
    whole = json.loads(compose_json(a_tls_report()))
    whole["policies"][0]["failure-details"] = [{"result-type": "new-kind", "failed-session-count": 10**30}]
    whole["policies"][0]["summary"] = {"total-successful-session-count": -4, "total-failure-session-count": "many"}
    found = read_tls(json.dumps(whole).encode())

    assert isinstance(found, TlsReport)
    detail = FailureDetail(ResultType.VALIDATION_FAILURE, reason_code="new-kind")
    assert found.policies[0].details == ((detail, MAX_COUNT),)
    assert (found.policies[0].successes, found.policies[0].failures) == (0, 0)


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"{" * 100_000,
        b"[" * 100_000,
        b'{"policies":[1]}',
        b'{"policies":[{}],"date-range":1}',
    ],
)
def test_what_is_no_report_is_a_sentence(hostile: bytes) -> None:
    """Never an exception."""
    assert isinstance(read_tls(hostile), Unreadable)


def test_json_that_would_fill_the_memory_is_not_read() -> None:
    """Millions of empty objects in few octets, which are fewer still when they are packed."""
    found = read_tls(b'{"policies":[' + b"{}," * (MAX_OCTETS // 3) + b"{}]}")

    assert found == Unreadable("it is too large")


@given(st.binary(max_size=100), st.integers(0, 900), st.integers(0, 900))
def test_no_octets_are_an_exception(noise: bytes, first: int, second: int) -> None:
    """A report that was spoiled is a report, or a sentence."""
    start, end = sorted((first, second))
    raw = compose_json(a_tls_report()).encode()
    assert isinstance(read_tls(raw[:start] + noise + raw[end:]), TlsReport | Unreadable)


def test_a_day_has_its_first_and_its_last_second() -> None:
    """In UTC."""
    begin, end = day_range(DAY)

    assert (begin.isoformat(), end.isoformat()) == ("2026-03-04T00:00:00+00:00", "2026-03-04T23:59:59+00:00")


def test_a_report_of_more_octets_than_any_has_is_not_read() -> None:
    """Small lists of JSON take 25 times their octets in memory."""
    report = compose_json(a_tls_report()).encode()
    assert isinstance(read_tls(report + b" " * (MAX_OCTETS - len(report))), TlsReport)
    assert read_tls(report + b" " * MAX_OCTETS) == Unreadable("it is too large")
