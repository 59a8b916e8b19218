"""Take in mail that came back: recognise it, tell the deliveries it is about, and keep it in the account's Inbox.

A token under a MAC decides whose mail it is (`usecases.returned`); what the mail says decides what is told. Everything
is idempotent: what is told by what the mail is, what is kept by the id that it was given when it came.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

import msgspec

from egret.contracts.ports import Blobs, Clock, Mailboxes, MailStore, SettingsReader
from egret.contracts.queues import Inbound, InboundRecipient, unpack_inbound
from egret.contracts.records import StoredMail
from egret.contracts.verdicts import Verdicts
from egret.core.changes import Report
from egret.core.cut import cut
from egret.core.delivery import Delivery
from egret.core.errors import ContractError
from egret.core.events import Event, event_prefix
from egret.core.ids import message_of
from egret.core.lifecycle import Refusal
from egret.core.mailbox import INBOX
from egret.core.mime import header_of
from egret.core.mimescan import normalise_lines, split_header
from egret.core.parse import ParsedMessage, parse_message
from egret.core.recognise import MailKind, recognise
from egret.core.secrets import Secrets
from egret.usecases import own_reports
from egret.usecases.change import change
from egret.usecases.keeping import keep
from egret.usecases.report_intake import ReportIntake, take_in
from egret.usecases.returned import MAX_DIAGNOSTIC_BYTES, ReturnedMail, Told, event_of, source_of, told_of
from egret.usecases.threads import thread_of
from egret.usecases.unsubscribe import Asked, Heard, MailUnsubscribe

log = logging.getLogger(__name__)

RECORDED = "recorded"
FORGOTTEN = "the delivery is forgotten"
OUR_OWN = "we told it"
MAX_EVENTS = 100
"""Of one delivery: beyond that, mail to its reverse-path is only kept. Its address may be known to many by then, and
each event is stored in the delivery itself."""
MAX_FIELD_BYTES = 4096
"""Of a header field in a mailbox's item, in UTF-8; a sender may write any length, the message itself keeps it whole."""
MAX_ADDRESS_BYTES = 320
MAX_TO = 100
"""Addresses of To and Cc in a mailbox's item, for searches."""


@dataclass(frozen=True, slots=True)
class IngestPorts:
    """What taking in needs.

    unsubscribe: does what mail to an address of List-Unsubscribe asks, None = nothing does. reports: None = nobody
    looks for reports.
    """

    store: MailStore
    blobs: Blobs
    mailboxes: Mailboxes
    clock: Clock
    settings: SettingsReader
    secrets: Secrets
    unsubscribe: MailUnsubscribe | None = None
    reports: ReportIntake | None = None


@dataclass(frozen=True, slots=True)
class _Mail:
    """One incoming mail, read once for all its recipients."""

    key: str
    envelope: Inbound
    raw: bytes
    header: ParsedMessage
    """Read of the header alone: what is in the parts is for whoever asks for the mail."""
    returned: ReturnedMail

    @property
    def received_at(self) -> datetime:
        """When the server took it."""
        return self.returned.received_at


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
        outcomes = []
        if recipient.unsubscribes:
            told += ports.unsubscribe is not None and ports.unsubscribe(_asked(mail, recipient))
        else:
            about = told_of(mail.returned.recognised, recipient, ports.secrets, ports.store)
            outcomes = [_tell(ports, mail, one) for one in about]
            told += outcomes.count(RECORDED)
        # What belongs to a delivery is told as its event, or not at all.
        is_news = not recipient.unsubscribes and all(outcome == FORGOTTEN for outcome in outcomes)
        keep(ports.mailboxes, _stored(ports, mail, recipient, is_news=is_news), ports.clock.now())
    return told


def _read(key: str, body: bytes) -> _Mail:
    try:
        envelope, raw = unpack_inbound(body)
        received_at = datetime.fromisoformat(envelope.received_at)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ContractError(detail=f"{key}: {error}") from error
    if received_at.tzinfo is None:
        raise ContractError(detail=f"{key}: the time of receipt has no zone")
    header = parse_message(header_of(raw))
    source = source_of(header.message_id, split_header(normalise_lines(raw))[1])
    return _Mail(key, envelope, raw, header, ReturnedMail(recognise(raw), source, received_at))


