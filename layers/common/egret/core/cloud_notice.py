"""Read the notices of bounces and complaints that Amazon SES sends as JSON, which SNS delivers by mail.

Implements: Amazon SES Developer Guide, "Amazon SNS notification contents". Does not check signatures.
"""

from __future__ import annotations

import msgspec

from egret.core.dates import read_instant
from egret.core.diagnostic import reply_codes, status_code
from egret.core.dsn import message_id, mta_name, typed
from egret.core.failure import FailureClass, classify
from egret.core.recognised import MailKind, Recognised, Reported
from egret.core.report_text import Letter

_SUCCESS = "delivered"
MAX_HEAD_CHARS = 200
"""Within which a notice says what it is."""


class _Recipient(msgspec.Struct, rename="camel"):
    """Whose mail came back."""

    email_address: str = ""
    action: str = ""
    status: str = ""
    diagnostic_code: str = ""


class _Bounce(msgspec.Struct, rename="camel"):
    """What failed, and for whom."""

    bounced_recipients: list[_Recipient] = msgspec.field(default_factory=list)
    timestamp: str = ""
    reporting_mta: str = msgspec.field(default="", name="reportingMTA")


class _Complaint(msgspec.Struct, rename="camel"):
    """Who complains, and of what."""

    complained_recipients: list[_Recipient] = msgspec.field(default_factory=list)
    complaint_feedback_type: str | None = None
    timestamp: str = ""


class _Delivery(msgspec.Struct, rename="camel"):
    """Who got it."""

    recipients: list[str] = msgspec.field(default_factory=list)
    smtp_response: str = ""
    timestamp: str = ""
    reporting_mta: str = msgspec.field(default="", name="reportingMTA")


class _Header(msgspec.Struct):
    """A header field of the message that the notice is about."""

    name: str = ""
    value: str = ""


class _Message(msgspec.Struct):
    """The message that the notice is about."""

    headers: list[_Header] = msgspec.field(default_factory=list)


class _Notice(msgspec.Struct, rename="camel"):
    """A notice; which of the three it is, its members tell."""

    message: str = msgspec.field(default="", name="Message")
    """The notice itself, where SNS was not asked to deliver it raw."""
    bounce: _Bounce | None = None
    complaint: _Complaint | None = None
    delivery: _Delivery | None = None
    mail: _Message = msgspec.field(default_factory=_Message)


def read_cloud_notice(mail: Letter) -> Recognised | None:
    """Read a notice; None if the mail is none."""
    text = mail.text.lstrip()
    if not text.startswith("{") or "otification" not in text[:MAX_HEAD_CHARS]:
        return None
    try:
        notice = msgspec.json.decode(_object(text), type=_Notice)
        if notice.message:
            notice = msgspec.json.decode(notice.message, type=_Notice)
    except (msgspec.MsgspecError, RecursionError):
        return None
    original = tuple((header.name, header.value) for header in notice.mail.headers)
    match notice:
        case _Notice(bounce=_Bounce() as bounce):
            return Recognised(
                MailKind.BOUNCE,
                "ses-json",
                recipients=tuple(_reported(one) for one in bounce.bounced_recipients),
                reporting_mta=mta_name(bounce.reporting_mta),
                original_message_id=message_id(original),
                arrival_date=read_instant(bounce.timestamp),
                original=original,
            )
        case _Notice(complaint=_Complaint() as complaint):
            return Recognised(
                MailKind.COMPLAINT,
                "ses-json",
                recipients=tuple(Reported(one.email_address) for one in complaint.complained_recipients),
                original_message_id=message_id(original),
                arrival_date=read_instant(complaint.timestamp),
                feedback_type=(complaint.complaint_feedback_type or "other").lower(),
                original=original,
            )
        case _Notice(delivery=_Delivery() as delivery):
            return Recognised(
                MailKind.BOUNCE,
                "ses-json",
                recipients=tuple(_delivered(one, delivery.smtp_response) for one in delivery.recipients),
                reporting_mta=mta_name(delivery.reporting_mta),
                original_message_id=message_id(original),
                arrival_date=read_instant(delivery.timestamp),
                original=original,
            )
    return None


def _object(text: str) -> str:
    """Return the JSON object: SNS adds a text for people, and mail breaks long lines, also within strings."""
    joined = text.partition("\n--")[0].replace("\n", "")
    return joined[: joined.rfind("}") + 1]


def _reported(one: _Recipient) -> Reported:
    kind, diagnostic = typed(one.diagnostic_code)
    code, enhanced_code = reply_codes(diagnostic, status_code(one.status))
    return Reported(
        address=one.email_address,
        action=one.action.lower() or "failed",
        status=enhanced_code,
        code=code,
        enhanced_code=enhanced_code,
        diagnostic=diagnostic,
        diagnostic_type=kind,
        failure=classify(code, enhanced_code, diagnostic),
    )


def _delivered(address: str, response: str) -> Reported:
    code, enhanced_code = reply_codes(response, "")
    return Reported(
        address=address,
        action=_SUCCESS,
        status=enhanced_code,
        code=code,
        enhanced_code=enhanced_code,
        diagnostic=response,
        failure=FailureClass.RELAYED,
    )
