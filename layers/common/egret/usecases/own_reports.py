"""Mail that is one of our own reports: what becomes of it is told quietly, to the postmaster's mailbox alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from egret.contracts.records import StoredMail
from egret.core.delivery import Message

MAILBOX: Final = "dmarc"
"""Of the postmaster's account: notifications about reports that could not be delivered."""
FLAGS: Final = frozenset({r"\seen"})
_SUBJECT: Final = "Report Domain: "


def is_own_report(message: Message) -> bool:
    """Tell whether a message is a report of ours: nobody logged in to send it, and its subject is that of a report."""
    return not message.login and message.subject.startswith(_SUBJECT)


def put_aside(mail: StoredMail) -> StoredMail:
    """Return a mail about such a report as it is kept: others' dead report addresses are no news to anybody."""
    return replace(mail, mailbox=MAILBOX, flags=FLAGS)
