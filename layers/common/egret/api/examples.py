"""One example request and answer for each method: what the pages show and the OpenAPI document carries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from egret.contracts import webapi as w
from egret.core.mailbox import STANDARD

_ID: Final = 520_117_284_013_056
_MESSAGE_ID: Final = "<7d1k3nqv5xsa@mail.example.com>"
_FROMID: Final = "mfzwizltoqaaaaaaaaaaaaaaaaaaaaaa"
_QUEUED: Final = datetime(2026, 1, 2, 3, 4, 5, 120_000, UTC)
_ATTEMPTED: Final = datetime(2026, 1, 2, 3, 4, 5, 400_000, UTC)
_ANN: Final = w.NameAddress(name="Ann", address="ann@example.net")
_SHOP: Final = w.NameAddress(name="The Shop", address="shop@example.com")
_RAW: Final = b"From: <shop@example.com>\r\nTo: <ann@example.net>\r\nSubject: Your order\r\n\r\nIt is on its way.\r\n"


@dataclass(frozen=True, slots=True)
class Example:
    """request: sparse, as a person would write it. answer: as the method encodes it, or the bytes of a message."""

    request: dict[str, object]
    answer: w.Wire | bytes


_DELIVERY: Final = w.DeliveryInfo(
    queue_msg_id=_ID,
    from_id=_FROMID,
    message_id=_MESSAGE_ID,
    subject="Your order",
    from_="shop@example.com",
    recipient="ann@example.net",
    state="delivered",
    queued=_QUEUED,
    expires=datetime(2026, 1, 5, 3, 4, 5, 120_000, UTC),
    ended=_ATTEMPTED,
    attempts=(
        w.AttemptInfo(
            start=_ATTEMPTED,
            duration=0.84,
            remote="mx.example.net [192.0.2.25]",
            code=250,
            enhanced_code="2.0.0",
            reply=("2.0.0 Ok: queued as 4fX2",),
            outcome="delivered",
            tls_policy="mta-sts",
            tls="TLSv1.3",
        ),
    ),
    events=(
        w.EventInfo(
            seq=1,
            id="evt_mfzwizlt_1d90a3c000400_1",
            event="delivered",
            time=_ATTEMPTED,
            attempt=1,
            smtp_code=250,
            smtp_enhanced_code="2.0.0",
        ),
    ),
    extra={"order": "1234"},
)

_SUPPRESSION: Final = w.SuppressionInfo(
    id=_ID,
    created=_QUEUED,
    account="shop",
    base_address="gone@example.net",
    original_address="gone+news@example.net",
    reason="The address does not exist (550 5.1.1).",
    kind="bounce",
    source_event="evt_mfzwizlt_1d90a3c000400_1",
    evidence="5.1.1 <gone+news@example.net>: user unknown",
)

_MESSAGE: Final = w.MessageGetResult(
    message=w.MessageContent(
        from_=(_SHOP,),
        to=(_ANN,),
        message_id=_MESSAGE_ID,
        date=_QUEUED,
        subject="Your order",
        text="It is on its way.\n",
    ),
    structure=w.Structure(content_type="text/plain", content_type_params={"charset": "us-ascii"}, decoded_size=19),
    meta=w.MessageMeta(
        size=len(_RAW),
        mail_from="shop@example.com",
        mail_from_validated=True,
        rcpt_to="ann@example.net",
        msg_from="shop@example.com",
        msg_from_validated=True,
        dkim_verified_domains=("example.com",),
        mailbox_name="Inbox",
        thread_id="5f0c3d6d1a0f4b7e",
        received=_ATTEMPTED,
    ),
)

_DMARC_REPORT: Final = w.DMARCReportInfo(
    report_id="8293631894893125362",
    organization="google.com",
    contact="noreply-dmarc-support@google.com",
    reporter="google.com",
    verified=True,
    received=datetime(2026, 1, 2, 9, 30, tzinfo=UTC),
    begin=datetime(2026, 1, 1, tzinfo=UTC),
    end=datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC),
    domain="example.com",
    policy="reject",
    dkim_alignment="r",
    spf_alignment="r",
    messages=12,
    rows=(
        w.DMARCReportRow(
            source_ip="192.0.2.7",
            count=12,
            disposition="none",
            dkim="pass",
            spf="pass",
            header_from="example.com",
            envelope_from="bounces.example.com",
            dkim_results=("pass header.d=example.com header.s=eg-rsa",),
            spf_results=("pass smtp.mailfrom=bounces.example.com",),
        ),
    ),
)
_TLS_REPORT: Final = w.TLSReportInfo(
    report_id="2026-01-01T00:00:00Z_example.com",
    organization="Google Inc.",
    contact="smtp-tls-reporting@google.com",
    reporter="google.com",
    verified=True,
    received=datetime(2026, 1, 2, 9, 31, tzinfo=UTC),
    begin=datetime(2026, 1, 1, tzinfo=UTC),
    end=datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC),
    policies=(
        w.TLSReportPolicy(
            domain="example.com",
            policy_type="sts",
            policy=("version: STSv1", "mode: enforce", "mx: mx.example.com", "max_age: 604800"),
            mx_hosts=("mx.example.com",),
            successful_sessions=40,
            failed_sessions=1,
            failures=(w.TLSReportFailure(result_type="certificate-expired", count=1, receiving_mx="mx.example.com"),),
        ),
    ),
)

EXAMPLES: Final = MappingProxyType(
    {
        "Send": Example(
            {
                "To": [{"Name": "Ann", "Address": "ann@example.net"}],
                "Subject": "Your order",
                "Text": "It is on its way.",
                "HTML": "<p>It is on its way.</p>",
                "Extra": {"order": "1234"},
            },
            w.SendResult(
                message_id=_MESSAGE_ID,
                submissions=(w.Submission(address="ann@example.net", queue_msg_id=_ID, from_id=_FROMID),),
            ),
        ),
        "UploadCreate": Example(
            {"Name": "catalogue.pdf", "ContentType": "application/pdf", "Size": 8_123_456},
            w.UploadCreateResult(
                upload_id="5qz2m6wq3n7k",
                url="https://bucket.s3.amazonaws.com/uploads/mfzwizlt/5qz2m6wq3n7k?X-Amz-Signature=0123",
                expires=datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC),
            ),
        ),
        "DeliveryGet": Example({"QueueMsgID": _ID}, w.DeliveryGetResult(delivery=_DELIVERY)),
        "DeliveryList": Example(
            {"States": ["queued", "held"], "Since": "2026-01-02T00:00:00Z", "Limit": 50},
            w.DeliveryListResult(deliveries=(_DELIVERY,), cursor="c3RhcnQ"),
        ),
        "DeliveryCancel": Example({"QueueMsgID": _ID}, w.Empty()),
        "DomainTLSGet": Example(
            {"Domain": "example.net"},
            w.DomainTLSGetResult(domain_tls=w.DomainTLSInfo(domain="example.net", updated=_ATTEMPTED, starttls=True)),
        ),
        "SuppressionList": Example({}, w.SuppressionListResult(suppressions=(_SUPPRESSION,))),
        "SuppressionAdd": Example(
            {"EmailAddress": "gone@example.net", "Manual": True, "Reason": "Asked by letter."}, w.Empty()
        ),
        "SuppressionRemove": Example({"EmailAddress": "gone@example.net"}, w.Empty()),
        "SuppressionPresent": Example(
            {"EmailAddress": "gone+news@example.net"}, w.SuppressionPresentResult(present=True)
        ),
        "MessageList": Example(
            {"Mailbox": "Inbox", "WithoutFlags": [r"\seen"], "Limit": 50},
            w.MessageListResult(
                messages=(
                    w.MessageSummary(
                        msg_id=_ID,
                        mailbox_name="Inbox",
                        from_="shop@example.com",
                        mail_from="shop@example.com",
                        rcpt_to="ann@example.net",
                        subject="Your order",
                        message_id=_MESSAGE_ID,
                        received=_QUEUED,
                        size=len(_RAW),
                        thread_id="5f0c3d6d1a0f4b7e",
                    ),
                )
            ),
        ),
        "MessageGet": Example({"MsgID": _ID}, _MESSAGE),
        "MessageRawGet": Example({"MsgID": _ID}, _RAW),
        "DMARCReportList": Example({"Limit": 1}, w.DMARCReportListResult(reports=(_DMARC_REPORT,), cursor="c3RhcnQ")),
        "TLSReportList": Example({}, w.TLSReportListResult(reports=(_TLS_REPORT,))),
        "MessagePartGet": Example({"MsgID": _ID, "PartPath": [0]}, b"It is on its way.\r\n"),
        "MessageDelete": Example({"MsgID": _ID}, w.Empty()),
        "MessageFlagsAdd": Example({"MsgID": _ID, "Flags": [r"\seen", "invoiced"]}, w.Empty()),
        "MessageFlagsRemove": Example({"MsgID": _ID, "Flags": ["invoiced"]}, w.Empty()),
        "MessageMove": Example({"MsgID": _ID, "DestMailboxName": "Archive"}, w.Empty()),
        "MailboxList": Example(
            {},
            w.MailboxListResult(
                mailboxes=(
                    *(w.MailboxInfo(name=name, standard=True) for name in STANDARD),
                    w.MailboxInfo(name="Customers"),
                )
            ),
        ),
        "MailboxCreate": Example({"MailboxName": "Customers"}, w.Empty()),
        "MailboxDelete": Example({"MailboxName": "Customers"}, w.Empty()),
    }
)
"""By name of the method."""
