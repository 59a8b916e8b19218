"""Read MIME: any octets become a bounded tree of entities; nothing here raises for what a sender wrote.

Implements: RFC 5322 2.2, RFC 2045 to 2047, RFC 2046 5.1, RFC 2231, all leniently. The tree refers to the raw message
by offsets, so a large message is not copied level by level. A message inside a message (message/rfc822) is a leaf.
"""

from __future__ import annotations

import binascii
import codecs
import re
from dataclasses import dataclass, replace
from itertools import islice
from urllib.parse import unquote_to_bytes

# Bounds against messages made to exhaust their reader. Real mail stays far below.
MAX_DEPTH = 30
MAX_PARTS = 1000
MAX_HEADER_OCTETS = 1 << 19  # per entity; 1,000 recipients with long names need about a quarter
MAX_ALL_HEADER_OCTETS = 1 << 20  # of all entities together
MAX_PARAMETERS = 1000  # of a field, and pieces of them (RFC 2231)
MAX_FIELDS = 20_000  # of all entities together: a header of tiny fields takes 30 times its size in memory

_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:(.*)", re.DOTALL)
_FIELD_END = re.compile(rb"\r?\n(?![ \t])")
# What programs write before the header of a message that they store, or quote it so (RFC 4155).
_MBOX_LINE = re.compile(rb">?From ")
_LINE_BREAK = re.compile(rb"\r?\n")
_MEDIA_TYPE = re.compile(r"\s*([^\s;/()\"]+/[^\s;/()\"]+)")
_WORD = re.compile(r"\s*([^\s;()\"]+)")
# Key, piece number and `*` for percent-encoding (RFC 2231), quoted value or bare value.
_PARAMETER = re.compile(r';\s*([^\s=;"*]+)(?:\*(\d{1,4}))?(\*)?\s*=\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"?|([^;]*))')
_QUOTED_PAIR = re.compile(r"\\(.)")
_ENCODED_WORD = re.compile(r"=\?([^?\s]{1,60})\?([bq])\?([^?]*)\?=", re.IGNORECASE)
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Codecs of Python that are no charsets of mail: they run code paths with quadratic cost or interpret escapes.
_NO_CHARSETS = frozenset(
    {"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs", "oem", "utf-7"}
)


@dataclass(frozen=True, slots=True)
class Entity:
    """A message or a part of one."""

    raw: bytes
    """The whole message, shared by all its entities."""
    start: int
    """Offset of the body."""
    end: int
    headers: tuple[tuple[str, bytes], ...]
    """(lower-case name, value as it stands, folded) in order."""
    media_type: str
    """Lower-case `type/subtype`; `/` when missing or malformed."""
    params: dict[str, str]
    """Content-Type parameters, keys in lower case, RFC 2231 undone."""
    parts: tuple[Entity, ...] = ()
    flaws: tuple[str, ...] = ()
    """What the reader had to make the best of, one clause each."""

    def field(self, name: str) -> bytes:
        """Return the value of the first field of that lower-case name as it stands, b"" if there is none."""
        return next((value for key, value in self.headers if key == name), b"")

    def text_field(self, name: str) -> str:
        """Return the value of the first field of that lower-case name, unfolded, encoded words decoded."""
        return decode_words(unfold(self.field(name)))

    def disposition(self) -> tuple[str, dict[str, str]]:
        """Return the lower-case Content-Disposition, "" if missing, and its parameters. RFC 2183 2."""
        value = unfold(self.field("content-disposition"))
        word = _WORD.match(value)
        return (word[1].lower() if word else ""), parse_parameters(value)

    def content(self) -> bytes:
        """Return the body without its transfer encoding; charset and line ends as they are."""
        body = self.raw[self.start : self.end]
        encoding = unfold(self.field("content-transfer-encoding")).strip().lower()
        if encoding == "base64":
            return decode_base64(body)
        return binascii.a2b_qp(body) if encoding == "quoted-printable" else body


def read_entity(raw: bytes) -> Entity:
    """Read a message into its tree; parts beyond the bounds of this module are left out.

    Lines end in LF or CRLF; in CR only where the whole message knows no other end of a line.
    """
    if b"\n" not in raw:
        raw = raw.replace(b"\r", b"\n")
    return _read(raw, (0, len(raw)), 0, _Left())


