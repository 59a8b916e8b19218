"""Compose a message: headers, MIME tree, encodings.

Implements: RFC 5322, RFC 2045 to 2047, RFC 2183, RFC 2231, RFC 2387, RFC 6532. The result is 7-bit unless an address
needs SMTPUTF8, so that no server on the way has to convert it and break its DKIM signature. It depends on nothing but
the arguments: Message-ID, Date and the boundaries arrive from outside. Bcc is never written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from egret.core import header
from egret.core.address import Address, Mailbox
from egret.core.content_type import OCTET_STREAM, sniff
from egret.core.errors import InvalidRequest
from egret.core.transfer_encoding import base64_lines, encode_text

# Written here, by the transport or by a verified server; a caller's own would contradict or forge them.
OWN_HEADERS = frozenset(
    {"from", "sender", "bcc", "date", "message-id", "mime-version", "dkim-signature", "received", "return-path"}
)
OWN_HEADER_PREFIXES = ("content-", "resent-", "arc-")
# At most one per message (RFC 5322 3.6): a caller may write one where the request itself does not.
ONCE_HEADERS = frozenset({"reply-to", "to", "cc", "subject", "references", "in-reply-to"})

_MESSAGE_ID = re.compile(r"<[^<>\s]+>")
_BOUNDARY = re.compile(r"[A-Za-z0-9_.-]{1,68}")
_TOKEN = r"[!#$%&'*+.^_`{|}~0-9A-Za-z-]+"  # noqa: S105 - RFC 2045 5.1 calls it token
_MEDIA_TYPE = re.compile(rf"({_TOKEN})/({_TOKEN})")
_PARAMETER = re.compile(rf'\s*;\s*({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")')
_QUOTED_PAIR = re.compile(r"\\(.)")
_LINE_BREAK = re.compile(rb"\r\n?|\n")
_OVERLONG_LINE = re.compile(rb"[^\r\n]{999}")


@dataclass(frozen=True, slots=True)
class File:
    """A file of a message."""

    name: str
    """File name, "" for none; any Unicode, no control characters."""
    content_type: str
    """Value of Content-Type with parameters; "" to have it recognised by the data."""
    content_id: str
    """Value of Content-Id, with or without `<>`; "" for none."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Draft:
    """All that goes into a message. Texts are Unicode; nothing is encoded yet."""

    from_: tuple[Mailbox, ...]
    """Exactly one: several would need a Sender (RFC 5322 3.6.2)."""
    message_id: str
    """With `<>`."""
    date: datetime
    """Aware."""
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    """Not written; a non-ASCII local part here still makes the message SMTPUTF8."""
    reply_to: tuple[Mailbox, ...] = ()
    references: tuple[str, ...] = ()
    """Message ids with `<>`, oldest first; the last one becomes In-Reply-To."""
    subject: str = ""
    text: str = ""
    """Lines separated by LF."""
    html: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers (name, value), in order."""
    alternative_files: tuple[File, ...] = ()
    inline_files: tuple[File, ...] = ()
    attached_files: tuple[File, ...] = ()
    user_agent: str = ""
    """Value of User-Agent unless the headers have one or an X-Mailer; "" for none."""


@dataclass(frozen=True, slots=True)
class Composed:
    """A message on its way to signing: CRLF line ends only, no line over 998 octets, body lines mostly 76."""

    headers: bytes
    """Header fields, each ended by CRLF, without the empty line that separates them from the body."""
    body: bytes
    smtputf8: bool
    """Whether it may only travel with SMTPUTF8 (RFC 6531)."""
    is_8bit: bool
    """Whether the body has octets above 127 (BODY=8BITMIME); only ever with smtputf8."""

    @property
    def size_bytes(self) -> int:
        """The size of the message without trace and signature fields."""
        return len(self.headers) + 2 + len(self.body)

    def raw(self, prefix: bytes = b"") -> bytes:
        """Return the whole message; prefix: complete header fields to stand first (Received, DKIM-Signature)."""
        return b"".join((prefix, self.headers, b"\r\n", self.body))


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the MIME tree: its Content-* fields, and its body in pieces that end in CRLF."""

    content_type: str
    headers: str
    pieces: tuple[bytes, ...]


def compose(draft: Draft, new_boundary: Callable[[], str]) -> Composed:
    """Compose a message.

    new_boundary: a fresh unguessable token of 1 to 68 letters, digits, `_`, `.` or `-`, called once for each
    multipart level, outermost first; the same tokens give the same message.
    Raises InvalidRequest (`missingBody`, `multipleFrom`, `malformedMessageID`, `user`), which names the field.
    """
    _check(draft)
    smtputf8 = needs_smtputf8(draft)
    root = _tree(draft, iter(new_boundary, None), smtputf8=smtputf8)
    headers = "".join(_message_headers(draft, smtputf8=smtputf8)) + root.headers
    body = b"".join(root.pieces)
    return Composed(headers.encode(), body, smtputf8, smtputf8 and not body.isascii())


