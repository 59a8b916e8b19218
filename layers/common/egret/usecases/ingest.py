"""Take in mail that came back: read DSNs, tell the delivery they belong to, and keep the mail in the account's Inbox.

The reverse-path decides whose mail it is (a genuine fromid, checked when the recipient was accepted); the report
decides what it says. Everything is idempotent by the id of the incoming mail.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from egret.contracts.ports import Blobs, Clock, Mailboxes, MailStore, SettingsReader
from egret.contracts.queues import Inbound, InboundRecipient, unpack_inbound
from egret.contracts.records import StoredMail
from egret.contracts.verdicts import Verdicts
from egret.core.address import Address, AddressError
from egret.core.changes import Report
from egret.core.delivery import Delivery
from egret.core.dsn import DsnRecipient, DsnReport, parse_dsn
from egret.core.errors import ContractError, Unavailable
from egret.core.events import Event, EventKind, webhook_number
from egret.core.ids import SENT_INDEX, delivery_id, message_id_number, message_of
from egret.core.lifecycle import Refusal
from egret.core.mailbox import INBOX
from egret.core.outcome import Remote
from egret.core.parse import ParsedMessage, parse_message
from egret.usecases import own_reports
from egret.usecases.change import change
from egret.usecases.report_intake import ReportIntake, take_in
from egret.usecases.threads import thread_of

log = logging.getLogger(__name__)

RECORDED = "recorded"
FORGOTTEN = "the delivery is forgotten"
MAX_ID_TRIES = 16
"""Ids tried for one mail; each is free with overwhelming likelihood."""
KIND_OF_ACTION = {
    "failed": EventKind.FAILED,
    "delayed": EventKind.DELAYED,
    "delivered": EventKind.DELIVERED,
    "relayed": EventKind.RELAYED,
    "expanded": EventKind.EXPANDED,
}
"""RFC 3464 section 2.3.3; every other action is `unrecognized`."""
MAX_EVENTS = 100
"""Of one delivery: beyond that, mail to its reverse-path is only kept. Its address may be known to many by then, and
each event is stored in the delivery itself."""
MAX_DIAGNOSTIC_BYTES = 500
"""Of a report's text in an event, in UTF-8: with `MAX_EVENTS` of them a delivery's item stays far below its 400 KB."""
MAX_FIELD_BYTES = 4096
"""Of a header field in a mailbox's item, in UTF-8; a sender may write any length, the message itself keeps it whole."""
MAX_ADDRESS_BYTES = 320
MAX_TO = 100
"""Addresses of To and Cc in a mailbox's item, for searches."""


@dataclass(frozen=True, slots=True)
class IngestPorts:
    """What taking in needs. reports: None = nobody looks for reports."""

    store: MailStore
    blobs: Blobs
    mailboxes: Mailboxes
    clock: Clock
    settings: SettingsReader
    reports: ReportIntake | None = None


@dataclass(frozen=True, slots=True)
class _Mail:
    """One incoming mail, read once for all its recipients."""

    key: str
    envelope: Inbound
    raw: bytes
    parsed: ParsedMessage
    report: DsnReport | None
    received_at: datetime


def ingest(ports: IngestPorts, key: str) -> int:
    """Process the incoming mail stored under `key`; return how many deliveries it told something.

    Raises ContractError when the object is not one of ours, Unavailable when storage fails.
    """
    body = ports.blobs.get(key)
    if body is None:
        log.warning("incoming mail is gone", extra={"key": key})
        return 0
    mail = _read(key, body)
    told = 0
    if ports.reports is not None:
        take_in(ports.reports, mail.envelope, mail.raw, mail.received_at)
    for recipient in mail.envelope.recipients:
        outcome = _tell(ports, mail, recipient) if recipient.delivery_id else FORGOTTEN
        told += outcome == RECORDED
        # What belongs to a delivery is told as its event, or not at all.
        _keep(ports, mail, recipient, is_news=outcome == FORGOTTEN)
    return told


def _read(key: str, body: bytes) -> _Mail:
    try:
        envelope, raw = unpack_inbound(body)
        received_at = datetime.fromisoformat(envelope.received_at)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ContractError(detail=f"{key}: {error}") from error
    if received_at.tzinfo is None:
        raise ContractError(detail=f"{key}: the time of receipt has no zone")
    return _Mail(key, envelope, raw, parse_message(raw), parse_dsn(raw), received_at)


def _tell(ports: IngestPorts, mail: _Mail, recipient: InboundRecipient) -> str:
    """Add the event to the delivery that the reverse-path belongs to; return what became of it."""
    now = ports.clock.now()
    result = change(
        ports.store,
        recipient.account,
        recipient.delivery_id,
        lambda delivery: delivery if len(delivery.events) >= MAX_EVENTS else Report(_event(mail, delivery)),
        now,
    )
    outcome = _outcome(mail, result)
    ids = {"account": recipient.account, "delivery": recipient.delivery_id, "mail": mail.envelope.id}
    log.info("mail for a delivery", extra={**ids, "outcome": outcome})
    return outcome


def _outcome(mail: _Mail, result: Delivery | Refusal | None) -> str:
    match result:
        case None:
            return FORGOTTEN
        case Refusal():
            return result.value
        case Delivery():
            heard = any(event.source == mail.envelope.id for event in result.events)
            return RECORDED if heard else "it has heard enough"


