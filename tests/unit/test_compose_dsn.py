"""A notification says what became of a message, field by field, and nobody's words can make it say anything else."""

from __future__ import annotations

import email
import email.policy
import re
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage, Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.compose_dsn import (
    MAX_RETURNED_BYTES,
    RecipientReport,
    Report,
    compose_dsn,
    mailbox_fields,
    reply_lines,
)
from egret.core.dsn import ACTIONS, DsnReport
from egret.core.outcome import Remote
from tests.unit.builders import HOUR, NOW, REMOTE, dsn_in

ORIGINAL = b"From: app@example.com\r\nMessage-Id: <1@example.com>\r\nSubject: Hello\r\n\r\nGood day.\r\n"


def a_recipient(**changes: Any) -> RecipientReport:
    """Return what is reported of a recipient that a server refused, with the changes."""
    values: dict[str, Any] = {
        "final_recipient": "ann@example.net",
        "action": "failed",
        "status": "5.1.1",
        "error": "the server refused the recipient, permanent: 550 5.1.1 no such user",
        "diagnostic": reply_lines(550, ("5.1.1 no such user", "5.1.1 ask postmaster@example.net")),
        "remote": REMOTE,
        "last_attempt_at": NOW + HOUR,
        "log_id": "17",
    }
    return RecipientReport(**(values | changes))


def a_report(*recipients: RecipientReport, **changes: Any) -> Report:
    """Return a report on these recipients, else on `a_recipient()`, with the changes."""
    values: dict[str, Any] = {
        "hostname": "mail.example.com",
        "to": "x@bounces.example.com",
        "message_id": "<dsn@mail.example.com>",
        "date": NOW + HOUR,
        "recipients": recipients or (a_recipient(),),
        "arrival_at": NOW,
        "original_message_id": "<1@example.com>",
        "original_subject": "Hello",
        "original": ORIGINAL,
    }
    return Report(**(values | changes))


def raw_of(report: Report, **flags: bool) -> bytes:
    """Return the notification, after a look at its lines."""
    raw = compose_dsn(report, **flags).raw()
    lines = raw.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line or b"\0" in line for line in lines)
    assert max(map(len, lines)) <= 998
    return raw


def parts_of(raw: bytes) -> list[Message]:
    """Return the three parts as Python's `email` finds them."""
    message = email.message_from_bytes(raw)
    assert message.get_content_type() == "multipart/report"
    parts = message.get_payload()
    assert isinstance(parts, list)
    assert all(isinstance(part, Message) for part in parts)
    return parts  # type: ignore[return-value] # just asserted


def blocks_of(raw: bytes) -> list[list[tuple[str, str]]]:
    """Return the fields of each block of the report, unfolded, as Python's `email` reads them."""
    blocks = parts_of(raw)[1].get_payload()
    assert isinstance(blocks, list)
    return [[(name, re.sub(r"\s+", " ", str(value))) for name, value in block.items()] for block in blocks]  # type: ignore[union-attr]