def needs_smtputf8(draft: Draft) -> bool:
    """Whether any address of the message, Bcc included, has a local part that is not ASCII."""
    groups = (draft.from_, draft.to, draft.cc, draft.bcc, draft.reply_to)
    return any(mailbox.address.needs_smtputf8 for group in groups for mailbox in group)


def received(hostname: str, queue_id: str, at: datetime, *, rcpt: Address | None = None, protocol: str = "") -> bytes:
    """Return the Received field of a message that an account sends.

    hostname: of this service, A-labels; it is both the origin and the receiver. rcpt: the recipient if the message
    has exactly one, so that none learns of another. protocol: by which it came (RFC 3848), "" = HTTP, which has no word
    there.
    RFC 5321 4.4.
    """
    words = ["from", hostname, "by", hostname, *(["with", protocol] if protocol else []), "id", queue_id]
    if rcpt is not None:
        words += ["for", f"<{rcpt}>"]
    words[-1] += ";"
    for word in words:
        header.refuse_controls("Received", word)
    return header.fold("Received", [*words, header.date_time(at)]).encode()


def _check(draft: Draft) -> None:
    """Refuse a draft that lacks what every message has, before any work is done for it."""
    if not draft.text and not draft.html:
        raise InvalidRequest("missingBody", "A message needs Text or HTML.")
    if not draft.from_:
        raise InvalidRequest("user", "A message needs a From address.")
    if len(draft.from_) > 1:
        raise InvalidRequest("multipleFrom", "A message has only one From address.")
    if not (draft.message_id.isascii() and _MESSAGE_ID.fullmatch(draft.message_id)):
        raise InvalidRequest("malformedMessageID", "MessageID must be ASCII in angle brackets, like <id@example.com>.")
    header.refuse_controls("MessageID", draft.message_id)
    for reference in draft.references:
        header.refuse_controls("References", reference)
        if not reference.isascii():
            raise InvalidRequest("user", "References must be ASCII.")


def _message_headers(draft: Draft, *, smtputf8: bool) -> Iterator[str]:
    """Yield the header fields above the Content-* fields, in their order."""
    references = [reference.strip() for reference in draft.references if reference.strip()]
    yield header.mailboxes("From", draft.from_, smtputf8=smtputf8)
    yield header.mailboxes("Reply-To", draft.reply_to, smtputf8=smtputf8)
    yield header.mailboxes("To", draft.to, smtputf8=smtputf8)
    yield header.mailboxes("Cc", draft.cc, smtputf8=smtputf8)
    if draft.subject.strip(" "):
        yield header.unstructured("Subject", draft.subject, smtputf8=smtputf8)
    yield f"Date: {header.date_time(draft.date)}\r\n"
    yield header.fold("Message-Id", [draft.message_id])
    if references:
        yield header.fold("References", references)
        yield header.fold("In-Reply-To", references[-1:])
    yield "MIME-Version: 1.0\r\n"
    yield from _caller_headers(draft, smtputf8=smtputf8)


def _caller_headers(draft: Draft, *, smtputf8: bool) -> Iterator[str]:
    """Yield the caller's headers and the User-Agent, refusing those that are not the caller's to write."""
    written = _written(draft)
    for name, value in draft.headers:
        header.check_header_name(name)
        lower = name.lower()
        if lower in OWN_HEADERS or lower.startswith(OWN_HEADER_PREFIXES):
            raise InvalidRequest("user", f"The header {name} is written by the service and cannot be given in Headers.")
        if lower in ONCE_HEADERS and lower in written:
            raise InvalidRequest("user", f"The header {name} can only occur once in a message.")
        written.add(lower)
        yield header.unstructured(name, value, smtputf8=smtputf8, verbatim=True)
    if draft.user_agent and written.isdisjoint({"user-agent", "x-mailer"}):
        yield header.unstructured("User-Agent", draft.user_agent)


def _written(draft: Draft) -> set[str]:
    """Return which of the headers that may occur once come from the draft's own fields."""
    fields = {
        "reply-to": draft.reply_to,
        "to": draft.to,
        "cc": draft.cc,
        "subject": draft.subject.strip(" "),
        "references": draft.references,
        "in-reply-to": draft.references,
    }
    return {name for name, value in fields.items() if value}


