"""The attempts that are over, remembered for a while in some ten bytes each.

A unit that sends 5,000 messages a second for an hour has to know 18 million of them; as objects they would need
gigabytes. Kept are fingerprints of 8 bytes, unsorted in buckets that `bytes.find` searches at the speed of memory. Two
attempts of 18 million share one with a probability of about 1 in a trillion for each that is asked for; then an attempt
counts as over that is not, and begins only when its lease has run out and this memory has forgotten the other one.
"""

from __future__ import annotations

import functools
import hashlib
from collections import deque
from collections.abc import Iterator
from datetime import datetime, timedelta

FINGERPRINT_BYTES = 8
SLICES = 3
"""Parts of the time that are forgotten as a whole: each more makes a lookup slower, each less the memory longer."""
MAX_BUCKET_BYTES = 128 * FINGERPRINT_BYTES
FIRST_BITS = 6


@functools.lru_cache(4096)  # asked for a few times while an attempt is in hand
def fingerprint(account: str, delivery_id: int, attempt: int) -> bytes:
    """Return what stands for an attempt; the same in every process, since it is kept in the journal."""
    return hashlib.blake2b(b"%s/%d/%d" % (account.encode(), delivery_id, attempt), digest_size=8).digest()


class FingerprintSet:
    """A set of fingerprints that only grows."""

    def __init__(self) -> None:
        self._count = 0
        self._bits = FIRST_BITS
        self._buckets: list[bytearray | None] = [None] * (1 << FIRST_BITS)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, wanted: bytes) -> bool:
        bucket = self._buckets[self._place(wanted)]
        return bucket is not None and _holds(bucket, wanted)

    def _place(self, one: bytes | bytearray) -> int:
        return int.from_bytes(one[:4], "big") >> (32 - self._bits)

    def add(self, one: bytes) -> None:
        """Add one that is not in it."""
        if self._count * FINGERPRINT_BYTES >= MAX_BUCKET_BYTES << self._bits:
            self._grow()
        place = self._place(one)
        bucket = self._buckets[place]
        if bucket is None:
            self._buckets[place] = bytearray(one)
        else:
            bucket += one
        self._count += 1

    def _grow(self) -> None:
        """Halve the buckets: what begins with the same bits stays together, so that each is split by itself."""
        old, self._buckets = self._buckets, []
        self._bits += 1
        for bucket in old:
            halves = bytearray(), bytearray()
            for start in range(0, len(bucket or b""), FINGERPRINT_BYTES):
                one = (bucket or b"")[start : start + FINGERPRINT_BYTES]
                halves[self._place(one) & 1].extend(one)
            self._buckets += [half or None for half in halves]

    def packed(self) -> Iterator[bytes]:
        """Yield all of it in pieces of whole fingerprints."""
        return (bytes(bucket) for bucket in self._buckets if bucket)


def _holds(bucket: bytearray, wanted: bytes) -> bool:
    """Find it, and not across the border of two others."""
    at = bucket.find(wanted)
    while at >= 0 and at % FINGERPRINT_BYTES:
        at = bucket.find(wanted, at + 1)
    return at >= 0


class Remembered:
    """Fingerprints that were added within the last `kept`, and some that are up to a third older."""

    def __init__(self, kept: timedelta) -> None:
        self._slice = kept / SLICES
        self._now = FingerprintSet()
        self._since: datetime | None = None
        self._older: deque[tuple[datetime, FingerprintSet]] = deque()

    def __len__(self) -> int:
        return len(self._now) + sum(len(known) for _, known in self._older)

    def __contains__(self, one: bytes) -> bool:
        if one in self._now:
            return True
        for _, known in self._older:  # noqa: SIM110 (a generator for each question costs more than the answer)
            if one in known:
                return True
        return False

    def add(self, one: bytes) -> None:
        """Remember one that is not known yet."""
        self._now.add(one)

    def add_packed(self, many: bytes) -> None:
        """Remember what `packed` gave."""
        for start in range(0, len(many) - FINGERPRINT_BYTES + 1, FINGERPRINT_BYTES):
            self.add(many[start : start + FINGERPRINT_BYTES])

    def packed(self) -> Iterator[bytes]:
        """Yield everything in pieces."""
        for known in (self._now, *(known for _, known in self._older)):
            yield from known.packed()

    def forget(self, now: datetime) -> None:
        """Drop what is old. What was added since the last call counts as added now."""
        if not len(self._now) or self._since is None:
            self._since = now
        elif self._since + self._slice <= now:
            # The newest of it may have been added just now, so that its time begins now.
            self._older.append((now + self._slice * SLICES, self._now))
            self._now, self._since = FingerprintSet(), now
        while self._older and self._older[0][0] <= now:
            self._older.popleft()
