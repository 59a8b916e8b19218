"""Find the parts of a MIME message that somebody else wrote, whatever is wrong with it.

Implements: RFC 2045 and 2046 as far as incoming reports need them, leniently: any line ends, missing or wrong
boundaries, missing closing delimiters, broken folding, encoded parts of type message/* (which `email` of Python 3.11
misreads). Never raises on any input; looks at a bounded number of bytes. Does not decode encoded words or charsets
other than UTF-8, and does not look into attached messages.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

MAX_SCAN_BYTES = 4 * 1024 * 1024
"""What a report says stands before the returned message; what is beyond is content that nobody here reads."""

MAX_HEADER_BYTES = 256 * 1024
MAX_VALUE_CHARS = 16 * 1024
MAX_FIELDS = 10_000
"""Enough for a report of 1,000 recipients with ten fields each."""

MAX_PARTS = 200
MAX_ENTITIES = 1000
"""Leaves and multiparts that are looked at: those without a leaf cost as much as others."""

MAX_DEPTH = 8

Fields = tuple[tuple[str, str], ...]
"""(name as received, value unfolded to one line), in order."""

# A name starts with a letter: a reply line such as `550-5.1.1: no` that lost its folding is no field.
_FIELD = re.compile(r"([A-Za-z][!-9;-~]*)[ \t]*:(?!//)[ \t]*(.*)")
_PARAMETER = re.compile(r';\s*([\w.-]+)(?:\*\d+)?\*?\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^;\s]*))', re.DOTALL)
_DELIMITER_GUESS = re.compile(rb"^--(\S{1,70})[ \t]*\n(?=content-)", re.MULTILINE | re.IGNORECASE)
_STATUS_PART = re.compile(
    rb"^--\S{1,70}[ \t]*\ncontent-type:[ \t]*message/(?:global-)?delivery", re.MULTILINE | re.IGNORECASE
)
_COMMENT = re.compile(r"\([^()]*\)")


@dataclass(frozen=True, slots=True)
class Part:
    """One leaf of the message.

    content_type: `type/subtype` in lower case. encoded: the body as it was sent, lines ended by LF.
    """

    content_type: str
    fields: Fields
    encoded: bytes

    @property
    def body(self) -> bytes:
        """The body without its transfer encoding, lines ended by LF."""
        words = re.split(r"[\s;(]", first(self.fields, "content-transfer-encoding").lower())
        if words[0] == "quoted-printable":
            return normalise_lines(binascii.a2b_qp(self.encoded))
        # Some relays decode a part and leave its header: base64 has no colon, fields have.
        if words[0] == "base64" and b":" not in self.encoded[:2048]:
            return normalise_lines(_decode_base64(self.encoded))
        return self.encoded

    def head(self, size_bytes: int) -> bytes:
        """Return the beginning of the body: as much as so many bytes of it stand for, as they were sent."""
        return Part(self.content_type, self.fields, self.encoded[:size_bytes]).body


@dataclass(frozen=True, slots=True)
class Mail:
    """A message, cut into leaves."""

    fields: Fields
    """The message's own header."""
    parts: tuple[Part, ...]
    """The leaves in order; an attached message (message/*) is one leaf."""


def read_mail(raw: bytes) -> Mail:
    """Return a message's header and leaves.

    raw: a whole message, any line ends. Bytes beyond MAX_SCAN_BYTES and leaves beyond MAX_PARTS are left out.
    """
    message = normalise_lines(raw[:MAX_SCAN_BYTES]).lstrip(b"\n")
    fields, body = split_header(message)
    return Mail(fields, tuple(islice(_leaves(fields, body, 0, count()), MAX_PARTS)))


def leaf_parts(raw: bytes) -> Iterator[Part]:
    """Return the leaves of a message, as `read_mail` does."""
    return iter(read_mail(raw).parts)


