"""Write a delivery status notification: what became of a message, for its sender to read, and for his programs.

Implements: RFC 3464, RFC 3461 section 6, RFC 6533 section 3, RFC 6522, RFC 3834 section 5, RFC 4865 section 3. Replies
and addresses in it are words of strangers: whatever they hold, they add no field, end no part, and make no line longer
than 998 octets. The same arguments give the same message, its boundary included. Does not decide who hears of what, nor
what a failure means.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from egret.core import header
from egret.core.compose import Composed
from egret.core.outcome import NOWHERE, Remote
from egret.core.transfer_encoding import base64_lines, encode_text

MAX_RETURNED_BYTES = 64 * 1024
"""Of the message that is given back, headers or whole; a larger one is given back by its headers only."""
MAX_ERROR_CHARACTERS = 1_000
MAX_DIAGNOSTIC_CHARACTERS = 8_000
"""Twice of what the egress keeps of a reply."""

_SUBJECTS = {
    "failed": "Undelivered mail",
    "delayed": "Delayed mail, which is still being tried",
    "delivered": "Delivered mail",
    "relayed": "Relayed mail",
    "expanded": "Delivered mail",
}
_SENTENCES = {
    "failed": "could not be delivered. No further attempt will be made.",
    "delayed": "has not been delivered yet. There is no need to send it again: it is still being tried.",
    "delivered": "was delivered.",
    "relayed": "was passed on to a mail server that does not report what becomes of it.",
    "expanded": "was delivered to a list, which passed it on to its members.",
}
_CLASSES = {"failed": "5", "delayed": "4"}
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
# What readers take for the end of a line, Unicode's own included, and what is no character at all.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")  # RFC 6533 3: printable without space, `+`, `=` and backslash
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")  # RFC 3461 4
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]{1,64}")
_NAME = re.compile(r"[^A-Za-z0-9.:\[\]_-]")
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,900}>")
_BROKEN_LINE = re.compile(rb"\r(?!\n)|(?<!\r)\n|\x00|[^\r\n]{999}")
_CUT = "..."
_WORD_OCTETS = 900
_TEXT_WIDTH = 72


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """What is reported of one recipient. Texts are "" and instants None where there is nothing to say."""

    final_recipient: str
    """Forward-path without <>."""
    action: str
    """One of `core.dsn.ACTIONS`."""
    status: str = ""
    """Enhanced code; "" = x.0.0, its class by the action."""
    error: str = ""
    """One sentence: why."""
    diagnostic: tuple[str, ...] = ()
    """Every line of the reply as it stood on the wire (`reply_lines`)."""
    remote: Remote = NOWHERE
    original_recipient: str = ""
    """ORCPT as it was given, `type;xtext`."""
    last_attempt_at: datetime | None = None
    next_attempt_at: datetime | None = None
    will_retry_until: datetime | None = None
    log_id: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All that goes into a notification. Instants are aware."""

    hostname: str
    """The reporting MTA."""
    to: str
    """Who sent the message, without <>."""
    message_id: str
    """Of the notification, with <>."""
    date: datetime
    recipients: tuple[RecipientReport, ...]
    """At least one."""
    arrival_at: datetime
    original_message_id: str = ""
    """With <>."""
    original_subject: str = ""
    original: bytes = b""
    """The message itself, CRLF line ends, or its beginning: as far as the end of its headers at least."""
    returns_body: bool = False
    """`original` is whole, and wanted back whole (RET=FULL)."""
    envelope_id: str = ""
    """ENVID, decoded."""
    future_release: str = ""
    """`for;seconds` or `until;date-time` (RFC 4865)."""


def reply_lines(code: int, lines: Sequence[str]) -> tuple[str, ...]:
    """Return the lines of a reply as they stood on the wire: `550-no`, `550 such user`; () without a code."""
    last = len(lines) - 1
    return tuple(f"{code}{'-' if at < last else ' '}{line}".rstrip() for at, line in enumerate(lines)) if code else ()