def text_of(raw: bytes) -> str:
    """Return what a person reads, on one line, as Python's `email` decodes it."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    part = next(message.iter_parts())
    assert isinstance(part, EmailMessage)
    return " ".join(str(part.get_content()).split())


def read(raw: bytes) -> DsnReport:
    """Return what our own reader finds."""
    report = dsn_in(raw)
    assert report is not None
    return report


# --- field by field


def test_the_header_says_who_reports_to_whom_on_what() -> None:
    """An answer of a program to the sender, in the thread of the message."""
    message = email.message_from_bytes(raw_of(a_report()))

    assert dict(message.items()) == {
        "From": '"Mail Delivery System" <postmaster@mail.example.com>',
        "To": "<x@bounces.example.com>",
        "Subject": "Undelivered mail",
        "Message-Id": "<dsn@mail.example.com>",
        "In-Reply-To": "<1@example.com>",
        "References": "<1@example.com>",
        "Date": "4 Mar 2026 06:06:07 +0000",
        "MIME-Version": "1.0",
        "Auto-Submitted": "auto-replied",
        "Content-Type": message["Content-Type"],
    }
    assert message.get_param("report-type") == "delivery-status"


def test_a_mailbox_puts_before_it_where_it_came_from() -> None:
    """The null reverse-path, and the whole reverse-path that it answers."""
    raw = compose_dsn(a_report()).raw(mailbox_fields("x@bounces.example.com"))

    assert list(email.message_from_bytes(raw).items())[:2] == [
        ("Return-Path", "<>"),
        ("Delivered-To", "x@bounces.example.com"),
    ]


def test_all_fields_of_a_failure() -> None:
    """In the order of RFC 3464, both blocks."""
    report = a_report(
        a_recipient(original_recipient="rfc822;Ann+2BNews@Example.net"),
        envelope_id="QQ314159",
        future_release="until;2026-03-04T05:06:07Z",
    )

    assert blocks_of(raw_of(report)) == [
        [
            ("Original-Envelope-Id", "QQ314159"),
            ("Reporting-MTA", "dns; mail.example.com"),
            ("Arrival-Date", "4 Mar 2026 05:06:07 +0000"),
            ("Future-Release-Request", "until;2026-03-04T05:06:07Z"),
        ],
        [
            ("Original-Recipient", "rfc822; Ann+News@Example.net"),
            ("Final-Recipient", "rfc822; ann@example.net"),
            ("Action", "failed"),
            ("Status", "5.1.1 (the server refused the recipient, permanent: 550 5.1.1 no such user)"),
            ("Remote-MTA", "dns; mx.example.net (192.0.2.1)"),
            ("Diagnostic-Code", "smtp; 550-5.1.1 no such user 550 5.1.1 ask postmaster@example.net"),
            ("Last-Attempt-Date", "4 Mar 2026 06:06:07 +0000"),
            ("Final-Log-ID", "17"),
        ],
    ]


def test_what_is_not_known_is_left_out() -> None:
    """A delivery that was never attempted; without an enhanced code the class follows the action."""
    bare = RecipientReport("ann@example.net", "failed")

    assert blocks_of(raw_of(a_report(bare)))[1] == [
        ("Final-Recipient", "rfc822; ann@example.net"),
        ("Action", "failed"),
        ("Status", "5.0.0"),
    ]


@pytest.mark.parametrize(("action", "status"), [("failed", "5"), ("delayed", "4"), ("relayed", "2"), ("expanded", "2")])
def test_the_class_of_an_unknown_status_is_that_of_the_action(action: str, status: str) -> None:
    """RFC 3463 section 2; what is no enhanced code is not written."""
    raw = raw_of(a_report(RecipientReport("ann@example.net", action, status="5.1.1 x")))

    assert read(raw).recipients[0].status == f"{status}.0.0"


def test_a_delay_says_until_when_it_is_tried() -> None:
    """In a field and in words."""
    delayed = a_recipient(action="delayed", next_attempt_at=NOW + 2 * HOUR, will_retry_until=NOW + 3 * HOUR)
    raw = raw_of(a_report(delayed))

    assert read(raw).recipients[0].will_retry_until == NOW + 3 * HOUR
    assert "has not been delivered yet" in text_of(raw)
    assert "next attempt is to be made at 4 Mar 2026 07:06:07 +0000" in text_of(raw)
    assert "given up at 4 Mar 2026 08:06:07 +0000" in text_of(raw)
    assert email.message_from_bytes(raw)["Subject"] == "Delayed mail, which is still being tried"


def test_the_text_has_every_line_of_the_reply() -> None:
    """A person needs no second part to see what the server said."""
    text = text_of(raw_of(a_report()))

    assert 'your message of 4 Mar 2026 05:06:07 +0000, "Hello".' in text
    assert "Your message to ann@example.net could not be delivered. No further attempt will be made." in text
    assert "mx.example.net [192.0.2.1] answered: 550-5.1.1 no such user 550 5.1.1 ask postmaster@example.net" in text


def test_each_recipient_has_its_own_block_and_its_own_sentence() -> None:
    """A report of several."""
    bob = a_recipient(final_recipient="bob@example.net", action="delayed", status="4.2.2", diagnostic=())
    raw = raw_of(a_report(a_recipient(), bob))

    found = [(one.final_recipient, one.action, one.status) for one in read(raw).recipients]
    assert found == [("ann@example.net", "failed", "5.1.1"), ("bob@example.net", "delayed", "4.2.2")]
    assert text_of(raw).count("Your message to ") == 2


def test_the_same_report_is_the_same_message() -> None:
    """So that storing it again changes nothing."""
    assert raw_of(a_report()) == raw_of(a_report())


def test_the_header_of_the_message_comes_back() -> None:
    """Without its text: RET=HDRS, and the default."""
    returned = parts_of(raw_of(a_report()))[2]

    assert returned.get_content_type() == "text/rfc822-headers"
    assert returned.get_payload() == "From: app@example.com\r\nMessage-Id: <1@example.com>\r\nSubject: Hello\r\n"
    assert read(raw_of(a_report())).original_message_id == "<1@example.com>"


def test_the_whole_message_comes_back_where_it_is_wanted() -> None:
    """RET=FULL."""
    raw = raw_of(a_report(returns_body=True))

    assert parts_of(raw)[2].get_content_type() == "message/rfc822"
    assert ORIGINAL in raw


@pytest.mark.parametrize(
    "body",
    [b"x\r\n" * MAX_RETURNED_BYTES, b"x" * 999 + b"\r\n", b"bare\nline\r\n", "ü\r\n".encode(), b"\0\r\n"],
)
def test_what_cannot_come_back_whole_comes_back_by_its_header(body: bytes) -> None:
    """Too large, or nothing that a message/rfc822 may hold."""
    raw = raw_of(a_report(original=ORIGINAL + body, returns_body=True))

    assert parts_of(raw)[2].get_content_type() == "text/rfc822-headers"


def test_an_8bit_message_comes_back_where_8bit_may_go() -> None:
    """Into a mailbox."""
    raw = raw_of(a_report(original=ORIGINAL + "ü\r\n".encode(), returns_body=True), allow_8bit=True)

    assert (parts_of(raw)[2].get_content_type(), parts_of(raw)[2]["Content-Transfer-Encoding"]) == (
        "message/rfc822",
        "8bit",
    )


def test_a_header_of_any_size_comes_back_within_the_limit() -> None:
    """By whole lines; one endless line leaves nothing."""
    many = b"X-A: b\r\n" * MAX_RETURNED_BYTES
    returned = parts_of(raw_of(a_report(original=many)))[2].get_payload()
    endless = parts_of(raw_of(a_report(original=b"X-A: " + b"x" * 2 * MAX_RETURNED_BYTES)))[2].get_payload()

    assert isinstance(returned, str)
    assert MAX_RETURNED_BYTES - 8 <= len(returned) <= MAX_RETURNED_BYTES
    assert set(returned.split("\r\n")) == {"X-A: b", ""}
    assert endless == ""


def test_without_the_message_there_are_two_parts() -> None:
    """It was forgotten before."""
    assert len(parts_of(raw_of(a_report(original=b"")))) == 2


# --- internationalized mail


def test_an_internationalized_report_is_written_as_it_is() -> None:
    """Where the message needed SMTPUTF8 and the reader takes it."""
    report = a_report(
        a_recipient(final_recipient="jürgen@example.net", diagnostic=("550 5.1.1 gibt es nicht: jürgen",)),
        original="Subject: Grüße\r\nMessage-ID: <1@example.com>\r\n\r\n".encode(),
    )
    composed = compose_dsn(report, smtputf8=True)
    status, returned = parts_of(composed.raw())[1:]

    assert status.get_content_type() == "message/global-delivery-status"
    assert returned.get_content_type() == "message/global-headers"
    assert "Final-Recipient: utf-8; jürgen@example.net\r\n".encode() in composed.body
    assert (composed.smtputf8, composed.is_8bit) == (True, True)
    (told,) = read(composed.raw()).recipients
    assert (told.final_recipient, told.diagnostic_text) == ("jürgen@example.net", "550 5.1.1 gibt es nicht: jürgen")


def test_elsewhere_it_is_written_in_ascii() -> None:
    """Addresses by RFC 6533, which our reader undoes; the text as a text."""
    report = a_report(
        a_recipient(final_recipient="jürgen+a@example.net", diagnostic=("550 5.1.1 gibt es nicht: jürgen",)),
        original="Subject: Grüße\r\nMessage-ID: <1@example.com>\r\n\r\n".encode(),
    )
    composed = compose_dsn(report)

    assert composed.raw().isascii()
    assert rb"Final-Recipient: utf-8; j\x{FC}rgen\x{2B}a@example.net" in composed.body
    assert rb"Diagnostic-Code: smtp; 550 5.1.1 gibt es nicht: j\x{FC}rgen" in composed.body
    assert read(composed.raw()).recipients[0].final_recipient == "jürgen+a@example.net"
    assert "jürgen+a@example.net" in text_of(composed.raw())
    returned = parts_of(composed.raw())[2]
    assert returned.get_content_type() == "text/rfc822-headers"
    assert "Grüße".encode() in returned.get_payload(decode=True)
    assert (composed.smtputf8, composed.is_8bit) == (False, False)


def test_a_sender_with_an_internationalized_address_takes_internationalized_reports() -> None:
    """His address could not be written otherwise."""
    composed = compose_dsn(a_report(to="jürgen@example.com"))

    assert composed.smtputf8
    assert "To: <jürgen@example.com>\r\n".encode() in composed.headers


def test_a_whole_internationalized_message_comes_back_as_one() -> None:
    """RET=FULL of a message with SMTPUTF8."""
    report = a_report(original="Subject: Grüße\r\n\r\nüü\r\n".encode(), returns_body=True)

    assert parts_of(raw_of(report, smtputf8=True))[2].get_content_type() == "message/global"


# --- strangers' words

HOSTILE = [
    "550 x\r\nFinal-Recipient: rfc822; eve@example.net\r\nAction: delivered",
    "550 x\n\nFinal-Recipient: rfc822; eve@example.net\n\n--=_x--",
    "550 \x00\x1b[2J\x85\u2028Action: delivered\u2029",
    "550 (((( \\",
    "550 ) Action: delivered",
    "550 " + "x" * 5_000,
    "550 " + "é" * 5_000,
    "550 " + "\U0010ffff" * 3_000,
    "550 " + "a b " * 5_000,
    "550 \ud800",
    " ",
    "",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("smtputf8", [False, True])
def test_hostile_words_stay_words(text: str, *, smtputf8: bool) -> None:
    """In whatever field they stand."""
    hostile = a_recipient(
        error=text, diagnostic=(text, "550 end"), remote=Remote(text, text), original_recipient=f"rfc822;{text}"
    )
    report = a_report(
        hostile, envelope_id=text, future_release=text, original_subject=text, original_message_id=f"<{text}>"
    )
    raw = raw_of(report, smtputf8=smtputf8)

    (told,) = read(raw).recipients
    assert (told.final_recipient, told.action, told.status) == ("ann@example.net", "failed", "5.1.1")
    names = [name for name, _ in told.fields]
    assert len(names) == len(set(names))
    assert set(names) <= {
        "Original-Recipient",
        "Final-Recipient",
        "Action",
        "Status",
        "Remote-MTA",
        "Diagnostic-Code",
        "Last-Attempt-Date",
        "Final-Log-ID",
    }
    assert len(parts_of(raw)) == 3
    assert "Bcc" not in email.message_from_bytes(raw)


def test_encoded_line_ends_in_orcpt_end_no_line() -> None:
    """RFC 3461's xtext can write any character."""
    raw = raw_of(a_report(a_recipient(original_recipient="rfc822;a+0D+0AAction:+20delivered")))

    assert read(raw).recipients[0].action == "failed"
    assert read(raw).recipients[0].original_recipient == "a??Action: delivered"


