"""Say what an incoming mail is, and what it says of whose mail.

The readers are asked in order, and the first that understands the mail has it: complaint (RFC 5965), delivery status
notification (RFC 3464, RFC 6533). Never raises on any input; looks at a bounded number of bytes. Does not say whose
delivery it is, and believes nothing: who may send a report is for others to judge.
"""

from __future__ import annotations

from egret.core.dsn import DsnRecipient, parse_dsn
from egret.core.failure import FailureClass, classify
from egret.core.mimescan import Part, decode_text, first, leaf_parts, read_fields
from egret.core.recognised import MailKind, Recognised, Reported

__all__ = ["MailKind", "Recognised", "Reported", "recognise"]

_SUCCESSES = frozenset({"delivered", "relayed", "expanded"})


def recognise(raw: bytes) -> Recognised:
    """Read a mail.

    raw: a whole message, bytes, any line ends.
    Never raises; looks at no more than `mimescan.MAX_SCAN_BYTES`.
    """
    return _complaint(raw) or _dsn(raw) or Recognised(MailKind.OTHER, "")


def _complaint(raw: bytes) -> Recognised | None:
    part = next((part for part in leaf_parts(raw) if part.content_type == "message/feedback-report"), None)
    if part is None:
        return None
    fields = _own_fields(part)
    wanted = [value for name, value in fields if name.lower() in ("original-rcpt-to", "removal-recipient")]
    return Recognised(
        MailKind.COMPLAINT,
        "arf",
        recipients=tuple(Reported(address.strip("<> ")) for address in dict.fromkeys(wanted)),
        feedback_type=first(fields, "feedback-type").lower(),
        fields=fields,
    )


def _own_fields(part: Part) -> tuple[tuple[str, str], ...]:
    return read_fields(decode_text(part.body))


def _dsn(raw: bytes) -> Recognised | None:
    report = parse_dsn(raw)
    if report is None:
        return None
    return Recognised(
        MailKind.BOUNCE,
        "dsn",
        recipients=tuple(_reported(block) for block in report.recipients),
        reporting_mta=report.reporting_mta,
        original_message_id=report.original_message_id,
        original_envelope_id=report.original_envelope_id,
        arrival_date=report.arrival_date,
        fields=report.fields,
    )


def _reported(block: DsnRecipient) -> Reported:
    is_success = block.action in _SUCCESSES
    return Reported(
        address=block.final_recipient,
        original_address=block.original_recipient,
        action=block.action,
        status=block.enhanced_code,
        code=block.code,
        enhanced_code=block.enhanced_code,
        diagnostic=block.diagnostic_text,
        diagnostic_type=block.diagnostic_type,
        remote_mta=block.remote_mta,
        failure=FailureClass.RELAYED
        if is_success
        else classify(block.code, block.enhanced_code, block.diagnostic_text),
        last_attempt_date=block.last_attempt_date,
        will_retry_until=block.will_retry_until,
        fields=block.fields,
    )
