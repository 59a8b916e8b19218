"""What the standards refuse in a message: for a pedantic reader, which says why instead of making the best of it.

Implements: RFC 5322 2.1.1, 2.3, 3.6, RFC 2045 6, RFC 2046 5.1, RFC 6532 3.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from egret.core.dates import parse_date
from egret.core.mime import Entity, unfold

_LONG_LINE: Final = re.compile(rb"[^\n]{1000}")  # 998 octets, and CR (RFC 5322 2.1.1)
_BARE_CR: Final = re.compile(rb"\r(?!\n)")
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")
_MESSAGE_ID: Final = re.compile(r"<[^<>@\s]+@[^<>@\s]+>")
_ONCE: Final = (
    "from",
    "sender",
    "reply-to",
    "to",
    "cc",
    "bcc",
    "message-id",
    "in-reply-to",
    "references",
    "subject",
    "date",
)
"""RFC 5322 section 3.6: these stand at most once."""
_IDENTITY: Final = frozenset({"7bit", "8bit", "binary"})
_ENCODINGS: Final = _IDENTITY | {"base64", "quoted-printable"}


def fault(raw: bytes, root: Entity) -> str:
    """Return the first thing that the standards refuse, a clause; "" when nothing is found."""
    return next(_faults(raw, root), "")


def _faults(raw: bytes, root: Entity) -> Iterator[str]:
    if b"\0" in raw:
        yield "it has a NUL"
    if _BARE_CR.search(raw) or _BARE_LF.search(raw):
        yield "a line does not end in CRLF"
    if _LONG_LINE.search(raw):
        yield "a line is longer than 998 octets"
    yield from _header_faults(root)
    for entity in _entities(root):
        yield from entity.flaws
        yield from _part_faults(entity)


def _entities(root: Entity) -> Iterator[Entity]:
    yield root
    for part in root.parts:
        yield from _entities(part)


def _header_faults(root: Entity) -> Iterator[str]:
    names = Counter(name for name, _ in root.headers)
    yield from (f"the field {name} stands there {names[name]} times" for name in _ONCE if names[name] > 1)
    yield from (f"the field {name} is missing" for name in ("from", "date") if not names[name])
    if parse_date(unfold(root.field("date"))) is None:
        yield "its date is no date"
    if names["message-id"] and not _MESSAGE_ID.fullmatch(unfold(root.field("message-id"))):
        yield "its Message-ID is none"
    for name, value in root.headers:
        try:
            value.decode()
        except UnicodeDecodeError:
            yield f"the field {name} is not UTF-8"


def _part_faults(entity: Entity) -> Iterator[str]:
    encoding = unfold(entity.field("content-transfer-encoding")).strip().lower() or "7bit"
    body = entity.raw[entity.start : entity.end]
    if encoding not in _ENCODINGS:
        yield "a part has an unknown Content-Transfer-Encoding"
    if encoding not in _IDENTITY and entity.media_type.startswith("multipart/"):
        yield "a multipart has a Content-Transfer-Encoding"
    if encoding not in ("8bit", "binary") and not entity.parts and not body.isascii():
        yield f"a body said to be {encoding} has 8-bit octets"
    if encoding == "base64" and not _is_base64(body):
        yield "a part is no base64"
    charset = entity.params.get("charset", "")
    if entity.media_type.startswith("text/") and charset and not _is_charset(charset):
        yield "a text has an unknown charset"


def _is_base64(body: bytes) -> bool:
    try:
        binascii.a2b_base64(body.replace(b"\r\n", b""), strict_mode=True)
    except binascii.Error:
        return False
    return True


def _is_charset(name: str) -> bool:
    try:
        return bool(codecs.lookup(name))
    except (LookupError, ValueError):
        return False