def _event(mail: _Mail, delivery: Delivery) -> Event:
    source = mail.envelope.id
    if mail.report is None:
        return Event(0, EventKind.UNRECOGNIZED, mail.received_at, source=source)
    block = _block_for(mail.report, delivery)
    kind = KIND_OF_ACTION.get(block.action) if block else None
    if block is None or kind is None:
        return Event(0, EventKind.UNRECOGNIZED, mail.received_at, source=source, dsn=True)
    said = _cut(block.diagnostic_text, MAX_DIAGNOSTIC_BYTES)
    return Event(
        seq=0,
        kind=kind,
        at=mail.received_at,
        source=source,
        dsn=True,
        code=block.code,
        enhanced_code=block.enhanced_code,
        error=said if kind in (EventKind.FAILED, EventKind.DELAYED) else "",
        reply=(said,) if said else (),
        remote=Remote(_cut(block.remote_mta, MAX_DIAGNOSTIC_BYTES)),
    )


def _cut(text: str, size_bytes: int) -> str:
    """Return the beginning of a text, at most so many bytes of UTF-8."""
    return text.encode("utf-8", "replace")[:size_bytes].decode(errors="ignore")


def _block_for(report: DsnReport, delivery: Delivery) -> DsnRecipient | None:
    """Return what the report says of the delivery's recipient.

    The reverse-path is the recipient's own, so a single block is about it whatever address it names (forwarding);
    of several blocks, the one that names the address.
    """
    if len(report.recipients) == 1:
        return report.recipients[0]
    wanted = _base(delivery.recipient)
    for block in report.recipients:
        if wanted in (_base(block.original_recipient), _base(block.final_recipient)):
            return block
    return None


def _base(text: str) -> str:
    try:
        return str(Address.parse(text).base_address())
    except AddressError:
        return text.lower()


def _keep(ports: IngestPorts, mail: _Mail, recipient: InboundRecipient, *, is_news: bool) -> None:
    """Put the mail into the Inbox of the recipient's account, once; quietly aside what is about a report of ours."""
    kept = _stored(ports, mail, recipient, is_news=is_news)
    if kept.mailbox != INBOX:
        ports.mailboxes.create(kept.account, kept.mailbox)
    for salt in range(MAX_ID_TRIES):
        mail_id = _mail_id(mail, recipient, salt)
        if ports.mailboxes.put(replace(kept, id=mail_id)):
            return
        holder = ports.mailboxes.get(recipient.account, mail_id, ports.clock.now())
        if holder is None or (holder.source, holder.rcpt_to) == (mail.envelope.id, recipient.address):
            return  # it was kept before
    raise Unavailable(detail=f"no free id for {mail.key}")


def _mail_id(mail: _Mail, recipient: InboundRecipient, salt: int) -> int:
    """Return an id that is the same whenever this mail is processed again."""
    number = webhook_number(f"{mail.envelope.id} {recipient.address} {salt}")
    return delivery_id(message_id_number(mail.received_at, number), (number >> 32) % SENT_INDEX)


def _is_about_own_report(ports: IngestPorts, mail: _Mail, recipient: InboundRecipient) -> bool:
    """Tell whether it is a DSN of a report that we sent: others' dead report addresses are no news to anybody."""
    if mail.report is None or not recipient.delivery_id:
        return False
    message = ports.store.message(recipient.account, message_of(recipient.delivery_id))
    return message is not None and own_reports.is_own_report(message)


def _stored(ports: IngestPorts, mail: _Mail, recipient: InboundRecipient, *, is_news: bool) -> StoredMail:
    """Return the mail as its recipient keeps it, without its id."""
    is_quiet = _is_about_own_report(ports, mail, recipient)
    envelope, parsed = mail.envelope, mail.parsed
    verdicts = envelope.verdicts or Verdicts()
    account = ports.settings.account(recipient.account)
    people = (*parsed.to, *parsed.cc)[:MAX_TO]
    return StoredMail(
        account=recipient.account,
        id=0,
        mailbox=own_reports.MAILBOX if is_quiet else INBOX,
        blob=mail.key,
        size_bytes=len(mail.raw),
        received_at=mail.received_at,
        mail_from=envelope.mail_from,
        rcpt_to=recipient.address,
        header_from=_cut(parsed.from_[0].address, MAX_FIELD_BYTES) if parsed.from_ else "",
        subject=_cut(parsed.subject, MAX_FIELD_BYTES),
        message_id=_cut(parsed.message_id, MAX_FIELD_BYTES),
        remote_ip=envelope.remote_ip,
        is_dsn=mail.report is not None,
        flags=own_reports.FLAGS if is_quiet else frozenset(),
        source=envelope.id,
        to=tuple(_cut(person.address, MAX_ADDRESS_BYTES) for person in people),
        thread=_thread(ports, mail, recipient),
        mail_from_validated=verdicts.mail_from_validated,
        msg_from_validated=verdicts.msg_from_validated,
        dkim_domains=verdicts.dkim_domains,
        expires_at=mail.received_at + account.keep_mail if account and account.keep_mail else None,
        is_news=is_news,
    )


def _thread(ports: IngestPorts, mail: _Mail, recipient: InboundRecipient) -> str:
    """Return the conversation of a mail: of what it refers to, returns, or whose delivery's address it went to."""
    references = [*mail.parsed.references]
    if not references and mail.report is not None:
        references += [mail.report.original_message_id]
    if not any(references) and recipient.delivery_id:
        message = ports.store.message(recipient.account, message_of(recipient.delivery_id))
        references += [message.message_id] if message else []
    return thread_of(ports.mailboxes, recipient.account, mail.parsed.message_id, references, ports.clock.now())