def test_a_size_of_anything_is_bounded() -> None:
    """A notification is smaller than what it gives back and some."""
    huge = ("x " * 100_000,) * 100
    report = a_report(a_recipient(error="x " * 100_000, diagnostic=huge), original=ORIGINAL)

    assert len(raw_of(report)) < 40_000


def test_nobody_can_end_a_part() -> None:
    """A boundary cannot be foreseen: it depends on everything that stands between."""
    known = re.search(rb'boundary="([^"]+)"', raw_of(a_report()))
    assert known is not None
    body = ORIGINAL + b"--" + known[1] + b"--\r\n"
    raw = raw_of(a_report(original=body, returns_body=True))

    assert len(parts_of(raw)) == 3
    assert body in raw


# --- what we write can be read

words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=60)
sentences = st.lists(words, min_size=1, max_size=12).map(" ".join)
ascii_words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
local_parts = st.from_regex(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,20}", fullmatch=True)
instants = st.datetimes(datetime(2025, 1, 1), datetime(2100, 1, 1)).map(  # noqa: DTZ001 (made aware below)
    lambda at: at.replace(microsecond=0, tzinfo=UTC)
)
codes = st.builds("{}.{}.{}".format, st.sampled_from([4, 5]), st.integers(0, 7), st.integers(0, 99))
recipients = st.builds(
    RecipientReport,
    final_recipient=st.one_of(local_parts, st.text("aäöü+=", min_size=1, max_size=20)).map(
        lambda x: f"{x}@example.net"
    ),
    action=st.sampled_from(sorted(ACTIONS)),
    status=codes,
    error=st.one_of(st.just(""), sentences),
    diagnostic=st.lists(sentences, max_size=5).map(lambda lines: reply_lines(550, lines)),
    remote=st.one_of(st.just(Remote()), st.just(Remote("mx.example.net", "2001:db8::1"))),
    original_recipient=st.one_of(
        st.just(""), local_parts.map(lambda x: "rfc822;" + x.replace("+", "+2B") + "@b.example")
    ),
    last_attempt_at=st.none() | instants,
    will_retry_until=st.none() | instants,
    log_id=st.just("17"),
)
reports = st.builds(
    Report,
    hostname=st.just("mail.example.com"),
    to=st.sampled_from(["x@bounces.example.com", "jürgen@example.com"]),
    message_id=st.just("<dsn@mail.example.com>"),
    date=instants,
    recipients=st.lists(recipients, min_size=1, max_size=3).map(tuple),
    arrival_at=instants,
    original_message_id=st.just("<1@example.com>"),
    original_subject=st.text(max_size=50),
    original=st.one_of(st.just(ORIGINAL), st.binary(max_size=200)),
    returns_body=st.booleans(),
    envelope_id=st.one_of(st.just(""), ascii_words),
)