def compose_dsn(report: Report, *, smtputf8: bool = False, allow_8bit: bool = False) -> Composed:
    r"""Write a notification.

    smtputf8: the message needed SMTPUTF8 and who reads this takes it; without, characters beyond ASCII are written as
    `\x{E9}` (RFC 6533 section 3), unless the sender's own address has some. allow_8bit: the returned message may have
    8-bit lines. Never raises for what a text holds.
    """
    utf8 = smtputf8 or not report.to.isascii()
    parts = [_text_part(report, utf8=utf8), _status_part(report, utf8=utf8)]
    if report.original:
        parts.append(_original_part(report, utf8=utf8, allow_8bit=utf8 or allow_8bit))
    # A text cannot hold the hash of itself, so nobody can end a part by what he writes.
    boundary = "=_" + hashlib.sha256(b"\n".join(parts)).hexdigest()[:40]
    body = b"".join(f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()
    headers = "".join(_headers(report, boundary)).encode()
    return Composed(headers, body, utf8 and not (headers.isascii() and body.isascii()), not body.isascii())


def subject_of(report: Report) -> str:
    """Return the Subject, one phrase for each action; several recipients go by the first."""
    return _SUBJECTS[report.recipients[0].action]


def mailbox_fields(reverse_path: str) -> bytes:
    """Return the fields that a mailbox puts before a notification: it came from nobody, for the reverse-path."""
    return f"Return-Path: <>\r\n{_line('Delivered-To', reverse_path)}".encode()


def _headers(report: Report, boundary: str) -> Iterator[str]:
    """Yield the header fields. RFC 3464 section 2, RFC 3834 section 5."""
    yield _line("From", f'"Mail Delivery System" <postmaster@{report.hostname}>')
    yield _line("To", f"<{report.to}>")
    yield _line("Subject", subject_of(report))
    yield _line("Message-Id", report.message_id)
    if _MESSAGE_ID.fullmatch(report.original_message_id):
        yield _line("In-Reply-To", report.original_message_id)
        yield _line("References", report.original_message_id)
    yield _line("Date", header.date_time(report.date))
    yield "MIME-Version: 1.0\r\n"
    yield "Auto-Submitted: auto-replied\r\n"
    pairs = [("report-type", "delivery-status"), ("boundary", boundary)]
    yield header.parameters("Content-Type", "multipart/report", pairs)


# --- the text


def _text_part(report: Report, *, utf8: bool) -> bytes:
    about = "This is the mail system at " + report.hostname
    about += f". It reports on your message of {header.date_time(report.arrival_at)}"
    if subject := _one_line(report.original_subject):
        about += f', "{_shortened(subject, 200)}"'
    paragraphs = [_filled(f"{about}."), *(text for one in report.recipients for text in _paragraphs(one))]
    encoded = encode_text("\n\n".join(paragraphs), allow_8bit=utf8)
    return _part(f"text/plain; charset={encoded.charset}", encoded.encoding, encoded.body)


def _paragraphs(one: RecipientReport) -> Iterator[str]:
    """Yield what a person wants to know of one recipient."""
    told = [f"Your message to {_one_line(one.final_recipient)} {_SENTENCES[one.action]}"]
    if one.next_attempt_at is not None:
        told.append(f"The next attempt is to be made at {header.date_time(one.next_attempt_at)}.")
    if one.will_retry_until is not None:
        told.append(f"It is given up at {header.date_time(one.will_retry_until)} if all attempts until then fail.")
    yield _filled(" ".join(told))
    if one.error:
        yield _filled(f"The reason: {_shortened(_one_line(one.error), MAX_ERROR_CHARACTERS)}")
    if one.diagnostic:
        who = _one_line(str(one.remote)) or "The other server"
        # Indented, so that no line of a stranger looks like one of ours.
        yield "\n".join([f"{who} answered:", *(f"    {line}" for line in _bounded(one.diagnostic))])


def _filled(text: str) -> str:
    return textwrap.fill(text, _TEXT_WIDTH, break_long_words=False, break_on_hyphens=False)


# --- the fields


def _status_part(report: Report, *, utf8: bool) -> bytes:
    blocks = [_message_fields(report), *(_recipient_fields(one, utf8=utf8) for one in report.recipients)]
    text = "\r\n".join("".join(block) for block in blocks)
    if not (utf8 or text.isascii()):
        text = "\r\n".join(_NOT_ASCII.sub(_embedded, line)[: header.LINE_LIMIT_OCTETS] for line in text.split("\r\n"))
    is_global = not text.isascii()
    kind = "message/global-delivery-status" if is_global else "message/delivery-status"
    return _part(kind, "8bit" if is_global else "7bit", text.encode())


def _message_fields(report: Report) -> Iterator[str]:
    """Yield the per-message fields. RFC 3464 section 2.2, RFC 4865 section 3."""
    if report.envelope_id:
        yield _line("Original-Envelope-Id", report.envelope_id)
    yield _line("Reporting-MTA", f"dns; {report.hostname}")
    yield _line("Arrival-Date", header.date_time(report.arrival_at))
    if report.future_release:
        yield _line("Future-Release-Request", report.future_release)


def _recipient_fields(one: RecipientReport, *, utf8: bool) -> Iterator[str]:
    """Yield the per-recipient fields. RFC 3464 section 2.3."""
    if original := _original_recipient(one.original_recipient):
        yield _line("Original-Recipient", original)
    yield _line("Final-Recipient", _typed_address(one.final_recipient, utf8=utf8))
    yield f"Action: {one.action}\r\n"
    status = one.status if _STATUS.fullmatch(one.status) else f"{_CLASSES.get(one.action, '2')}.0.0"
    yield _folded("Status:", [f"{status} {_comment(one.error)}"])
    if name := _NAME.sub("", one.remote.mx_host):
        address = _NAME.sub("", one.remote.address)
        yield _line("Remote-MTA", f"dns; {name} ({address})" if address else f"dns; {name}")
    if one.diagnostic:
        yield _folded("Diagnostic-Code: smtp;", _bounded(one.diagnostic))
    if one.last_attempt_at is not None:
        yield _line("Last-Attempt-Date", header.date_time(one.last_attempt_at))
    if one.log_id:
        yield _line("Final-Log-ID", one.log_id)
    if one.will_retry_until is not None:
        yield _line("Will-Retry-Until", header.date_time(one.will_retry_until))


def _typed_address(address: str, *, utf8: bool) -> str:
    """Return an address with its type. RFC 3464 section 2.3.2, RFC 6533 section 3."""
    if address.isascii():
        return f"rfc822; {address}"
    return f"utf-8; {address if utf8 else _NOT_QCHAR.sub(_embedded, address)}"


def _original_recipient(orcpt: str) -> str:
    """Return ORCPT as the field has it, its xtext decoded; "" when it is none (RFC 3461 section 6.3.1)."""
    kind, _, text = orcpt.partition(";")
    if not (text and _ADDRESS_TYPE.fullmatch(kind)):
        return ""
    return f"{kind}; {_HEXCHAR.sub(lambda match: chr(int(match[1], 16)), text)}"


def _comment(text: str) -> str:
    """Return a text as a comment, "" for none; parentheses become brackets, which no reader takes for an end."""
    plain = _shortened(_one_line(text), MAX_ERROR_CHARACTERS)
    return f"({plain.replace('(', '[').replace(')', ']').replace(chr(92), '/')})" if plain else ""


def _embedded(match: re.Match[str]) -> str:
    return f"\\x{{{ord(match[0]):02X}}}"


# --- what is given back


def _original_part(report: Report, *, utf8: bool, allow_8bit: bool) -> bytes:
    """Return the message, or its headers where it is not wanted whole, is too large, or cannot stand as it is."""
    original = report.original
    is_small = len(original) <= MAX_RETURNED_BYTES and not _BROKEN_LINE.search(original)
    if report.returns_body and is_small and (original.isascii() or allow_8bit):
        is_global = not _header_of(original).isascii()
        if utf8 or not is_global:
            kind = "message/global" if is_global else "message/rfc822"
            return _part(kind, "7bit" if original.isascii() else "8bit", original)
    return _headers_part(_header_of(original), utf8=utf8)


def _header_of(message: bytes) -> bytes:
    """Return the header fields; what is over the limit is left out, by whole lines."""
    fields = message.partition(b"\r\n\r\n")[0].removesuffix(b"\r\n") + b"\r\n"
    if len(fields) <= MAX_RETURNED_BYTES:
        return fields
    end = fields.rfind(b"\r\n", 0, MAX_RETURNED_BYTES)
    return fields[: end + 2] if end >= 0 else b""


def _headers_part(fields: bytes, *, utf8: bool) -> bytes:
    """Return header fields alone. RFC 6522 section 4, RFC 6533 section 4."""
    is_broken = _BROKEN_LINE.search(fields) is not None
    if fields.isascii() and not is_broken:
        return _part("text/rfc822-headers", "7bit", fields)
    if utf8 and not is_broken and _is_utf8(fields):
        return _part("message/global-headers", "8bit", fields)
    return _part("text/rfc822-headers; charset=utf-8", "base64", base64_lines(fields))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


# --- lines


def _part(content_type: str, encoding: str, body: bytes) -> bytes:
    return f"Content-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + body


def _line(name: str, value: str) -> str:
    """Return a field of one line; what could end the line is replaced, what is longer than any such value is cut."""
    plain = _CONTROL.sub("?", value)
    return f"{name}: {plain[: _WORD_OCTETS if plain.isascii() else _WORD_OCTETS // 4]}\r\n"


def _folded(start: str, texts: Iterable[str]) -> str:
    """Return a field, each of its texts but the first on a new line. start: its name, and what precedes the texts."""
    lines = [start]
    for number, text in enumerate(texts):
        is_new = number > 0
        for word in _words(text):
            if is_new or len(lines[-1]) + 1 + len(word) > header.LINE_AIM:
                lines.append("")
            lines[-1] += f" {word}"
            is_new = False
    return "\r\n".join(lines) + "\r\n"


def _words(text: str) -> Iterator[str]:
    """Yield the words of a text, too long ones in pieces."""
    for word in _CONTROL.sub(" ", text).split():
        # A character that is written as \x{10FFFF} takes ten octets.
        size = _WORD_OCTETS if word.isascii() else _WORD_OCTETS // 10
        yield from (word[at : at + size] for at in range(0, len(word), size))


def _one_line(text: str) -> str:
    return " ".join(_CONTROL.sub(" ", text).split())


def _bounded(lines: Iterable[str]) -> list[str]:
    """Return lines without control characters, of at most MAX_DIAGNOSTIC_CHARACTERS in all."""
    room, kept = MAX_DIAGNOSTIC_CHARACTERS, []
    for line in map(_one_line, lines):
        kept.append(_shortened(line, room))
        room -= len(line)
        if room <= 0:
            break
    return kept


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(length - len(_CUT), 0)] + _CUT
