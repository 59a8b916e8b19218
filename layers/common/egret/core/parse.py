"""Read a message as a person would: addresses, subject, text, and the structure of its parts.

Implements: RFC 5322 3.4, 3.6, RFC 2046 5.1.4 (alternative), leniently; the reader behind MessageGet and incoming
webhooks. Any octets give a result. It does not verify anything: neither signatures nor that a From is true.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from egret.core.address import Address, AddressError
from egret.core.conformance import fault
from egret.core.dates import parse_date
from egret.core.mime import Entity, decode_text, decode_words, read_entity, unfold

MAX_TEXT_OCTETS = 1 << 20  # of UTF-8, for each of text and html
MAX_CONTROLS = 10_000  # in a text: one with more of them could be too large to be answered
MAX_ADDRESS_TOKENS = 20_000  # of each field: some thousands of addresses with names

_TOKEN = re.compile(
    r'(?P<quoted>"(?:[^"\\]|\\.)*"?)|(?P<angle><[^>]*>?)|(?P<end>[,;])|(?P<group>:)|(?P<comment>\()'
    r'|(?P<text>\[[^\]]*\]?|[^"(<\[,;:]+)'
)
_COMMENT_MARK = re.compile(r"[()]|\\.")
_QUOTED_PAIR = re.compile(r"\\(.)")
_ROUTE = re.compile(r"\s*@[^:<>]*:")
_MESSAGE_ID = re.compile(r"<[^<>\s]+>")
_LINE_BREAK = re.compile(r"\r\n?")
# Controls with no meaning in a text, each of which takes six octets of JSON.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")
_LIST_HEADERS = frozenset({"list-id", "list-unsubscribe", "list-unsubscribe-post", "precedence"})


@dataclass(frozen=True, slots=True)
class NameAddress:
    """A mailbox as found in a header: unlike `address.Mailbox` its address may be malformed."""

    name: str
    """Decoded display name, or the comment beside a bare address; "" for none."""
    address: str
    """Domain in U-labels if the address is valid, else as it stands."""


@dataclass(frozen=True, slots=True)
class Structure:
    """What a part is, without its content; the fields are those of the API's Structure."""

    content_type: str
    """Lower-case `type/subtype`; `/` when missing."""
    content_type_params: dict[str, str]
    """Keys in lower case."""
    content_id: str
    """As it stands, with `<>`."""
    content_disposition: str
    """Lower-case word, "" when missing."""
    filename: str
    """From the disposition, else the name parameter of the content type; decoded."""
    decoded_size: int
    """Octets without transfer encoding, lines of text counted with CRLF; 0 for multiparts."""
    parts: tuple[Structure, ...]


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """A message, read. Strings are Unicode without lone surrogates; headers have no control characters."""

    from_: tuple[NameAddress, ...]
    to: tuple[NameAddress, ...]
    cc: tuple[NameAddress, ...]
    bcc: tuple[NameAddress, ...]
    reply_to: tuple[NameAddress, ...]
    message_id: str
    """With `<>`."""
    in_reply_to: str
    """The first message id of In-Reply-To, with `<>`; "" for none."""
    references: tuple[str, ...]
    """In order, as they stand; In-Reply-To first if it is not among them."""
    date: datetime | None
    """Aware; None when missing or malformed."""
    subject: str
    text: str
    """Lines separated by LF, at most 1 MiB of UTF-8; "" when there is no text part. Very many controls are spaces."""
    html: str
    """As text."""
    structure: Structure
    is_automated: bool
    """Whether list headers, Precedence, Auto-Submitted or multipart/report mark it as made by a machine."""


class NotConforming(ValueError):
    """What a pedantic reader refuses. Its text is a clause that says why."""


def parse_message(raw: bytes, *, pedantic: bool = False) -> ParsedMessage:
    """Read a whole message; never raises, whatever the octets are.

    pedantic: raise NotConforming where the standards do not allow what was written.
    """
    root = read_entity(raw)
    if pedantic and (why := fault(raw, root)):
        raise NotConforming(why)
    text, html = _readable(root)
    in_reply_to = _first_message_id(root.text_field("in-reply-to"))
    references = tuple(root.text_field("references").split())
    if in_reply_to and in_reply_to not in references:
        references = (in_reply_to, *references)
    return ParsedMessage(
        from_=_addresses(root, "from"),
        to=_addresses(root, "to"),
        cc=_addresses(root, "cc"),
        bcc=_addresses(root, "bcc"),
        reply_to=_addresses(root, "reply-to"),
        message_id=root.text_field("message-id").strip(),
        in_reply_to=in_reply_to,
        references=references,
        date=parse_date(unfold(root.field("date"))),
        subject=root.text_field("subject"),
        text=_readable_text(text),
        html=_readable_text(html),
        structure=_structure(root),
        is_automated=_is_automated(root),
    )


def part_content(raw: bytes, path: Sequence[int]) -> bytes | None:
    """Return the decoded body of a part, by child indices from the top; None if there is no such part.

    An empty path is the message's own body. Charset and line ends are as they are.
    """
    entity = read_entity(raw)
    for index in path:
        if not 0 <= index < len(entity.parts):
            return None
        entity = entity.parts[index]
    return entity.content()