def _asked(mail: _Mail, recipient: InboundRecipient) -> Asked:
    how = f"mail {mail.envelope.id} from <{cut(mail.envelope.mail_from, MAX_DIAGNOSTIC_BYTES)}>"
    return Asked(recipient.account, recipient.delivery_id, mail.header.subject, Heard(mail.received_at, how))


def _tell(ports: IngestPorts, mail: _Mail, told: Told) -> str:
    """Add the event to the delivery; return what became of it. A notification of ours that came back is no event."""
    if mail.header.message_id.startswith(f"<{event_prefix(told.account, told.delivery_id)}"):
        return OUR_OWN
    event = event_of(told, mail.returned)
    result = change(
        ports.store,
        told.account,
        told.delivery_id,
        lambda delivery: delivery if len(delivery.events) >= MAX_EVENTS else Report(event),
        ports.clock.now(),
    )
    outcome = _outcome(event, result)
    ids = {"account": told.account, "delivery": told.delivery_id, "mail": mail.envelope.id}
    found = {"kind": event.kind.value, "format": mail.returned.recognised.format, "is_weak": told.is_weak}
    log.info("mail for a delivery", extra={**ids, **found, "outcome": outcome})
    return outcome


def _outcome(event: Event, result: Delivery | Refusal | None) -> str:
    match result:
        case None:
            return FORGOTTEN
        case Refusal():
            return result.value
        case Delivery():
            heard = any(known.source == event.source for known in result.events)
            return RECORDED if heard else "it has heard enough"


def _is_about_own_report(ports: IngestPorts, mail: _Mail, recipient: InboundRecipient) -> bool:
    """Tell whether it is a DSN of a report that we sent."""
    if mail.returned.recognised.kind is not MailKind.BOUNCE or not recipient.delivery_id:
        return False
    message = ports.store.message(recipient.account, message_of(recipient.delivery_id))
    return message is not None and own_reports.is_own_report(message)


def _stored(ports: IngestPorts, mail: _Mail, recipient: InboundRecipient, *, is_news: bool) -> StoredMail:
    """Return the mail as its recipient keeps it, without its id; aside what is about a report of ours."""
    envelope, header = mail.envelope, mail.header
    verdicts = envelope.verdicts or Verdicts()
    account = ports.settings.account(recipient.account)
    people = (*header.to, *header.cc)[:MAX_TO]
    kept = StoredMail(
        account=recipient.account,
        id=0,
        mailbox=INBOX,
        blob=mail.key,
        size_bytes=len(mail.raw),
        received_at=mail.received_at,
        mail_from=envelope.mail_from,
        rcpt_to=recipient.address,
        header_from=cut(header.from_[0].address, MAX_FIELD_BYTES) if header.from_ else "",
        subject=cut(header.subject, MAX_FIELD_BYTES),
        message_id=cut(header.message_id, MAX_FIELD_BYTES),
        remote_ip=envelope.remote_ip,
        is_dsn=mail.returned.recognised.kind is MailKind.BOUNCE,
        source=envelope.id,
        to=tuple(cut(person.address, MAX_ADDRESS_BYTES) for person in people),
        thread=_thread(ports, mail, recipient),
        mail_from_validated=verdicts.mail_from_validated,
        msg_from_validated=verdicts.msg_from_validated,
        dkim_domains=verdicts.dkim_domains,
        expires_at=mail.received_at + account.keep_mail if account and account.keep_mail else None,
        is_news=is_news,
    )
    return own_reports.put_aside(kept) if _is_about_own_report(ports, mail, recipient) else kept


def _thread(ports: IngestPorts, mail: _Mail, recipient: InboundRecipient) -> str:
    """Return the conversation of a mail: of what it refers to, returns, or whose delivery's address it went to."""
    references = [*mail.header.references]
    if not references and mail.returned.recognised.original_message_id:
        references += [mail.returned.recognised.original_message_id]
    if not any(references) and recipient.delivery_id:
        message = ports.store.message(recipient.account, message_of(recipient.delivery_id))
        references += [message.message_id] if message else []
    return thread_of(ports.mailboxes, recipient.account, mail.header.message_id, references, ports.clock.now())
