"""DMARC aggregate reports: what we write can be read, and what strangers write does no harm."""

from __future__ import annotations

import base64
import gzip
import io
import random
import tracemalloc
import zipfile
import zlib
from dataclasses import replace
from datetime import timedelta
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.dmarc_reading import MAX_COUNT, MAX_RESULTS, MAX_ROWS, Unreadable, read_dmarc
from egret.core.dmarc_report import (
    INTERVALS_H,
    NAMESPACE,
    AggregateReport,
    DkimAuth,
    Override,
    PublishedPolicy,
    Row,
    SpfAuth,
    compose_xml,
    compressed,
    file_name,
    interval_hours,
    intervals_ending,
    merged,
    subject,
)
from egret.core.report_payload import MAX_ENTRIES, MAX_PACKED, MAX_UNPACKED, Room, payloads, unpacked
from tests.unit.reporting import MIDNIGHT, a_row, an_aggregate

OLD = b"""<?xml version="1.0" encoding="UTF-8" ?>
<feedback>
  <report_metadata><org_name>google.com</org_name><email>noreply@google.com</email>
    <extra_contact_info>https://support.google.com/a</extra_contact_info><report_id>1234567890</report_id>
    <date_range><begin>1772582400</begin><end>1772668799</end></date_range></report_metadata>
  <policy_published><domain>Example.com</domain><adkim>r</adkim><aspf>r</aspf><p>none</p><sp>none</sp><pct>100</pct>
  </policy_published>
  <record><row><source_ip>192.0.2.1</source_ip><count>12</count><policy_evaluated><disposition>None</disposition>
    <dkim>pass</dkim><spf>fail</spf><reason><type>forwarded</type><comment/></reason></policy_evaluated></row>
    <identifiers><header_from>example.com</header_from></identifiers>
    <auth_results><dkim><domain>example.com</domain><result>pass</result></dkim>
      <spf><domain>example.org</domain><result>softfail</result></spf></auth_results></record>
</feedback>
"""
WORDS = st.text(st.characters(codec="utf-8", min_codepoint=0x21), max_size=30)
LOWER = st.text("abcxyz0123456789.-", min_size=1, max_size=20)
ROWS = st.builds(
    Row,
    source_ip=LOWER,
    disposition=st.sampled_from(["none", "pass", "reject"]),
    dkim=st.sampled_from(["pass", "fail"]),
    spf=st.sampled_from(["pass", "fail"]),
    header_from=LOWER,
    envelope_from=LOWER,
    reasons=st.lists(st.builds(Override, st.just("other"), LOWER), max_size=2).map(tuple),
    dkim_results=st.lists(st.builds(DkimAuth, LOWER, LOWER, st.just("pass"), LOWER), max_size=3).map(tuple),
    spf_results=st.lists(st.builds(SpfAuth, LOWER, st.just("none"), st.just("mfrom")), max_size=1).map(tuple),
)


def test_a_report_is_read_as_it_was_written() -> None:
    """Every field of RFC 9990."""
    assert read_dmarc(compose_xml(an_aggregate()).encode()) == an_aggregate()


@given(st.lists(ROWS, max_size=6))
def test_every_report_is_read_as_it_was_written(rows: list[Row]) -> None:
    """Whatever mail came; equal rows are one with a count, and nothing is lost."""
    report = an_aggregate(rows=merged(rows))

    assert report.messages == len(rows)
    assert len({row for row, _ in report.rows}) == len(report.rows)
    assert read_dmarc(compose_xml(report).encode()) == report


@given(WORDS, WORDS)
def test_words_of_strangers_break_no_xml(domain: str, reason: str) -> None:
    """A selector, an envelope, a reason may be any text; what XML cannot say is left out."""
    row = a_row(envelope_from=domain, dkim_results=(DkimAuth(domain, reason, "fail", reason),))
    found = read_dmarc(compose_xml(an_aggregate(rows=((row, 1),))).encode())

    assert isinstance(found, AggregateReport)
    assert len(found.rows) == 1


