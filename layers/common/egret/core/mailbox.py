"""Names of mailboxes and flags of mail: what may be used, and how it is written.

Implements: RFC 9051 2.3.2 (flags and keywords), leniently in case: everything is in lower case here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from egret.core.errors import InvalidRequest

INBOX: Final = "Inbox"
SENT: Final = "Sent"
STANDARD: Final = (INBOX, SENT, "Archive", "Trash", "Rejects")
"""Every account has these; what else it has, it made itself."""
MAX_NAME_BYTES: Final = 255
MAX_FLAGS: Final = 50
"""Of one mail."""
MAX_KEYWORD_CHARACTERS: Final = 100

_SYSTEM: Final = (r"\answered", r"\deleted", r"\draft", r"\flagged", r"\seen")
_ORDER: Final = ("$forwarded", "$junk", "$mdnsent", "$notjunk", "$phishing", *_SYSTEM)
# An atom of RFC 9051 9: printable ASCII without the specials of its grammar.
_KEYWORD: Final = re.compile(r'[^\x00-\x20\x7f-\U0010ffff(){%*"\\\]]+')


def mailbox_name(text: str) -> str:
    """Return a name in normal form (NFC, `Inbox` in any case). Raises InvalidRequest `user` for what is no name."""
    name = unicodedata.normalize("NFC", text)
    if name.lower() == INBOX.lower():
        return INBOX
    is_printable = all(unicodedata.category(character)[0] != "C" for character in name)
    parts = name.split("/")
    if not is_printable or any(part != part.strip() or part in ("", ".", "..") for part in parts):
        raise InvalidRequest("user", "A mailbox's name is printable text; slashes separate what is not empty.")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise InvalidRequest("user", f"A mailbox's name has at most {MAX_NAME_BYTES} bytes.")
    return name


def flags_of(words: Iterable[str]) -> frozenset[str]:
    """Return flags in lower case. Raises InvalidRequest `user` for what is neither a system flag nor a keyword."""
    flags = frozenset(word.lower() for word in words)
    for flag in sorted(flags.difference(_ORDER)):
        if len(flag) > MAX_KEYWORD_CHARACTERS or not _KEYWORD.fullmatch(flag):
            raise InvalidRequest(
                "user", f"{flag[:MAX_KEYWORD_CHARACTERS]!r} is no flag: {', '.join(_SYSTEM)}, or an atom."
            )
    return flags


def in_order(flags: frozenset[str]) -> tuple[str, ...]:
    """Return the flags that the reference knows in its order, then keywords by name."""
    return (*(flag for flag in _ORDER if flag in flags), *sorted(flags.difference(_ORDER)))
