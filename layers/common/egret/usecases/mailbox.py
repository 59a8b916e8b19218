"""An account's mailboxes: mail that came in and copies of what was sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from egret.contracts.ports import Blobs, Clock, Mailboxes
from egret.contracts.records import MailFilter, StoredMail
from egret.contracts.webapi import (
    MAX_ANSWER_BYTES,
    ErrorCode,
    MailboxInfo,
    MailboxListResult,
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
from egret.core.errors import InvalidRequest, Unavailable
from egret.core.ids import MAX_ID
from egret.core.mailbox import MAX_FLAGS, STANDARD, flags_of, in_order, mailbox_name
from egret.usecases.deliveries import listing_limit
from egret.usecases.mail_objects import INBOUND, raw_of

DOWNLOAD_VALID: Final = timedelta(minutes=5)
TEMPORARY: Final = "uploads/"
"""Objects below this are dropped by storage after some days."""
MAX_THREADS: Final = 100
"""Of a listing by threads: each costs a look at its thread."""
MAX_STORE_PAGES: Final = 5
"""Of the store, for one page of a listing: a rare search gives a short page, and a cursor to go on."""
MAX_MAILBOXES: Final = 500
MAX_TRIES: Final = 8
"""Writers of one mail are few; losing this often means that storage is ill."""


@dataclass(frozen=True, slots=True)
class MailboxPorts:
    """What the mailbox methods need. cursor_key: `Secrets.cursor`. pedantic: see `Installation`."""

    mailboxes: Mailboxes
    blobs: Blobs
    clock: Clock
    cursor_key: bytes
    pedantic: bool = False


def message_list(ports: MailboxPorts, account: str, request: MessageListRequest) -> MessageListResult:
    """Return a page of an account's mail, newest first. Raises InvalidRequest `user` for a bad limit or cursor."""
    limit, now = listing_limit(request.limit), ports.clock.now()
    if request.group_by_thread and limit > MAX_THREADS:
        raise InvalidRequest(ErrorCode.USER, f"With GroupByThread the limit is at most {MAX_THREADS}.")
    wanted = _filter(request)
    scope = account + msgspec.json.encode(msgspec.structs.replace(request, cursor="", limit=0)).decode()
    at = cursor.unseal(ports.cursor_key, scope, request.cursor)
    if at is None:
        raise InvalidRequest(ErrorCode.USER, "The cursor does not belong to this listing.")
    found: list[StoredMail] = []
    for _ in range(MAX_STORE_PAGES):
        page = ports.mailboxes.list(account, wanted, at, limit - len(found), now)
        found += [mail for mail in page.items if not request.group_by_thread or _leads(ports, wanted, mail, now)]
        at = page.cursor
        if not at or len(found) >= limit:
            break
    sealed = cursor.seal(ports.cursor_key, scope, at)
    return MessageListResult(messages=tuple(_summary(mail) for mail in found), cursor=sealed)


def _filter(request: MessageListRequest) -> MailFilter:
    return MailFilter(
        mailbox=request.mailbox,
        thread=request.thread_id,
        from_=request.from_,
        to=request.to,
        subject=request.subject,
        flags=flags_of(request.flags),
        without=flags_of(request.without_flags),
        is_dsn=request.dsn,
        since=request.since,
        until=request.until,
    )


def _leads(ports: MailboxPorts, wanted: MailFilter, mail: StoredMail, now: datetime) -> bool:
    """Tell whether a mail is the newest of its thread that matches, so that a listing names each thread once."""
    if not mail.thread:
        return True
    newest = ports.mailboxes.list(mail.account, replace(wanted, thread=mail.thread), "", 1, now).items
    return not newest or newest[0].id == mail.id


def message_get(ports: MailboxPorts, account: str, mail_id: int) -> MessageGetResult:
    """Return a stored message, read. Raises InvalidRequest `messageNotFound`, `user` when a pedantic reader refuses."""
    mail = _find(ports, account, mail_id)
    try:
        parsed = parse.parse_message(raw_of(ports.blobs, mail), pedantic=ports.pedantic)
    except parse.NotConforming as error:
        raise InvalidRequest(ErrorCode.USER, f"The message breaks the standards: {error}") from error
    return MessageGetResult(message=_content(parsed), structure=structure_of(parsed.structure), meta=_meta(mail))


