"""The journal as a file: framed, checked records, appended; see `ledger.JournalFile`.

Frame: length (4 bytes), CRC-32 of the payload (4 bytes), both big-endian, then the payload. The file begins with MAGIC,
whose last byte is the version; behind the last record stand zeros. It is written through shared memory: what stands
there outlives the process without a call to the system (ADR 16).

The death of a process can cut what was being written. Copies in memory go forwards or backwards, as they like, so that
the first head goes last: without it nothing of an append counts. What is cut has zeros for its head, or at its end, and
behind it. Anything else that is no record is damage: nobody knows what stood there, and nothing is written to such a
file any more.
"""

from __future__ import annotations

import logging
import mmap
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from egret import posix

log = logging.getLogger(__name__)

MAGIC = b"egretj\x00\x02"
MAX_RECORD_BYTES = 1 << 20
"""No record, and no append, comes near it: what is longer is damage."""
GROWTH_BYTES = 4 << 20
_HEAD = struct.Struct(">II")
_pack_head, _crc = _HEAD.pack, zlib.crc32
_MAYBE_HEAD = re.compile(rb"(?=\0(?!\0\0\0)[\0-\x10])")
"""Where a length of up to MAX_RECORD_BYTES may stand. In the text of a peer there is none: it is kept printable."""

Reserve = Callable[[int, int, int], None]


class FileJournal:
    """A `JournalFile` at a path. For one thread.

    is_synced: each append waits for the disk, for systems whose restarts cannot be noticed. reserve: `posix.reserve`.
    Raises OSError, and leaves the file as it is, when that is damaged or no journal of this version; also when there is
    no room for one.
    """

    def __init__(self, path: Path, *, is_synced: bool = False, reserve: Reserve = posix.reserve) -> None:
        self._path = path
        self._is_synced = is_synced
        self._reserve = reserve
        content = _content_of(path)
        if content and not content.startswith(MAGIC):
            raise OSError(f"{path} is not a journal of this version")
        end = _end_of(content)
        if _is_damaged(content, end):
            raise OSError(f"{path} is damaged behind {end} bytes")
        self._descriptor = _open(path)
        self._map: mmap.mmap | None = None
        self._size = self._end = 0
        try:
            self._make_room(GROWTH_BYTES)
            self._go_to_end(end, len(content[end:].rstrip(b"\0")))
        except OSError:
            self.close()
            raise

    def _go_to_end(self, end: int, cut_bytes: int) -> None:
        """Set the place to write at behind the last whole record, and clear what a cut one has left there."""
        memory = self._memory
        memory[: len(MAGIC)] = MAGIC
        if cut_bytes:
            log.warning("the journal ends in a cut record", extra={"bytes": cut_bytes})
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
        if not records:
            return
        rest = records[0]
        head = _pack_head(len(rest), _crc(rest))
        if len(records) > 1:
            rest = b"".join([rest, *map(frame_of, records[1:])])
        at = self._end
        body = at + _HEAD.size
        end = body + len(rest)
        if end > self._size:
            self._make_room(end - at)
        memory = self._memory
        memory[body:end] = rest
        memory[at:body] = head  # so short that it is written as a whole
        if self._is_synced:
            try:
                memory.flush()
            except OSError:
                memory[at:end] = bytes(end - at)
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


def is_whole(path: Path) -> bool:
    """Say whether there is a journal, and nothing is missing in it but a record that was cut. Raises OSError."""
    content = _content_of(path)
    return content.startswith(MAGIC) and not _is_damaged(content, _end_of(content))


def records_in(path: Path) -> list[bytes]:
    """Return the whole records of a journal that nobody writes any more, [] when it is none. Raises OSError.

    Also those behind what is damaged.
    """
    content = _content_of(path)
    return list(_salvaged(content)) if content.startswith(MAGIC) else []


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
    return content if content.startswith(MAGIC) or content.strip(b"\0") else b""


def _end_of(content: bytes) -> int:
    """Return where the last whole record ends that no cut or damage is before."""
    return max((end for _, end in _frames(content)), default=len(MAGIC))


def _is_damaged(content: bytes, end: int) -> bool:
    """Say whether what stands behind the last whole record is more than an append that was cut."""
    tail = content[end:].rstrip(b"\0")
    if len(tail) <= _HEAD.size:
        return False
    length, checksum = _HEAD.unpack_from(tail)
    if not (length or checksum):
        return len(tail) > MAX_RECORD_BYTES
    is_cut = 0 < length <= MAX_RECORD_BYTES and len(tail) < _HEAD.size + length
    # A length that is damaged may reach over all that follows.
    return not is_cut or _next_frame(tail, 1) >= 0


def _salvaged(content: bytes) -> Iterator[bytes]:
    """Yield every whole record."""
    at = len(MAGIC)
    while at >= 0:
        for record, end in _frames(content, at):
            yield record
            at = end
        at = _next_frame(content, at + 1) if content[at:].strip(b"\0") else -1


def _next_frame(content: bytes, at: int) -> int:
    """Return where the next whole record begins, -1 when there is none."""
    for match in _MAYBE_HEAD.finditer(content, at):
        if any(True for _ in _frames(content, match.start())):
            return match.start()
    return -1


def _frames(content: bytes, at: int = len(MAGIC)) -> Iterator[tuple[bytes, int]]:
    """Yield each record with its end, up to the first one that is cut or damaged; zeros are no record."""
    while at + _HEAD.size <= len(content):
        length, checksum = _HEAD.unpack_from(content, at)
        end = at + _HEAD.size + length
        record = content[at + _HEAD.size : end]
        if not length or length > MAX_RECORD_BYTES or len(record) < length or _crc(record) != checksum:
            return
        yield record, end
        at = end
