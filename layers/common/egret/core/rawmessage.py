"""A message as somebody else composed it: its fields and body, as bytes that are kept, checked before it is passed on.

Implements: RFC 5322 2.1, 2.2 and 3.6 as far as a submission server has to insist on them (RFC 6409 6 and 8). What is
wrong is refused with a sentence, not mended, except for line ends.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from egret.core.mime import decode_words, unfold

LINE_LIMIT_OCTETS: Final = 998
"""RFC 5322 2.1.1: the next server may cut a longer line, and what it cut no longer verifies."""
FIELD_LIMIT_OCTETS: Final = 100_000
"""Of one field: some servers cut what is longer."""
MAX_RECEIVED: Final = 100
"""A message that went through more servers is in a loop (RFC 5321 6.3)."""

ONCE: Final = (
    "from", "sender", "reply-to", "to", "cc", "message-id", "in-reply-to", "references", "subject", "date",
    "mime-version", "content-type", "content-transfer-encoding",
)  # fmt: skip
"""Fields that occur at most once (RFC 5322 3.6, RFC 2045 3): programs differ in which of two they show."""

_FIELD = re.compile(rb"([!-9;-~]{1,76})[ \t]*:.*", re.DOTALL)
_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_LINE_END = re.compile(rb"\r\n|\r|\n")


class MalformedMessage(ValueError):
    """The message is none that may be sent; the text is one sentence that may be shown to its sender."""


@dataclass(frozen=True, slots=True)
class Field:
    """A header field. name: lower case. raw: all of it, CRLF included."""

    name: str
    raw: bytes

    @property
    def value(self) -> str:
        """The value, unfolded, encoded words as they stand."""
        return unfold(self.raw.partition(b":")[2])

    @property
    def text(self) -> str:
        """The value for people: encoded words decoded."""
        return decode_words(self.value)


@dataclass(frozen=True, slots=True)
class RawMessage:
    """Fields in order, and the body; all line ends are CRLF."""

    fields: tuple[Field, ...]
    body: bytes

    @property
    def headers(self) -> bytes:
        """The fields as they go over the wire, without the empty line."""
        return b"".join([field.raw for field in self.fields])

    def values(self, name: str) -> list[str]:
        """Return the values of every field of that lower-case name."""
        return [field.value for field in self.fields if field.name == name]

    def text(self, name: str) -> str:
        """Return the text of the first field of that lower-case name, "" without one."""
        return next((field.text for field in self.fields if field.name == name), "")


def read_message(data: bytes) -> RawMessage:
    """Read a message whose lines may end in CRLF, CR or LF. Raises MalformedMessage."""
    data = _with_crlf(data)
    if b"\0" in data:
        raise MalformedMessage("The message has NUL characters; encode it as base64.")
    _check_lines(data)
    head, body = _split(data)
    fields = tuple(_field(raw) for raw in _FIELD_END.split(head) if raw)
    _check_fields(fields)
    return RawMessage(fields, body)


def _with_crlf(data: bytes) -> bytes:
    if not data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r"):
        data = _LINE_END.sub(b"\r\n", data)
    return data if data.endswith(b"\r\n") else data + b"\r\n"


def _check_lines(data: bytes) -> None:
    """Refuse a line that is too long, in few steps however many lines there are."""
    start = 0
    while len(data) - start > LINE_LIMIT_OCTETS + 2:
        end = data.rfind(b"\r\n", start, start + LINE_LIMIT_OCTETS + 2)
        if end < 0:
            line = data.count(b"\n", 0, start) + 1
            raise MalformedMessage(
                f"Line {line} is longer than {LINE_LIMIT_OCTETS} octets; encode the text as quoted-printable."
            )
        start = end + 2


def _split(data: bytes) -> tuple[bytes, bytes]:
    """Return the fields, and the body behind the empty line; a message may end with its header."""
    if data.startswith(b"\r\n"):
        raise MalformedMessage("The message begins with an empty line, so that it has no header.")
    head, empty, body = data.partition(b"\r\n\r\n")
    return (head, body) if empty else (head.removesuffix(b"\r\n"), b"")


def _field(raw: bytes) -> Field:
    matched = _FIELD.fullmatch(raw)
    if matched is None:
        line = decode_words(unfold(raw.partition(b"\r\n")[0][:60]))
        raise MalformedMessage(f"The header has a line that is no field: {line!r}.")
    if len(raw) > FIELD_LIMIT_OCTETS:
        raise MalformedMessage(f"A header field is longer than {FIELD_LIMIT_OCTETS} octets.")
    return Field(matched[1].decode("ascii").lower(), raw + b"\r\n")


def _check_fields(fields: Iterable[Field]) -> None:
    count = Counter(field.name for field in fields)
    for name in ONCE:
        if count[name] > 1:
            raise MalformedMessage(f"The header field {name.title()} occurs {count[name]} times; it may occur once.")
    if count["received"] > MAX_RECEIVED:
        raise MalformedMessage(f"The message has been through {count['received']} servers: it seems to go in circles.")