def message_raw_get(ports: MailboxPorts, account: str, mail_id: int) -> RawContent:
    """Return a stored message as it is, or where to fetch it when it is too large to answer.

    A large one that came in is first stored again without its envelope line. Raises InvalidRequest `messageNotFound`.
    """
    mail = _find(ports, account, mail_id)
    if mail.size_bytes <= MAX_ANSWER_BYTES:
        return RawContent(body=raw_of(ports.blobs, mail))
    if not mail.blob.startswith(INBOUND):
        return RawContent(url=ports.blobs.download_url(mail.blob, DOWNLOAD_VALID))
    return _to_fetch(ports, f"{account}/raw-{mail.id}", lambda: raw_of(ports.blobs, mail))


def message_part_get(ports: MailboxPorts, account: str, mail_id: int, path: Sequence[int]) -> RawContent:
    """Return the body of a part without its transfer encoding, charset and line ends as they are.

    path: indexes from the top, () = the body of the message. Raises InvalidRequest `messageNotFound`, `partNotFound`.
    """
    mail = _find(ports, account, mail_id)
    content = parse.part_content(raw_of(ports.blobs, mail), path)
    if content is None:
        raise InvalidRequest(ErrorCode.PART_NOT_FOUND, "The message has no such part.")
    if len(content) <= MAX_ANSWER_BYTES:
        return RawContent(body=content)
    return _to_fetch(ports, f"{account}/part-{mail.id}-{'-'.join(map(str, path))}", lambda: content)


def _to_fetch(ports: MailboxPorts, name: str, content: Callable[[], bytes]) -> RawContent:
    """Return where to fetch what is too large to answer: an object that storage drops after some days."""
    key = f"{TEMPORARY}{name}"
    if ports.blobs.size(key) is None:
        ports.blobs.put(key, content())
    return RawContent(url=ports.blobs.download_url(key, DOWNLOAD_VALID))


def message_delete(ports: MailboxPorts, account: str, mail_id: int) -> None:
    """Remove a message for good. Raises InvalidRequest `messageNotFound`, or `user` when that was done before."""
    for _ in range(MAX_TRIES):
        if ports.mailboxes.remove(_to_change(ports, account, mail_id), ports.clock.now()):
            return
    raise _contested(account, mail_id)


def message_flags_add(ports: MailboxPorts, account: str, mail_id: int, flags: Sequence[str]) -> None:
    """Add flags; those that are set stay. Raises InvalidRequest `user` for a bad flag, `messageNotFound`."""
    wanted = flags_of(flags)
    _change(ports, account, mail_id, lambda mail: replace(mail, flags=mail.flags | wanted))


def message_flags_remove(ports: MailboxPorts, account: str, mail_id: int, flags: Sequence[str]) -> None:
    """Remove flags; those that are not set stay so. Raises InvalidRequest `user` for a bad flag, `messageNotFound`."""
    unwanted = flags_of(flags)
    _change(ports, account, mail_id, lambda mail: replace(mail, flags=mail.flags - unwanted))


def message_move(ports: MailboxPorts, account: str, mail_id: int, mailbox: str) -> None:
    """Move a message, which keeps its id. Raises InvalidRequest `messageNotFound`.

    `user`: the mailbox does not exist, or the message is in it.
    """

    def moved(mail: StoredMail) -> StoredMail:
        # Looked up for every try: somebody may remove the mailbox meanwhile.
        name = _existing(ports, account, mailbox)
        if mail.mailbox == name:
            raise InvalidRequest(ErrorCode.USER, f"The message is in {name} already.")
        return replace(mail, mailbox=name)

    _change(ports, account, mail_id, moved)


def mailbox_list(ports: MailboxPorts, account: str) -> MailboxListResult:
    """Return the standard mailboxes, then the account's own by name."""
    standard = [MailboxInfo(name=name, standard=True) for name in STANDARD]
    own = [MailboxInfo(name=name) for name in ports.mailboxes.own(account)]
    return MailboxListResult(mailboxes=(*standard, *own))


def mailbox_create(ports: MailboxPorts, account: str, name: str) -> None:
    """Make a mailbox. Raises InvalidRequest `user` for what is no name, or too many; `error` when it is there."""
    name, own = mailbox_name(name), ports.mailboxes.own(account)
    if len(own) >= MAX_MAILBOXES and name not in own:
        raise InvalidRequest(ErrorCode.USER, f"An account has at most {MAX_MAILBOXES} mailboxes of its own.")
    if name in STANDARD or not ports.mailboxes.create(account, name):
        raise InvalidRequest(ErrorCode.ERROR, f"The mailbox {name} is there already.")


