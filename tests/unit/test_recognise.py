"""What incoming mail turns out to be."""

from __future__ import annotations

import base64
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.autoreply import SIGNS
from egret.core.failure import FailureClass, classify
from egret.core.feedback import KIND_OF_TYPE
from egret.core.recognise import MailKind, Recognised, recognise
from tests.unit.bounce_styles import STYLES
from tests.unit.test_plain_bounce import mail as plain_mail

BLOCK = """Final-Recipient: rfc822; bob@example.net
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user
"""
UNCLEAR = "Final-Recipient: rfc822; bob@example.net\nAction: failed\nStatus: 5.0.0\n"
ORIGINAL = "Message-ID: <1@example.com>\nTo: bob@example.net\nSubject: your order\n"


def report(kind: str, status: str, text: str = "It failed.", original: str = ORIGINAL, *fields: str) -> bytes:
    """Return a multipart/report with a text, a machine-readable part, and a returned header."""
    header = ["From: MAILER-DAEMON@mx.example", "MIME-Version: 1.0", *fields]
    lines = [
        *header,
        "Content-Type: multipart/report; boundary=b",
        "",
        "--b",
        "Content-Type: text/plain",
        "",
        text,
        "--b",
        f"Content-Type: {kind}",
        "",
        status,
        "--b",
        "Content-Type: text/rfc822-headers",
        "",
        original,
        "--b--",
        "",
    ]
    return "\n".join(lines).encode()


def dsn(block: str, text: str = "It failed.") -> bytes:
    """Return a DSN about one or more recipients."""
    return report("message/delivery-status", f"Reporting-MTA: dns; mx.example\n\n{block}", text)


def arf(fields: str, original: str = ORIGINAL) -> bytes:
    """Return a feedback report."""
    return report("message/feedback-report", f"User-Agent: Loop/1.0\nVersion: 1\n{fields}", original=original)


def _ordinary(*fields: str, body: str = "hello\n") -> bytes:
    return "\n".join(["From: ann@example.net", "To: shop@example.com", *fields, "", body]).encode()


def test_dsn_is_a_bounce_with_its_recipients() -> None:
    """Action, codes and class of each recipient, and the header of the returned message."""
    found = recognise(dsn(BLOCK))
    assert (found.kind, found.format, found.reporting_mta) == (MailKind.BOUNCE, "dsn", "mx.example")
    assert (found.original_message_id, found.original[2]) == ("<1@example.com>", ("Subject", "your order"))
    (bob,) = found.recipients
    assert (bob.address, bob.action, bob.status, bob.code) == ("bob@example.net", "failed", "5.1.1", 550)
    assert bob.failure is FailureClass.ADDRESS_DEAD


def test_each_block_is_judged_by_itself() -> None:
    """The first is never applied to all."""
    late = "Final-Recipient: rfc822; cyd@example.net\nAction: delayed\nStatus: 4.4.1\n"
    there = "Final-Recipient: rfc822; dan@example.net\nAction: relayed\nStatus: 2.1.5\n"
    found = recognise(dsn(f"{BLOCK}\n{late}\n{there}"))
    assert [(one.address, one.action, one.failure) for one in found.recipients] == [
        ("bob@example.net", "failed", FailureClass.ADDRESS_DEAD),
        ("cyd@example.net", "delayed", FailureClass.NETWORK),
        ("dan@example.net", "relayed", FailureClass.RELAYED),
    ]


@pytest.mark.parametrize(
    ("block", "text", "expected"),
    [
        (
            UNCLEAR,
            "<bob@example.net>: host mx said: 552 5.2.2 mailbox full (in reply to RCPT TO command)",
            ("bob@example.net", "5.2.2", FailureClass.MAILBOX_FULL),
        ),
        (
            f"{UNCLEAR}Diagnostic-Code: smtp; 550 user unknown\n",
            "<bob@example.net>: host mx said: 550 user unknown (in reply to end of DATA command)",
            ("bob@example.net", "5.0.0", FailureClass.RECIPIENT_REFUSES),
        ),
        (
            "Final-Recipient: X-Unix; |/bin/filter\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: X-Unix; 255\n",
            '"|/bin/filter"\n  (reason: 255)\n  (expanded from: <bob@example.net>)\n\n554 5.3.0 mailer error 255',
            ("bob@example.net", "5.3.0", FailureClass.SYSTEM),
        ),
        (
            "",
            "The following recipients did not receive this message:\n\n<bob@example.net>\n",
            ("bob@example.net", "", FailureClass.UNKNOWN),
        ),
    ],
    ids=["code", "stage", "address", "recipient"],
)
def test_words_add_what_a_block_leaves_open(block: str, text: str, expected: tuple[str, str, FailureClass]) -> None:
    """A better code, the stage of the conversation, a usable address, or who failed at all."""
    (one,) = recognise(dsn(block, text)).recipients
    assert (one.address, one.status, one.failure) == expected
    assert not one.diagnostic or classify(one.code, one.enhanced_code, one.diagnostic) is one.failure


