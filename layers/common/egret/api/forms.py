"""Forms: the `request` field and the files of a POST.

Implements: application/x-www-form-urlencoded (WHATWG URL 5.1, strict about escapes), multipart/form-data (RFC 7578,
RFC 2046 5.1.1) over a body that is in memory already. Does not know nested multiparts or transfer encodings: RFC 7578
forbids the one and deprecates the other.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from egret.api.http import Request
from egret.core.errors import InvalidRequest

MAX_FORM_BYTES: Final = 10 * 1024 * 1024
"""Of an urlencoded body, and of all fields of a multipart that are not files."""
MAX_PARTS: Final = 1000
MAX_PART_HEADER_BYTES: Final = 8192
MAX_BOUNDARY: Final = 70  # RFC 2046 5.1.1

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 5.6.2, not a credential
_MEDIA_TYPE: Final = re.compile(rf"\s*({_TOKEN}/{_TOKEN}|{_TOKEN})\s*")
_PARAMETER: Final = re.compile(rf';\s*(?:({_TOKEN})\s*=\s*("(?:[^"\\]|\\.)*"|{_TOKEN})\s*)?', re.DOTALL)
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9a-fA-F]{2})")
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]*[0-9A-Za-z'()+_,./:=?-]")
_PADDING: Final = re.compile(rb"[ \t]*\r\n")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a multipart. key: name of the form field. content_type, content_id: as given, "" when not."""

    key: str
    filename: str
    content_type: str
    content_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """What a POST carried. request: the JSON text of the call, or the field that was asked for."""

    request: bytes
    uploads: tuple[Upload, ...] = ()


def refuse(sentence: str) -> InvalidRequest:
    """Return the error for a request that has not the agreed form."""
    return InvalidRequest("protocol", sentence)


def read_field(request: Request, name: str) -> bytes:
    """Return the first field of this name of a form, b"" when it has none; errors as of `read_form`."""
    form = _form(request, name)
    return b"" if form is None else form.request


def read_form(request: Request) -> Form:
    """Return the form of a POST. Raises InvalidRequest `protocol` when there is none or it is damaged."""
    form = _form(request, "request")
    if form is None:
        media_type, _ = _content_type(request.headers.get("Content-Type", ""))
        raise refuse(
            f"The body is {media_type}. Send the JSON text in the field `request` of a form"
            " (application/x-www-form-urlencoded or multipart/form-data)."
        )
    if not form.request:
        raise refuse("The form has no field `request`, or it is empty: that field holds the JSON text.")
    return form


def _form(request: Request, name: str) -> Form | None:
    """Return the form, with the field of this name as its request; None when the body is something else."""
    media_type, parameters = _content_type(request.headers.get("Content-Type", ""))
    if media_type == "multipart/form-data":
        return _multipart(request.body, parameters.get("boundary", ""), name)
    return _urlencoded(request.body, name) if media_type == "application/x-www-form-urlencoded" else None


def _content_type(value: str) -> tuple[str, dict[str, str]]:
    try:
        return parse_header(value)
    except ValueError as error:
        raise refuse("The Content-Type header is missing or cannot be read.") from error


def parse_header(value: str) -> tuple[str, dict[str, str]]:
    """Return the lower-case value and the parameters (names lower-case) of a MIME header. Raises ValueError.

    RFC 2045 5.1 as Go reads it: quoted strings with backslashes; a parameter given twice with two values is an error.
    """
    start = _MEDIA_TYPE.match(value)
    if start is None:
        raise ValueError("no value")
    parameters: dict[str, str] = {}
    position = start.end()
    while position < len(value):
        found = _PARAMETER.match(value, position)
        if found is None:
            raise ValueError("bad parameter")
        position = found.end()
        if found[1] and parameters.setdefault(found[1].lower(), _unquote(found[2])) != _unquote(found[2]):
            raise ValueError("parameter given twice")
    return start[1].lower(), parameters


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text.startswith('"') else text


def _urlencoded(body: bytes, wanted: str) -> Form:
    if len(body) > MAX_FORM_BYTES:
        raise refuse(
            "The form is larger than 10 MiB. Send files as parts of a multipart form, or through UploadCreate."
        )
    if body.count(b"&") >= MAX_PARTS:
        raise refuse(f"The form has more than {MAX_PARTS} fields.")
    for pair in body.split(b"&"):
        name, _, value = pair.partition(b"=")
        if _decoded(name) == wanted.encode():
            return Form(_decoded(value))
    return Form(b"")