def read_fields(text: str) -> Fields:
    """Read header fields or a block of a report.

    text: lines ended by LF. A line that is no field continues the one before it, indented or not.
    """
    found: list[tuple[str, list[str]]] = []
    for line in text.split("\n"):
        match = _FIELD.match(line)
        if match:
            if len(found) == MAX_FIELDS:
                break
            found.append((match[1], [match[2].strip()]))
        elif found and line.strip():
            found[-1][1].append(line.strip())
    return tuple((name, " ".join(lines).strip()[:MAX_VALUE_CHARS]) for name, lines in found)


def first(fields: Fields, name: str) -> str:
    """Return the first value of a field, or "". name: in lower case."""
    return next((value for key, value in fields if key.lower() == name), "")


def decode_text(data: bytes) -> str:
    """Decode UTF-8, or else Latin-1, which takes any byte."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def strip_comments(text: str) -> str:
    """Remove comments in parentheses, nested up to five deep (RFC 5322 section 3.2.2)."""
    for _ in range(5):
        text, count = _COMMENT.subn(" ", text)
        if not count:
            break
    return text.strip()


def normalise_lines(data: bytes) -> bytes:
    """End every line by LF, whether it ended by CRLF, CR, LF, or CRCRLF (a relay that added a CR)."""
    if b"\r" not in data:
        return data
    return data.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def split_header(message: bytes) -> tuple[Fields, bytes]:
    """Return header fields and body of a message or part. message: lines ended by LF."""
    if message.startswith(b"\n"):
        return (), message[1:]
    header, _, body = message.partition(b"\n\n")
    return read_fields(decode_text(header[:MAX_HEADER_BYTES])), body


def _leaves(fields: Fields, body: bytes, depth: int, entities: Iterator[int]) -> Iterator[Part]:
    """Yield the leaves of an entity. entities: counts those of the whole mail."""
    content_type, boundary = _content_type(first(fields, "content-type"))
    # A report that went through an old mail store may have lost its own Content-Type, while its parts kept theirs.
    is_stripped = depth == 0 and not first(fields, "content-type") and _STATUS_PART.search(body) is not None
    if not (is_stripped or content_type.startswith("multipart/")) or depth == MAX_DEPTH:
        yield Part(content_type, fields, body)
        return
    for section in _sections(body, boundary):
        if next(entities) >= MAX_ENTITIES:
            return
        yield from _leaves(*split_header(section), depth + 1, entities)


def _content_type(value: str) -> tuple[str, bytes]:
    """Return type and boundary of a Content-Type (RFC 2045 5.1, RFC 2231 3); text/plain if there is none."""
    word = re.split(r"[\s;(]", value.strip().lower(), maxsplit=1)[0]
    boundary = ""
    for name, quoted, token in _PARAMETER.findall(value):
        if name.lower() == "boundary":
            boundary += re.sub(r"\\(.)", r"\1", quoted) if quoted else token
    return word or "text/plain", boundary.strip().encode("utf-8", "replace")


def _sections(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """Cut a multipart body at its delimiter lines (RFC 2046 section 5.1); guess a boundary that is missing or wrong."""
    if not boundary or b"--" + boundary not in body:
        guess = _DELIMITER_GUESS.search(body)
        if guess is None:
            return
        boundary = guess[1]
    begin: int | None = None
    for line in re.finditer(rb"^--" + re.escape(boundary) + rb"(--)?[ \t]*$", body, re.MULTILINE):
        if begin is not None:
            yield body[begin : max(begin, line.start() - 1)]
        begin = None if line[1] else line.end() + 1
        if line[1]:
            return
    if begin is not None:
        yield body[begin:]


def _decode_base64(data: bytes) -> bytes:
    alphabet = re.sub(rb"[^A-Za-z0-9+/]", b"", data.partition(b"=")[0])
    usable = alphabet[: len(alphabet) - (len(alphabet) % 4 == 1)]
    return base64.b64decode(usable + b"=" * (-len(usable) % 4))