@pytest.mark.parametrize(("action", "expected"), [("Action: exploded\n", ""), ("", "failed")])
def test_action_that_nobody_knows_stays_unknown(action: str, expected: str) -> None:
    """Only one that is missing is made of what the words say."""
    (one,) = recognise(dsn(f"Final-Recipient: rfc822; bob@example.net\n{action}Status: 5.0.0\n")).recipients
    assert one.action == expected


def test_report_that_came_as_an_attachment_of_one_is_read() -> None:
    """Some systems relay reports so; the sender's name is encoded."""
    outer = (
        b"From: =?iso-2022-jp?B?TWFpbCBEZWxpdmVyeSBTdWJzeXN0ZW0=?= <x@relay.example>\nSubject: Returned mail\n"
        b"Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: message/rfc822\n\n"
    )
    (bob,) = recognise(outer + dsn(BLOCK) + b"\n--o--\n").recipients
    assert (bob.address, bob.failure) == ("bob@example.net", FailureClass.ADDRESS_DEAD)


def test_report_made_one_text_and_quoted_is_still_read() -> None:
    """As a person forwards it, or a gateway flattens it."""
    quoted = "".join(f"> {line}\n" for line in f"Reporting-MTA: dns; mx.example\n\n{BLOCK}".split("\n"))
    raw = _ordinary(
        "Subject: Fwd: Undelivered Mail Returned to Sender", body=f"see below\n\n> It was not delivered\n{quoted}"
    )
    (bob,) = recognise(raw).recipients
    assert (bob.address, bob.status, bob.failure) == ("bob@example.net", "5.1.1", FailureClass.ADDRESS_DEAD)


@pytest.mark.parametrize("kind", ["message/global-delivery-status", "Message/Delivery-Status; charset=utf-8"])
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable", "8bit"])
def test_internationalised_and_encoded_status_parts_are_read(kind: str, encoding: str) -> None:
    """RFC 6533 section 3; MTAs encode the part, although RFC 2046 forbids it."""
    status = "Final-Recipient: utf-8; jürgen@example.net\nAction: failed\nStatus: 5.1.1\n"
    body = {
        "base64": base64.encodebytes(status.encode()).decode(),
        "quoted-printable": status.replace("ü", "=C3=BC"),
        "8bit": status,
    }[encoding]
    raw = report(f"{kind}\nContent-Transfer-Encoding: {encoding}", body)
    assert [one.address for one in recognise(raw).recipients] == ["jürgen@example.net"]


def test_feedback_report_is_a_complaint() -> None:
    """With its type and who complains; the recipient to remove comes first."""
    found = recognise(
        arf("Feedback-Type: Abuse\nOriginal-Rcpt-To: <bob@example.net>\nRemoval-Recipient: cyd@example.net")
    )
    assert (found.kind, found.format, found.feedback_type) == (MailKind.COMPLAINT, "arf", "abuse")
    assert [one.address for one in found.recipients] == ["cyd@example.net", "bob@example.net"]
    assert found.original_message_id == "<1@example.com>"


def test_complaint_without_recipient_names_whom_the_message_went_to() -> None:
    """RFC 5965 leaves Original-Rcpt-To out, or redacts it."""
    found = recognise(arf("Feedback-Type: abuse"))
    assert [one.address for one in found.recipients] == ["bob@example.net"]


@pytest.mark.parametrize(
    ("fields", "kind", "is_unwanted"),
    [
        ("Feedback-Type: opt-out\nRemoval-Recipient: bob@example.net", "opt-out", True),
        ("Feedback-Type: fraud (phishing)", "fraud", True),
        ("Feedback-Type: not-spam", "not-spam", False),
        ("Feedback-Type: miscategorized", "miscategorized", False),
        ("Feedback-Type: auth-failure\nAuth-Failure: dmarc", "auth-failure", False),
        ("Source-IP: 192.0.2.1", "other", True),
    ],
)
def test_type_of_a_complaint_tells_whether_mail_is_unwanted(fields: str, kind: str, is_unwanted: bool) -> None:
    """RFC 5965 7.3, RFC 6430, RFC 6591."""
    found = recognise(arf(fields))
    assert (found.feedback_type, found.feedback_type in KIND_OF_TYPE) == (kind, is_unwanted)


