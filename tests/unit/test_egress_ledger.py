"""The ledger: nothing lost, nothing made twice, whatever crashes when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret import posix
from egret.contracts.handoff import VERSION, Content, Handoff, Leg, Transaction
from egret.core.outcome import Bounced, Deferred, Delivered, Outcome, Remote, Unknown
from egret.core.reply import Reply
from egret_egress import records
from egret_egress.journal import MAGIC, MAX_RECORD_BYTES, FileJournal, frame_of, is_whole, records_in
from egret_egress.ledger import KEPT, AttemptKey, Ledger, Phase, ended_in
from egret_egress.memory_journal import MemoryJournal

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LEASE = timedelta(minutes=40)
REMOTE = Remote("mx.example.org", "192.0.2.1")
DELIVERED = Delivered(Reply(250, ("2.0.0 ok",)), REMOTE)
KEY = AttemptKey("aaaaaaaa", 1024, 1)


def handoff(*ids: int, unit: str = "unit-1", attempt: int = 1, until: datetime = NOW + LEASE) -> Handoff:
    """Return a handoff of one transaction with these deliveries."""
    legs = [Leg(id_, attempt, f"r{id_}@example.org") for id_ in ids]
    transaction = Transaction("aaaaaaaa", 1024, "example.org", "s@x.example", legs, Content(1, b"x"), until)
    return Handoff(unit, [transaction])


def ledger(journal: MemoryJournal | None = None) -> Ledger:
    """Return the ledger of unit-1."""
    return Ledger("unit-1", journal or MemoryJournal())


class FullLater(MemoryJournal):
    """A journal whose disk is full from the second write on."""

    def append(self, *records: bytes) -> None:
        """Write once."""
        if self.read_all():
            raise OSError(28, "No space left on device")
        super().append(*records)


def test_a_handoff_is_taken_and_begun() -> None:
    """What is new is taken and to be started."""
    book = ledger()

    taking = book.take(handoff(1024, 1025), NOW)

    assert taking.taken == [True]
    assert [[leg.delivery_id for leg in transaction.legs] for transaction in taking.start] == [[1024, 1025]]
    assert book.in_hand == 2


@pytest.mark.parametrize(
    "refused",
    [
        handoff(1024, unit="unit-2"),
        handoff(1024, until=NOW),
        handoff(),
        handoff(1024, 1024),
        Handoff("unit-1", handoff(1024).transactions, version=VERSION + 1),
    ],
    ids=["another unit's", "late", "empty", "twice the same", "of a later version"],
)
def test_what_cannot_be_begun_is_refused(refused: Handoff) -> None:
    """Refused transactions leave no trace."""
    book = ledger()

    taking = book.take(refused, NOW)

    assert (taking.taken, taking.start, taking.rerecord) == ([False], [], [])
    assert book.remembered == 0


def test_what_is_known_from_before_this_run_is_taken() -> None:
    """Refused, it could be begun elsewhere while its outcome is still to be recorded."""
    journal = MemoryJournal()
    before = ledger(journal)
    before.take(handoff(1024), NOW)
    before.dot([KEY], NOW, REMOTE)
    book = ledger(journal)
    book.recover(NOW + timedelta(minutes=1))
    (transaction,) = handoff(1024).transactions

    again = Handoff("unit-1", [msgspec.structs.replace(transaction, lease_until=NOW + 2 * LEASE)])

    assert (book.take(again, NOW).taken, book.take(again, NOW).start) == ([True], [])


def test_an_attempt_under_way_is_not_begun_again() -> None:
    """The same attempt handed over again is taken, and only what is new is started."""
    book = ledger()
    book.take(handoff(1024), NOW)

    taking = book.take(handoff(1024, 1025, until=NOW + 2 * LEASE), NOW)

    assert taking.taken == [True]
    assert [[leg.delivery_id for leg in transaction.legs] for transaction in taking.start] == [[1025]]
    assert book.holds([KEY], NOW + 2 * LEASE - timedelta(microseconds=1))
    assert not book.holds([KEY], NOW + 2 * LEASE)


def test_an_attempt_that_has_ended_gets_its_remembered_outcome() -> None:
    """A finished attempt is never made again; its outcome is recorded again unless it stands in the table."""
    book = ledger()
    book.take(handoff(1024), NOW)
    book.dot([KEY], NOW, REMOTE)
    attempt = book.finish(KEY, DELIVERED, NOW, timedelta(seconds=1))

    taking = book.take(handoff(1024), NOW + timedelta(minutes=1))
    book.recorded(KEY)
    after = book.take(handoff(1024), NOW + timedelta(minutes=1))

    assert ([True], [], [(KEY, attempt)]) == (taking.taken, taking.start, taking.rerecord)
    assert (after.taken, after.start, after.rerecord) == ([True], [], [])


def test_a_recorded_attempt_is_forgotten_after_a_while() -> None:
    """Memory is bounded by what is in hand and what could still be handed over once more."""
    book = ledger()
    book.take(handoff(1024), NOW)
    book.finish(KEY, DELIVERED, NOW, timedelta(0))
    book.recorded(KEY)

    book.forget(NOW)
    book.forget(NOW + KEPT - timedelta(seconds=1))
    assert book.remembered == 1
    book.forget(NOW + KEPT * 2)
    assert book.remembered == 0


def test_an_unrecorded_attempt_is_never_forgotten() -> None:
    """An outcome stays until it stands in the table."""
    book = ledger()
    book.take(handoff(1024), NOW)
    book.finish(KEY, DELIVERED, NOW, timedelta(0))

    book.forget(NOW + 100 * LEASE)

    assert Phase.FINISHED is book.phase(KEY)


def test_an_attempt_being_given_back_is_refused_until_it_is() -> None:
    """While a release may still be under way the same attempt must not begin: the release would undo its claim."""
    book = ledger()
    book.take(handoff(1024), NOW)
    assert book.releasing(KEY)

    assert book.take(handoff(1024), NOW).taken == [False]
    book.released(KEY)
    assert book.take(handoff(1024), NOW).taken == [True]


def test_an_attempt_whose_dot_is_noted_cannot_be_given_back() -> None:
    """From the dot on only an outcome ends it."""
    book = ledger()
    book.take(handoff(1024), NOW)
    book.dot([KEY], NOW)

    assert not book.releasing(KEY)


def test_a_restart_sorts_attempts_by_what_the_journal_says() -> None:
    """No dot: released. Dot without outcome: unknown. Outcome without record: recorded again. Recorded: remembered."""
    journal = MemoryJournal()
    book = ledger(journal)
    book.take(handoff(1024, 1025, 1026, 1027), NOW)
    keys = [AttemptKey("aaaaaaaa", id_, 1) for id_ in (1024, 1025, 1026, 1027)]
    ended = [book.finish(key, DELIVERED, NOW, timedelta(seconds=2)) for key in keys[2:]]
    book.recorded(keys[3])
    book.dot([keys[1]], NOW, REMOTE)

    reborn = ledger(journal.crash())
    recovery = reborn.recover(NOW + timedelta(seconds=5))

    assert [keys[0]] == recovery.release
    assert [(keys[2], ended[0])] == recovery.rerecord
    assert [keys[1]] == [key for key, _ in recovery.unknown]
    assert recovery.unknown[0][1].outcome.remote == REMOTE
    assert isinstance(recovery.unknown[0][1].outcome, Unknown)
    assert reborn.take(handoff(1024), NOW).taken == [False]
    again = reborn.take(handoff(1027), NOW)
    assert (again.taken, again.start, again.rerecord) == ([True], [], [])
    assert reborn.in_hand == 3


def test_an_unknown_outcome_is_the_same_after_a_second_restart() -> None:
    """What was said once is said again, not found anew."""
    journal = MemoryJournal()
    book = ledger(journal)
    book.take(handoff(1024), NOW)
    book.dot([KEY], NOW, REMOTE)
    second = journal.crash()
    unknown = ledger(second).recover(NOW).unknown

    assert unknown == ledger(second.crash()).recover(NOW + LEASE).rerecord


def test_a_released_attempt_stays_released_after_a_restart() -> None:
    """What was given back is not given back again."""
    journal = MemoryJournal()
    book = ledger(journal)
    book.take(handoff(1024), NOW)
    book.releasing(KEY)
    book.released(KEY)

    assert ledger(journal.crash()).recover(NOW).release == []


def test_compaction_keeps_what_is_remembered() -> None:
    """A compacted journal recovers to the same as the long one."""
    journal = MemoryJournal()
    book = ledger(journal)
    for id_ in range(1024, 1030):
        book.take(handoff(id_), NOW)
    keys = [AttemptKey("aaaaaaaa", id_, 1) for id_ in range(1024, 1030)]
    book.dot(keys[1:], NOW, REMOTE)
    for key in keys[3:]:
        book.finish(key, DELIVERED, NOW, timedelta(0))
    book.recorded(keys[5])
    before = ledger(journal.crash()).recover(NOW)

    book.compact()

    assert before == ledger(journal.crash()).recover(NOW)


def test_the_journal_does_not_grow_with_what_is_over() -> None:
    """A unit that runs for ever keeps a short journal and a small memory."""
    journal = MemoryJournal()
    book = Ledger("unit-1", journal, compact_after=100)
    now = NOW
    for id_ in range(2000, 4000):
        now += timedelta(minutes=1)
        book.take(handoff(id_, until=now + LEASE), now)
        key = AttemptKey("aaaaaaaa", id_, 1)
        book.dot([key], now)
        book.finish(key, DELIVERED, now, timedelta(0))
        book.recorded(key)

    most = (KEPT * 4 / 3) // timedelta(minutes=1) + 2
    assert book.remembered <= most
    assert len(journal.read_all()) <= most * 8 + 100


class FullDisk(MemoryJournal):
    """A journal on a full disk."""

    def append(self, *records: bytes) -> None:
        raise OSError(28, "No space left on device")


def test_a_full_disk_takes_nothing() -> None:
    """What cannot be kept is not promised."""
    book = ledger(FullDisk())

    assert book.take(handoff(1024), NOW).taken == [False]
    assert book.is_failing


replies = st.builds(Reply, st.integers(400, 599), st.lists(st.text(max_size=20), min_size=1, max_size=3).map(tuple))
remotes = st.builds(Remote, st.text(max_size=10), st.text(max_size=10))
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Delivered, replies, remotes),
    st.builds(Deferred, st.text(max_size=20), st.none() | replies, remotes),
    st.builds(Bounced, st.text(max_size=20), st.none() | replies, remotes, st.booleans()),
    st.builds(Unknown, st.text(min_size=1, max_size=20), remotes),
)


@given(outcomes, st.timedeltas(timedelta(0), timedelta(hours=1)))
def test_an_outcome_survives_the_journal(outcome: Outcome, duration: timedelta) -> None:
    """What is read back is what was recorded, to the microsecond."""
    journal = MemoryJournal()
    book = ledger(journal)
    book.take(handoff(1024), NOW)
    attempt = book.finish(KEY, outcome, NOW, duration)

    assert [(KEY, attempt)] == ledger(journal.crash()).recover(NOW).rerecord


def test_records_of_a_later_version_are_left_out() -> None:
    """A journal with a kind that we do not know is still read."""
    assert None is records.decode(b"\x92\xa6future\x01")


def test_a_file_journal_keeps_records_over_a_reopening(tmp_path: Path) -> None:
    """What was appended is there, in order, before and after a rotation."""
    journal = FileJournal(tmp_path / "journal")
    for record in (b"a", b"b\0", b"c" * 5000):
        journal.append(record)
    journal.close()

    again = FileJournal(tmp_path / "journal")
    assert again.read_all() == [b"a", b"b\0", b"c" * 5000]
    again.rotate([b"x"])
    again.append(b"y")
    again.close()
    last = FileJournal(tmp_path / "journal")
    assert last.read_all() == [b"x", b"y"]
    last.close()


def test_what_was_appended_outlives_the_process(tmp_path: Path) -> None:
    """Nothing is flushed or closed: another process finds what stands in the file."""
    journal = FileJournal(tmp_path / "journal")
    journal.append(b"a", b"b")
    journal.rotate([b"kept"])
    journal.append(b"new")

    assert records_in(tmp_path / "journal") == [b"kept", b"new"]
    journal.close()


def test_a_journal_grows_and_is_read_whole(tmp_path: Path) -> None:
    """More than is reserved at a time, with a record across the border."""
    journal = FileJournal(tmp_path / "journal")
    lines = [number.to_bytes(4, "big") * 4000 for number in range(1, 600)]
    for line in lines:
        journal.append(line)
    journal.close()

    assert records_in(tmp_path / "journal") == lines


def test_without_room_on_the_disk_nothing_of_it_is_in_the_file(tmp_path: Path) -> None:
    """The disk is asked for room before anything is written, so that writing cannot fail."""

    class Disk:
        is_full = False

        def reserve(self, descriptor: int, offset: int, length: int) -> None:
            if self.is_full:
                raise OSError(28, "No space left on device")
            posix.reserve(descriptor, offset, length)

    disk = Disk()
    journal = FileJournal(tmp_path / "journal", reserve=disk.reserve)
    journal.append(b"a" * 1000)
    disk.is_full = True
    large = [b"b" * (1 << 20)] * 4
    with pytest.raises(OSError, match="No space"):
        journal.append(*large)
    with pytest.raises(OSError, match="No space"):
        journal.rotate(large)
    journal.append(b"c")

    assert journal.read_all() == [b"a" * 1000, b"c"]
    disk.is_full = False
    journal.append(*large)
    assert journal.read_all() == [b"a" * 1000, b"c", *large]
    journal.close()


def test_where_restarts_cannot_be_noticed_the_disk_is_waited_for(tmp_path: Path) -> None:
    """The same records, by the slow way."""
    journal = FileJournal(tmp_path / "journal", is_synced=True)
    journal.append(b"a")
    journal.rotate([b"b"])
    journal.append(b"c")
    journal.close()

    assert records_in(tmp_path / "journal") == [b"b", b"c"]


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5), st.integers(0, 400), st.integers(0, 5000))
def test_a_torn_tail_is_dropped_and_overwritten(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cut: int, reserved: int
) -> None:
    """Wherever a crash cuts what is being written, whole records before it are read and new ones follow them."""
    path = tmp_path_factory.mktemp("torn") / "journal"
    content = MAGIC + b"".join(map(frame_of, lines))
    keep = max(len(MAGIC), len(content) - cut)
    path.write_bytes(content[:keep] + bytes(reserved))
    assert is_whole(path)
    whole, size = [], len(MAGIC)
    for line in lines:
        size += len(frame_of(line))
        if size <= keep:
            whole.append(line)

    journal = FileJournal(path)
    found = journal.read_all()
    journal.append(b"new")
    journal.close()

    assert found[: len(whole)] == whole
    after = FileJournal(path)
    assert [*found, b"new"] == after.read_all()
    after.close()


@given(st.lists(st.binary(min_size=1, max_size=30), min_size=1, max_size=5), st.integers(8, 200))
def test_an_append_without_its_head_does_not_count(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cut: int
) -> None:
    """Memory may be copied backwards: what stands there is whole records, of an append that has not returned."""
    path = tmp_path_factory.mktemp("headless") / "journal"
    append = b"".join(map(frame_of, lines))
    path.write_bytes(MAGIC + frame_of(b"before") + bytes(min(cut, len(append))) + append[cut:] + bytes(100))

    assert is_whole(path)
    journal = FileJournal(path)
    journal.append(b"new")
    journal.close()

    assert records_in(path) == [b"before", b"new"]


def test_what_is_too_long_for_an_append_is_damage(tmp_path: Path) -> None:
    """Zeros that happen to begin where a record did."""
    path = tmp_path / "journal"
    path.write_bytes(MAGIC + bytes(50) + frame_of(b"x" * 1000) * (MAX_RECORD_BYTES // 1000))

    assert not is_whole(path)


records_of_any_size = st.binary(min_size=1, max_size=30).map(lambda line: line + b"end")


@given(st.lists(records_of_any_size, min_size=2, max_size=6), st.data())
def test_a_damaged_journal_stays_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], data: st.DataObject
) -> None:
    """No process leaves a bad record with others behind it: nothing is written there, and the others can be read."""
    path = tmp_path_factory.mktemp("damaged") / "journal"
    spoilt = data.draw(st.integers(0, len(lines) - 2))
    frames = [frame_of(line) for line in lines]
    at = data.draw(st.integers(0, len(frames[spoilt]) - 1))
    change = data.draw(st.integers(1, 255))
    frames[spoilt] = frames[spoilt][:at] + bytes([frames[spoilt][at] ^ change]) + frames[spoilt][at + 1 :]
    content = MAGIC + b"".join(frames) + bytes(4096)
    path.write_bytes(content)

    with pytest.raises(OSError, match="damaged"):
        FileJournal(path)

    assert (is_whole(path), path.read_bytes()) == (False, content)
    assert records_in(path) == lines[:spoilt] + lines[spoilt + 1 :]


@pytest.mark.parametrize(
    ("first", "end"),
    [(len(MAGIC) + 20, len(MAGIC) + 220), (len(MAGIC) + 990, len(MAGIC) + 991), (0, 100)],
    ids=["zeros in the middle", "the last one is written to its end", "zeros at the beginning"],
)
def test_what_no_process_leaves_is_damage(tmp_path: Path, first: int, end: int) -> None:
    """What is lost there may have been a dot, or an outcome."""
    path = tmp_path / "journal"
    content = bytearray(MAGIC + frame_of(b"x" * 92) * 10)
    content[first:end] = bytes(end - first)
    path.write_bytes(content + bytes(4096))

    with pytest.raises(OSError, match=r"damaged|not a journal"):
        FileJournal(path)
    assert not is_whole(path)


def test_a_journal_that_is_missing_or_empty_is_not_whole(tmp_path: Path) -> None:
    """Even one without records begins with what makes it a journal."""
    path = tmp_path / "journal"
    assert not is_whole(path)
    path.write_bytes(b"")
    assert not is_whole(path)
    FileJournal(path).close()
    assert is_whole(path)


def test_a_foreign_file_is_not_overwritten(tmp_path: Path) -> None:
    """A journal directory that holds something else stops the start."""
    (tmp_path / "journal").write_bytes(b"something else entirely")

    with pytest.raises(OSError, match="not a journal"):
        FileJournal(tmp_path / "journal")


def test_what_is_known_is_taken_however_late() -> None:
    """A refusal would release the lease of an attempt that is under way, and another unit would begin it."""
    book = ledger()
    book.take(handoff(1024), NOW)

    assert book.take(handoff(1024), NOW + 2 * LEASE).taken == [True]


def test_a_full_disk_does_not_refuse_what_is_known() -> None:
    """The attempt is under way, whatever becomes of the note that it was asked for again."""
    book = ledger(FullLater())
    book.take(handoff(1024), NOW)

    assert book.take(handoff(1024), NOW).taken == [True]


class Counting(MemoryJournal):
    """A journal that counts its writes."""

    writes = 0

    def append(self, *records: bytes) -> None:
        self.writes += 1
        super().append(*records)


def test_a_handoff_is_one_write() -> None:
    """However many transactions and recipients it has."""
    journal = Counting()
    book = Ledger("unit-1", journal)

    book.take(Handoff("unit-1", [*handoff(1024, 1025).transactions, *handoff(2048).transactions]), NOW)

    assert (journal.writes, len(journal.read_all())) == (1, 3)


def test_of_a_unit_that_is_gone_only_outcomes_are_believed() -> None:
    """Its journal may have lost its end: what it calls begun may be over, and what it calls taken may be another's."""
    journal = MemoryJournal()
    book = ledger(journal)
    book.take(handoff(1024, 1025, 1026, 1027), NOW)
    keys = [AttemptKey("aaaaaaaa", id_, 1) for id_ in (1024, 1025, 1026, 1027)]
    book.dot(keys[1:], NOW, REMOTE)
    ended = [book.finish(key, DELIVERED, NOW, timedelta(seconds=2)) for key in keys[2:]]
    book.recorded(keys[3])

    assert ended_in(journal.read_all()) == [(keys[2], ended[0])]


