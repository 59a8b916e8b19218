"""What mail that came back tells of deliveries: whose it is, and which event it makes of it.

Three tokens lead to a delivery, all under a MAC. The fromid in the address that the mail came to, or in the returned
message, was seen by nobody but the recipient and the systems on the way: what comes with it counts in full. A
Message-ID or ENVID of ours names the submission; every recipient of the message knows it, so what is found by it alone
is told and never suppresses. Whatever else a mail claims changes nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from egret.contracts.ports import MailStore
from egret.contracts.queues import InboundRecipient
from egret.core import fromid, messageid
from egret.core.address import Address, AddressError
from egret.core.cut import cut
from egret.core.delivery import Message
from egret.core.events import Event, EventKind
from egret.core.failure import FailureClass
from egret.core.feedback import KIND_OF_TYPE
from egret.core.ids import index_of, message_of
from egret.core.mimescan import Fields
from egret.core.outcome import Remote
from egret.core.recognised import MailKind, Recognised, Reported
from egret.core.secrets import Secrets

KIND_OF_ACTION: Final = {
    "failed": EventKind.FAILED,
    "delayed": EventKind.DELAYED,
    "delivered": EventKind.DELIVERED,
    "relayed": EventKind.RELAYED,
    "expanded": EventKind.EXPANDED,
}
"""RFC 3464 section 2.3.3; every other action is `unrecognized`."""
MAX_DIAGNOSTIC_BYTES: Final = 500
"""Of a report's text in an event, in UTF-8: with many of them a delivery's item stays far below its 400 KB."""
MAX_TOLD: Final = 20
"""Deliveries that one mail may tell of without having come to their reverse-path."""
_MACHINE_READABLE: Final = frozenset({"dsn", "ses-json"})
"""Formats of bounces that name the recipient in a field of its own."""
_RETURN_PATHS: Final = frozenset({"return-path", "original-mail-from", "x-original-mail-from"})
_EVIDENCE: Final = frozenset({"feedback-type", "user-agent", "reporting-mta", "source-ip", "from"})
"""Fields that say who complains of what (RFC 5965 section 3); `from`: where there is no report."""
_TOKEN: Final = re.compile(rf"[A-Za-z2-7]{{{fromid.LENGTH}}}(?=@)")


@dataclass(frozen=True, slots=True)
class Told:
    """A delivery that the mail is about. reported: what it says of the recipient, None = nothing that can be read.

    is_weak: found by the Message-ID or ENVID alone.
    """

    account: str
    delivery_id: int
    reported: Reported | None
    is_weak: bool = False


@dataclass(frozen=True, slots=True)
class ReturnedMail:
    """A mail as ingest has read it. source: the same for the same mail however often it comes (`source_of`)."""

    recognised: Recognised
    source: str
    received_at: datetime


def source_of(message_id: str, body: bytes) -> str:
    """Return what tells a mail from others, sent again or not: relays change header fields, not these two."""
    return hashlib.sha256(message_id.encode("utf-8", "replace") + b"\0" + body).hexdigest()[:32]


def told_of(mail: Recognised, recipient: InboundRecipient, secrets: Secrets, store: MailStore) -> list[Told]:
    """Return the deliveries that a mail to this recipient is about. Raises Unavailable."""
    if recipient.delivery_id:
        return [_of_reverse_path(mail, recipient.account, recipient.delivery_id, store)]
    if mail.kind not in (MailKind.BOUNCE, MailKind.COMPLAINT):
        return []
    genuine = _fromid_of(mail, secrets)
    if genuine is not None:
        return [_of_reverse_path(mail, genuine.account, genuine.delivery_id, store)]
    return list(_of_submission(mail, secrets, store))[:MAX_TOLD]


def event_of(told: Told, mail: ReturnedMail) -> Event:
    """Return the event for a delivery; its number is given by the life cycle."""
    kind, is_dsn = _kind(told, mail.recognised), mail.recognised.kind is MailKind.BOUNCE
    reported = told.reported
    if kind in (EventKind.COMPLAINED, EventKind.UNSUBSCRIBED):
        quoted = (_complaint(mail.recognised),)
        return Event(0, kind, mail.received_at, source=mail.source, reply=quoted, by_message_id=told.is_weak)
    if kind is EventKind.UNRECOGNIZED or reported is None:
        return Event(0, kind, mail.received_at, source=mail.source, dsn=is_dsn, by_message_id=told.is_weak)
    said = cut(reported.diagnostic, MAX_DIAGNOSTIC_BYTES)
    is_trouble = kind in (EventKind.FAILED, EventKind.DELAYED)
    status = reported.enhanced_code or (reported.status if is_trouble else "")
    return Event(
        seq=0,
        kind=kind,
        at=mail.received_at,
        source=mail.source,
        dsn=is_dsn,
        # What is told in words alone gets the codes that its words stand for (RFC 3463).
        code=reported.code or (int(status[0]) * 100 if is_trouble and status else 0),
        enhanced_code=status,
        error=said if is_trouble else "",
        reply=(said,) if said else (),
        remote=Remote(cut(reported.remote_mta, MAX_DIAGNOSTIC_BYTES)),
        failure=reported.failure.value if is_trouble else "",
        by_message_id=told.is_weak,
    )


def _complaint(mail: Recognised) -> str:
    """Return what a complaint says of itself, on one line: the evidence of whoever doubts it later."""
    quoted = [f"{name}: {value}" for name, value in mail.fields if name.lower() in _EVIDENCE]
    return cut("; ".join(quoted) or f"Feedback-Type: {mail.feedback_type}", MAX_DIAGNOSTIC_BYTES)


def _kind(told: Told, mail: Recognised) -> EventKind:
    match mail.kind:
        case MailKind.BOUNCE if told.reported is not None:
            return KIND_OF_ACTION.get(told.reported.action, EventKind.UNRECOGNIZED)
        case MailKind.COMPLAINT:
            return KIND_OF_TYPE.get(mail.feedback_type, EventKind.UNRECOGNIZED)
        case _:
            return EventKind.UNRECOGNIZED


def _of_reverse_path(mail: Recognised, account: str, delivery_id: int, store: MailStore) -> Told:
    """Return what is said of the one recipient whose reverse-path it is.

    A single report is about it whatever address it names (forwarding); of several, the one that names the address.
    """
    only = mail.recipients[0] if len(mail.recipients) == 1 else None
    if not mail.recipients or (only is not None and not _is_death_in_words(mail, only)):
        return Told(account, delivery_id, only)
    message = store.message(account, message_of(delivery_id))
    wanted = base(_recipient(message, delivery_id))
    if only is not None:
        # Programs of help desks answer with what they were sent, which may be a bounce of somebody else.
        is_own = wanted in _bases(only)
        return Told(account, delivery_id, only if is_own else replace(only, failure=FailureClass.RECIPIENT_REFUSES))
    return Told(account, delivery_id, next((one for one in mail.recipients if wanted in _bases(one)), None))


def _is_death_in_words(mail: Recognised, reported: Reported) -> bool:
    """Say whether nothing but words for people tells that an address is dead."""
    is_in_words = mail.kind is MailKind.BOUNCE and mail.format not in _MACHINE_READABLE
    return is_in_words and reported.failure in (FailureClass.ADDRESS_DEAD, FailureClass.MAILBOX_DISABLED)


def _recipient(message: Message | None, delivery_id: int) -> str:
    index = index_of(delivery_id)
    return message.recipients[index] if message is not None and index < len(message.recipients) else ""


def _fromid_of(mail: Recognised, secrets: Secrets) -> fromid.FromId | None:
    """Return the genuine fromid that the returned message, or the report about it, names as its reverse-path."""
    for name, value in (*mail.original, *mail.fields):
        if name.lower() not in _RETURN_PATHS:
            continue
        for candidate in _TOKEN.findall(value[:1000]):
            genuine = fromid.verify(secrets.fromid, candidate)
            if genuine is not None:
                return genuine
    return None


def _of_submission(mail: Recognised, secrets: Secrets, store: MailStore) -> Iterator[Told]:
    submission = _submission_of(mail, secrets)
    message = store.message(*submission) if submission is not None else None
    if message is None:
        return
    known = {base(address): message.id | index for index, address in enumerate(message.recipients)}
    if mail.kind is MailKind.COMPLAINT and not mail.recipients and len(known) == 1:
        yield Told(message.account, message.id, None, is_weak=True)
    for reported in mail.recipients:
        delivery_id = next((known[one] for one in _bases(reported) if one in known), None)
        if delivery_id is not None:
            yield Told(message.account, delivery_id, reported, is_weak=True)


def _submission_of(mail: Recognised, secrets: Secrets) -> messageid.Submission | None:
    for text in (mail.original_message_id, mail.original_envelope_id, _first(mail.original, "message-id")):
        found = messageid.verify(secrets.message_id, text[:200])
        if found is not None:
            return found
    return None


def _first(fields: Fields, name: str) -> str:
    return next((value for key, value in fields if key.lower() == name), "")


def _bases(reported: Reported) -> tuple[str, ...]:
    """Return the addresses that a report names, the one that the sender wrote to first."""
    return tuple(base(address) for address in (reported.original_address, reported.address) if address)


def base(text: str) -> str:
    """Return what addresses are compared by."""
    try:
        return str(Address.parse(text).base_address())
    except AddressError:
        return text.lower()
