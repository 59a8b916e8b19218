"""Recognise the media type of a file by its first bytes.

Implements a small part of the WHATWG MIME Sniffing standard: what people attach to transactional mail. A type given
by the caller is never second-guessed; this is for files that come without one.
"""

from __future__ import annotations

import codecs
import re

OCTET_STREAM = "application/octet-stream"
SNIFF_OCTETS = 512  # WHATWG MIME Sniffing 5.2 reads 1445; no signature below lies beyond the first 512
_CHUNK_OCTETS = 1 << 20

_SIGNATURES = (
    (re.compile(rb"%PDF-"), "application/pdf"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF.{4}WEBPVP", re.DOTALL), "image/webp"),
    (re.compile(rb"PK\x03\x04"), "application/zip"),
    (re.compile(rb"\x1f\x8b\x08"), "application/gzip"),
    (re.compile(rb"OggS\x00"), "application/ogg"),
    (re.compile(rb"ID3"), "audio/mpeg"),
    (re.compile(rb".{4}ftyp(?:mp4|isom|avc1|M4V)", re.DOTALL), "video/mp4"),
    (
        re.compile(
            rb"[\t\n\x0c\r ]*(?:<!doctype html|<(?:html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)"
            rb"|<!--)[ >]",
            re.IGNORECASE,
        ),
        "text/html; charset=utf-8",
    ),
    (re.compile(rb"[\t\n\x0c\r ]*<\?xml"), "text/xml; charset=utf-8"),
)
# Octets that no text has: WHATWG MIME Sniffing 3, "binary data byte".
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")


def sniff(data: bytes) -> str:
    """Return the value of a Content-Type header for the data; `application/octet-stream` when in doubt."""
    head = data[:SNIFF_OCTETS]
    found = (content_type for signature, content_type in _SIGNATURES if signature.match(head))
    content_type = next(found, "text/plain; charset=utf-8")
    if content_type.startswith("text/") and (_BINARY.search(head) or not _is_utf8(data)):
        return OCTET_STREAM
    return content_type


def _is_utf8(data: bytes) -> bool:
    """Whether all of the data is UTF-8, decoded piece by piece so that a large file is not held twice."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), _CHUNK_OCTETS):
            decoder.decode(data[start : start + _CHUNK_OCTETS])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
