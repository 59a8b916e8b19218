"""Mail that is one of our own reports: what becomes of it is told quietly, to the postmaster's mailbox alone."""

from __future__ import annotations

from typing import Final

from egret.core.delivery import Message

MAILBOX: Final = "dmarc"
"""Of the postmaster's account: notifications about reports that could not be delivered."""
FLAGS: Final = frozenset({r"\seen"})
_SUBJECT: Final = "Report Domain: "


def is_own_report(message: Message) -> bool:
    """Tell whether a message is a report of ours: nobody logged in to send it, and its subject is that of a report."""
    return not message.login and message.subject.startswith(_SUBJECT)
