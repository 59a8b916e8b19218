"""Files of a message: given in the request as base64, or put into storage before and referred to."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec

from egret.contracts.ports import Blobs, Clock, Dice
from egret.contracts.webapi import ErrorCode, UploadCreateRequest, UploadCreateResult
from egret.contracts.webapi import File as WireFile
from egret.core.compose import File
from egret.core.errors import InvalidRequest
from egret.core.header import refuse_controls

UPLOAD_VALID: Final = timedelta(hours=1)
"""How long the URL of an upload takes its PUT."""
MAX_NAME_CHARACTERS: Final = 255
_ID_OCTETS: Final = 15
_UPLOAD_ID = re.compile(r"([a-z2-7]{24})\.([A-Za-z0-9_-]*)")


@dataclass(frozen=True, slots=True)
class UploadPorts:
    """What UploadCreate needs. max_bytes: of one upload."""

    blobs: Blobs
    clock: Clock
    dice: Dice
    max_bytes: int


class _Label(msgspec.Struct, array_like=True):
    """What an upload id says beside the key: name and content type as given to UploadCreate."""

    name: str = ""
    content_type: str = ""


_labels = msgspec.msgpack.Decoder(_Label)


def upload_create(ports: UploadPorts, account: str, request: UploadCreateRequest) -> UploadCreateResult:
    """Return a URL that takes one PUT of exactly `size` bytes, and the id by which Send finds the file.

    Name and content type travel inside the id: a Send that leaves them open gets them from there.
    Raises InvalidRequest `user` for a size, a name or a content type that cannot be.
    """
    if not 1 <= request.size <= ports.max_bytes:
        raise InvalidRequest(ErrorCode.USER, f"Size must be the bytes of the file, 1 to {ports.max_bytes}.")
    for field, value in (("Name", request.name), ("ContentType", request.content_type)):
        refuse_controls(field, value)
        if len(value) > MAX_NAME_CHARACTERS:
            raise InvalidRequest(ErrorCode.USER, f"{field} is longer than {MAX_NAME_CHARACTERS} characters.")
    random = base64.b32encode(ports.dice.octets(_ID_OCTETS)).decode("ascii").lower()
    label = base64.urlsafe_b64encode(msgspec.msgpack.encode(_Label(request.name, request.content_type)))
    url = ports.blobs.upload_url(_key(account, random), request.size, UPLOAD_VALID)
    upload_id = f"{random}.{label.rstrip(b'=').decode('ascii')}"
    return UploadCreateResult(upload_id=upload_id, url=url, expires=ports.clock.now() + UPLOAD_VALID)


def load_files(blobs: Blobs, account: str, groups: Iterable[Iterable[WireFile]], max_bytes: int) -> list[list[File]]:
    """Return the files of a request with their data, group by group.

    max_bytes: of the whole message, so that nothing is read that could not be sent.
    Raises InvalidRequest: `user` for bad base64, `uploadNotFound`, `messageTooLarge`.
    """
    room = max_bytes
    loaded: list[list[File]] = []
    for group in groups:
        files: list[File] = []
        for wire in group:
            files.append(_load(blobs, account, wire, room))
            room -= len(files[-1].data)
        loaded.append(files)
    return loaded


def _load(blobs: Blobs, account: str, wire: WireFile, room: int) -> File:
    if not wire.upload_id:
        return File(wire.name, wire.content_type, wire.content_id, _decoded(wire, room))
    if wire.data:
        raise InvalidRequest(ErrorCode.USER, "A file has either Data or UploadID, not both.")
    matched = _UPLOAD_ID.fullmatch(wire.upload_id)
    if matched is None:
        raise _no_upload()
    label = _label(matched[2])
    data = _fetch(blobs, _key(account, matched[1]), room)
    return File(wire.name or label.name, wire.content_type or label.content_type, wire.content_id, data)


def _decoded(wire: WireFile, room: int) -> bytes:
    if len(wire.data) * 3 // 4 - 2 > room:
        raise _too_large()
    try:
        return binascii.a2b_base64(wire.data, strict_mode=True) if wire.data else b""
    except ValueError as error:
        name = wire.name[:60] or "without a name"
        raise InvalidRequest(
            ErrorCode.USER, f"The Data of the file {name!a} is not standard base64 with padding."
        ) from error


def _fetch(blobs: Blobs, key: str, room: int) -> bytes:
    size = blobs.size(key)
    if size is None:
        raise _no_upload()
    if size > room:
        raise _too_large()
    data = blobs.get(key)
    if data is None:
        raise _no_upload()
    return data


def _label(text: str) -> _Label:
    try:
        return _labels.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, msgspec.DecodeError) as error:
        raise _no_upload() from error


def _key(account: str, random: str) -> str:
    return f"uploads/{account}/{random}"


def _no_upload() -> InvalidRequest:
    return InvalidRequest(ErrorCode.UPLOAD_NOT_FOUND, "There is no upload of that UploadID, or it was not PUT yet.")


def _too_large() -> InvalidRequest:
    return InvalidRequest(ErrorCode.MESSAGE_TOO_LARGE, "The files are larger than a message may be.")
