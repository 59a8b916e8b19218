"""Read complaints: feedback reports (RFC 5965, RFC 6591, RFC 6430), and those of mailbox providers that are older.

Does not say what follows from a complaint, and believes nothing: anybody can write one.
"""

from __future__ import annotations

from typing import Final

from egret.core.dates import read_instant
from egret.core.dsn import message_id, mta_name
from egret.core.events import EventKind
from egret.core.findaddress import find_addresses
from egret.core.mimescan import Fields, Part, decode_text, first, read_fields
from egret.core.recognised import MailKind, Recognised, Reported
from egret.core.report_text import Letter, original_fields
from egret.core.wording import phrases, words

KIND_OF_TYPE: Final = {
    "abuse": EventKind.COMPLAINED,
    "fraud": EventKind.COMPLAINED,
    "virus": EventKind.COMPLAINED,
    "other": EventKind.COMPLAINED,
    "complaint": EventKind.COMPLAINED,
    "opt-out": EventKind.UNSUBSCRIBED,
    "opt-out-list": EventKind.UNSUBSCRIBED,
}
"""The event that a feedback type makes (RFC 5965 section 7.3 and what preceded it).

Others are no complaint of a recipient: `not-spam` (RFC 6430), `auth-failure` (RFC 6591), `dmarc`.
"""

_STATUS_BYTES = 64 * 1024
_RECIPIENT_FIELDS = ("removal-recipient", "original-rcpt-to")
_RETURNED_RECIPIENTS = ("x-hmxmroriginalrecipient", "x-original-to", "delivered-to", "to")
_SUBJECTS = phrases(
    "complaint about message from | abuse report | spam complaint | junk complaint | feedback loop report"
)
_OPENINGS = phrases(
    "this is an email abuse report | this is a spam report | has been reported as spam | complaint from one of our"
)
_UNSUBSCRIBES = frozenset({"x-apple-unsubscribe"})
"""Header fields by which a provider tells that a user pressed its button (Apple Mail)."""


def read_feedback(mail: Letter) -> Recognised | None:
    """Read a complaint; None if the mail is none."""
    part = next((part for part in mail.parts if part.content_type == "message/feedback-report"), None)
    if part is not None:
        return _report(mail, part)
    if any(name.lower() in _UNSUBSCRIBES for name, _ in mail.fields):
        return Recognised(MailKind.COMPLAINT, "unsubscribe", feedback_type="opt-out", original=())
    if words(first(mail.fields, "subject")) not in _SUBJECTS and not _opens(mail):
        return None
    original = original_fields(mail.parts)
    return _complaint(mail, original) if original else None


def _opens(mail: Letter) -> bool:
    """Say whether a mail with another attached begins as complaints do."""
    is_with_message = len(mail.parts) > 1 and any(part.content_type == "message/rfc822" for part in mail.parts)
    return is_with_message and (words(mail.text) in _OPENINGS)


def _report(mail: Letter, part: Part) -> Recognised:
    """Read a feedback report (RFC 5965 section 3); fields that stand in the part's own header count as well."""
    own = tuple(field for field in part.fields if not field[0].lower().startswith(("content-", "mime-")))
    fields = own + read_fields(decode_text(part.head(_STATUS_BYTES).replace(b"\n\n", b"\n")))
    original = original_fields(mail.parts)
    named = [value for wanted in _RECIPIENT_FIELDS for name, value in fields if name.lower() == wanted]
    return Recognised(
        MailKind.COMPLAINT,
        "arf",
        recipients=_complainants(named) or _returned_recipients(original),
        reporting_mta=mta_name(first(fields, "reporting-mta")),
        original_message_id=message_id(original),
        original_envelope_id=first(fields, "original-envelope-id"),
        arrival_date=read_instant(first(fields, "arrival-date") or first(fields, "received-date")),
        feedback_type=first(fields, "feedback-type").split("(")[0].strip().lower() or "other",
        original=original,
        fields=fields,
    )


def _complaint(mail: Letter, original: Fields) -> Recognised:
    """Make a complaint of a returned message without a report, as Microsoft's JMRP sends them."""
    return Recognised(
        MailKind.COMPLAINT,
        "complaint",
        recipients=_returned_recipients(original),
        original_message_id=message_id(original),
        feedback_type="abuse",
        original=original,
        fields=mail.fields,
    )


def _complainants(values: list[str]) -> tuple[Reported, ...]:
    addresses = (value.partition(";")[2] if value.lower().startswith("rfc822;") else value for value in values)
    return tuple(Reported(address) for address in dict.fromkeys(one.strip("<> ") for one in addresses) if address)


def _returned_recipients(original: Fields) -> tuple[Reported, ...]:
    """Return to whom the returned message went, by the field that says it best."""
    for wanted in _RETURNED_RECIPIENTS:
        found = find_addresses(first(original, wanted))
        if found:
            return _complainants(found)
    return ()