@pytest.mark.rfc("9990", "3.1")
def test_elements_have_the_namespace_and_the_order_of_the_standard() -> None:
    """Some readers check the schema."""
    root = ET.fromstring(compose_xml(an_aggregate()))  # noqa: S314 (our own)

    def names(element: ET.Element) -> list[str]:
        return [child.tag.removeprefix(f"{{{NAMESPACE}}}") for child in element]

    assert root.tag == f"{{{NAMESPACE}}}feedback"
    assert names(root) == ["version", "report_metadata", "policy_published", "record", "record"]
    assert names(root[1]) == ["org_name", "email", "report_id", "date_range", "generator"]
    assert names(root[2]) == ["domain", "discovery_method", "p", "sp", "np", "fo", "adkim", "aspf", "testing"]
    assert names(root[4][0][2]) == ["disposition", "dkim", "spf", "reason"]
    assert names(root[3][2][0]) == ["domain", "selector", "result"]


def test_names_and_subject_of_the_standard() -> None:
    """Readers find reports by them, and drop repetitions (RFC 9990 section 3.5)."""
    assert file_name(an_aggregate(), "mx.egret.example") == "mx.egret.example!example.net!1772582400!1772668799.xml.gz"
    assert subject("example.net", "mx.egret.example", "1@x") == (
        "Report Domain: example.net Submitter: mx.egret.example Report-ID: <1@x>"
    )
    assert compressed("a") == compressed("a")
    assert gzip.decompress(compressed("ä")) == "ä".encode()


@pytest.mark.parametrize(
    ("seconds", "hours"),
    [(86400, 24), (10**9, 24), (86399, 12), (43200, 12), (18000, 4), (7199, 1), (3600, 1), (1, 1), (0, 1)],
)
def test_reports_come_as_often_as_a_record_asks(seconds: int, hours: int) -> None:
    """Never less often, at intervals that divide the day."""
    assert interval_hours(seconds) == hours


@given(st.integers(0, 100), st.sampled_from(INTERVALS_H))
def test_intervals_cover_all_time_once(hour: int, length: int) -> None:
    """An hour belongs to one interval of each length, however often reports are made."""
    at = MIDNIGHT + timedelta(hours=hour, minutes=30)
    ends = [MIDNIGHT + timedelta(hours=each) for each in range(130)]
    around = [
        (begin, end) for end in ends for begin, hours in intervals_ending(end) if hours == length and begin <= at < end
    ]

    assert len(around) == 1
    begin, end = around[0]
    assert end - begin == timedelta(hours=length)
    assert begin.date() == (end - timedelta(seconds=1)).date()


def test_the_old_form_is_read() -> None:
    """RFC 7489: no namespace, `pct`, reasons that are gone, no selector, any case."""
    found = read_dmarc(OLD)

    assert isinstance(found, AggregateReport)
    assert found.policy == PublishedPolicy("example.com", "none", "none", adkim="r", aspf="r", pct="100")
    ((row, count),) = found.rows
    assert (count, row.disposition, row.reasons) == (12, "none", (Override("forwarded"),))
    assert row.dkim_results == (DkimAuth("example.com", "", "pass"),)
    assert found.end - found.begin == timedelta(days=1, seconds=-1)


@pytest.mark.parametrize(
    "spoiled",
    [
        b"\xef\xbb\xbf" + OLD,
        b"\n\n " + OLD,
        OLD.decode().replace("UTF-8", "utf-16").encode("utf-16"),
        OLD.replace(b"UTF-8", b"windows-1252").replace(b"google.com<", b"g\xf6ogle<"),
        OLD.replace(b"google.com<", b"g\xf6\xffogle<"),
        OLD.replace(b"<feedback>", b'<ns1:feedback xmlns:ns1="http://dmarc.org/dmarc-xml/0.1">').replace(
            b"</feedback>", b"</ns1:feedback>"
        ),
        OLD.replace(b"<record>", b"<odd><deep>x</deep></odd><record>"),
        OLD.replace(b"1772582400", b"1772582400.5"),
    ],
)
def test_what_reporters_get_wrong_is_read(spoiled: bytes) -> None:
    """Marks, charsets, octets that are no UTF-8, prefixes, elements that nobody knows, fractions."""
    found = read_dmarc(spoiled)

    assert isinstance(found, AggregateReport)
    assert found.messages == 12


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + OLD.partition(b"?>")[2], "document type"),
        (('<!doctype x SYSTEM "file:///etc/passwd">' + OLD.decode()).encode("utf-16"), "document type"),
        (b"<feedback>" + b"<a>" * 100 + b"</a>" * 100 + b"</feedback>", "nested"),
        (b"<feedback>" * 100_000, "nested"),
        (b"<html></html>", "no DMARC report"),
        (b"<feedback>", "no XML"),
        (b"", "no XML"),
        (b"<feedback>&undefined;</feedback>", "no XML"),
        (OLD.replace(b"<domain>Example.com</domain>", b""), "which domain"),
        (OLD.replace(b"<begin>1772582400", b"<begin>" + b"9" * 40), "which time"),
        (OLD.replace(b"<end>1772668799", b"<end>99999999999999"), "which time"),
    ],
)
def test_what_is_hostile_or_no_report_is_a_sentence(hostile: bytes, reason: str) -> None:
    """Never an exception, and nothing outside of the report is looked at."""
    found = read_dmarc(hostile)

    assert isinstance(found, Unreadable)
    assert reason in found.reason


