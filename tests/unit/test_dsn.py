"""Delivery status notifications as MTAs really write them."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egret.core.dates import read_instant
from egret.core.dsn import ACTIONS, MAX_RECIPIENTS, DsnRecipient, DsnReport
from tests.unit.builders import dsn_in

MESSAGE = """Reporting-MTA: dns; mx1.relay.example (inside)
Original-Envelope-Id: QQ314159
Arrival-Date: Sun, 1 Mar 2026 12:00:00 +0100 (CET)
X-Queue-ID: 4bQ7
"""
FAILED = """Final-Recipient: rfc822; Ann@Remote.example
Original-Recipient: rfc822;ann.smith@remote.example
Action: failed
Status: 5.0.0 (permanent failure)
Remote-MTA: dns; mx.remote.example [192.0.2.7]
Diagnostic-Code: smtp; 550-5.1.1 The account that you tried to
    reach does not exist. 550 5.1.1 See
    https://remote.example/help
Last-Attempt-Date: 1 Mar 2026 11:00:05 +0000
"""
DELAYED = """Final-Recipient: rfc822; bob@slow.example
Action: delayed
Status: 4.4.1
Will-Retry-Until: Tue, 3 Mar 2026 11:00:00 GMT
"""
ORIGINAL = """From: shop@example.com
Message-ID:
 <abc.123@example.com>
Subject: your order
"""


def _part(content_type: str, body: str | bytes, *fields: str) -> bytes:
    encoded = body.encode() if isinstance(body, str) else body
    return b"\n".join(
        [b"--=_b", *(f"{field}".encode() for field in (f"Content-Type: {content_type}", *fields)), b"", encoded]
    )


def _status_part(status: str | bytes, *fields: str) -> bytes:
    return _part("message/delivery-status", status, *fields)


def _mail(*parts: bytes, content_type: str = 'multipart/report; report-type=delivery-status; boundary="=_b"') -> bytes:
    header = f"From: MAILER-DAEMON@mx1.relay.example\nMIME-Version: 1.0\nContent-Type: {content_type}\n\n"
    return header.encode() + b"\n".join([_part("text/plain", "Sorry."), *parts, b"--=_b--", b""])


def _parse(raw: bytes) -> DsnReport:
    report = dsn_in(raw)
    assert report is not None
    return report


def _only(status: str) -> DsnRecipient:
    """Return the one recipient of a report whose status part is `status`."""
    (recipient,) = _parse(_mail(_status_part(status))).recipients
    return recipient


FULL = _mail(_status_part(MESSAGE + "\n" + FAILED + "\n" + DELAYED), _part("text/rfc822-headers", ORIGINAL))


def test_per_message_fields_are_read_and_kept() -> None:
    """Reporting MTA, envelope id, arrival and the original's Message-ID, and all fields as they came."""
    report = _parse(FULL)
    assert report.reporting_mta == "mx1.relay.example"
    assert report.original_envelope_id == "QQ314159"
    assert report.arrival_date == datetime(2026, 3, 1, 11, tzinfo=UTC)
    assert report.original_message_id == "<abc.123@example.com>"
    assert report.fields[0] == ("Reporting-MTA", "dns; mx1.relay.example (inside)")
    assert report.fields[3] == ("X-Queue-ID", "4bQ7")


def test_each_recipient_keeps_its_own_block() -> None:
    """The first block is never applied to all."""
    ann, bob = _parse(FULL).recipients
    assert (ann.final_recipient, ann.action, ann.status) == ("Ann@Remote.example", "failed", "5.0.0")
    assert (bob.final_recipient, bob.action, bob.status) == ("bob@slow.example", "delayed", "4.4.1")
    assert (bob.diagnostic_text, bob.remote_mta, bob.original_recipient) == ("", "", "")


