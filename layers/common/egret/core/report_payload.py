"""Find reports in mail that strangers sent: attachments that are, packed or not, XML or JSON.

What an attachment is, its first octets say; types and file names are often wrong. Everything has a bound: octets
unpacked, entries of an archive, attachments of a mail. Nothing here raises for what a sender wrote.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from egret.core.mime import Entity, read_entity

MAX_PACKED = 10 << 20
"""Octets of an attachment that is looked at."""
MAX_UNPACKED = 20 << 20
"""Octets of all reports of a mail; a year of one domain's mail stays below."""
MAX_RATIO = 300
"""Octets unpacked for one that is packed: XML of equal rows reaches a hundred, a bomb a thousand."""
MAX_ENTRIES = 20
"""Files of an archive; a report is one."""
MAX_PAYLOADS = 10
"""Reports of one mail."""

_LOOK = 600  # encoded octets that show what an attachment begins with
_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_CENTRAL = b"PK\x01\x02"
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


@dataclass(slots=True)
class Room:
    """Octets that may yet be unpacked of a mail: what is unpacked is read, and reading takes time."""

    left: int = MAX_UNPACKED

    def most(self, packed: int) -> int:
        """Return how many octets may come of a file of this size."""
        return max(0, min(self.left, max(packed * MAX_RATIO, 1 << 16)))

    def take(self, inner: bytes, packed: int) -> bytes | str:
        """Return what came of it, or that it was too large."""
        is_within = len(inner) <= self.most(packed)
        self.left -= len(inner)
        return inner if is_within else "the report is too large when it is unpacked"


@dataclass(frozen=True, slots=True)
class Payload:
    """What an attachment holds. data: XML or JSON in any encoding, "" with trouble, which says why not."""

    data: bytes
    trouble: str = ""

    @property
    def is_json(self) -> bool:
        """It is JSON, else XML."""
        return _begins(self.data).startswith(b"{")


def payloads(raw: bytes) -> Iterator[Payload]:
    """Yield what may be reports in a mail, in order. A mail without any costs little."""
    count, room = 0, Room()
    for part in _leaves(read_entity(raw)):
        if not _is_promising(part):
            continue
        for payload in unpacked(part.content(), room):
            yield payload
            count += 1
            if count >= MAX_PAYLOADS:
                return


def unpacked(data: bytes, room: Room) -> Iterator[Payload]:
    """Yield what a file holds, one at a time: the files of an archive, the content of a gzip file, or itself."""
    if len(data) > MAX_PACKED:
        yield Payload(b"", "the attachment is too large")
    elif data.startswith(_GZIP):
        inner = _gunzip(data, room)
        if isinstance(inner, str) or _is_text(inner):
            yield _payload(inner)
    elif data.startswith(_ZIP):
        yield from _unzip(data, room)
    elif _is_text(data):
        yield _payload(room.take(data, len(data)))


def _payload(inner: bytes | str) -> Payload:
    return Payload(b"", inner) if isinstance(inner, str) else Payload(inner)


def _leaves(entity: Entity) -> Iterator[Entity]:
    if not entity.parts:
        yield entity
    for part in entity.parts:
        yield from _leaves(part)


def _is_promising(part: Entity) -> bool:
    """Tell by its first octets whether a part may be a report; HTML is none."""
    beginning = Entity(part.raw, part.start, min(part.end, part.start + _LOOK), part.headers, part.media_type, {})
    data = beginning.content()
    return data.startswith((_GZIP, _ZIP)) or (_is_text(data) and b"<html" not in data.lower())


def _is_text(data: bytes) -> bool:
    return _begins(data).startswith((b"<", b"{"))


def _begins(data: bytes) -> bytes:
    """Return the first octets without byte order mark, zeros of UTF-16 and space."""
    head = data[:_LOOK]
    for mark in _MARKS:
        head = head.removeprefix(mark)
    return head.replace(b"\0", b"").lstrip()


def _gunzip(data: bytes, room: Room) -> bytes | str:
    """Return the content, b"" when it is no text, or what is wrong with it; what is cut short gives what there is."""
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        head = inflate.decompress(data, _LOOK)
        if not _is_text(head):
            return b""
        return room.take(head + inflate.decompress(inflate.unconsumed_tail, room.most(len(data)) + 1), len(data))
    except zlib.error:
        return "the gzip file is damaged"


def _unzip(data: bytes, room: Room) -> Iterator[Payload]:
    if data.count(_CENTRAL) > MAX_ENTRIES:
        yield Payload(b"", "the archive has too many files")
        return
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in [entry for entry in archive.infolist()[:MAX_ENTRIES] if not entry.is_dir()]:
                inner = _entry(archive, entry, len(data), room)
                if isinstance(inner, str) or _is_text(inner):
                    yield _payload(inner)
    # zipfile has no error of its own for all that may be wrong with an archive.
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, LookupError, MemoryError):
        yield Payload(b"", "the archive is damaged")
    except Exception as error:  # noqa: BLE001 - struct.error, lzma.LZMAError, OverflowError and what comes
        yield Payload(b"", f"the archive is damaged: {type(error).__name__}")


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, packed: int, room: Room) -> bytes | str:
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "the archive is packed in an unusual way"
    with archive.open(entry) as file:
        head = file.read(_LOOK)
        return room.take(head + file.read(room.most(packed) + 1), packed) if _is_text(head) else b""