def test_returned_message_with_a_subject_of_complaint_is_one() -> None:
    """Microsoft's JMRP sends the message alone, with a field that names the recipient."""
    original = "X-HmXmrOriginalRecipient: bob@example.net\nTo: undisclosed\nMessage-ID: <1@example.com>\n"
    lines = [
        "From: staff@mail.example",
        "Subject: complaint about message from 192.0.2.1",
        "Content-Type: multipart/mixed; boundary=b",
        "",
        "--b",
        "Content-Type: message/rfc822",
        "",
        original,
        "hello",
        "--b--",
    ]
    found = recognise("\n".join(lines).encode())
    assert (found.kind, found.feedback_type) == (MailKind.COMPLAINT, "abuse")
    assert [one.address for one in found.recipients] == ["bob@example.net"]


def test_unsubscribing_by_a_providers_button_is_an_opt_out() -> None:
    """Apple Mail writes to the address of List-Unsubscribe and says so in a field."""
    found = recognise(_ordinary("X-Apple-Unsubscribe: true", "Subject: unsubscribe"))
    assert (found.kind, found.feedback_type) == (MailKind.COMPLAINT, "opt-out")


BOUNCED = (
    '{"notificationType":"Bounce","bounce":{"bouncedRecipients":[{"emailAddress":"bob@example.net","action":"failed",'
    '"status":"5.1.1","diagnosticCode":"smtp; 550 5.1.1 user\n unknown"}],"timestamp":"2026-01-05T10:00:00.000Z",'
    '"reportingMTA":"dsn; a.mx.example"},"mail":{"headers":[{"name":"Message-ID","value":"<1@example.com>"}]}}'
)


@pytest.mark.parametrize(
    "body",
    [
        BOUNCED + "\n\n--\nIf you wish to stop receiving notifications, visit https://example.com/{x}\n",
        '{"Type": "Notification", "Message": "' + BOUNCED.replace("\n", "").replace('"', '\\"') + '"}',
    ],
    ids=["raw", "wrapped"],
)
def test_notice_of_a_bounce_in_json_is_read(body: str) -> None:
    """Amazon SES tells by SNS, raw or wrapped, with lines broken by mail."""
    found = recognise(_ordinary("Subject: AWS Notification Message", body=body))
    (bob,) = found.recipients
    assert (found.kind, found.reporting_mta, found.original_message_id) == (
        MailKind.BOUNCE,
        "a.mx.example",
        "<1@example.com>",
    )
    assert (bob.address, bob.status, bob.failure) == ("bob@example.net", "5.1.1", FailureClass.ADDRESS_DEAD)


def test_notice_of_a_complaint_or_a_delivery_in_json_is_read() -> None:
    """The two other kinds of notice."""
    complaint = (
        '{"notificationType":"Complaint","complaint":{"complainedRecipients":[{"emailAddress":"bob@example.net"}],'
        '"complaintFeedbackType":"abuse"},"mail":{}}'
    )
    delivery = (
        '{"notificationType":"Delivery","delivery":{"recipients":["bob@example.net"],'
        '"smtpResponse":"250 2.6.0 Message received"},"mail":{}}'
    )
    complained, delivered = (recognise(_ordinary(body=body)) for body in (complaint, delivery))
    assert (complained.kind, complained.feedback_type) == (MailKind.COMPLAINT, "abuse")
    assert [(one.action, one.failure) for one in delivered.recipients] == [("delivered", FailureClass.RELAYED)]


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.field)
def test_each_sign_of_an_automatic_answer_is_one(sign: object) -> None:
    """As its example shows."""
    example = getattr(sign, "example")  # noqa: B009 - the parameter is typed as any object
    assert recognise(_ordinary(example, "Subject: hello")).kind is MailKind.AUTO_REPLY


def test_generated_mail_that_answers_is_an_automatic_answer() -> None:
    """Some call their answers auto-generated; an invoice is auto-generated, too, and answers nothing."""
    assert recognise(_ordinary("Auto-Submitted: auto-generated", "In-Reply-To: <1@x>")).kind is MailKind.AUTO_REPLY


def test_answer_to_mail_about_a_delivery_is_no_bounce() -> None:
    """Its subject is that of our mail, and it comes with a null reverse-path as a bounce does."""
    fields = ("Return-Path: <>", "Auto-Submitted: auto-replied", "Subject: Automatic reply: Delivery notification")
    assert recognise(_ordinary(*fields, body="I am away. Write to bob@example.net.")).kind is MailKind.AUTO_REPLY