@given(reports, st.booleans())
def test_our_reader_reads_what_we_write(report: Report, smtputf8: bool) -> None:
    """Every value comes back."""
    found = read(raw_of(report, smtputf8=smtputf8, allow_8bit=True))

    assert (found.reporting_mta, found.arrival_date) == (report.hostname, report.arrival_at)
    assert found.original_envelope_id == report.envelope_id
    assert len(found.recipients) == len(report.recipients)
    for told, one in zip(found.recipients, report.recipients, strict=True):
        assert told.final_recipient == one.final_recipient
        assert told.original_recipient == one.original_recipient.partition(";")[2].replace("+2B", "+")
        assert (told.action, told.status, told.remote_mta) == (one.action, one.status, one.remote.mx_host)
        if smtputf8:
            assert told.diagnostic_text == " ".join(one.diagnostic)
        assert (told.last_attempt_date, told.will_retry_until) == (one.last_attempt_at, one.will_retry_until)


@given(reports)
def test_pythons_reader_reads_what_we_write(report: Report) -> None:
    """The same fields in the same blocks."""
    if not report.to.isascii():
        return  # `email` reads message/global-delivery-status as one message
    first, *blocks = blocks_of(raw_of(report))

    assert dict(first)["Arrival-Date"] == f"{report.arrival_at:%-d %b %Y %H:%M:%S} +0000"
    assert [dict(block)["Action"] for block in blocks] == [one.action for one in report.recipients]
    for block, one in zip(blocks, report.recipients, strict=True):
        fields = dict(block)
        assert fields["Status"].split()[0] == one.status
        if all(line.isascii() for line in one.diagnostic) and one.diagnostic:
            assert fields["Diagnostic-Code"] == f"smtp; {' '.join(one.diagnostic)}"


@given(st.text(), st.text(), st.text(), st.booleans())
def test_no_text_makes_it_fail(error: str, reply: str, other: str, smtputf8: bool) -> None:
    """Nor adds a recipient."""
    one = a_recipient(
        error=error, diagnostic=(reply, other), original_recipient=f"rfc822;{other}", remote=Remote(reply)
    )
    raw = raw_of(a_report(one, envelope_id=error, original_subject=other), smtputf8=smtputf8)

    assert [told.action for told in read(raw).recipients] == ["failed"]


def test_reply_lines_are_those_of_the_wire() -> None:
    """RFC 5321 section 4.2.1."""
    assert reply_lines(550, ("5.1.1 no", "", "user")) == ("550-5.1.1 no", "550-", "550 user")
    assert reply_lines(421, ("",)) == ("421",)
    assert reply_lines(0, ()) == ()


def test_dates_have_no_weekday() -> None:
    """There are readers that take none (and none that need one)."""
    late = a_recipient(last_attempt_at=NOW + timedelta(days=27))

    assert b"Last-Attempt-Date: 31 Mar 2026 05:06:07 +0000\r\n" in raw_of(a_report(late))