def header_of(raw: bytes) -> bytes:
    """Return a message without its body: what `read_entity` takes its fields from, and costs nothing to read."""
    blank = _BLANK_LINE.search(raw)
    return raw[: blank.end()] if blank else raw


def unfold(value: bytes) -> str:
    """Return a field's value without line breaks; UTF-8 where it is, else Latin-1."""
    joined = _LINE_BREAK.sub(b"", value).strip()
    try:
        return joined.decode()
    except UnicodeDecodeError:
        return joined.decode("latin-1")


def decode_words(text: str) -> str:
    """Return the text with its encoded words decoded and control characters made spaces. RFC 2047 6.

    Neighbours of one charset are joined first: some senders cut characters in two.
    """
    pieces: list[str | tuple[str, bytearray]] = []
    at = 0
    for word in _ENCODED_WORD.finditer(text):
        gap, charset = text[at : word.start()], word[1].partition("*")[0].lower()
        data, at = _decode_word(word[2], word[3]), word.end()
        previous = pieces[-1] if pieces else ""
        if isinstance(previous, tuple) and not gap.strip():
            if previous[0] == charset:
                previous[1].extend(data)
                continue
        elif gap:
            pieces.append(gap)
        pieces.append((charset, bytearray(data)))
    pieces.append(text[at:])
    decoded = (piece if isinstance(piece, str) else decode_text(bytes(piece[1]), piece[0]) for piece in pieces)
    return _CONTROL.sub(" ", "".join(decoded))


def decode_text(data: bytes, charset: str) -> str:
    """Return octets as text that can be written as UTF-8; an unknown or wrong charset is guessed, never an error."""
    try:
        name = codecs.lookup(charset).name if charset else "ascii"
        if name == "ascii" or name.replace("_", "-") in _NO_CHARSETS:
            return _guess(data)
        text = data.decode(name, "replace")
    except (LookupError, ValueError, AssertionError):
        return _guess(data)
    return text.encode("utf-8", "replace").decode()


def decode_base64(data: bytes) -> bytes:
    """Return what base64 stands for, skipping what is not of its alphabet and repairing a lost end."""
    try:
        return binascii.a2b_base64(data)
    except binascii.Error:
        letters = data.translate(None, _NOT_BASE64)
        letters = letters[:-1] if len(letters) % 4 == 1 else letters
        return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def parse_parameters(value: str) -> dict[str, str]:
    """Return the parameters of a Content-Type or Content-Disposition value, keys in lower case. RFC 2231 3 and 4."""
    pieces: dict[str, list[tuple[int, bool, str]]] = {}
    for found in islice(_PARAMETER.finditer(value), MAX_PARAMETERS):
        key, number, is_encoded, quoted, bare = found.groups()
        text = _QUOTED_PAIR.sub(r"\1", quoted) if quoted is not None else bare.strip()
        pieces.setdefault(key.lower(), []).append((int(number or 0), bool(is_encoded), text))
    return {name: _join_pieces(sorted(found)) for name, found in pieces.items()}