def test_all_fields_of_a_recipient() -> None:
    """Types apart from values, the diagnostic in full on one line, its codes better than the status."""
    ann = _parse(FULL).recipients[0]
    assert (ann.final_recipient_type, ann.original_recipient_type) == ("rfc822", "rfc822")
    assert ann.original_recipient == "ann.smith@remote.example"
    assert ann.remote_mta == "mx.remote.example [192.0.2.7]"
    assert ann.diagnostic_type == "smtp"
    assert ann.diagnostic_text == (
        "550-5.1.1 The account that you tried to reach does not exist. 550 5.1.1 See https://remote.example/help"
    )
    assert (ann.code, ann.enhanced_code) == (550, "5.1.1")
    assert ann.last_attempt_date == datetime(2026, 3, 1, 11, 0, 5, tzinfo=UTC)
    assert ann.will_retry_until is None
    assert ann.fields[3] == ("Status", "5.0.0 (permanent failure)")


def test_time_until_which_a_delayed_message_is_tried() -> None:
    """RFC 3464 section 2.3.9."""
    assert _parse(FULL).recipients[1].will_retry_until == datetime(2026, 3, 3, 11, tzinfo=UTC)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r", b"\r\r\n"])
def test_line_ends_change_nothing(line_end: bytes) -> None:
    """CRLF, CR and doubled CR give the same answer as LF."""
    assert _parse(FULL.replace(b"\n", line_end)) == _parse(FULL)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n\n",
        b"Subject: hello\n\nFinal-Recipient: rfc822; a@b.example\nAction: failed\n",
        _mail(_part("text/plain", MESSAGE + "\n" + FAILED)),
        _mail(_part("message/feedback-report", "Feedback-Type: abuse\n")),
        _mail(_part("message/disposition-notification", "Final-Recipient: rfc822; a@b.example\n")),
        b"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: message/rfc822\n\n" + FULL + b"\n--o--\n",
    ],
    ids=["empty", "blank", "plain", "no status part", "complaint", "receipt", "a report forwarded as attachment"],
)
def test_other_mail_is_not_a_dsn(raw: bytes) -> None:
    """No status part of the message's own: None."""
    assert dsn_in(raw) is None


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/report; boundary="=_b"',
        'Multipart/REPORT; Report-Type="DELIVERY-STATUS"; Boundary="=_b"',
        "multipart/mixed; boundary==_b",
        "multipart/report",
        'multipart/report; boundary="other"',
    ],
)
def test_container_may_be_mislabelled(content_type: str) -> None:
    """Missing report-type, another multipart, a missing or wrong boundary."""
    raw = _mail(_status_part(MESSAGE + "\n" + FAILED), content_type=content_type)
    assert [recipient.enhanced_code for recipient in _parse(raw).recipients] == ["5.1.1"]


def test_report_inside_another_multipart_is_found() -> None:
    """A mailing list or a virus scanner wrapped it."""
    raw = b"Content-Type: multipart/mixed; boundary=o\n\n--o\n" + FULL + b"\n--o\n\nfooter\n--o--\n"
    assert _parse(raw) == _parse(FULL)


def test_bare_status_part_is_a_dsn() -> None:
    """A gateway threw away everything else."""
    raw = f"Content-Type: message/delivery-status\n\n{MESSAGE}\n{FAILED}".encode()
    assert [recipient.enhanced_code for recipient in _parse(raw).recipients] == ["5.1.1"]


@pytest.mark.parametrize("subtype", ["delivery-status", "Delivery-Status", "global-delivery-status"])
@pytest.mark.parametrize("encoding", ["7bit", "base64", "quoted-printable"])
def test_encoded_status_part_is_decoded(subtype: str, encoding: str) -> None:
    """RFC 6533 allows it for the global type, MTAs do it for both."""
    plain = (MESSAGE + "\n" + FAILED).encode()
    body = {"7bit": plain, "base64": base64.encodebytes(plain), "quoted-printable": binascii.b2a_qp(plain)}[encoding]
    raw = _mail(_part(f"message/{subtype}", body, f"Content-Transfer-Encoding: {encoding}"))
    assert _parse(raw).recipients == _parse(_mail(_status_part(plain))).recipients


def test_missing_per_message_block() -> None:
    """The recipient's block is then the first."""
    report = _parse(_mail(_status_part("X-First: 1\n" + FAILED + "\n" + DELAYED)))
    assert (report.fields, report.reporting_mta, report.arrival_date) == ((), "", None)
    assert [recipient.action for recipient in report.recipients] == ["failed", "delayed"]
    assert report.recipients[0].fields[0] == ("X-First", "1")


