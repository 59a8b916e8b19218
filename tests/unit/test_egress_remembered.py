"""What is over is remembered for as long as it must be, in little memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from egret_egress.remembered import FINGERPRINT_BYTES, FingerprintSet, Remembered, fingerprint

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEPT = timedelta(minutes=45)
ONE = fingerprint("aaaaaaaa", 1024, 1)


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    """The journal keeps it over restarts."""
    assert ONE.hex() == "24a886b21b861f3a"
    assert len(ONE) == FINGERPRINT_BYTES
    assert ONE not in (
        fingerprint("aaaaaaaa", 1024, 2),
        fingerprint("aaaaaaab", 1024, 1),
        fingerprint("aaaaaaaa", 1025, 1),
    )


@given(st.sets(st.binary(min_size=8, max_size=8), max_size=60), st.binary(min_size=8, max_size=8))
def test_a_set_holds_what_was_added_and_nothing_else(members: set[bytes], other: bytes) -> None:
    """Neighbours in a bucket do not make up a third."""
    known = FingerprintSet()
    for one in members:
        known.add(one)

    assert all(one in known for one in members)
    assert (other in known) == (other in members)
    assert b"".join(sorted(members)) == b"".join(sorted(_cut(b"".join(known.packed()))))


def _cut(packed: bytes) -> list[bytes]:
    return [packed[start : start + FINGERPRINT_BYTES] for start in range(0, len(packed), FINGERPRINT_BYTES)]


def test_a_set_grows_and_keeps_everything() -> None:
    """Many are found as surely as few."""
    known = FingerprintSet()
    prints = [fingerprint("aaaaaaaa", number, 1) for number in range(20_000)]
    for one in prints:
        known.add(one)

    assert len(prints) == len(known)
    assert all(one in known for one in prints)
    assert not any(fingerprint("bbbbbbbb", number, 1) in known for number in range(2_000))


def test_what_is_remembered_lasts_long_enough_and_not_for_ever() -> None:
    """For the whole time after it was added, however often time is looked at."""
    memory = Remembered(KEPT)
    memory.forget(NOW)
    memory.add(ONE)
    for minute in range(45):
        memory.forget(NOW + timedelta(minutes=minute))
        memory.add(fingerprint("bbbbbbbb", minute, 1))
        assert ONE in memory

    memory.forget(NOW + KEPT * 2)
    memory.forget(NOW + KEPT * 4)
    assert (len(memory), ONE in memory) == (0, False)


def test_what_was_packed_is_remembered_again() -> None:
    """A journal that was compacted tells the next process the same."""
    memory, again = Remembered(KEPT), Remembered(KEPT)
    prints = [fingerprint("aaaaaaaa", number, 1) for number in range(1_000)]
    for one in prints:
        memory.add(one)
    for piece in memory.packed():
        again.add_packed(piece)

    assert len(prints) == len(again)
    assert all(one in again for one in prints)
