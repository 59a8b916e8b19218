"""`egret mailbox`: an account's mail, for who runs the installation."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path
from typing import Any, Final

import msgspec

from egret.contracts.webapi import MessageListRequest, MessageSummary, Structure
from egret.core.errors import InvalidRequest
from egret.usecases.accounts import account_named
from egret.usecases.mailbox import (
    MailboxPorts,
    mailbox_create,
    mailbox_delete,
    mailbox_list,
    message_delete,
    message_flags_add,
    message_flags_remove,
    message_get,
    message_list,
    message_move,
    message_raw_get,
)
from egret_cli.command import ACCOUNT, Answer, Argument, Command, Ports, instant
from egret_cli.text import facts, table

PAGE: Final = 100
CURSOR_KEY: Final = os.urandom(32)
"""Cursors never leave this process, so they need no key of the installation."""


def _mailing(ports: Ports) -> MailboxPorts:
    return MailboxPorts(ports.mailboxes, ports.blobs, ports.clock, CURSOR_KEY)


def _account_id(ports: Ports, arguments: Namespace) -> str:
    return account_named(ports.settings_writer, arguments.account).id


def list_mailboxes(ports: Ports, arguments: Namespace) -> Answer:
    """List the mailboxes of an account."""
    names = [one.name for one in mailbox_list(_mailing(ports), _account_id(ports, arguments)).mailboxes]
    return Answer(names, "\n".join(names))


def create(ports: Ports, arguments: Namespace) -> Answer:
    """Make a mailbox."""
    mailbox_create(_mailing(ports), _account_id(ports, arguments), arguments.mailbox)
    return Answer({"created": arguments.mailbox}, f"Made {arguments.mailbox}.")


def delete(ports: Ports, arguments: Namespace) -> Answer:
    """Remove an empty mailbox."""
    mailbox_delete(_mailing(ports), _account_id(ports, arguments), arguments.mailbox)
    return Answer({"deleted": arguments.mailbox}, f"Removed {arguments.mailbox}.")


def search(ports: Ports, arguments: Namespace) -> Answer:
    """List mail of an account."""
    now = ports.clock.now()
    request = MessageListRequest(
        mailbox=arguments.mailbox,
        from_=arguments.sender,
        to=arguments.to,
        subject=arguments.subject,
        flags=tuple(arguments.flags or ()),
        without_flags=tuple(arguments.without_flags or ()),
        since=instant(now)(arguments.since) if arguments.since else None,
        until=instant(now)(arguments.until) if arguments.until else None,
        dsn=True if arguments.dsn else None,
        thread_id=arguments.thread,
        group_by_thread=arguments.group_by_thread,
    )
    mails = _mails(ports, _account_id(ports, arguments), request, arguments.limit)
    rows = [
        {"id": mail.msg_id, "received": mail.received, "mailbox": mail.mailbox_name, "from": mail.from_}
        | {"subject": mail.subject[:40], "flags": " ".join(mail.flags), "thread": mail.thread_id}
        for mail in mails
    ]
    return Answer([_plain(mail) for mail in mails], table(rows, "No mail matches."))


def _mails(ports: Ports, account: str, request: MessageListRequest, limit: int) -> list[MessageSummary]:
    found: list[MessageSummary] = []
    cursor = ""
    while len(found) < limit:
        page = msgspec.structs.replace(request, cursor=cursor, limit=min(limit - len(found), PAGE))
        result = message_list(_mailing(ports), account, page)
        found += result.messages
        cursor = result.cursor
        if not cursor:
            break
    return found


def _plain(value: Any) -> dict[str, Any]:
    """Return a value of the API with its keys."""
    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


def show(ports: Ports, arguments: Namespace) -> Answer:
    """Show a mail as a person reads it."""
    result = message_get(_mailing(ports), _account_id(ports, arguments), arguments.mail)
    message, meta = result.message, result.meta
    about = {
        "from": ", ".join(one.address for one in message.from_),
        "to": ", ".join(one.address for one in (*message.to, *message.cc)),
        "subject": message.subject,
        "date": message.date,
        "message-id": message.message_id,
        "received": meta.received,
        "envelope": f"<{meta.mail_from}> to <{meta.rcpt_to}>",
        "spf passed": meta.mail_from_validated,
        "dmarc passed": meta.msg_from_validated,
        "signed by": ", ".join(meta.dkim_verified_domains),
        "mailbox": meta.mailbox_name,
        "flags": " ".join(meta.flags),
        "thread": meta.thread_id,
    }
    parts = table(list(_parts(result.structure, ())), "It has no parts.")
    return Answer(_plain(result), "\n\n".join([facts(about), parts, message.text or "(no text to read)"]))


def _parts(part: Structure, path: tuple[int, ...]) -> list[dict[str, object]]:
    row: dict[str, object] = {
        "part": ".".join(map(str, path)) or "all",
        "type": part.content_type,
        "bytes": part.decoded_size,
        "name": part.filename,
    }
    return [row, *(one for at, child in enumerate(part.parts) for one in _parts(child, (*path, at)))]


def raw(ports: Ports, arguments: Namespace) -> Answer:
    """Write a mail to a file, as it came."""
    content = message_raw_get(_mailing(ports), _account_id(ports, arguments), arguments.mail)
    if content.url:
        return Answer({"url": content.url}, f"It is large: fetch it within five minutes from\n{content.url}")
    try:
        with Path(arguments.file).open("xb") as file:
            file.write(content.body)
    except OSError as error:
        raise InvalidRequest("user", f"{arguments.file} cannot be written: {error.strerror}.") from error
    return Answer({"bytes": len(content.body), "file": arguments.file}, f"Wrote {len(content.body)} bytes.")


def move(ports: Ports, arguments: Namespace) -> Answer:
    """Move a mail."""
    message_move(_mailing(ports), _account_id(ports, arguments), arguments.mail, arguments.mailbox)
    return Answer({"id": arguments.mail, "mailbox": arguments.mailbox}, f"Moved to {arguments.mailbox}.")


def remove(ports: Ports, arguments: Namespace) -> Answer:
    """Remove a mail for good."""
    message_delete(_mailing(ports), _account_id(ports, arguments), arguments.mail)
    return Answer({"deleted": arguments.mail}, "Removed.")


def flag(ports: Ports, arguments: Namespace) -> Answer:
    """Add and remove flags."""
    bundle, account = _mailing(ports), _account_id(ports, arguments)
    if not (arguments.add or arguments.remove):
        raise InvalidRequest("user", "Say which: --add FLAG, --remove FLAG.")
    if arguments.add:
        message_flags_add(bundle, account, arguments.mail, arguments.add)
    if arguments.remove:
        message_flags_remove(bundle, account, arguments.mail, arguments.remove)
    flags = message_get(bundle, account, arguments.mail).meta.flags
    return Answer({"id": arguments.mail, "flags": flags}, " ".join(flags) or "It has no flags.")


MAIL = Argument("mail", "id of the mail (MsgID)", {"type": int})
MAILBOX = Argument("mailbox", "name of the mailbox")
_TEXT = {"default": ""}
_FLAGS = {"action": "append", "metavar": "FLAG"}

COMMANDS = (
    Command("mailbox", "list", "List the mailboxes of an account.", (ACCOUNT,), list_mailboxes),
    Command("mailbox", "create", "Make a mailbox.", (ACCOUNT, MAILBOX), create),
    Command("mailbox", "delete", "Remove an empty mailbox that the account made.", (ACCOUNT, MAILBOX), delete),
    Command(
        "mailbox",
        "search",
        "List mail of an account, newest first; everything given must match.",
        (
            ACCOUNT,
            Argument("--mailbox", "only in this one", {**_TEXT, "metavar": "NAME"}),
            Argument("--from", "part of the sender's address", {**_TEXT, "dest": "sender", "metavar": "TEXT"}),
            Argument("--to", "part of a recipient's address", {**_TEXT, "metavar": "TEXT"}),
            Argument("--subject", "part of the subject", {**_TEXT, "metavar": "TEXT"}),
            Argument("--flag", "has this flag, once for each", {**_FLAGS, "dest": "flags"}),
            Argument("--without-flag", "has it not, once for each", {**_FLAGS, "dest": "without_flags"}),
            Argument("--dsn", "only delivery status notifications", {"action": "store_true"}),
            Argument("--thread", "only of this conversation", {**_TEXT, "metavar": "ID"}),
            Argument("--group-by-thread", "of each conversation only the newest", {"action": "store_true"}),
            Argument("--since", "stored at this time or later", {**_TEXT, "metavar": "TIME"}),
            Argument("--until", "stored before this time", {**_TEXT, "metavar": "TIME"}),
            Argument("--limit", "how many at most (100)", {"type": int, "default": 100, "metavar": "N"}),
        ),
        search,
    ),
    Command(
        "mailbox", "show", "Show a mail: who, when, what was verified, its parts, its text.", (ACCOUNT, MAIL), show
    ),
    Command(
        "mailbox",
        "raw",
        "Write a mail to a new file, as it came.",
        (ACCOUNT, MAIL, Argument("file", "name of the file")),
        raw,
    ),
    Command("mailbox", "move", "Move a mail to another mailbox.", (ACCOUNT, MAIL, MAILBOX), move),
    Command("mailbox", "remove", "Remove a mail for good.", (ACCOUNT, MAIL), remove),
    Command(
        "mailbox",
        "flag",
        "Add flags to a mail, and remove others.",
        (ACCOUNT, MAIL, Argument("--add", "once for each", _FLAGS), Argument("--remove", "once for each", _FLAGS)),
        flag,
    ),
)