BOUNCE = "This is the mail system.\nIt could not be delivered.\n\n<bob@x.example>: 550 5.1.1 (RCPT TO) user unknown\n"


@pytest.mark.parametrize(
    "fields",
    [
        ("Subject: Re: Undelivered Mail Returned to Sender",),
        ("Subject: [55] Undelivered Mail Returned to Sender", "Return-Path: <>"),
        ("Subject: Out of office", "Return-Path: <>"),
    ],
)
def test_quoting_a_bounce_is_not_sending_one(fields: tuple[str, ...]) -> None:
    """People ask what it means; help desks and notices of absence repeat what they answer."""
    quoted = "".join(f"> {line}\n" for line in BOUNCE.split("\n"))
    assert recognise(_ordinary(*fields, body=f"Thank you for this:\n\n{quoted}")).kind is not MailKind.BOUNCE


@pytest.mark.parametrize("field", ["List-Id: <mta.lists.example>", "List-Unsubscribe: <https://lists.example/u>"])
def test_a_list_that_discusses_a_bounce_sends_none(field: str) -> None:
    """Nor does a newsletter about them."""
    raw = _ordinary("Subject: Undelivered Mail Returned to Sender", field, body=BOUNCE)
    assert recognise(raw).kind is MailKind.OTHER
    assert recognise(raw.replace(field.encode(), b"X: y")).kind is MailKind.BOUNCE


@pytest.mark.parametrize(
    "subject",
    [
        "Automatic reply: your order",
        "Auto: your order",
        "Out of Office: your order",
        "=?utf-8?q?R=C3=A9ponse_automatique_:_commande?=",
        "Abwesenheitsnotiz: Ihre Bestellung",
        "=?utf-8?b?6Ieq5YuV5b+c562U?=: order",
    ],
)
def test_subject_tells_an_automatic_answer(subject: str) -> None:
    """Where no field does."""
    assert recognise(_ordinary(f"Subject: {subject}")).kind is MailKind.AUTO_REPLY


@pytest.mark.parametrize("subject", ["Automatic reply: Hello", "Out of office: Hello", "Auto: Hello"])
def test_a_person_who_has_left_is_no_bounce(subject: str) -> None:
    """An answer that says in words that mail was not delivered suppresses nobody: a program of a person wrote it."""
    fields = f"From: Ann <ann@example.net>\nReturn-Path: <>\nSubject: {subject}\nAuto-Submitted: auto-replied"
    body = "Your message to ann@example.net could not be delivered: the account has been disabled. Ask bob@example.net."

    assert recognise(f"{fields}\n\n{body}\n".encode()).kind is MailKind.AUTO_REPLY


def test_bounce_that_calls_itself_an_automatic_answer_is_a_bounce() -> None:
    """About half of them carry Auto-Submitted."""
    fields = ("Return-Path: <>", "Auto-Submitted: auto-replied")
    assert {recognise(plain_mail(style, *fields)).kind for style in STYLES} == {MailKind.BOUNCE}
    assert recognise(b"Auto-Submitted: auto-replied\n" + dsn(BLOCK)).kind is MailKind.BOUNCE


DMARC_FILE = "mail.example!example.com!1767225600!1767311999.xml.gz"


@pytest.mark.parametrize(
    ("fields", "format_"),
    [
        ((f'Content-Type: application/gzip; name="{DMARC_FILE}"',), "dmarc"),
        (("Content-Type: application/zip", f"Content-Disposition: attachment; filename={DMARC_FILE[:-6]}zip"), "dmarc"),
        (("Subject: Report domain: example.com Submitter: mail.example", "Content-Type: application/gzip"), "dmarc"),
        (("TLS-Report-Domain: example.com", "TLS-Report-Submitter: mail.example"), "tlsrpt"),
        (("Content-Type: application/tlsrpt+gzip",), "tlsrpt"),
    ],
)
def test_reports_about_authentication_and_tls_are_reports(fields: tuple[str, ...], format_: str) -> None:
    """Even from a postmaster, and marked as automatic."""
    found = recognise(_ordinary("From: postmaster@mail.example", "Auto-Submitted: auto-generated", *fields))
    assert (found.kind, found.format) == (MailKind.REPORT, format_)