def test_counts_texts_and_rows_have_bounds() -> None:
    """Huge numbers, long texts and many rows cost what they may cost."""
    huge = OLD.replace(b">12<", b">" + b"9" * 25 + b"<").replace(b"google.com<", b"g" * 100_000 + b"<")
    record = OLD[OLD.index(b"<record>") : OLD.index(b"</feedback>")]
    many = OLD.replace(record, b"<record><row><count>1</count></row></record>" * (MAX_ROWS + 10))

    found, long_list = read_dmarc(huge), read_dmarc(many)
    assert isinstance(found, AggregateReport)
    assert isinstance(long_list, AggregateReport)
    assert (found.messages, len(found.org_name)) == (MAX_COUNT, 256)
    assert long_list.messages == MAX_ROWS


def test_a_record_has_a_hundred_results_of_each_kind() -> None:
    """Thousands would take most of the time that reading takes."""
    results = b"<dkim><domain>a.example</domain></dkim>" * 150 + b"<spf><domain>b.example</domain></spf>" * 150
    reasons = b"<reason><type>forwarded</type></reason>" * 150
    many = OLD.replace(b"<auth_results>", b"<auth_results>" + results).replace(b"<reason>", reasons + b"<reason>", 1)
    found = read_dmarc(many)
    assert isinstance(found, AggregateReport)
    ((row, _),) = found.rows

    assert (len(row.dkim_results), len(row.spf_results), len(row.reasons)) == (MAX_RESULTS,) * 3


@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(0, 2000))
def test_no_octets_are_an_exception(noise: bytes, first: int, second: int) -> None:
    """A report that was spoiled is a report, or a sentence."""
    start, end = sorted((first, second))
    assert isinstance(read_dmarc(OLD[:start] + noise + OLD[end:]), AggregateReport | Unreadable)


# --- attachments -----------------------------------------------------------------------------------------------------


