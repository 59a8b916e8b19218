"""The journal as a file: framed, checked records, appended; see `ledger.JournalFile`.

Frame: length (4 bytes), CRC-32 of the payload (4 bytes), both big-endian, then the payload. The file begins with MAGIC,
whose last byte is the version. A frame cut off at the end, as a crash leaves it, is dropped and overwritten.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from egret import posix

log = logging.getLogger(__name__)

MAGIC = b"egretj\x00\x01"
MAX_RECORD_BYTES = 1 << 20
"""No record comes near it: a longer length is damage."""
PIECE_BYTES = 64 * 1024
_HEAD = struct.Struct(">II")


class FileJournal:
    """A `JournalFile` at a path in a directory of the unit's own. Append from one thread; sync from any.

    sync_directory: makes the names in a directory durable.
    """

    def __init__(self, path: Path, sync_directory: Callable[[Path], None] = posix.sync_directory) -> None:
        self._path = path
        self._sync_directory = sync_directory
        self._swap = threading.Lock()
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        self._end = 0
        self._rotations = self._durable_rotations = 0
        self._find_end()

    def _find_end(self) -> None:
        """Set the place to write at: behind the last whole record."""
        content = self._path.read_bytes()
        if not content.startswith(MAGIC):
            if len(content) >= len(MAGIC):
                raise OSError(f"{self._path} is not a journal of this version")
            self._reset(self._descriptor, MAGIC)
            self._sync_directory(self._path.parent)
            self._end = len(MAGIC)
            return
        whole = len(MAGIC) + sum(_HEAD.size + len(record) for record in _frames(content))
        if whole < len(content):
            log.warning("the journal ends in a cut record", extra={"bytes": len(content) - whole})
            os.ftruncate(self._descriptor, whole)
        self._end = os.lseek(self._descriptor, whole, os.SEEK_SET)

    @staticmethod
    def _reset(descriptor: int, content: bytes) -> None:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        _write_all(descriptor, content)
        os.fsync(descriptor)

    def append(self, *records: bytes) -> None:
        """Write records, all at once; when that fails, what was written of them is cut off again."""
        pieces: list[bytes] = []
        for record in records:
            pieces += _HEAD.pack(len(record), zlib.crc32(record)), record
        frames = b"".join(pieces)
        try:
            _write_all(self._descriptor, frames)
        except OSError:
            os.ftruncate(self._descriptor, self._end)
            os.lseek(self._descriptor, self._end, os.SEEK_SET)
            raise
        self._end += len(frames)

    def sync(self) -> None:
        """Make it durable; while this waits, others may append. Who rotates waits for it."""
        # One call that lets other threads run: each more would cost the loop a change of threads, and back.
        with self._swap:
            self._keep_name()
            os.fsync(self._descriptor)

    def read_all(self) -> list[bytes]:
        """Return every whole record."""
        return list(_frames(self._path.read_bytes()))

    def rotate(self, records: Iterable[bytes]) -> None:
        """Write a new file beside the old one and put it in its place."""
        beside = self._path.with_suffix(".new")
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        try:
            self._reset(descriptor, MAGIC)
            end = len(MAGIC) + _write_frames(descriptor, records)
            os.fsync(descriptor)
            beside.replace(self._path)
        except OSError:
            os.close(descriptor)
            raise
        # From here on the old file has no name: whatever else fails, nothing may be written there any more.
        with self._swap:
            old, self._descriptor = self._descriptor, descriptor
            self._end = end
            self._rotations += 1
        os.close(old)
        self._keep_name()

    def _keep_name(self) -> None:
        """Make the new file's name durable: until then a loss of power may bring the old file back."""
        rotations = self._rotations
        if self._durable_rotations < rotations:
            self._sync_directory(self._path.parent)
            self._durable_rotations = rotations

    def close(self) -> None:
        """Make it durable and close it; a second call does nothing."""
        if self._descriptor >= 0:
            self.sync()
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def frame_of(record: bytes) -> bytes:
    """Return a record with its length and checksum before it."""
    return _HEAD.pack(len(record), zlib.crc32(record)) + record


def _write_all(descriptor: int, content: bytes | bytearray) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _write_frames(descriptor: int, records: Iterable[bytes]) -> int:
    """Write records piece by piece, however much they are together; return how many bytes."""
    size, part = 0, bytearray()
    for record in records:
        part += frame_of(record)
        if len(part) >= PIECE_BYTES:
            _write_all(descriptor, part)
            size += len(part)
            part = bytearray()
    _write_all(descriptor, part)
    return size + len(part)


def _frames(content: bytes) -> Iterator[bytes]:
    """Yield the records up to the first one that is cut or damaged."""
    at = len(MAGIC)
    while at + _HEAD.size <= len(content):
        length, checksum = _HEAD.unpack_from(content, at)
        record = content[at + _HEAD.size : at + _HEAD.size + length]
        if length > MAX_RECORD_BYTES or len(record) < length or zlib.crc32(record) != checksum:
            return
        yield record
        at += _HEAD.size + length


class MemoryJournal:
    """A `JournalFile` for tests and the simulator: what was not synced can be lost with `crash`."""

    def __init__(self, records: Iterable[bytes] = ()) -> None:
        self._records = list(records)
        self._durable = len(self._records)

    def append(self, *records: bytes) -> None:
        """Add records."""
        self._records += records

    def sync(self) -> None:
        """Make all records survive `crash(power=True)`."""
        self._durable = len(self._records)

    def read_all(self) -> list[bytes]:
        """Return the records."""
        return list(self._records)

    def rotate(self, records: Iterable[bytes]) -> None:
        """Replace them."""
        self._records = list(records)
        self._durable = len(self._records)

    def crash(self, *, power: bool) -> MemoryJournal:
        """Return what a new process finds: everything, or after a loss of power what was synced."""
        return MemoryJournal(self._records[: self._durable] if power else self._records)
