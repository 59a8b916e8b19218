"""Conversations: which thread of its account a mail belongs to, whatever its subject says.

A thread is computed from the oldest Message-ID that the mail refers to (RFC 5322 section 3.6.4); the account remembers
the thread of each Message-ID that it met, so that a reply which names only its parent finds the others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from egret.contracts.ports import Mailboxes

REMEMBERED: Final = timedelta(days=400)
"""A conversation that sleeps for longer may begin anew."""
MAX_REFERENCES: Final = 20
"""Looked up: the first, which is the oldest, and the last ones."""
_SPACE = re.compile(r"\s+")


def thread_of(mailboxes: Mailboxes, account: str, message_id: str, references: Sequence[str], now: datetime) -> str:
    """Return the thread of a mail, and remember it for what refers to the mail.

    message_id: "" when it has none. references: oldest first. The same mail again gives the same thread.
    """
    refers_to = _bounded([one for reference in references if (one := _canonical(reference))])
    own = _canonical(message_id)
    ids = list(dict.fromkeys([*refers_to, *([own] if own else [])]))
    if not ids:
        return ""
    known = mailboxes.threads(account, ids) if refers_to else {}
    thread = next((known[one] for one in ids if one in known), "") or _thread(ids[0])
    # The oldest first: who loses the race for it takes the winner's thread.
    for one in dict.fromkeys((ids[0], ids[-1])):
        if one not in known:
            joined = mailboxes.join(account, one, thread, now + REMEMBERED)
            thread = joined if one == ids[0] else thread
    return thread


def _canonical(message_id: str) -> str:
    """Return a Message-ID in the form in which two are compared: without space, in lower case."""
    return _SPACE.sub("", message_id).lower()


def _bounded(references: list[str]) -> list[str]:
    return references if len(references) <= MAX_REFERENCES else [references[0], *references[1 - MAX_REFERENCES :]]


def _thread(message_id: str) -> str:
    """Return the thread that begins with a message: 16 hex digits, which tell nothing of it."""
    return hashlib.sha256(message_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