def zipped(*contents: bytes, name: str = "report{}.xml") -> bytes:
    """Return an archive with these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for at, content in enumerate(contents):
            archive.writestr(name.format(at), content)
    return buffer.getvalue()


def mail(data: bytes, content_type: str, name: str = "x.bin") -> bytes:
    """Return a mail with an attachment."""
    encoded = base64.encodebytes(data)
    return (
        b"From: a@example.net\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain\r\n\r\nSee the attachment.\r\n--b\r\nContent-Type: "
        + f"{content_type}\r\nContent-Disposition: attachment; filename={name}\r\n".encode()
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + encoded
        + b"\r\n--b--\r\n"
    )


@pytest.mark.parametrize("packed", [OLD, gzip.compress(OLD), zipped(OLD), zipped(b"%PDF", OLD, name="a/b{}.txt")])
@pytest.mark.parametrize(
    "content_type", ["application/zip", "application/octet-stream", "text/plain", "image/png", "x"]
)
def test_a_report_is_found_whatever_it_is_called(packed: bytes, content_type: str) -> None:
    """Senders name types and files wrongly; the octets say what it is."""
    (found,) = payloads(mail(packed, content_type))

    assert found.data == OLD
    assert not found.is_json


def test_a_mail_that_is_the_report_itself() -> None:
    """Some senders write no multipart."""
    raw = b"Content-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    (found,) = payloads(raw + base64.encodebytes(gzip.compress(OLD)))

    assert found.data == OLD


def test_ordinary_mail_has_no_report() -> None:
    """Text, HTML, pictures, an archive of other things."""
    assert list(payloads(mail(b"\x89PNG...", "image/png"))) == []
    assert list(payloads(mail(b"<!doctype html><html><p>Hello</p></html>", "text/html"))) == []
    assert list(payloads(mail(zipped(b"plain words"), "application/zip"))) == []
    assert list(payloads(b"")) == []


@pytest.mark.parametrize(
    ("hostile", "trouble"),
    [
        (gzip.compress(b"<" + bytes(30 << 20)), "too large"),
        (zipped(b"<" + bytes(30 << 20)), "too large"),
        (zipped(*[b"<a/>"] * (MAX_ENTRIES + 1)), "too many files"),
        (b"\x1f\x8b" + b"x" * 50, "damaged"),
        (b"PK\x03\x04" + b"x" * 50, "damaged"),
        (zipped(OLD)[:-10], "damaged"),
        (b"<" * (MAX_PACKED + 1), "too large"),
    ],
)
def test_bombs_and_damage_are_a_sentence(hostile: bytes, trouble: str) -> None:
    """Bounds on octets, ratio and files; no error of a library escapes."""
    (found,) = unpacked(hostile, Room())

    assert found.data == b""
    assert trouble in found.trouble


@pytest.mark.parametrize("is_archive", [True, False])
def test_all_reports_of_a_mail_share_one_room(is_archive: bool) -> None:
    """Ten of the largest would take a minute to read, and fill the memory of who reads them."""
    large = b"<feedback>" + random.Random(1).randbytes(40_000) + b" " * (9 << 20)
    if is_archive:
        raw = mail(zipped(*[large] * 12), "application/zip")
    else:
        part = base64.encodebytes(gzip.compress(large))
        raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"".join(
            b"--b\r\nContent-Type: application/gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + part + b"\r\n"
            for _ in range(12)
        )
    found = list(payloads(raw))

    assert 0 < sum(len(each.data) for each in found) <= MAX_UNPACKED
    assert [bool(each.data) for each in found] == [True] * 2 + [False] * 8
    assert "too large" in found[-1].trouble


def test_a_gzip_file_that_is_cut_short_gives_what_there_is() -> None:
    """It is then no XML, which is said of it."""
    (found,) = unpacked(gzip.compress(OLD, mtime=0)[:-200], Room())

    assert OLD.startswith(found.data)
    assert isinstance(read_dmarc(found.data), Unreadable)


@given(st.sampled_from([gzip.compress(OLD, mtime=0), zipped(OLD)]), st.data())
def test_no_archive_is_an_exception(packed: bytes, data: st.DataObject) -> None:
    """Whatever octets are changed."""
    spoiled = bytearray(packed)
    for _ in range(data.draw(st.integers(1, 6))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))

    assert all(each.trouble or each.data for each in unpacked(bytes(spoiled), Room()))


def test_reports_of_a_mail_have_a_bound_together() -> None:
    """Ten reports of the largest size would take minutes; what is no text is not unpacked at all."""
    third = MAX_UNPACKED // 3
    archive = zipped(random.Random(1).randbytes(third // 90), b"\1" * MAX_UNPACKED, *[b"<a>" + b" " * third] * 3)
    found = list(payloads(mail(archive, "application/zip")))

    assert [len(each.data) for each in found] == [third + 3, third + 3, 0]
    assert "too large" in found[-1].trouble


def test_an_archive_is_unpacked_file_by_file() -> None:
    """So that memory holds one of them."""
    size = 1 << 20
    archive = zipped(random.Random(1).randbytes(size // 90), *[b"<a>" + b" " * size] * 8)
    tracemalloc.start()
    try:
        assert sum(1 for each in unpacked(archive, Room()) if each.data) == 8
        assert tracemalloc.get_traced_memory()[1] < 5 * size
    finally:
        tracemalloc.stop()


def test_a_raw_deflate_stream_is_no_report() -> None:
    """Only what announces itself is unpacked."""
    assert list(unpacked(zlib.compress(OLD), Room())) == []


def test_policies_say_only_what_is_known() -> None:
    """An element without a value is left out."""
    text = compose_xml(replace(an_aggregate(), policy=PublishedPolicy("example.net", "none")))

    assert "<sp>" not in text
    assert "<p>none</p>" in text