def test_blocks_that_run_together_are_taken_apart() -> None:
    """No blank line anywhere: each Final-Recipient starts a recipient."""
    report = _parse(_mail(_status_part(MESSAGE + DELAYED + FAILED)))
    assert report.reporting_mta == "mx1.relay.example"
    assert [(r.final_recipient, r.action) for r in report.recipients] == [
        ("bob@slow.example", "delayed"),
        ("Ann@Remote.example", "failed"),
    ]


def test_fields_torn_apart_by_blank_lines_are_put_together() -> None:
    """A blank line after every field, with blanks in it."""
    torn = (MESSAGE + FAILED.replace("\n    ", " ") + DELAYED).replace("\n", "\n \t\n")
    report = _parse(_mail(_status_part(torn)))
    assert [(r.action, r.status, r.enhanced_code) for r in report.recipients] == [
        ("failed", "5.0.0", "5.1.1"),
        ("delayed", "4.4.1", "4.4.1"),
    ]


def test_status_fields_in_the_header_of_the_part_are_found() -> None:
    """The blank line between the part's header and its body is missing."""
    raw = _mail(_part("message/delivery-status", "\n" + FAILED, *MESSAGE.strip().split("\n")))
    assert _parse(raw).reporting_mta == "mx1.relay.example"
    assert [recipient.action for recipient in _parse(raw).recipients] == ["failed"]


def test_report_without_a_recipient_has_none() -> None:
    """It is a DSN all the same; its Message-ID may still tell whose."""
    report = _parse(_mail(_status_part(MESSAGE), _part("message/rfc822", ORIGINAL + "\nbody")))
    assert (report.recipients, report.original_message_id) == ((), "<abc.123@example.com>")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("rfc822; ann@example.net", ("rfc822", "ann@example.net")),
        ("RFC822;ann@example.net", ("rfc822", "ann@example.net")),
        ("rfc822 ; <ann@example.net>", ("rfc822", "ann@example.net")),
        ("rfc822; <ann@example.net> (Ann)", ("rfc822", "ann@example.net")),
        ("rfc822; ann@example.net (expanded from list)", ("rfc822", "ann@example.net")),
        ("rfc822; <@a.example,@b.example:ann@example.net>", ("rfc822", "ann@example.net")),
        ("rfc822; ann@example.net>", ("rfc822", "ann@example.net")),
        ("ann@example.net", ("", "ann@example.net")),
        ('rfc822; "a b"@example.net', ("rfc822", '"a b"@example.net')),
        ('"a;b"@example.net', ("", '"a;b"@example.net')),
        ("utf-8; gr\\x{FC}\\x{DF}e@example.net", ("utf-8", "grüße@example.net")),
        ("utf-8; grüße@example.net", ("utf-8", "grüße@example.net")),
        ("utf-8; a\\x{0A}b\\x{D800}\\x{FFFFFF}@example.net", ("utf-8", "a\\x{0A}b\\x{D800}\\x{FFFFFF}@example.net")),
        ("rfc822; a\\x{FC}@example.net", ("rfc822", "a\\x{FC}@example.net")),
        ("x400; /C=de/S=ann/", ("x400", "/C=de/S=ann/")),
        ("rfc822;", ("rfc822", "")),
        ("", ("", "")),
    ],
)
def test_recipient_is_type_and_address(value: str, expected: tuple[str, str]) -> None:
    """Angle brackets, routes and comments go; what could forge a line stays encoded."""
    recipient = _only(f"Final-Recipient: {value}\nOriginal-Recipient: {value}\nAction: failed\n")
    assert (recipient.final_recipient_type, recipient.final_recipient) == expected
    assert (recipient.original_recipient_type, recipient.original_recipient) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((action, action) for action in sorted(ACTIONS)),
        ("Failed", "failed"),
        ("FAILED (bad destination)", "failed"),
        ("delayed(x)", "delayed"),
        ("failure", ""),
        ("fail-ed", ""),
        ("", ""),
    ],
)
def test_action_is_one_of_five_or_unknown(value: str, expected: str) -> None:
    """RFC 3464 section 2.3.3: words are case-insensitive; what is unknown is kept in the fields only."""
    assert _only(f"Final-Recipient: rfc822; a@b.example\nAction: {value}\n").action == expected