def _decoded(text: bytes) -> bytes:
    """Decode escapes as quoted-printable, which differs in the letter only: in C, and without an object for each."""
    if b";" in text or _BAD_ESCAPE.search(text):
        raise refuse("The form is not properly urlencoded.")
    return binascii.a2b_qp(text.replace(b"+", b" ").replace(b"=", b"=3D").replace(b"%", b"="))


def _multipart(body: bytes, boundary: str, wanted: str) -> Form:
    if not boundary or len(boundary) > MAX_BOUNDARY or not _BOUNDARY.fullmatch(boundary):
        raise refuse("The multipart form has no usable boundary.")
    request = b""
    uploads: list[Upload] = []
    field_bytes = 0
    for headers, data in _parts(body, boundary.encode("ascii")):
        key, filename = _disposition(headers)
        # A browser's file input that was left empty has a part with an empty name and nothing in it.
        if filename or (filename is not None and data):
            uploads.append(Upload(key, filename, headers.get("content-type", ""), headers.get("content-id", ""), data))
            continue
        field_bytes += len(data)
        if field_bytes > MAX_FORM_BYTES:
            raise refuse("The fields of the form that are not files are larger than 10 MiB.")
        if key == wanted and not request:
            request = data
    return Form(request, tuple(uploads))


def _parts(body: bytes, boundary: bytes) -> Iterator[tuple[Mapping[str, str], bytes]]:
    """Yield headers and content of each part; raise when the closing delimiter does not come."""
    delimiter = b"--" + boundary
    position = 0 if body.startswith(delimiter) else _next(body, delimiter, 0)
    for _ in range(MAX_PARTS + 1):
        position += len(delimiter) + (2 if body[position : position + 2] == b"\r\n" else 0)
        if body[position : position + 2] == b"--":
            return
        padding = _PADDING.match(body, position)
        if padding is None:
            raise refuse("The multipart form is damaged: a boundary is followed by other text.")
        end = _next(body, delimiter, padding.end() - 2)
        yield _split_part(body, padding.end(), end)
        position = end
    raise refuse(f"The multipart form has more than {MAX_PARTS} parts.")


def _next(body: bytes, delimiter: bytes, start: int) -> int:
    """Return where the CRLF before the next delimiter stands; text that only begins like one does not count."""
    position = start - 1
    while (position := body.find(b"\r\n" + delimiter, position + 1)) >= 0:
        after = position + 2 + len(delimiter)
        if body[after : after + 2] == b"--" or _PADDING.match(body, after):
            return position
    raise refuse("The multipart form ends early: its closing boundary is missing.")


def _split_part(body: bytes, start: int, end: int) -> tuple[Mapping[str, str], bytes]:
    if end <= start:
        raise refuse("A part of the multipart form has no headers.")
    blank = body.find(b"\r\n\r\n", start, min(end + 4, start + MAX_PART_HEADER_BYTES))
    if blank < 0 or blank + 4 > end + 2:
        raise refuse("The headers of a part of the multipart form do not end, or are too long.")
    return _part_headers(body[start:blank]), body[blank + 4 : end]


def _part_headers(block: bytes) -> Mapping[str, str]:
    try:
        text = block.decode()
    except UnicodeDecodeError as error:
        raise refuse("The headers of a part of the multipart form are not UTF-8.") from error
    headers: dict[str, str] = {}
    for line in re.sub(r"\r\n[ \t]+", " ", text).split("\r\n"):
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(_TOKEN, name):
            raise refuse("A part of the multipart form has a header that cannot be read.")
        headers.setdefault(name.lower(), value.strip(" \t"))
    if headers.get("content-transfer-encoding", "binary").lower() not in ("7bit", "8bit", "binary"):
        raise refuse("A part of the multipart form has a transfer encoding; parts are sent as they are (RFC 7578 4.7).")
    return headers


def _disposition(headers: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the field's name and the file name, None when it is no file."""
    try:
        kind, parameters = parse_header(headers.get("content-disposition", ""))
    except ValueError as error:
        raise refuse("A part of the multipart form has no readable Content-Disposition.") from error
    if kind != "form-data":
        raise refuse("A part of the multipart form has a Content-Disposition other than form-data.")
    return parameters.get("name", ""), _filename(parameters)


def _filename(parameters: Mapping[str, str]) -> str | None:
    """Return the last part of the path, None when there is no name.

    The extended form `filename*=utf-8''…` (RFC 8187) is preferred to the plain one.
    """
    charset, _, encoded = parameters.get("filename*", "").partition("'")
    if charset.lower() == "utf-8":
        return _base(unquote_to_bytes(encoded.partition("'")[2]).decode("utf-8", "replace"))
    return _base(parameters["filename"]) if "filename" in parameters else None


def _base(path: str) -> str:
    return path.rpartition("/")[2]
