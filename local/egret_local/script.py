"""What the local sink answers to an address: a grammar of local parts that scripts the remote's behaviour. Pure.

A recipient's local part that ends in `temperror`, `permerror`, `timeout`, `disconnect`, `greylist` or a code from 400
to 599 gets that answer to its message; with the prefix `rcptto` the answer comes at RCPT already, with the prefix
`mailfrom` on the reverse-path at MAIL. Every other address takes its mail; where it ends in `bounce`, `complaint` or
`reply`, something comes back for it.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

_CODE = re.compile(r"[45]\d\d\Z")
_DEAD = {550: "5.1.1", 551: "5.1.6", 553: "5.1.3", 556: "5.1.10"}
"""Enhanced codes of answers that are to say that the address is dead."""


class Trick(enum.Enum):
    """What is not a plain reply."""

    SILENCE = "no answer at all"
    DISCONNECT = "the connection is closed instead of an answer"
    GREYLIST = "451 the first time, then the mail is taken"


class Afterwards(enum.Enum):
    """What comes back for a message that was taken, by the word that the local part ends in."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    REPLY = "reply"


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply line of the sink."""

    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


def scripted(local_part: str) -> Answer | Trick | None:
    """Return what a local part asks for, None when its mail is taken."""
    name = local_part.lower()
    if name.endswith("temperror"):
        return Answer(451, "4.0.0 scripted temporary error")
    if name.endswith("permerror"):
        return Answer(550, "5.1.1 scripted permanent error")
    if name.endswith("timeout"):
        return Trick.SILENCE
    if name.endswith("disconnect"):
        return Trick.DISCONNECT
    if name.endswith("greylist"):
        return Trick.GREYLIST
    match = _CODE.search(name)
    if match is None:
        return None
    code = int(match[0])
    return Answer(code, f"{_DEAD.get(code, f'{code // 100}.0.0')} scripted answer")


def at_mail(reverse_path: str) -> Answer | Trick | None:
    """Return what the reverse-path asks for at MAIL."""
    local_part = reverse_path.rpartition("@")[0]
    return scripted(local_part) if local_part.lower().startswith("mailfrom") else None


def at_rcpt(forward_path: str) -> Answer | Trick | None:
    """Return what a forward-path asks for at RCPT."""
    local_part = forward_path.rpartition("@")[0]
    return scripted(local_part) if local_part.lower().startswith("rcptto") else None


def at_data(forward_path: str) -> Answer | Trick | None:
    """Return what a forward-path asks for at the end of its message."""
    local_part = forward_path.rpartition("@")[0]
    return None if local_part.lower().startswith("rcptto") else scripted(local_part)


def afterwards(forward_path: str) -> Afterwards | None:
    """Return what a forward-path asks to come back for its message."""
    local_part = forward_path.rpartition("@")[0].lower()
    return next((one for one in Afterwards if local_part.endswith(one.value)), None)
