"""The wire types: names, order and encodings that clients of the reference rely on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.contracts import webapi as w
from egret.contracts.encoding import encode, encode_webhook, go_time

ONE_HOUR_EAST = timezone(timedelta(hours=1))


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        (
            w.SendRequest,
            (
                "From To CC BCC ReplyTo MessageID References Date Subject Text HTML Extra Headers AlternativeFiles"
                " InlineFiles AttachedFiles RequireTLS FutureRelease SaveSent Unsubscribe"
            ),
        ),
        (w.File, "Name ContentType ContentID Data UploadID"),
        (w.SendResult, "MessageID Submissions"),
        (w.Submission, "Address QueueMsgID FromID"),
        (w.DomainTLSGetResult, "DomainTLS"),
        (w.DMARCReportListResult, "Reports Cursor"),
        (w.ReportListRequest, "Cursor Limit"),
        (w.TLSReportFailure, "ResultType Count SendingIP ReceivingMX ReceivingIP ReasonCode AdditionalInformation"),
        (
            w.DMARCReportRow,
            ("SourceIP Count Disposition DKIM SPF HeaderFrom EnvelopeFrom EnvelopeTo Reasons DKIMResults SPFResults"),
        ),
        (w.DomainTLSInfo, "Domain Updated STARTTLS RequireTLS"),
        (
            w.SuppressionInfo,
            "ID Created Account BaseAddress OriginalAddress Manual Reason Kind SourceEvent Evidence Expires",
        ),
        (w.SuppressionAddRequest, "EmailAddress Manual Reason Expires"),
        (w.MessageGetResult, "Message Structure Meta"),
        (w.MessageContent, "From To CC BCC ReplyTo MessageID References Date Subject Text HTML"),
        (w.Structure, "ContentType ContentTypeParams ContentID ContentDisposition Filename DecodedSize Parts"),
        (
            w.MessageMeta,
            (
                "Size DSN Flags MailFrom MailFromValidated RcptTo MsgFrom MsgFromValidated DKIMVerifiedDomains RemoteIP"
                " MailboxName ThreadID Received"
            ),
        ),
        (
            w.OutgoingEvent,
            (
                "Version Event DSN Suppressing QueueMsgID FromID MessageID Subject WebhookQueued SMTPCode"
                " SMTPEnhancedCode Error Extra Recipient Attempt RemoteMX Reply EventID Failure"
            ),
        ),
        (
            w.IncomingMessage,
            (
                "Version From To CC BCC ReplyTo Subject MessageID InReplyTo References Date Text HTML Structure Meta"
                " EventID"
            ),
        ),
        (
            w.IncomingMeta,
            (
                "MsgID MailFrom MailFromValidated MsgFromValidated RcptTo DKIMVerifiedDomains RemoteIP Received"
                " MailboxName Automated ThreadID"
            ),
        ),
        (w.MessageMoveRequest, "MsgID DestMailboxName"),
        (w.MessageFlagsAddRequest, "MsgID Flags"),
        (w.MessagePartGetRequest, "MsgID PartPath"),
        (w.Error, "Code Message"),
        (w.UploadCreateResult, "UploadID URL Expires"),
    ],
)
def test_keys_and_their_order_are_those_of_the_wire(kind: type[w.Wire], keys: str) -> None:
    """Every key is present in the answer, in the reference's order, additions behind."""
    assert list(json.loads(encode(kind()))) == keys.split()


def test_empty_lists_and_objects_are_never_null() -> None:
    """Go clients index into lists without asking; null would be another type in most languages."""
    answer = json.loads(encode(w.DeliveryGetResult()))["Delivery"]
    assert (answer["Attempts"], answer["Events"], answer["Extra"]) == ([], [], {})


def test_an_absent_time_is_null() -> None:
    """A pointer time of Go: null or a string."""
    assert json.loads(encode(w.DeliveryInfo()))["Due"] is None


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 100_000, UTC), "2026-01-02T03:04:05.1Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 123_450, UTC), "2026-01-02T03:04:05.12345Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 7, UTC), "2026-01-02T03:04:05.000007Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 0, ONE_HOUR_EAST), "2026-01-02T03:04:05+01:00"),
        (datetime(2026, 1, 2, 3, 4, 5, 500_000, ONE_HOUR_EAST), "2026-01-02T03:04:05.5+01:00"),
    ],
)
def test_times_are_written_as_go_writes_them(instant: datetime, text: str) -> None:
    """Trailing zeros of the fraction are dropped, and the dot with them; UTC is Z."""
    assert go_time(instant) == text


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_on_the_wire_is_the_same_instant(instant: datetime) -> None:
    """Nothing is lost between writing and reading."""
    assert msgspec.convert(go_time(instant), datetime) == instant


def test_answers_are_compact_with_a_newline_and_plain_html_characters() -> None:
    """The form of Go's encoder with SetEscapeHTML(false)."""
    answer = w.SendResult(message_id="<a&b@x.example>")
    assert encode(answer) == b'{"MessageID":"<a&b@x.example>","Submissions":[]}\n'


def test_webhook_bodies_escape_html_characters() -> None:
    """The form of Go's default encoder, whatever field the characters stand in."""
    body = encode_webhook(w.OutgoingEvent(message_id="<a@x>", extra={"&": "\u2028\u2029"}))
    assert b'"MessageID":"\\u003ca@x\\u003e"' in body
    assert b'"Extra":{"\\u0026":"\\u2028\\u2029"}' in body


@given(st.text(), st.dictionaries(st.text(), st.text(), max_size=3))
def test_escaping_changes_no_value_of_a_webhook(subject: str, extra: dict[str, str]) -> None:
    """A receiver that parses JSON reads what was put in."""
    body = encode_webhook(w.OutgoingEvent(subject=subject, extra=extra))
    assert msgspec.json.decode(body, type=w.OutgoingEvent) == w.OutgoingEvent(subject=subject, extra=extra)
    assert not set(body) & set(b"<>&")


def test_outgoing_event_begins_as_the_reference_does() -> None:
    """A byte-exact sample of the reference, with the added keys behind it."""
    event = w.OutgoingEvent(
        event="delayed",
        queue_msg_id=41,
        message_id="<..>",
        subject="s",
        webhook_queued=datetime(2026, 1, 2, 3, 4, 5, 100_000, UTC),
        smtp_code=451,
        smtp_enhanced_code="4.3.0",
        error="..",
    )
    expected = (
        rb'{"Version":0,"Event":"delayed","DSN":false,"Suppressing":false,"QueueMsgID":41,"FromID":"","MessageID":'
        rb'"\u003c..\u003e","Subject":"s","WebhookQueued":"2026-01-02T03:04:05.1Z","SMTPCode":451,'
        rb'"SMTPEnhancedCode":"4.3.0","Error":"..","Extra":{},"Recipient":'
    )
    assert encode_webhook(event)[: len(expected)] == expected
