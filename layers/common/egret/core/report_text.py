"""What a report shows to people, and what it returns of the message that it is about."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from egret.core.mime import decode_text, parse_parameters
from egret.core.mimescan import Fields, Part, first, read_mail, split_header

MAX_NOTICE_CHARS = 32 * 1024
"""What a report says stands at its beginning."""

MAX_RETURNED_BYTES = 256 * 1024
_RETURNED_TYPES = ("message/rfc822", "message/global", "text/rfc822", "message/partial")
_STATUS_TYPE = "message/global-delivery-status"

_TAG = re.compile(r"<[^<>]*>")
_LINE_TAG = re.compile(r"<(?:br|/p|/div|/tr|/td|/li|/h\d|/pre)\b", re.IGNORECASE)
_UNSEEN = re.compile(r"<(?:style|script|title)\b[^<>]*>[^<]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail, opened: what the readers of reports look at."""

    fields: Fields
    """The mail's own header."""
    parts: tuple[Part, ...]
    """Its leaves."""
    text: str
    """What it shows to people, the beginning."""


def open_letter(raw: bytes) -> Letter:
    """Open a mail; raw: a whole message, any line ends."""
    mail = read_mail(raw)
    return Letter(mail.fields, mail.parts, notice_text(mail.parts))


def notice_text(parts: Sequence[Part]) -> str:
    """Return the readable text of a mail: its first plain parts; if they name nobody, its first HTML part as well."""
    plain = [part for part in parts if part.content_type == "text/plain" or "/" not in part.content_type]
    text = "\n".join(_text(part) for part in plain[:3])[:MAX_NOTICE_CHARS]
    if "@" in text:
        return text
    part = next((part for part in parts if part.content_type == "text/html"), None)
    return f"{text}\n{_without_markup(_text(part))}" if part else text


def original_fields(parts: Sequence[Part]) -> Fields:
    """Return the header of the returned message, whatever type it was given."""
    for part in parts:
        if part.content_type.startswith(_RETURNED_TYPES) and part.content_type != _STATUS_TYPE:
            fields, _ = split_header(part.head(MAX_RETURNED_BYTES).lstrip(b"\n"))
            if fields:
                return fields
    return ()


def _text(part: Part) -> str:
    charset = parse_parameters(first(part.fields, "content-type")).get("charset", "")
    return decode_text(part.head(4 * MAX_NOTICE_CHARS), charset)


def _without_markup(text: str) -> str:
    seen = _UNSEEN.sub("", text[: 2 * MAX_NOTICE_CHARS])
    bare = _TAG.sub(lambda tag: "\n" if _LINE_TAG.match(tag[0]) else "", seen)
    return html.unescape(bare)[:MAX_NOTICE_CHARS]