def test_of_a_damaged_journal_an_outcome_counts_by_itself() -> None:
    """Whatever is missing before it: it says whose it is, and what became of that."""
    journal = MemoryJournal()
    book = ledger(journal)
    book.take(handoff(1024), NOW)
    book.dot([KEY], NOW, REMOTE)
    ended = book.finish(KEY, DELIVERED, NOW, timedelta(seconds=2))

    assert ended_in(journal.read_all()[2:]) == [(KEY, ended)]


class Broken(MemoryJournal):
    """A journal that fails by a fault of its own."""

    def append(self, *records: bytes) -> None:
        raise ValueError("mmap closed or invalid")


@pytest.mark.parametrize("is_broken", [False, True], ids=["before it is written", "while it is written"])
def test_a_handoff_that_fails_leaves_no_trace(is_broken: bool) -> None:
    """Or it would count as taken for ever, and never begin: nobody has heard that anything was taken."""
    book = ledger(Broken() if is_broken else None)
    held: list[Transaction] = []

    def admits(transaction: Transaction, _new: int) -> bool:
        if transaction.legs[0].delivery_id == 3072 and not is_broken:
            raise ValueError("a bug")
        held.append(transaction)
        return True

    many = [transaction for id_ in (1024, 2048, 3072) for transaction in handoff(id_, id_ + 1).transactions]
    with pytest.raises(ValueError, match=r"bug|mmap"):
        book.take(Handoff("unit-1", many), NOW, admits, held.remove)

    assert (book.remembered, book.in_hand, held) == (0, 0, [])
    assert book.holdings.full(1, 10) == []


def test_a_full_disk_refuses_only_what_is_new() -> None:
    """Of one handoff, what is known is taken and what is new leaves no trace."""
    book = ledger(FullLater())
    book.take(handoff(1024), NOW)
    both = Handoff("unit-1", [*handoff(1024).transactions, *handoff(2048).transactions])

    taking = book.take(both, NOW)

    assert (taking.taken, taking.start) == ([True, False], [])
    assert (book.remembered, book.in_hand) == (1, 1)
