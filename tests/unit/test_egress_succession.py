"""What a unit before has left: outcomes first, then it is withdrawn, then it is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from egret.contracts.handoff import Content, Handoff, Leg, Transaction
from egret.contracts.records import Unit
from egret.core.delivery import Attempt, Lease
from egret.core.errors import Unavailable
from egret.core.outcome import Delivered, Remote
from egret.core.reply import Reply
from egret.memory.units import MemoryUnits
from egret.usecases.record_outcome import Ended
from egret_egress.journal import FileJournal
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


class Told(MemoryUnits):
    """Units that say when one is removed."""

    def __init__(self, said: list[str]) -> None:
        super().__init__()
        self.said = said

    def remove(self, unit_id: str) -> None:
        self.said.append(f"removed {unit_id}")
        super().remove(unit_id)


def left_in(path: Path) -> Predecessor:
    """Return a unit that ended with one outcome and one attempt under way."""
    journal = FileJournal(path)
    book = Ledger(OLD, journal)
    legs = [Leg(key.delivery_id, 1, "r@example.org") for key in KEYS]
    transaction = Transaction(
        "aaaaaaaa", 1024, "example.org", "s@x.example", legs, Content(1, b"x"), NOW + timedelta(minutes=40)
    )
    book.take(Handoff(OLD, [transaction]), NOW)
    book.dot(KEYS, NOW)
    book.finish(KEYS[0], Delivered(Reply(250, ("ok",)), Remote("mx", "192.0.2.1")), NOW, timedelta(0))
    journal.close()
    return Predecessor(OLD, path)


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
