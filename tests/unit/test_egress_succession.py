"""What a unit before has left: outcomes first, then it is withdrawn, then it is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from egret.contracts.handoff import Content, Handoff, Leg, Transaction
from egret.contracts.records import Unit
from egret.core.delivery import Attempt, Lease
from egret.core.errors import ContractError, Unavailable
from egret.core.outcome import Delivered, Remote
from egret.core.reply import Reply
from egret.memory.units import MemoryUnits
from egret.usecases.record_outcome import Ended
from egret_egress.journal import MAGIC, FileJournal, frame_of
from egret_egress.ledger import AttemptKey, Ledger
from egret_egress.succession import succeed
from egret_egress.volume import Predecessor

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
OLD = "unit-00000001"
KEYS = [AttemptKey("aaaaaaaa", id_, 1) for id_ in (1024, 2048)]


class Moody:
    """A book that is out of reach for so many calls. said: what happened, in order."""

    def __init__(self, failures: int, said: list[str]) -> None:
        self.failures = failures
        self.said = said

    def record(self, account: str, delivery_id: int, attempt: Attempt) -> None:
        raise NotImplementedError

    def record_all(self, ended: Sequence[Ended]) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable
        self.said += [f"recorded {id_}" for _, id_, _ in ended]

    def release(
        self, account: str, delivery_id: int, lease: Lease, until: datetime | None = None, waiting: str = ""
    ) -> None:
        raise NotImplementedError


class Picky(Moody):
    """A book that fails by an error of its own for one delivery, so many times."""

    def __init__(self, error: Exception, failures: int, said: list[str]) -> None:
        super().__init__(0, said)
        self._error = error
        self._left = failures

    def record_all(self, ended: Sequence[Ended]) -> None:
        if self._left and any(id_ == KEYS[0].delivery_id for _, id_, _ in ended):
            self._left -= len(ended) == 1
            raise self._error
        super().record_all(ended)


class Told(MemoryUnits):
    """Units that say when one is removed."""

    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self.said = said

    def remove(self, unit_id: str) -> None:
        self.said.append(f"removed {unit_id}")
        super().remove(unit_id)


def left_in(path: Path, ended: int = 1) -> Predecessor:
    """Return a unit that ended with some outcomes, the other attempts being under way."""
    unit_id = path.name.removeprefix("journal-")
    journal = FileJournal(path)
    book = Ledger(unit_id, journal)
    legs = [Leg(key.delivery_id, 1, "r@example.org") for key in KEYS]
    transaction = Transaction(
        "aaaaaaaa", 1024, "example.org", "s@x.example", legs, Content(1, b"x"), NOW + timedelta(minutes=40)
    )
    book.take(Handoff(unit_id, [transaction]), NOW)
    book.dot(KEYS, NOW)
    for key in KEYS[:ended]:
        book.finish(key, Delivered(Reply(250, ("ok",)), Remote("mx", "192.0.2.1")), NOW, timedelta(0))
    journal.close()
    return Predecessor(unit_id, path)


def test_outcomes_are_recorded_before_the_unit_is_withdrawn(tmp_path: Path) -> None:
    """The other way round, deliver could call unknown what is known; a table out of reach is asked again."""
    said: list[str] = []
    units = Told(said)
    units.put(Unit(OLD, "http://unit", "unit.example", (), True, 1, NOW))
    one = left_in(tmp_path / f"journal-{OLD}")

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(succeed([one], Moody(2, said), units, executor, again_s=0))

    assert said == ["recorded 1024", f"removed {OLD}"]
    assert units.list() == []
    assert not one.journal.exists()


def test_a_journal_that_cannot_be_read_withdraws_the_unit_all_the_same(tmp_path: Path) -> None:
    """The host went down before anything of it was on the disk."""
    path = tmp_path / f"journal-{OLD}"
    path.write_bytes(bytes(4096))
    said: list[str] = []

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(succeed([Predecessor(OLD, path)], Moody(0, said), Told(said), executor))

    assert said == [f"removed {OLD}"]


def settle(predecessors: Sequence[Predecessor], book: Moody, units: MemoryUnits) -> None:
    """Succeed them; returns when nothing is left to do, or only what goes on for ever."""
    with ThreadPoolExecutor(1) as executor, contextlib.suppress(TimeoutError):
        asyncio.run(asyncio.wait_for(succeed(predecessors, book, units, executor, again_s=0.001), 0.2))


def test_an_outcome_that_the_table_never_takes_keeps_no_other(tmp_path: Path) -> None:
    """It is given up; the others are recorded, the unit is withdrawn, and the next one's turn comes."""
    said: list[str] = []
    both = [left_in(tmp_path / f"journal-{OLD}", ended=2), left_in(tmp_path / "journal-unit-00000002", ended=2)]

    settle(both, Picky(ContractError(detail="ValidationException"), 1, said), Told(said))

    assert said == ["recorded 2048", f"removed {OLD}", "recorded 1024", "recorded 2048", "removed unit-00000002"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("a bug"), Unavailable()])
def test_a_unit_is_not_withdrawn_before_its_outcomes_are_recorded(tmp_path: Path, error: Exception) -> None:
    """What fails without being refused may succeed the next time."""
    said: list[str] = []
    one = left_in(tmp_path / f"journal-{OLD}")

    settle([one], Picky(error, 2, said), Told(said))

    assert said == ["recorded 1024", f"removed {OLD}"]


def test_a_journal_that_cannot_be_opened_keeps_its_unit_and_no_other(tmp_path: Path) -> None:
    """A file system may answer later; until then the outcomes there may still be recorded."""
    said: list[str] = []
    path = tmp_path / f"journal-{OLD}"
    path.mkdir()

    settle([Predecessor(OLD, path), left_in(tmp_path / "journal-unit-00000002")], Moody(0, said), Told(said))

    assert said == ["recorded 1024", "removed unit-00000002"]


def test_outcomes_behind_what_is_damaged_are_recorded(tmp_path: Path) -> None:
    """Each of them keeps a message from being sent twice."""
    said: list[str] = []
    one = left_in(tmp_path / f"journal-{OLD}", ended=2)
    content = bytearray(one.journal.read_bytes())
    content[len(MAGIC) + len(frame_of(b""))] ^= 1
    one.journal.write_bytes(content)

    settle([one], Moody(0, said), Told(said))

    assert said == ["recorded 1024", "recorded 2048", f"removed {OLD}"]


class Unwilling(Told):
    """Units of which one cannot be removed."""

    def remove(self, unit_id: str) -> None:
        if unit_id == OLD:
            raise ContractError
        super().remove(unit_id)


def test_a_unit_that_cannot_be_withdrawn_keeps_no_other(tmp_path: Path) -> None:
    """Its journal stays for the next start."""
    said: list[str] = []
    both = [left_in(tmp_path / f"journal-{OLD}"), left_in(tmp_path / "journal-unit-00000002")]

    settle(both, Moody(0, said), Unwilling(said))

    assert said == ["recorded 1024", "recorded 1024", "removed unit-00000002"]
    assert [one.journal.exists() for one in both] == [True, False]
