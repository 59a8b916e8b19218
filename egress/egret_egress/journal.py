"""The journal as a file: framed, checked records, appended; see `ledger.JournalFile`.

Frame: length (4 bytes), CRC-32 of the payload (4 bytes), both big-endian, then the payload. The file begins with MAGIC,
whose last byte is the version; behind the last record stand zeros. It is written through shared memory: what stands
there outlives the process without a call to the system (ADR 16).
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from egret import posix

log = logging.getLogger(__name__)

MAGIC = b"egretj\x00\x02"
MAX_RECORD_BYTES = 1 << 20
"""No record comes near it: a longer length is damage."""
GROWTH_BYTES = 4 << 20
_HEAD = struct.Struct(">II")
_pack_head, _crc = _HEAD.pack, zlib.crc32

Reserve = Callable[[int, int, int], None]


class FileJournal:
    """A `JournalFile` at a path. For one thread.

    is_synced: each append waits for the disk, for systems whose restarts cannot be noticed. reserve: `posix.reserve`.
    Raises OSError when the file is no journal of this version, or there is no room for one.
    """

    def __init__(self, path: Path, *, is_synced: bool = False, reserve: Reserve = posix.reserve) -> None:
        self._path = path
        self._is_synced = is_synced
        self._reserve = reserve
        content = _content_of(path)
        if content and not content.startswith(MAGIC):
            raise OSError(f"{path} is not a journal of this version")
        self._descriptor = _open(path)
        self._map: mmap.mmap | None = None
        self._size = self._end = 0
        try:
            self._make_room(GROWTH_BYTES)
            self._go_to_end(content or MAGIC)
        except OSError:
            self.close()
            raise

    def _go_to_end(self, content: bytes) -> None:
        """Set the place to write at behind the last whole record, and clear what follows it."""
        end = max((end for _, end in _frames(content)), default=len(MAGIC))
        memory = self._memory
        memory[: len(MAGIC)] = MAGIC
        if any(content[end:]):
            log.warning("the journal ends in a cut record", extra={"bytes": len(content.rstrip(b"\0")) - end})
        memory[end : self._size] = bytes(self._size - end)
        self._end = end

    @property
    def _memory(self) -> mmap.mmap:
        if self._map is None:
            raise OSError(f"{self._path} is closed")
        return self._map

    def _make_room(self, bytes_more: int) -> None:
        """Make the file so much longer than what stands in it."""
        on_disk = os.fstat(self._descriptor).st_size
        wanted = -(-(self._end + bytes_more) // GROWTH_BYTES) * GROWTH_BYTES
        if on_disk < wanted:
            self._reserve(self._descriptor, on_disk, wanted - on_disk)
        fresh = mmap.mmap(self._descriptor, max(on_disk, wanted))
        old, self._map = self._map, fresh
        self._size = len(fresh)
        if old is not None:
            old.close()

    def append(self, *records: bytes) -> None:
        """Write records; when that raises, none of them counts."""
        if len(records) == 1:
            frames = frame_of(records[0])
        else:
            frames = b"".join([part for record in records for part in (_pack_head(len(record), _crc(record)), record)])
        end = self._end + len(frames)
        if end > self._size:
            self._make_room(len(frames))
        memory = self._memory
        memory[self._end : end] = frames
        if self._is_synced:
            try:
                memory.flush()
            except OSError:
                memory[self._end : end] = bytes(len(frames))
                raise
        self._end = end

    def read_all(self) -> list[bytes]:
        """Return every whole record."""
        return [record for record, _ in _frames(self._memory[: self._end])]

    def rotate(self, records: Iterable[bytes]) -> None:
        """Write a new file beside the old one and put it in its place."""
        beside = self._path.with_suffix(".new")
        beside.unlink(missing_ok=True)
        fresh = FileJournal(beside, reserve=self._reserve)
        try:
            for record in records:
                fresh.append(record)
            if self._is_synced:
                fresh._memory.flush()
            beside.replace(self._path)
            if self._is_synced:
                posix.sync_directory(self._path.parent)
        except OSError:
            fresh.close()
            raise
        self.close()
        self._descriptor, self._map = fresh._descriptor, fresh._map
        self._size, self._end = fresh._size, fresh._end

    def close(self) -> None:
        """Close it; a second call does nothing."""
        memory, self._map = self._map, None
        if memory is not None:
            memory.close()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def records_in(path: Path) -> list[bytes]:
    """Return the whole records of a journal that nobody writes any more, [] when it is none. Raises OSError."""
    content = _content_of(path)
    return [record for record, _ in _frames(content)] if content.startswith(MAGIC) else []


def frame_of(record: bytes) -> bytes:
    """Return a record with its length and checksum before it."""
    return _pack_head(len(record), _crc(record)) + record


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)


def _content_of(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    # A process may have died after it had made the file, and before it had written anything to it.
    return content if any(content[: len(MAGIC)]) else b""


def _frames(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield each record with its end, up to the first one that is cut or damaged; zeros are no record."""
    at = len(MAGIC)
    while at + _HEAD.size <= len(content):
        length, checksum = _HEAD.unpack_from(content, at)
        end = at + _HEAD.size + length
        record = content[at + _HEAD.size : end]
        if not length or length > MAX_RECORD_BYTES or len(record) < length or _crc(record) != checksum:
            return
        yield record, end
        at = end
