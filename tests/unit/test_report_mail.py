"""The mails that carry reports, and where they may go."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import pytest

from egret.core.address import Address
from egret.core.dmarc_report import compose_xml, compressed, file_name, subject
from egret.core.parse import parse_message
from egret.core.report_destinations import Destination, agreed, destinations, organizational_domain
from egret.core.report_mail import Letter, dmarc_mail, tls_mail
from egret.core.report_payload import payloads
from egret.core.tlsrpt_report import compose_json
from tests.unit.reporting import a_tls_report, an_aggregate

POSTMASTER = Address("postmaster", "egret.example")
REPORTS = Address("dmarc", "example.net")
LETTER = Letter(
    from_=POSTMASTER,
    to=(REPORTS, Address("tls", "example.net")),
    subject=subject("example.net", "mail.egret.example", "1.example.net@egret.example"),
    date=datetime(2026, 3, 5, 0, 10, tzinfo=UTC),
    report_id="1.example.net@egret.example",
    text="This is a report.\n",
    user_agent="egret/0.1",
)


def test_the_mail_of_a_dmarc_report() -> None:
    """multipart/mixed: words, and the gzipped XML under its name; the report id is the Message-ID."""
    name = file_name(an_aggregate(), "mail.egret.example")
    written = dmarc_mail(LETTER, name, compressed(compose_xml(an_aggregate())))
    raw = written.headers + b"\r\n" + written.body
    parsed = parse_message(raw)

    assert [part.content_type for part in parsed.structure.parts] == ["text/plain", "application/gzip"]
    assert (parsed.structure.content_type, parsed.structure.parts[1].filename) == ("multipart/mixed", name)
    assert (parsed.subject, parsed.message_id) == (LETTER.subject, "<1.example.net@egret.example>")
    assert [each.data for each in payloads(raw)] == [compose_xml(an_aggregate()).encode()]
    assert (written.size_bytes, raw.isascii()) == (len(raw), True)
    assert parsed.is_automated
    assert dmarc_mail(LETTER, name, compressed(compose_xml(an_aggregate()))) == written


@pytest.mark.rfc("8460", "5.3")
def test_the_mail_of_a_tls_report() -> None:
    """multipart/report; report-type=tlsrpt, with the fields that name it, and without asking for TLS."""
    data = compressed(compose_json(a_tls_report()))
    written = tls_mail(LETTER, "example.net", "mail.egret.example", ("a!b!1!2.json.gz", data))
    raw = written.headers + b"\r\n" + written.body
    parsed = parse_message(raw)

    assert (parsed.structure.content_type, parsed.structure.content_type_params["report-type"]) == (
        "multipart/report",
        "tlsrpt",
    )
    assert [part.content_type for part in parsed.structure.parts] == ["text/plain", "application/tlsrpt+gzip"]
    assert parsed.structure.parts[1].filename == "a!b!1!2.json.gz"
    for line in (b"TLS-Report-Domain: example.net", b"TLS-Report-Submitter: mail.egret.example", b"TLS-Required: No"):
        assert line + b"\r\n" in written.headers
    (found,) = payloads(raw)
    assert found.is_json
    assert found.data == gzip.decompress(data)
    assert parsed.text == "This is a report.\n"
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    assert raw.count(b"\n") == raw.count(b"\r\n")


# --- destinations ----------------------------------------------------------------------------------------------------


def names(found: tuple[Destination, ...]) -> list[tuple[str, int]]:
    """Return addresses with their limits."""
    return [(str(one.address), one.max_bytes) for one in found]


def test_uris_of_rua_with_their_limits() -> None:
    """Units are powers of 1,024; what is no address of mail is left out, and an address counts once."""
    uris = ["mailto:a@x.example!10m", "mailto:b@x.example!50", "MAILTO:C@x.example!1K", "https://x.example/"]
    wrong = ["mailto:a@x.example", "mailto:@", "mailto:d@x.example!1x", "x@x.example", "mailto:b%21c@x.example"]

    assert names(destinations(uris + wrong)) == [
        ("a@x.example", 10 << 20),
        ("b@x.example", 50),
        ("C@x.example", 1024),
        ("b!c@x.example", 0),
    ]
    assert len(destinations([f"mailto:a{at}@x.example" for at in range(50)])) == 10


def test_a_limit_is_of_the_message() -> None:
    """None is no limit."""
    assert [Destination(REPORTS, limit).takes(100) for limit in (0, 100, 99)] == [True, True, False]


ZONE = {
    "_dmarc.example.net": ("v=DMARC1; p=none",),
    "_dmarc.example.org": ("v=DMARC1; p=none",),
    "_dmarc.suffix.example": ("v=DMARC1; p=none; psd=y",),
    "_dmarc.own.example": ("v=DMARC1; p=none; psd=n",),
    "_dmarc.example": ("v=DMARC1; p=none; psd=y",),
    "example.net._report._dmarc.yes.example.org": ("v=DMARC1",),
    "example.net._report._dmarc.spf.example.org": ("v=spf1 -all", "dmarc1"),
    "example.net._report._dmarc.moves.example.org": (
        "v=DMARC1; rua=mailto:new@moves.example.org!5m,mailto:other@moves.example.org",
    ),
    "example.net._report._dmarc.leads.example.org": ("v=DMARC1; rua=mailto:victim@example.com",),
    "example.net._report._dmarc.both.example.org": (
        "v=DMARC1; rua=mailto:a@both.example.org,mailto:victim@example.com",
    ),
}


def texts(name: str) -> tuple[str, ...]:
    """Answer from the zone."""
    return ZONE.get(name, ())


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("d@example.net", [("d@example.net", 0)]),
        ("d@reports.example.net", [("d@reports.example.net", 0)]),
        ("d@yes.example.org!1k", [("d@yes.example.org", 1024)]),
        ("d@no.example.org", []),
        ("d@spf.example.org", []),
        ("d@moves.example.org", [("new@moves.example.org", 5 << 20), ("other@moves.example.org", 0)]),
        ("d@leads.example.org", []),
        ("d@both.example.org", []),
    ],
)
@pytest.mark.rfc("9990", "4")
def test_a_destination_elsewhere_must_agree(wanted: str, expected: list[tuple[str, int]]) -> None:
    """It may name other addresses of its own host, once, and none of another: nobody can be flooded through others."""
    assert names(agreed("example.net", destinations([f"mailto:{wanted}"]), texts)) == expected


def test_a_name_that_is_too_long_is_no_agreement() -> None:
    """It cannot be asked for."""
    long = ".".join(["a" * 60] * 3) + ".example.org"
    everything = lambda _: ("v=DMARC1",)
    assert agreed("example.net" + ".b" * 20, destinations([f"mailto:d@{long}"]), everything) == ()


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ("example.net", "example.net"),
        ("a.b.example.net", "example.net"),
        ("nothing.test", "nothing.test"),
        ("a.customer.suffix.example", "customer.suffix.example"),
        ("suffix.example", "suffix.example"),
        ("a.b.own.example", "own.example"),
        ("a.b.other.example", "other.example"),
    ],
)
@pytest.mark.rfc("9989", "4.10.2")
def test_the_organizational_domain_is_found_by_walking_up(domain: str, expected: str) -> None:
    """The shortest name with a record, unless a record says that it is, or that it belongs to a registry."""
    assert organizational_domain(domain, texts) == expected