def parse_addresses(value: str) -> tuple[NameAddress, ...]:
    """Return the mailboxes of an unfolded address field, groups dissolved, in order. RFC 5322 3.4, 4.4."""
    found: list[NameAddress] = []
    tokens: list[tuple[str, str]] = []
    for kind, text in (*islice(_address_tokens(value), MAX_ADDRESS_TOKENS), ("end", "")):
        if kind == "group":
            tokens.clear()
        elif kind != "end":
            tokens.append((kind, text))
        elif tokens:
            mailbox = _mailbox(tokens)
            tokens.clear()
            if mailbox.name or mailbox.address:
                found.append(mailbox)
    return tuple(found)


def _addresses(root: Entity, name: str) -> tuple[NameAddress, ...]:
    return parse_addresses(unfold(root.field(name)))


def _address_tokens(value: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) for the pieces of an address field; comments lose their outer parentheses."""
    at = 0
    while token := _TOKEN.match(value, at):
        at = token.end()
        kind, text = str(token.lastgroup), token[0]
        if kind == "comment":
            at, text = _comment(value, at)
        yield kind, text


def _comment(value: str, start: int) -> tuple[int, str]:
    """Return where the comment that opened before `start` ends, and its text. RFC 5322 3.2.2: comments nest."""
    depth = 1
    for mark in _COMMENT_MARK.finditer(value, start):
        depth += {"(": 1, ")": -1}.get(mark[0], 0)
        if depth == 0:
            return mark.end(), value[start : mark.start()]
    return len(value), value[start:]


def _mailbox(tokens: list[tuple[str, str]]) -> NameAddress:
    """Return the mailbox that the tokens between two commas stand for."""
    angle = next((text for kind, text in tokens if kind == "angle"), None)
    if angle is None:
        address = "".join(text for kind, text in tokens if kind in {"text", "quoted"})
        name = " ".join(text for kind, text in tokens if kind == "comment")
    else:
        address = _without_route(angle.strip("<>"))
        words = (_unquoted(text) if kind == "quoted" else text for kind, text in tokens if kind in {"text", "quoted"})
        name = " ".join(filter(None, map(str.strip, words)))
    return NameAddress(decode_words(name).strip(), _readable_address(address.strip()))


def _without_route(text: str) -> str:
    """Return an address without the obsolete route before it. RFC 5322 4.4."""
    route = _ROUTE.match(text)
    return text[route.end() :] if route else text


def _unquoted(text: str) -> str:
    return _QUOTED_PAIR.sub(r"\1", text.removeprefix('"').removesuffix('"'))


def _readable_address(text: str) -> str:
    try:
        return Address.parse(text).unicode_form
    except AddressError:
        return decode_words(text)


def _first_message_id(value: str) -> str:
    found = _MESSAGE_ID.search(value)
    return found[0] if found else ""


def _readable(entity: Entity) -> tuple[Entity | None, Entity | None]:
    """Return the part to read as text and the part to read as html, None for what there is not.

    The first text or html decides, depth first; within multipart/alternative both are taken, the last of each kind:
    it is the richest (RFC 2046 5.1.4). Attachments are not for reading.
    """
    if not entity.parts:
        return _readable_leaf(entity)
    text: Entity | None = None
    html: Entity | None = None
    for part in entity.parts:
        found_text, found_html = _readable(part)
        text, html = found_text or text, found_html or html
        if (text or html) and entity.media_type != "multipart/alternative":
            break
    return text, html


def _readable_leaf(entity: Entity) -> tuple[Entity | None, Entity | None]:
    if entity.disposition()[0] == "attachment":
        return None, None
    # RFC 2045 5.2: a message without Content-Type is plain text.
    is_text = entity.media_type in {"text/plain", "/"}
    return (entity if is_text else None), (entity if entity.media_type == "text/html" else None)


def _readable_text(entity: Entity | None) -> str:
    """Return a part's text with LF, cut at the limit without breaking a character."""
    if entity is None:
        return ""
    # No charset needs more than four octets for a character, so that is all that can be shown.
    content = entity.content()[: 4 * MAX_TEXT_OCTETS]
    text = _LINE_BREAK.sub("\n", decode_text(content, entity.params.get("charset", "")))
    without, controls = _CONTROL.subn(" ", text)
    text = without if controls > MAX_CONTROLS else text
    data = text.encode()
    return text if len(data) <= MAX_TEXT_OCTETS else data[:MAX_TEXT_OCTETS].decode("utf-8", "ignore")


def _structure(entity: Entity) -> Structure:
    disposition, params = entity.disposition()
    return Structure(
        content_type=entity.media_type,
        content_type_params=entity.params,
        content_id=entity.text_field("content-id"),
        content_disposition=disposition,
        filename=decode_words(params.get("filename") or entity.params.get("name", "")),
        decoded_size=_decoded_size(entity),
        parts=tuple([_structure(part) for part in entity.parts]),
    )


def _decoded_size(entity: Entity) -> int:
    if entity.media_type.startswith("multipart/"):
        return 0
    content = entity.content()
    if not entity.media_type.startswith("text/"):
        return len(content)
    return len(content) + content.count(b"\n") - content.count(b"\r\n")


def _is_automated(root: Entity) -> bool:
    auto_submitted = unfold(root.field("auto-submitted")).partition(";")[0].strip().lower()
    return (
        root.media_type == "multipart/report"
        or auto_submitted not in {"", "no"}
        or not _LIST_HEADERS.isdisjoint(name for name, _ in root.headers)
    )
