"""Say what an incoming mail is, and what it says of whose mail.

The readers are asked in order, and the first that understands the mail has it:

1. complaints (RFC 5965, and formats that are older), before bounces because both are multipart/report;
2. delivery status notifications (RFC 3464, RFC 6533);
3. reports about DMARC and TLS (RFC 9990, RFC 8460), before what looks like a bounce because postmasters send both;
4. bounces in words or JSON, before automatic answers because half of all bounces are marked as such;
5. automatic answers (RFC 3834).

Never raises on any input; looks at a bounded number of bytes. Does not say whose delivery it is, and believes nothing:
who may send a report is for others to judge.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice

from egret.core.autoreply import read_auto_reply, read_report
from egret.core.cloud_notice import read_cloud_notice
from egret.core.diagnostic import reply_codes, status_code
from egret.core.dsn import DsnRecipient, DsnReport, message_id, read_dsn, read_flat_dsn
from egret.core.failure import FailureClass, classify, is_about_recipient, is_surely_dead, stage_of, status_of
from egret.core.feedback import read_feedback
from egret.core.findaddress import find_address
from egret.core.mimescan import first, read_mail
from egret.core.plain_bounce import Notice, is_from_daemon, is_report, read_notice
from egret.core.recognised import MailKind, Recognised, Reported
from egret.core.report_text import MAX_RETURNED_BYTES, Letter, open_letter

__all__ = ["MailKind", "Recognised", "Reported", "recognise"]

_OPEN = (FailureClass.UNKNOWN, FailureClass.RECIPIENT_REFUSES, FailureClass.MAILBOX_DISABLED)
"""Classes that the stage of the conversation, which only the words tell, may decide."""
MAX_ATTACHED = 3
MAX_JUDGED_CHARS = 64 * 1024
"""Of what a mail says about its recipients, each text counted once; further ones add nothing."""
_SUCCESSES = frozenset({"delivered", "relayed", "expanded"})


@dataclass(slots=True)
class _Judge:
    """Judges what a mail says: each text once, however many recipients it is about."""

    room_chars: int = MAX_JUDGED_CHARS
    failures: dict[tuple[int, str, str], FailureClass] = field(default_factory=dict)
    codes: dict[str, tuple[int, str]] = field(default_factory=dict)

    def failure(self, one: Reported, codes: tuple[int, str], text: str, stage: str) -> FailureClass:
        """Return what `classify` says of a recipient; stage: of the conversation, where the text names none."""
        key = (*codes, text)
        if key not in self.failures:
            if self.room_chars < len(text):
                return one.failure
            self.room_chars -= len(text)
            self.failures[key] = classify(*codes, f"{text} {stage_of(text) or stage}")
        return self.failures[key]

    def codes_of(self, text: str) -> tuple[int, str]:
        """Return the reply code and the enhanced code of a text."""
        if text not in self.codes:
            self.codes[text] = reply_codes(text, "")
        return self.codes[text]


def recognise(raw: bytes) -> Recognised:
    """Read a mail.

    raw: a whole message, bytes, any line ends.
    Never raises; looks at no more than `mimescan.MAX_SCAN_BYTES`.
    """
    mail = open_letter(raw)
    readers = (read_feedback, _dsn, read_report, read_cloud_notice, _flat_dsn, _plain, read_auto_reply)
    found = (reader(mail) for reader in readers)
    return next((one for one in found if one is not None), Recognised(MailKind.OTHER, ""))


def _dsn(mail: Letter) -> Recognised | None:
    report = read_dsn(mail.parts)
    return None if report is None else _of_report(mail, report)


def _flat_dsn(mail: Letter) -> Recognised | None:
    if not is_report(mail, quoted=True):
        return None
    report = read_flat_dsn(mail.text)
    return None if report is None else replace(_of_report(mail, report), format="flat-dsn")


def _of_report(mail: Letter, report: DsnReport) -> Recognised:
    blocks = [block for block in report.recipients if block.final_recipient or block.original_recipient]
    recipients = [_reported(block) for block in blocks]
    if not recipients or any(_is_poor(one) for one in recipients):
        notice = read_notice(mail)
        stage, judge = stage_of(notice.text), _Judge()
        recipients = [_enriched(one, notice, stage, judge) for one in recipients] or _told(notice)
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


def _plain(mail: Letter) -> Recognised | None:
    if not is_report(mail):
        return None
    notice = read_notice(mail)
    if not notice.failed and (report := _attached(mail)):
        return _of_report(mail, report)
    # People write about deliveries as well, of parcels for one.
    if not notice.failed and not is_from_daemon(mail.fields):
        return None
    return Recognised(
        MailKind.BOUNCE,
        notice.format,
        recipients=tuple(_told(notice)),
        original_message_id=message_id(notice.original),
        original=notice.original,
    )


def _attached(mail: Letter) -> DsnReport | None:
    """Return the first report that came as an attachment of a report, as relays of reports send them."""
    attached = (part for part in mail.parts if part.content_type == "message/rfc822")
    reports = (read_dsn(read_mail(part.head(MAX_RETURNED_BYTES)).parts) for part in islice(attached, MAX_ATTACHED))
    return next((report for report in reports if report is not None and report.recipients), None)


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
    return (
        not find_address(one.address)
        or " " in one.address
        or one.failure in _OPEN
        or one.enhanced_code[2:] in ("", "0.0")
    )


def _enriched(one: Reported, notice: Notice, stage: str, judge: _Judge) -> Reported:
    """Add what the words say to what a block leaves open; stage: of the conversation, as the notice names it."""
    if not _is_poor(one):
        return one
    address = one.address
    if find_address(address) != address or address.startswith(("/", "|")):
        named = notice.failed[0].address if len(notice.failed) == 1 else ""
        actual = find_address(first(one.fields, "x-actual-recipient"))
        address = one.original_address or find_address(address) or actual or named or address
    reason = notice.reason_for(address)
    code, enhanced_code = judge.codes_of(reason)
    is_better = enhanced_code[2:] not in ("", "0.0") and one.enhanced_code[:1] in ("", enhanced_code[:1])
    if not is_better:
        code, enhanced_code = one.code, one.enhanced_code
    words = f"{one.diagnostic} {reason}" if one.diagnostic or len(notice.failed) > 1 else notice.text
    failure = judge.failure(one, (code, enhanced_code), words, stage)
    return replace(
        one,
        address=address,
        # An action that nobody knows stays unknown; one that is missing is what the words say.
        action=one.action or ("" if first(one.fields, "action") else _action_of(notice)),
        code=code,
        enhanced_code=enhanced_code,
        status=enhanced_code or status_of(failure, code),
        failure=failure,
        diagnostic=_with_stage(one.diagnostic or reason, stage, failure, classify(code, enhanced_code, one.diagnostic)),
    )


def _with_stage(diagnostic: str, stage: str, failure: FailureClass, by_itself: FailureClass) -> str:
    """Return a diagnostic that means its class by itself: with the stage of the conversation, where that decided."""
    is_needed = diagnostic != "" and stage != "" and failure is not by_itself and stage not in diagnostic
    return f"{diagnostic} [{stage}]" if is_needed else diagnostic


def _action_of(notice: Notice) -> str:
    return "delayed" if notice.is_delayed else "failed"


def _told(notice: Notice) -> list[Reported]:
    """Return what a notice says of each that failed."""
    is_at_rcpt = is_about_recipient(notice.text)
    general = classify(0, "", notice.text)
    # An unknown user is one only if the server said so at RCPT: at other stages filters do.
    if general is FailureClass.ADDRESS_DEAD and not (is_at_rcpt or is_surely_dead(notice.text)):
        general = FailureClass.RECIPIENT_REFUSES
    # What is said of several at once is judged once.
    told = {
        reason: _told_by(reason, general, is_at_rcpt=is_at_rcpt) for reason in {one.reason for one in notice.failed}
    }
    return [replace(told[one.reason], address=one.address, action=_action_of(notice)) for one in notice.failed]


def _told_by(reason: str, general: FailureClass, *, is_at_rcpt: bool) -> Reported:
    """Return what a notice says of one, of nobody; general: what all of it comes to, where it gives no reason."""
    code, enhanced_code = reply_codes(reason, "")
    if code < 400:
        code, enhanced_code = 0, ""
    failure = classify(code, enhanced_code or status_code(reason), reason)
    is_vague = enhanced_code[2:] in ("", "0.0") and not is_at_rcpt
    if failure is FailureClass.UNKNOWN and not code:
        failure = general
    elif failure is FailureClass.ADDRESS_DEAD and is_vague and not is_surely_dead(reason):
        failure = FailureClass.RECIPIENT_REFUSES
    return Reported(
        address="",
        # Exchange writes `550 4.4.7`: of two classes, but not nothing.
        status=enhanced_code or status_code(reason) or status_of(failure, code),
        code=code,
        enhanced_code=enhanced_code,
        diagnostic=reason,
        failure=failure,
    )