@pytest.mark.parametrize(
    ("diagnostic", "status", "expected"),
    [
        ("smtp; 550 5.1.1 unknown", "5.0.0", ("smtp", "550 5.1.1 unknown", 550, "5.1.1")),
        ("SMTP;550 #5.1.1 unknown", "5.0.0", ("smtp", "550 #5.1.1 unknown", 550, "5.1.1")),
        ("smtp; 550 unknown", "5.1.1", ("smtp", "550 unknown", 550, "5.1.1")),
        ("x-unix; user unknown", "5.1.1", ("x-unix", "user unknown", 500, "5.1.1")),
        ("X-Unix; 255", "5.3.0", ("x-unix", "255", 500, "5.3.0")),
        ("x-postfix; host said: 552 5.2.2 full", "5.2.0", ("x-postfix", "host said: 552 5.2.2 full", 552, "5.2.2")),
        ("dns; name not found", "4.4.4", ("dns", "name not found", 400, "4.4.4")),
        ("550 5.7.1 no type; still read", "5.0.0", ("", "550 5.7.1 no type; still read", 550, "5.7.1")),
        ("smtp;", "5.2.1", ("smtp", "", 500, "5.2.1")),
        ("", "", ("", "", 0, "")),
    ],
)
def test_codes_come_from_the_diagnostic_or_the_status(
    diagnostic: str, status: str, expected: tuple[str, str, int, str]
) -> None:
    """Whatever the type is; an exit status is no reply."""
    block = f"Final-Recipient: rfc822; a@b.example\nStatus: {status}\nDiagnostic-Code: {diagnostic}\n"
    recipient = _only(block)
    found = (recipient.diagnostic_type, recipient.diagnostic_text, recipient.code, recipient.enhanced_code)
    assert found == expected


@pytest.mark.parametrize(
    ("content_type", "body", "fields", "expected"),
    [
        ("message/rfc822", ORIGINAL + "\nhello", (), "<abc.123@example.com>"),
        ("Text/RFC822-Headers; charset=utf-8", ORIGINAL, (), "<abc.123@example.com>"),
        ("message/global-headers", ORIGINAL, (), "<abc.123@example.com>"),
        (
            "text/rfc822-headers",
            base64.encodebytes(ORIGINAL.encode()).decode(),
            ("Content-Transfer-Encoding: base64",),
            "<abc.123@example.com>",
        ),
        ("text/rfc822-headers", "\n\nmessage-id: <x@y> (comment)\n", (), "<x@y>"),
        ("text/rfc822-headers", "Message-ID: no-brackets@y\n", (), "no-brackets@y"),
        ("text/rfc822-headers", "Subject: none\n\nMessage-ID: <in.the.body@y>\n", (), ""),
        ("text/plain", ORIGINAL, (), ""),
    ],
)
def test_message_id_comes_from_the_returned_headers(
    content_type: str, body: str, fields: tuple[str, ...], expected: str
) -> None:
    """Part three in any of its types; the body of the returned message is not searched."""
    raw = _mail(_status_part(MESSAGE + "\n" + FAILED), _part(content_type, body, *fields))
    assert _parse(raw).original_message_id == expected


