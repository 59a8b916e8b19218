"""Encode bodies for transport: base64, quoted-printable, or as they are.

Implements: RFC 2045 6 and 2.7 to 2.9, RFC 2046 4.1.1. The output has CRLF line ends only, no NUL, no line over
76 octets, and ends in CRLF (an empty base64 body is empty).
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass

LINE_OCTETS = 76  # RFC 2045 6.7 and 6.8: no encoded line is longer
_BASE64_INPUT_OCTETS = 57  # become one line of 76
_BASE64_LINES_PER_CHUNK = 1024  # bounds the number of short-lived objects while a large file is encoded

_LONG_LINE = re.compile(rb"[^\n]{77}")
_LINE_BREAK = re.compile(r"\r\n?")
# What quoted-printable must escape: counted to foretell its size.
_ESCAPED = bytes(
    octet for octet in range(256) if (octet < 0x20 and octet not in b"\t\n") or octet > 0x7E or octet == 0x3D
)
_CONTROLS = bytes(octet for octet in range(0x80) if (octet < 0x20 and octet not in b"\t\n") or octet == 0x7F)


@dataclass(frozen=True, slots=True)
class EncodedText:
    """A text body ready for transport."""

    charset: str
    """`us-ascii` or `utf-8`."""
    encoding: str
    """The Content-Transfer-Encoding: `7bit`, `8bit`, `quoted-printable` or `base64`."""
    body: bytes
    """CRLF line ends, the last line ended too."""


def encode_text(text: str, *, allow_8bit: bool) -> EncodedText:
    """Encode a text body in the plainest way that survives every server on the way.

    text: lines separated by LF, CRLF or CR (RFC 2046 4.1.1 knows no other meaning of a bare CR); no lone surrogates.
    As it is when it is ASCII with lines of at most 76 octets and without control characters, or UTF-8 if 8-bit
    bodies are allowed; else quoted-printable or base64, whichever is shorter.
    """
    data = _LINE_BREAK.sub("\n", text).encode()
    if not data.endswith(b"\n"):
        data += b"\n"
    is_ascii = data.isascii()
    charset = "us-ascii" if is_ascii else "utf-8"
    if (is_ascii or allow_8bit) and not _LONG_LINE.search(data) and len(data.translate(None, _CONTROLS)) == len(data):
        return EncodedText(charset, "7bit" if is_ascii else "8bit", data.replace(b"\n", b"\r\n"))
    data = data.replace(b"\n", b"\r\n")
    escaped = len(data) - len(data.translate(None, _ESCAPED)) - data.count(b"\r\n")
    # Quoted-printable adds two octets for each escape, base64 a third of everything.
    if escaped * 6 > len(data):
        return EncodedText(charset, "base64", base64_lines(data))
    return EncodedText(charset, "quoted-printable", binascii.b2a_qp(data, istext=True))


def base64_lines(data: bytes) -> bytes:
    """Return the data in base64, in lines of 76 characters, each ended by CRLF."""
    step = _BASE64_INPUT_OCTETS * _BASE64_LINES_PER_CHUNK
    view = memoryview(data)
    return b"".join(_base64_chunk(view[start : start + step]) for start in range(0, len(data), step))


def _base64_chunk(view: memoryview) -> bytes:
    encode = binascii.b2a_base64
    starts = range(0, len(view), _BASE64_INPUT_OCTETS)
    lines = [encode(view[start : start + _BASE64_INPUT_OCTETS], newline=False) for start in starts]
    lines.append(b"")
    return b"\r\n".join(lines)