def _tree(draft: Draft, boundaries: Iterator[str], *, smtputf8: bool) -> _Part:
    """Return the MIME tree: mixed over related over alternative over the texts, each level only when needed."""
    levels: list[tuple[str, Sequence[File], str]] = [
        ("mixed", draft.attached_files, "attachment"),
        ("related", draft.inline_files, "inline"),
    ]
    wrappers = [(subtype, _boundary(boundaries), files, how) for subtype, files, how in levels if files]
    texts = [("plain", draft.text), ("html", draft.html)]
    parts = [_text_part(subtype, text, smtputf8=smtputf8) for subtype, text in texts if text]
    parts += [_file_part(file, "inline", smtputf8=smtputf8) for file in draft.alternative_files]
    root = parts[0] if len(parts) == 1 else _multipart("alternative", parts, _boundary(boundaries))
    for subtype, boundary, files, how in reversed(wrappers):
        children = [root, *(_file_part(file, how, smtputf8=smtputf8) for file in files)]
        root = _multipart(subtype, children, boundary)
    return root


def _boundary(boundaries: Iterator[str]) -> str:
    """Return the next boundary; `=_` cannot occur in quoted-printable or base64 (RFC 2045 6.7)."""
    if not _BOUNDARY.fullmatch(token := next(boundaries)):
        raise ValueError("a boundary must be 1 to 68 letters, digits, underscores, dots or hyphens")
    return f"=_{token}"


def _multipart(subtype: str, parts: Sequence[_Part], boundary: str) -> _Part:
    """Return a multipart; the root of a multipart/related names its type (RFC 2387 3.1)."""
    pairs = [("boundary", boundary)]
    if subtype == "related":
        pairs.append(("type", parts[0].content_type))
    pieces: list[bytes] = []
    for part in parts:
        pieces.append(f"--{boundary}\r\n{part.headers}\r\n".encode())
        pieces += part.pieces
        pieces.append(b"\r\n")
    pieces.append(f"--{boundary}--\r\n".encode())
    content_type = f"multipart/{subtype}"
    return _Part(content_type, header.parameters("Content-Type", content_type, pairs), tuple(pieces))


def _text_part(subtype: str, text: str, *, smtputf8: bool) -> _Part:
    try:
        encoded = encode_text(text, allow_8bit=smtputf8)
    except UnicodeEncodeError as error:
        raise InvalidRequest("user", "The text of the message has characters that are not valid Unicode.") from error
    headers = (
        f"Content-Type: text/{subtype}; charset={encoded.charset}\r\nContent-Transfer-Encoding: {encoded.encoding}\r\n"
    )
    return _Part(f"text/{subtype}", headers, (encoded.body,))


def _file_part(file: File, disposition: str, *, smtputf8: bool) -> _Part:
    """Return a part with a file, its fields in alphabetical order."""
    media_type, pairs = _media_type(file.content_type or sniff(file.data))
    body, encoding = base64_lines(file.data), "base64"
    if media_type.startswith("message/"):
        # RFC 2045 6.4: a message may not be encoded. One that cannot go as it is goes as a plain file.
        if (data := _plain_message(file.data, allow_8bit=smtputf8)) is None:
            media_type, pairs = OCTET_STREAM, []
        else:
            body, encoding = data, "7bit" if data.isascii() else "8bit"
    headers = header.parameters("Content-Disposition", disposition, [("filename", file.name)])
    headers += _content_id(file.content_id)
    headers += f"Content-Transfer-Encoding: {encoding}\r\n"
    headers += header.parameters("Content-Type", media_type, pairs)
    return _Part(media_type, headers, (body,))


def _content_id(value: str) -> str:
    header.refuse_controls("ContentID", value)
    if not (value := value.strip(" ")):
        return ""
    value = value if value.startswith("<") else f"<{value}>"
    if not (value.isascii() and _MESSAGE_ID.fullmatch(value)):
        raise InvalidRequest("user", "ContentID must be ASCII without spaces, like <logo@example.com>.")
    return header.fold("Content-Id", [value])


def _media_type(value: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the lower-case type of a Content-Type value and its parameters; raise InvalidRequest if it is none."""
    header.refuse_controls("ContentType", value)
    value = value.strip(" ;")
    matched = _MEDIA_TYPE.match(value)
    pairs: list[tuple[str, str]] = []
    at = matched.end() if matched else 0
    while matched and at < len(value) and (parameter := _PARAMETER.match(value, at)):
        key, token, quoted = parameter.groups()
        pairs.append((key.lower(), token or _QUOTED_PAIR.sub(r"\1", quoted or "")))
        at = parameter.end()
    if not matched or at < len(value):
        raise InvalidRequest(
            "user", "ContentType must be a media type, like application/pdf or text/csv; charset=utf-8."
        )
    media_type = matched[0].lower()
    if media_type.startswith("multipart/"):
        raise InvalidRequest("user", "A file cannot have a ContentType of multipart.")
    return media_type, pairs


def _plain_message(data: bytes, *, allow_8bit: bool) -> bytes | None:
    """Return the data with CRLF line ends if it may stand unencoded in a message, else None."""
    if not (allow_8bit or data.isascii()) or b"\0" in data or _OVERLONG_LINE.search(data):
        return None
    data = _LINE_BREAK.sub(b"\r\n", data)
    return data if data.endswith(b"\r\n") else data + b"\r\n"