def test_message_id_of_the_report_itself_is_not_the_original() -> None:
    """Only what was returned counts."""
    assert _parse(b"Message-ID: <report@relay.example>\n" + _mail(_status_part(FAILED))).original_message_id == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Sun, 1 Mar 2026 12:00:00 +0100", datetime(2026, 3, 1, 11, tzinfo=UTC)),
        ("Mon, 1 Mar 2026 12:00:00 +0100 (wrong weekday)", datetime(2026, 3, 1, 11, tzinfo=UTC)),
        ("1 Mar 2026 12:00:00 -0800 (PST)", datetime(2026, 3, 1, 20, tzinfo=UTC)),
        ("(a (nested) comment) Sun, 01 Mar 2026 (here too) 12:00 GMT", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("Sun, 1 Mar 2026 12:00:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("Sun, 1 Mar 2026 12:00:00 EST", datetime(2026, 3, 1, 17, tzinfo=UTC)),
        ("2026-03-01T12:00:00Z", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("2026-03-01T12:00:00+02:00", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("2026-03-01 12:00:00", datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("Sun, 31 Feb 2026 12:00:00 +0000", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("Sun, 1 Mar 2026 12:00:00 +9999", None),
        ("yesterday", None),
        ("()", None),
        ("", None),
    ],
)
def test_dates_are_read_leniently(text: str, expected: datetime | None) -> None:
    """Weekdays, comments, missing zones, ISO 8601; nonsense is None."""
    assert read_instant(text) == expected


@given(st.text(max_size=60) | st.text(alphabet="0123456789:+-, ()TZJanFebMonGMT", max_size=60))
def test_any_text_is_a_date_or_none(text: str) -> None:
    """Never raises, and what is returned is UTC."""
    found = read_instant(text)
    assert found is None or found.tzinfo is UTC


def test_number_of_recipients_is_bounded() -> None:
    """A report of 50,000 recipients costs no more than one of a thousand."""
    raw = _mail(_status_part(MESSAGE + "\n" + (DELAYED + "\n") * 50_000))
    assert len(_parse(raw).recipients) == MAX_RECIPIENTS


def test_long_diagnostic_is_cut() -> None:
    """A megabyte of text in one field does not travel on."""
    recipient = _only(FAILED + "Diagnostic-Code-2: x\n" + "X-Long: smtp; " + "550 5.1.1 " * 100_000)
    assert max(len(value) for _, value in recipient.fields) == 16 * 1024


@given(st.binary(max_size=400))
def test_any_bytes_are_a_dsn_or_not(raw: bytes) -> None:
    """Never raises: as a whole message, as a status part, as a returned header."""
    dsn_in(raw)
    _parse(_mail(_status_part(raw)))
    _parse(_mail(_status_part(MESSAGE), _part("text/rfc822-headers", raw)))


@settings(max_examples=200)
@given(cut=st.integers(0, len(FULL)), junk=st.binary(max_size=8), width=st.integers(0, 20))
def test_damaged_report_never_raises(cut: int, junk: bytes, width: int) -> None:
    """Bytes overwritten, inserted or removed anywhere; whatever is read names recipients of the report."""
    report = dsn_in(FULL[:cut] + junk + FULL[cut + width :])
    assert report is None or len(report.recipients) <= 4


@given(cut=st.integers(0, len(FULL)))
def test_truncated_report_tells_a_prefix(cut: int) -> None:
    """A report cut off anywhere has no more recipients than the whole one, and no others first."""
    report = dsn_in(FULL[:cut])
    found = [recipient.final_recipient for recipient in report.recipients] if report else []
    assert found[:-1] == ["Ann@Remote.example", "bob@slow.example"][: max(0, len(found) - 1)]
    assert len(found) <= 2


_atom = st.from_regex(r"[a-z0-9+._-]{1,20}", fullmatch=True).filter(lambda text: text.strip() == text)
_entry = st.tuples(
    st.builds("{}@{}.example".format, _atom, st.from_regex(r"[a-z0-9]{1,20}", fullmatch=True)),
    st.sampled_from(sorted(ACTIONS)),
    st.builds("{}.{}.{}".format, st.sampled_from("245"), st.integers(0, 7), st.integers(0, 999)),
)


@given(entries=st.lists(_entry, min_size=1, max_size=8), line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_what_is_composed_by_the_rfc_is_read_back(entries: list[tuple[str, str, str]], line_end: bytes) -> None:
    """Every recipient, in order, with its action and status."""
    blocks = [f"Final-Recipient: rfc822; {to}\nAction: {action}\nStatus: {status}\n" for to, action, status in entries]
    raw = _mail(_status_part("\n".join([MESSAGE, *blocks]))).replace(b"\n", line_end)
    found = [(r.final_recipient, r.action, r.status, r.enhanced_code) for r in _parse(raw).recipients]
    assert found == [(to, action, status, status) for to, action, status in entries]