def _guess(data: bytes) -> str:
    """Return octets of unknown charset as text: UTF-8 if they are, else Latin-1, which takes everything."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _decode_word(encoding: str, text: str) -> bytes:
    data = text.encode()
    return decode_base64(data) if encoding in "bB" else binascii.a2b_qp(data, header=True)


def _join_pieces(pieces: list[tuple[int, bool, str]]) -> str:
    """Return the value of a parameter from its numbered pieces, or from its only one."""
    if not any(is_encoded for _, is_encoded, _ in pieces):
        return "".join(text for _, _, text in pieces)
    charset, data = "", b""
    for at, (_, is_encoded, text) in enumerate(pieces):
        if is_encoded and at == 0 and text.count("'") >= 2:
            charset, _, text = text.split("'", 2)  # noqa: PLW2901 - the first piece starts with charset'language'
        data += unquote_to_bytes(text) if is_encoded else text.encode()
    return decode_text(data, charset)


@dataclass(slots=True)
class _Left:
    """What the tree may still have, shared by all its entities."""

    parts: int = MAX_PARTS
    header_octets: int = MAX_ALL_HEADER_OCTETS
    fields: int = MAX_FIELDS


@dataclass(frozen=True, slots=True)
class _Head:
    """The header of an entity. body: offset of what follows it."""

    fields: tuple[tuple[str, bytes], ...]
    body: int
    flaws: tuple[str, ...] = ()


def _read(raw: bytes, span: tuple[int, int], depth: int, left: _Left) -> Entity:
    """Read the entity in raw[start:end]."""
    head = _read_head(raw, span, left)
    body = (head.body, span[1])
    content_type = unfold(next((value for name, value in head.fields if name == "content-type"), b""))
    media = _MEDIA_TYPE.match(content_type)
    media_type = media[1].lower() if media else "/"
    params = parse_parameters(content_type)
    entity = Entity(raw, *body, head.fields, media_type, params, flaws=head.flaws)
    return _with_parts(entity, depth, left) if media_type.startswith("multipart/") else entity


def _read_head(raw: bytes, span: tuple[int, int], left: _Left) -> _Head:
    """Read the header at the beginning of a span. One without a single field is no header but text."""
    start, end = span
    if raw.startswith((b"\n", b"\r\n"), start, end):
        return _Head((), start + (1 if raw[start] == 0x0A else 2))
    blank = _BLANK_LINE.search(raw, start, end)
    header_end, body = blank.span() if blank else (end, end)
    size = min(header_end - start, MAX_HEADER_OCTETS, left.header_octets)
    left.header_octets -= size
    # Behind the last split stands all the rest, as one line.
    lines = _FIELD_END.split(raw[start : start + size], left.fields)[: left.fields] if left.fields else []
    left.fields -= len(lines)
    found = [field for line in lines if (field := _FIELD.fullmatch(line))]
    flaws: tuple[str, ...] = ("a header is too large",) if size < header_end - start or not left.fields else ()
    if len(found) < len([line for line in lines if line]):
        flaws += ("a line in a header is no field",)
    if not found and not _MBOX_LINE.match(raw, start, end):
        return _Head((), start, flaws)
    return _Head(tuple([(field[1].decode("ascii").lower(), field[2]) for field in found]), body, flaws)


def _with_parts(entity: Entity, depth: int, left: _Left) -> Entity:
    """Read the parts of a multipart."""
    boundary = entity.params.get("boundary", "").rstrip()
    if not boundary:
        return replace(entity, flaws=(*entity.flaws, "a multipart has no boundary"))
    if depth >= MAX_DEPTH:
        return replace(entity, flaws=(*entity.flaws, "parts lie too deep within each other"))
    spans, is_closed = _part_spans(entity.raw, (entity.start, entity.end), boundary, left)
    parts = tuple([_read(entity.raw, part, depth + 1, left) for part in spans])
    flaws = () if is_closed else ("a multipart has too many parts, or does not end",)
    return replace(entity, parts=parts, flaws=entity.flaws + flaws)


def _part_spans(raw: bytes, body: tuple[int, int], boundary: str, left: _Left) -> tuple[list[tuple[int, int]], bool]:
    """Return the spans between delimiter lines, each without the line break before its delimiter. RFC 2046 5.1.1.

    The second value: the close delimiter was found. Where it is missing, the last part ends with the body.
    """
    # A delimiter begins a line and has only `--` and padding behind it. A body begins behind a line break.
    delimiter = re.compile(
        rb"\n--" + re.escape(boundary.encode("utf-8", "surrogatepass")) + rb"(--)?[ \t]{0,100}\r?(?=\n|\Z)"
    )
    spans: list[tuple[int, int]] = []
    part_start: int | None = None
    for found in delimiter.finditer(raw, max(body[0] - 1, 0), body[1]):
        if left.parts <= 0:
            return spans, False
        at = found.start()
        if part_start is not None:
            end = at - 1 if raw[at - 1] == 0x0D else at
            spans.append((part_start, max(part_start, end)))
            left.parts -= 1
        if found[1]:
            return spans, True
        part_start = min(found.end() + 1, body[1])
    if part_start is not None and left.parts > 0:
        spans.append((part_start, body[1]))
        left.parts -= 1
    return spans, False
