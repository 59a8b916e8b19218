"""The fields above a mail that came in, and what is read of those below."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.contracts.verdicts import DkimVerdict, Verdicts
from egret.core.dmarc import DmarcRecord
from egret_egress.inbound_trace import (
    MAX_HEADER_BYTES,
    MAX_OWN,
    MAX_RECEIVED,
    Arrival,
    authentication_results,
    header_size,
    is_looping,
    received,
    trace,
    without_claims,
)

ARRIVAL = Arrival(
    id="abc",
    at=datetime(2026, 5, 1, 12, tzinfo=UTC),
    hostname="mx.example",
    ip="192.0.2.1",
    ehlo="client.example",
    is_extended=True,
    tls="TLSv1.3 TLS_AES_256_GCM_SHA384",
    smtputf8=False,
    require_tls=True,
    mail_from="a@b.example",
    recipient="me@a.example",
)
FIELDS = st.sampled_from(
    [
        b"Received: x\r\n",
        b"Authentication-Results: mx.example; x\r\n",
        b"Authentication-Results: other\r\n mx.example\r\n",
        b"X:\r\n",
        b"\r\n",
        b"body\r\n",
        b" x\r\n",
    ]
)


@pytest.mark.rfc("5321", "4.4")
@pytest.mark.rfc("8689", "5")
def test_received_tells_the_way_and_how_it_was_protected() -> None:
    """With a comment that TLS was a must, where it was."""
    assert received(ARRIVAL) == (
        "Received: from client.example ([192.0.2.1])\r\n"
        "\tby mx.example with ESMTPS (TLSv1.3 TLS_AES_256_GCM_SHA384) (requiretls)\r\n"
        "\tid abc\r\n"
        "\tfor <me@a.example>;\r\n"
        "\t1 May 2026 12:00:00 +0000\r\n"
    )
    plain = replace(ARRIVAL, tls="", require_tls=False, recipient="", ip="2001:db8::1%eth0")
    assert received(plain) == (
        "Received: from client.example ([IPv6:2001:db8::1])\r\n"
        "\tby mx.example with ESMTP\r\n"
        "\tid abc;\r\n"
        "\t1 May 2026 12:00:00 +0000\r\n"
    )


@pytest.mark.rfc("3848", "1")
@pytest.mark.rfc("6531", "4.3")
@pytest.mark.parametrize(
    ("is_extended", "tls", "smtputf8", "word"),
    [
        (False, "", False, "SMTP"),
        (True, "", False, "ESMTP"),
        (True, "x", False, "ESMTPS"),
        (True, "", True, "UTF8SMTP"),
        (True, "x", True, "UTF8SMTPS"),
    ],
)
def test_the_protocol_has_its_word(is_extended: bool, tls: str, smtputf8: bool, word: str) -> None:
    """Of the registry."""
    found = received(replace(ARRIVAL, is_extended=is_extended, tls=tls, smtputf8=smtputf8))
    assert f" with {word}{' (x)' if tls else ''} " in found


@pytest.mark.parametrize("ehlo", ["", "a b", "x)(", "é.example", "a;b", "x" * 300])
def test_a_name_that_would_spoil_the_field_is_unknown(ehlo: str) -> None:
    """A client may call itself anything."""
    assert received(replace(ARRIVAL, ehlo=ehlo, ip="")).startswith("Received: from unknown ([unknown])\r\n")


@pytest.mark.rfc("8601", "2.2")
def test_the_results_of_all_checks_are_told() -> None:
    """SPF, each signature, DMARC with its policy."""
    verdicts = Verdicts(
        spf="pass",
        spf_domain="b.example",
        dkim=(DkimVerdict("b.example", "s", "pass"), DkimVerdict("", "", "permerror", "malformed signature")),
        dmarc="pass",
        header_from="b.example",
        record=DmarcRecord("b.example", p="reject"),
        policy="reject",
    )
    assert authentication_results("mx.example", verdicts) == (
        "Authentication-Results: mx.example;\r\n"
        "\tspf=pass smtp.mailfrom=b.example;\r\n"
        "\tdkim=pass header.d=b.example header.s=s;\r\n"
        '\tdkim=permerror reason="malformed signature";\r\n'
        "\tdmarc=pass (p=reject) header.from=b.example\r\n"
    )
    assert authentication_results("mx.example", Verdicts(spf_domain="c.example", spf_scope="helo")) == (
        "Authentication-Results: mx.example;\r\n\tspf=none smtp.helo=c.example;\r\n\tdkim=none;\r\n\tdmarc=none\r\n"
    )


def test_the_return_path_stands_first() -> None:
    """Then the results, if somebody looked, then Received."""
    names = [line.split(b":")[0] for line in trace(ARRIVAL, Verdicts()).split(b"\r\n") if line[:1] not in (b"", b"\t")]
    assert names == [b"Return-Path", b"Authentication-Results", b"Received"]
    assert trace(replace(ARRIVAL, mail_from=""), None).startswith(b"Return-Path: <>\r\nReceived: ")


@pytest.mark.rfc("8601", "5")
@pytest.mark.parametrize(
    ("field", "is_kept"),
    [
        (b"Authentication-Results: mx.example; spf=pass\r\n", False),
        (b"AUTHENTICATION-RESULTS :\r\n (a (b) c) MX.example\r\n\t1; spf=pass\r\n", False),
        (b'Authentication-Results: "mx.example"; spf=pass\r\n', False),
        (b'Authentication-Results: "m\\x.example"; spf=pass\r\n', False),
        (b"Authentication-Results: (\\)) mx.example; spf=pass\r\n", False),
        (b"Authentication-Results: (a\\() mx.example; spf=pass\r\n", False),
        (b"Authentication-Results: (" + b"x" * 2000 + b") mx.example; spf=pass\r\n", False),
        (b"Authentication-Results: mx.example.; none\r\n", False),
        (b"Authentication-Results: (mx.example) other.example; spf=pass" + b"x" * 2000 + b"\r\n", True),
        (b"Authentication-Results: mx.example.org; spf=pass\r\n", True),
        (b"Authentication-Results: other.example; x=mx.example\r\n", True),
        (b"Authentication-Results:\r\n", True),
        (b"X-Authentication-Results: mx.example; spf=pass\r\n", True),
        (b"Authentication-Results: mx.example; spf=pass\n", False),
        (b"Authentication-Results:\n mx.example\r", False),
    ],
)
def test_results_that_claim_to_be_ours_are_removed(field: bytes, is_kept: bool) -> None:
    """However they are written; in the header only, and nothing else changes."""
    before, after = b"From: a\r\n", b"Subject: x\r\n\r\nAuthentication-Results: mx.example; spf=pass\r\n"
    found = b"".join(without_claims(before + field + after, "MX.example"))
    assert found == before + (field if is_kept else b"") + after


@pytest.mark.parametrize("hidden", [b"X: y\n", b"X: y\r", b"X: y\n\n\r\n", b"no field\r\n", b"\n", b"\r\r\n"])
def test_no_line_end_hides_results_that_claim_to_be_ours(hidden: bytes) -> None:
    """Whatever others take for the end of a line, or of the header."""
    content = b"From: a\r\n" + hidden + b"Authentication-Results: mx.example; spf=pass\r\nTo: b\r\n\r\n"
    assert b"".join(without_claims(content, "mx.example")) == b"From: a\r\n" + hidden + b"To: b\r\n\r\n"


@pytest.mark.rfc("5321", "6.3")
@pytest.mark.parametrize(
    ("content", "is_loop"),
    [
        (b"Received: x\r\n" * MAX_RECEIVED, False),
        (b"Received: x\r\n" * (MAX_RECEIVED + 1), True),
        (b"Received: from a\r\n\tby MX.example (x) with y\r\n" * (MAX_OWN - 1), False),
        (b"Received: from a\r\n\tby MX.example (x) with y\r\n" * MAX_OWN, True),
        (b"Received: by mx.example\r\n" * MAX_OWN, True),
        (b"Received: from mx.example by other.example\r\n" * MAX_OWN, False),
        (b"Received: by mx.example.org\r\n" * MAX_OWN, False),
        (b"Subject: x\r\n\r\n" + b"Received: x\r\n" * (MAX_RECEIVED + 1), False),
    ],
)
def test_a_mail_that_went_round_is_known(content: bytes, is_loop: bool) -> None:
    """By too many hops, or by coming here again and again."""
    assert is_looping(content, "mx.example") is is_loop


@given(st.lists(FIELDS, max_size=12).map(b"".join))
def test_what_is_left_has_no_claim_and_everything_else(content: bytes) -> None:
    """In order."""
    found = b"".join(without_claims(content, "mx.example"))
    assert b"".join(without_claims(found, "mx.example")) == found
    body = content.partition(b"\r\n\r\n")[2]
    assert found.endswith(body)
    assert found.count(b"Received: x\r\n") == content.count(b"Received: x\r\n")


def test_all_of_a_header_is_measured() -> None:
    """So that a mail of nothing but fields costs no more than others; a line that is no field does not end it."""
    fields = b"A:\r\n" * 10
    assert header_size(fields) == header_size(fields + b"\r\nbody\r\n\r\n") == len(fields)
    assert header_size(b"no field\r\n" + b"A: " + b"x" * (2 * MAX_HEADER_BYTES) + b"\r\n\r\n") > MAX_HEADER_BYTES
    assert header_size(b"A: " + b"x" * (2 * MAX_HEADER_BYTES)) > MAX_HEADER_BYTES
    assert header_size(b"a text, no field\r\n" * 10) == 0
    assert header_size(b"\r\nbody\r\n") == 0
