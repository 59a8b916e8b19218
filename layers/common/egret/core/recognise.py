"""Say what an incoming mail is, and what it says of whose mail.

The readers are asked in order, and the first that understands the mail has it:

1. complaints (RFC 5965, and formats that are older), before bounces because both are multipart/report;
2. delivery status notifications (RFC 3464, RFC 6533);
3. reports in words (`plain_bounce`), before automatic answers because half of all bounces are marked as such;
4. reports about DMARC and TLS (RFC 7489, RFC 8460), before automatic answers for the same reason;
5. automatic answers (RFC 3834).

Never raises on any input; looks at a bounded number of bytes. Does not say whose delivery it is, and believes nothing:
who may send a report is for others to judge.
"""

from __future__ import annotations

from dataclasses import replace

from egret.core.autoreply import read_auto_reply, read_report
from egret.core.cloud_notice import read_cloud_notice
from egret.core.diagnostic import reply_codes
from egret.core.dsn import DsnRecipient, message_id, read_dsn
from egret.core.failure import FailureClass, classify, status_of
from egret.core.feedback import read_feedback
from egret.core.mimescan import Mail, read_mail
from egret.core.plain_bounce import Failed, Notice, is_report, read_notice
from egret.core.recognised import MailKind, Recognised, Reported

__all__ = ["MailKind", "Recognised", "Reported", "recognise"]

_SUCCESSES = frozenset({"delivered", "relayed", "expanded"})


def recognise(raw: bytes) -> Recognised:
    """Read a mail.

    raw: a whole message, bytes, any line ends.
    Never raises; looks at no more than `mimescan.MAX_SCAN_BYTES`.
    """
    mail = read_mail(raw)
    readers = (read_feedback, _dsn, read_report, read_cloud_notice, _plain, read_auto_reply)
    found = (reader(mail) for reader in readers)
    return next((one for one in found if one is not None), Recognised(MailKind.OTHER, ""))


def _dsn(mail: Mail) -> Recognised | None:
    report = read_dsn(mail.parts)
    if report is None:
        return None
    blocks = [block for block in report.recipients if block.final_recipient or block.original_recipient]
    recipients = [_reported(block) for block in blocks]
    if not recipients or any(_is_poor(one) for one in recipients):
        notice = read_notice(mail)
        recipients = [_enriched(one, notice) for one in recipients] or [_told(one, notice) for one in notice.failed]
    return Recognised(
        MailKind.BOUNCE,
        "dsn",
        recipients=tuple(recipients),
        reporting_mta=report.reporting_mta,
        original_message_id=report.original_message_id,
        original_envelope_id=report.original_envelope_id,
        arrival_date=report.arrival_date,
        original=report.original,
        fields=report.fields,
    )


def _plain(mail: Mail) -> Recognised | None:
    if not is_report(mail):
        return None
    notice = read_notice(mail)
    return Recognised(
        MailKind.BOUNCE,
        notice.format,
        recipients=tuple(_told(one, notice) for one in notice.failed),
        original_message_id=message_id(notice.original),
        original=notice.original,
    )


def _reported(block: DsnRecipient) -> Reported:
    is_success = block.action in _SUCCESSES
    failure = FailureClass.RELAYED if is_success else classify(block.code, block.enhanced_code, block.diagnostic_text)
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
        failure=failure,
        last_attempt_date=block.last_attempt_date,
        will_retry_until=block.will_retry_until,
        fields=block.fields,
    )


def _is_poor(one: Reported) -> bool:
    """Say whether the words beside a block may say more than it does."""
    if one.action in _SUCCESSES:
        return False
    return "@" not in one.address or one.failure is FailureClass.UNKNOWN or one.enhanced_code[2:] in ("", "0.0")


def _enriched(one: Reported, notice: Notice) -> Reported:
    """Add what the words say to what a block leaves open."""
    if not _is_poor(one):
        return one
    address = one.address
    if "@" not in address or " " in address or address.startswith("/"):
        named = notice.failed[0].address if len(notice.failed) == 1 else ""
        address = one.original_address or named or address
    reason = notice.reason_for(address)
    code, enhanced_code = reply_codes(reason, "")
    is_better = enhanced_code[2:] not in ("", "0.0") and one.enhanced_code[:1] in ("", enhanced_code[:1])
    if not is_better:
        code, enhanced_code = one.code, one.enhanced_code
    failure = one.failure
    if failure is FailureClass.UNKNOWN:
        failure = classify(code, enhanced_code, reason)
    return replace(
        one,
        address=address,
        action=one.action or ("delayed" if notice.is_delayed else "failed"),
        code=code,
        enhanced_code=enhanced_code,
        status=enhanced_code or status_of(failure, code),
        failure=failure,
        diagnostic=one.diagnostic or reason,
    )


def _told(one: Failed, notice: Notice) -> Reported:
    code, enhanced_code = reply_codes(one.reason, "")
    failure = classify(code, enhanced_code, one.reason)
    if failure is FailureClass.UNKNOWN and not code:
        failure = classify(0, "", notice.text)
    return Reported(
        address=one.address,
        action="delayed" if notice.is_delayed else "failed",
        status=enhanced_code or status_of(failure, code),
        code=code,
        enhanced_code=enhanced_code,
        diagnostic=one.reason,
        failure=failure,
    )