def mailbox_delete(ports: MailboxPorts, account: str, name: str) -> None:
    """Remove an empty mailbox of the account's own. Raises InvalidRequest `user` for others, `error` for none."""
    name = mailbox_name(name)
    if name in STANDARD:
        raise InvalidRequest(ErrorCode.USER, f"Every account has the mailbox {name}.")
    dropped = ports.mailboxes.drop(account, name, ports.clock.now())
    if dropped is None:
        raise InvalidRequest(ErrorCode.ERROR, f"There is no mailbox {name}.")
    if not dropped:
        raise InvalidRequest(ErrorCode.USER, f"There is mail in {name}: move or delete it first.")


def _existing(ports: MailboxPorts, account: str, name: str) -> str:
    name = mailbox_name(name)
    if name not in STANDARD and name not in ports.mailboxes.own(account):
        raise InvalidRequest(ErrorCode.USER, f"There is no mailbox {name}.")
    return name


def _change(ports: MailboxPorts, account: str, mail_id: int, make: Callable[[StoredMail], StoredMail]) -> None:
    """Write what `make` returns for the mail, again on what a faster writer wrote; nothing if nothing changes."""
    for _ in range(MAX_TRIES):
        old = _to_change(ports, account, mail_id)
        new = make(old)
        if len(new.flags) > max(MAX_FLAGS, len(old.flags)):
            raise InvalidRequest(ErrorCode.USER, f"A message has at most {MAX_FLAGS} flags.")
        if new == old or ports.mailboxes.replace(old, replace(new, rev=old.rev + 1)):
            return
    raise _contested(account, mail_id)


def _contested(account: str, mail_id: int) -> Unavailable:
    return Unavailable(detail=f"mail {mail_id} of {account} changed {MAX_TRIES} times while it was written")


def _to_change(ports: MailboxPorts, account: str, mail_id: int) -> StoredMail:
    """Return a mail to be changed; the reference tells one that was removed (`user`) from one that never was."""
    if mail_id == 0:
        raise InvalidRequest(ErrorCode.USER, "MsgID is missing.")
    is_possible = 0 < mail_id <= MAX_ID
    mail = ports.mailboxes.get(account, mail_id, ports.clock.now()) if is_possible else None
    if mail is None and is_possible and ports.mailboxes.was_removed(account, mail_id):
        raise InvalidRequest(ErrorCode.USER, "The message was removed.")
    return mail or _find(ports, account, mail_id)


def _find(ports: MailboxPorts, account: str, mail_id: int) -> StoredMail:
    mail = ports.mailboxes.get(account, mail_id, ports.clock.now()) if 0 < mail_id <= MAX_ID else None
    if mail is None:
        raise InvalidRequest(ErrorCode.MESSAGE_NOT_FOUND, "There is no such message.")
    return mail


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
        flags=in_order(mail.flags),
        thread_id=mail.thread,
    )


def _meta(mail: StoredMail) -> MessageMeta:
    return MessageMeta(
        size=mail.size_bytes,
        dsn=mail.is_dsn,
        flags=in_order(mail.flags),
        mail_from=mail.mail_from,
        mail_from_validated=mail.mail_from_validated,
        rcpt_to=mail.rcpt_to,
        msg_from=mail.header_from,
        msg_from_validated=mail.msg_from_validated,
        dkim_verified_domains=mail.dkim_domains,
        remote_ip=mail.remote_ip,
        mailbox_name=mail.mailbox,
        thread_id=mail.thread,
        received=mail.received_at,
    )


def _content(parsed: parse.ParsedMessage) -> MessageContent:
    return MessageContent(
        from_=people_of(parsed.from_),
        to=people_of(parsed.to),
        cc=people_of(parsed.cc),
        bcc=people_of(parsed.bcc),
        reply_to=people_of(parsed.reply_to),
        message_id=parsed.message_id,
        references=parsed.references,
        date=parsed.date,
        subject=parsed.subject,
        text=parsed.text,
        html=parsed.html,
    )


def people_of(people: tuple[parse.NameAddress, ...]) -> tuple[NameAddress, ...]:
    """Return people as the wire has them."""
    return tuple(NameAddress(name=person.name, address=person.address) for person in people)


def structure_of(part: parse.Structure) -> Structure:
    """Return a part and its parts as the wire has them."""
    return Structure(
        content_type=part.content_type,
        content_type_params=part.content_type_params,
        content_id=part.content_id,
        content_disposition=part.content_disposition,
        filename=part.filename,
        decoded_size=part.decoded_size,
        parts=tuple(structure_of(child) for child in part.parts),
    )
