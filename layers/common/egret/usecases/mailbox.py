"""An account's mailbox: mail that came in and copies of what was sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec

from egret.contracts.ports import Blobs, Mailboxes
from egret.contracts.queues import unpack_inbound
from egret.contracts.records import StoredMail
from egret.contracts.webapi import (
    MAX_ANSWER_BYTES,
    ErrorCode,
    MessageContent,
    MessageGetResult,
    MessageListRequest,
    MessageListResult,
    MessageMeta,
    MessageSummary,
    NameAddress,
    RawContent,
    Structure,
)
from egret.core import cursor, parse
from egret.core.errors import ContractError, InvalidRequest
from egret.core.ids import MAX_ID
from egret.usecases.deliveries import listing_limit

INBOUND: Final = "inbound/"
"""Objects below this begin with the SMTP envelope in a line of its own."""
DOWNLOAD_VALID: Final = timedelta(minutes=5)
_FLAG_ORDER: Final = (
    *("$forwarded", "$junk", "$mdnsent", "$notjunk", "$phishing"),
    *(r"\answered", r"\deleted", r"\draft", r"\flagged", r"\seen"),
)


@dataclass(frozen=True, slots=True)
class MailboxPorts:
    """What the mailbox methods need. cursor_key: `Secrets.cursor`."""

    mailboxes: Mailboxes
    blobs: Blobs
    cursor_key: bytes


def message_list(ports: MailboxPorts, account: str, request: MessageListRequest) -> MessageListResult:
    """Return a page of an account's mail, newest first. Raises InvalidRequest `user` for a bad limit or cursor."""
    limit, scope = listing_limit(request.limit), f"{account} mailbox {request.mailbox}"
    at = cursor.unseal(ports.cursor_key, scope, request.cursor)
    if at is None:
        raise InvalidRequest(ErrorCode.USER, "The cursor does not belong to this listing.")
    page = ports.mailboxes.list(account, request.mailbox, at, limit)
    sealed = cursor.seal(ports.cursor_key, scope, page.cursor)
    return MessageListResult(messages=tuple(_summary(mail) for mail in page.items), cursor=sealed)


def message_get(ports: MailboxPorts, account: str, mail_id: int) -> MessageGetResult:
    """Return a stored message, read. Raises InvalidRequest `messageNotFound`."""
    mail = _find(ports, account, mail_id)
    parsed = parse.parse_message(_raw(ports, mail))
    return MessageGetResult(message=_content(parsed), structure=_structure(parsed.structure), meta=_meta(mail))


def message_raw_get(ports: MailboxPorts, account: str, mail_id: int) -> RawContent:
    """Return a stored message as it is, or where to fetch it when it is too large to answer.

    A large one that came in is first stored again without its envelope line. Raises InvalidRequest `messageNotFound`.
    """
    mail = _find(ports, account, mail_id)
    if mail.size_bytes <= MAX_ANSWER_BYTES:
        return RawContent(body=_raw(ports, mail))
    key = mail.blob
    if key.startswith(INBOUND):
        key = f"content/{account}/raw-{mail.id}"
        if ports.blobs.size(key) is None:
            ports.blobs.put(key, _raw(ports, mail))
    return RawContent(url=ports.blobs.download_url(key, DOWNLOAD_VALID))


def _find(ports: MailboxPorts, account: str, mail_id: int) -> StoredMail:
    mail = ports.mailboxes.get(account, mail_id) if 0 < mail_id <= MAX_ID else None
    if mail is None:
        raise InvalidRequest(ErrorCode.MESSAGE_NOT_FOUND, "There is no such message.")
    return mail


def _raw(ports: MailboxPorts, mail: StoredMail) -> bytes:
    body = ports.blobs.get(mail.blob)
    if body is None:
        raise InvalidRequest(ErrorCode.MESSAGE_NOT_FOUND, "The message is no longer stored.")
    if not mail.blob.startswith(INBOUND):
        return body
    try:
        return unpack_inbound(body)[1]
    except msgspec.MsgspecError as error:
        raise ContractError(detail=f"{mail.blob} has no envelope line: {error}") from error


def _summary(mail: StoredMail) -> MessageSummary:
    return MessageSummary(
        msg_id=mail.id,
        mailbox_name=mail.mailbox,
        from_=mail.header_from,
        mail_from=mail.mail_from,
        rcpt_to=mail.rcpt_to,
        subject=mail.subject,
        message_id=mail.message_id,
        received=mail.received_at,
        size=mail.size_bytes,
        dsn=mail.is_dsn,
        flags=_flags(mail),
    )


def _meta(mail: StoredMail) -> MessageMeta:
    return MessageMeta(
        size=mail.size_bytes,
        dsn=mail.is_dsn,
        flags=_flags(mail),
        mail_from=mail.mail_from,
        rcpt_to=mail.rcpt_to,
        msg_from=mail.header_from,
        remote_ip=mail.remote_ip,
        mailbox_name=mail.mailbox,
    )


def _flags(mail: StoredMail) -> tuple[str, ...]:
    """Return system flags in the reference's order, then keywords."""
    known = [flag for flag in _FLAG_ORDER if flag in mail.flags]
    return (*known, *sorted(mail.flags.difference(_FLAG_ORDER)))


def _content(parsed: parse.ParsedMessage) -> MessageContent:
    return MessageContent(
        from_=_people(parsed.from_),
        to=_people(parsed.to),
        cc=_people(parsed.cc),
        bcc=_people(parsed.bcc),
        reply_to=_people(parsed.reply_to),
        message_id=parsed.message_id,
        references=parsed.references,
        date=parsed.date,
        subject=parsed.subject,
        text=parsed.text,
        html=parsed.html,
    )


def _people(people: tuple[parse.NameAddress, ...]) -> tuple[NameAddress, ...]:
    return tuple(NameAddress(name=person.name, address=person.address) for person in people)


def _structure(part: parse.Structure) -> Structure:
    return Structure(
        content_type=part.content_type,
        content_type_params=part.content_type_params,
        content_id=part.content_id,
        content_disposition=part.content_disposition,
        filename=part.filename,
        decoded_size=part.decoded_size,
        parts=tuple(_structure(child) for child in part.parts),
    )