def test_receipt_is_an_automatic_answer() -> None:
    """RFC 8098: it tells that somebody read the message, not what became of a delivery."""
    raw = report(
        "message/disposition-notification", "Final-Recipient: rfc822; bob@example.net\nDisposition: x; displayed"
    )
    assert (recognise(raw).kind, recognise(raw).format) == (MailKind.AUTO_REPLY, "mdn")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n\n",
        b"hello",
        _ordinary("Subject: hello"),
        _ordinary("Subject: Re: out of office", body="are you back?"),
        _ordinary("Subject: Re: Automatic reply: order", body="thanks"),
        _ordinary("Subject: Delivery notification", body="Your parcel could not be delivered. Ask help@post.example."),
        _ordinary("Subject: Your message to us", "Return-Path: <>", body="Thank you for writing to shop@example.com."),
        _ordinary(
            "In-Reply-To: <1@x>",
            "Subject: Re: Undelivered Mail",
            body="> <bob@example.net>: user unknown\n> could not be delivered",
        ),
        _ordinary("Auto-Submitted: no", "Subject: hello"),
        _ordinary("Auto-Submitted: auto-generated", "Subject: your invoice"),
        _ordinary("Subject: user unknown?", body="do you know what 550 5.1.1 user unknown means for bob@example.net?"),
        _ordinary(body='{"notificationType": "Other"}'),
        _ordinary(body='{"notificationType":' + "[" * 5000),
    ],
)
def test_ordinary_mail_is_other(raw: bytes) -> None:
    """Mail that people write, or machines that answer nothing."""
    assert recognise(raw) == Recognised(MailKind.OTHER, "")


SAMPLES = [plain_mail(style) for style in STYLES] + [dsn(BLOCK), arf("Feedback-Type: abuse"), _ordinary()]


@pytest.mark.parametrize("raw", SAMPLES, ids=range(len(SAMPLES)))
def test_line_ends_change_nothing(raw: bytes) -> None:
    """CRLF, CR and doubled CR give the same answer as LF."""
    variants = [raw.replace(b"\n", line_end) for line_end in (b"\r\n", b"\r", b"\r\r\n")]
    assert [recognise(variant) for variant in variants] == [recognise(raw)] * 3


@given(st.binary(max_size=300))
def test_any_bytes_are_something(raw: bytes) -> None:
    """Never raises."""
    assert recognise(raw).kind in MailKind


@given(
    st.lists(
        st.sampled_from(
            [
                b"From: mailer-daemon@x\n",
                b"Subject: undelivered mail\n",
                b"\n",
                b"could not be delivered\n",
                b"  a@b.example\n",
                b"<a@b.example>: ",
                b"550 5.1.1 user unknown\n",
                b"Final-Recipient: rfc822; a@b.example\n",
                b"> ",
                b"----- original message follows -----\n",
                b"Content-Type: multipart/mixed; boundary=b\n",
                b"--b\n",
                b"Content-Type: message/delivery-status\n",
                b"Content-Type: message/feedback-report\n",
                b"\xff@\xff",
            ]
        ),
        max_size=30,
    )
)
def test_any_arrangement_of_what_reports_are_made_of_is_something(pieces: list[bytes]) -> None:
    """Never raises on what looks like a report either; only bounces and complaints name recipients."""
    found = recognise(b"".join(pieces))
    assert not found.recipients or found.kind in (MailKind.BOUNCE, MailKind.COMPLAINT)


@pytest.mark.parametrize(
    "raw",
    [
        dsn("Final-Recipient: rfc822; a@b.example\n\n" * 30_000),
        b"From: mailer-daemon@x\nSubject: failure notice\n\n" + b"<a@b.example>: 550 no\n" * 50_000,
        b"a: b\n" * 200_000,
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 100_000,
    ],
    ids=["blocks", "lines", "fields", "parts"],
)
def test_memory_is_bounded_by_the_size_of_the_mail(raw: bytes) -> None:
    """A megabyte needs ten at most, whatever it is made of."""
    tracemalloc.start()
    try:
        recognise(raw)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(raw)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("codes", "expected"), [(1, 900), (300, 6)])
def test_words_are_judged_once_and_to_a_bound(codes: int, expected: int) -> None:
    """A report of many recipients costs no more than the words that it has; further ones stay as their blocks say."""
    blocks = "\n".join(
        f"Final-Recipient: rfc822; a{number}@b.example\nAction: failed\nStatus: 5.0.{number % codes}\n"
        for number in range(900)
    )
    text = "The mailbox is full. " + "lorem ipsum " * 2000
    found = recognise(dsn(blocks, text)).recipients

    assert len(found) == 900
    assert len([one for one in found if one.failure is FailureClass.MAILBOX_FULL]) == expected
