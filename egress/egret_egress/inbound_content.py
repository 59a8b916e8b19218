"""The content of a mail that comes in: chunks up to CRLF.CRLF, in memory that is counted.

Implements: RFC 5321 sections 2.3.8 and 4.5.2 as a receiver; nothing but CRLF.CRLF ends the content. What is too much is
read on to its end and thrown away, so that the client hears its answer. Does no I/O.
"""

from __future__ import annotations

import enum
from collections import Counter
from typing import Final

MAX_LINE_BYTES: Final = 64 * 1024
"""RFC 5321 section 4.5.3.1.6 says 1,000; DSNs have longer ones."""

_END: Final = b"\r\n.\r\n"


class ByteBudget:
    """Bytes that may be in memory at a time: of all peers, and of each."""

    def __init__(self, size_bytes: int, share_bytes: int) -> None:
        self.left = size_bytes
        self._share_bytes = share_bytes
        self._of_peer: Counter[str] = Counter()

    def has_room(self, peer: str, size_bytes: int) -> bool:
        """Tell whether that many could be reserved now."""
        return size_bytes <= min(self.left, self._share_bytes - self._of_peer[peer])

    def reserve(self, peer: str, size_bytes: int) -> bool:
        """Take some; False, and nothing taken, when there are not enough."""
        if not self.has_room(peer, size_bytes):
            return False
        self.left -= size_bytes
        self._of_peer[peer] += size_bytes
        return True

    def give_back(self, peer: str, size_bytes: int) -> None:
        """Give back what was reserved."""
        self.left += size_bytes
        self._of_peer[peer] -= size_bytes
        if not self._of_peer[peer]:
            del self._of_peer[peer]


class Share:
    """What one message of a peer takes of the budget."""

    def __init__(self, budget: ByteBudget, peer: str) -> None:
        self._budget = budget
        self._peer = peer
        self._size_bytes = 0

    def reserve(self, size_bytes: int) -> bool:
        """Take some more; False, and nothing taken, when there are not enough."""
        is_reserved = self._budget.reserve(self._peer, size_bytes)
        self._size_bytes += size_bytes if is_reserved else 0
        return is_reserved

    def give_back(self) -> None:
        """Give everything back."""
        self._budget.give_back(self._peer, self._size_bytes)
        self._size_bytes = 0


class Refused(enum.Enum):
    """Why content is not kept; the value is the reply."""

    TOO_LARGE = "552 5.3.4 The message is larger than we take"
    LONG_LINE = "554 5.6.0 A line of the message is too long"
    NO_MEMORY = "452 4.3.1 Too much mail at the moment, try again later"


class ContentReader:
    """Reads one message of at most limit_bytes. share: what it takes of the budget; the caller gives it back."""

    def __init__(self, limit_bytes: int, share: Share) -> None:
        self._limit_bytes = limit_bytes
        self._share = share
        # The line end of the DATA command makes a dot at the very beginning the first of its line.
        self._kept = bytearray(b"\r\n")
        self._size_bytes = 0
        self._refused: Refused | None = None

    def feed(self, chunk: bytes) -> bytes | None:
        """Read on: None while the end has not come, then the bytes behind it, which are commands."""
        before = len(self._kept)
        self._kept += chunk
        end = self._kept.find(_END, max(0, before - len(_END) + 1))
        if end < 0:
            # Up to two bytes may prove to be of the end.
            self._count(len(chunk), self._limit_bytes + 2)
            return None
        rest = bytes(self._kept[end + len(_END) :])
        del self._kept[end + 2 :]
        self._count(end + 2 - before, self._limit_bytes)
        return rest

    def _count(self, size_bytes: int, limit_bytes: int) -> None:
        self._size_bytes += size_bytes
        if self._refused is None and self._size_bytes > limit_bytes:
            self._refused = Refused.TOO_LARGE
        elif self._refused is None and size_bytes > 0 and not self._share.reserve(size_bytes):
            self._refused = Refused.NO_MEMORY
        if self._refused is not None:
            # Only what may be the beginning of the end is needed any more.
            del self._kept[: -len(_END) + 1]
            self._share.give_back()

    def take(self) -> bytes | Refused:
        """Return the content without its doubled dots, CRLF at its end; or why it was not kept. Once, at the end."""
        if self._refused is not None:
            return self._refused
        if _has_long_line(self._kept):
            return Refused.LONG_LINE
        content = self._kept.replace(b"\r\n.", b"\r\n")
        self._kept = bytearray()
        del content[:2]
        return bytes(content)


def _has_long_line(content: bytearray) -> bool:
    """Tell it in few steps, however many lines there are."""
    start = 0
    while len(content) - start > MAX_LINE_BYTES + 2:
        end = content.rfind(b"\r\n", start, start + MAX_LINE_BYTES + 2)
        if end < 0:
            return True
        start = end + 2
    return False
