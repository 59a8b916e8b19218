"""Who a unit is: the same after a restart of its process, another one after a restart of its host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from egret_egress.journal import MAGIC, FileJournal, frame_of
from egret_egress.volume import Predecessor, open_volume


def test_a_unit_goes_on_after_a_restart_of_its_process(tmp_path: Path) -> None:
    """Its journal is whole, and its own."""
    first = open_volume(tmp_path, "boot-1")
    FileJournal(first.journal).close()

    assert open_volume(tmp_path, "boot-1") == first
    assert first.predecessors == ()


def test_another_unit_begins_after_a_restart_of_the_host(tmp_path: Path) -> None:
    """And knows whom it follows, until those journals are gone."""
    units = []
    for boot in ("boot-1", "boot-2", "boot-3"):
        units.append(open_volume(tmp_path, boot))
        FileJournal(units[-1].journal).close()
    left = [Predecessor(one.unit_id, one.journal) for one in units[:2]]

    assert len({one.unit_id for one in units}) == 3
    assert sorted(left, key=lambda one: one.unit_id) == list(open_volume(tmp_path, "boot-3").predecessors)


@pytest.mark.parametrize("text", ["", "unit-00000000\n", "UNIT-00000000 boot-1", "../../etc boot-1", "unit-00000000 x"])
def test_what_is_no_id_of_ours_makes_another_unit(tmp_path: Path, text: str) -> None:
    """Cut off, of an earlier version, or written by somebody else."""
    (tmp_path / "unit.id").write_text(text)

    assert open_volume(tmp_path, "boot-1").unit_id not in text.split()


def test_an_id_that_is_no_text_makes_another_unit(tmp_path: Path) -> None:
    """And whoever was here before is found by its journal."""
    first = open_volume(tmp_path, "boot-1")
    (tmp_path / "unit.id").write_bytes(b"\xff\xfe\x00" + first.unit_id.encode())

    second = open_volume(tmp_path, "boot-1")

    assert (second.unit_id != first.unit_id, second.predecessors) == (
        True,
        (Predecessor(first.unit_id, first.journal),),
    )
    assert open_volume(tmp_path, "boot-1") == second


def damage(path: Path) -> None:
    """Spoil one record of several."""
    spoilt = bytearray(frame_of(b"spoilt"))
    spoilt[-1] ^= 1
    path.write_bytes(MAGIC + frame_of(b"before") + spoilt + frame_of(b"behind") + bytes(4096))


@pytest.mark.parametrize(
    "harm",
    [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(bytes(4096)), damage],
    ids=["missing", "emptied", "zeros", "damaged"],
)
def test_without_its_whole_journal_a_unit_does_not_go_on(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    """It would begin again what is over; another unit begins, and what is left of the journal stays for it."""
    first = open_volume(tmp_path, "boot-1")
    harm(first.journal)
    left = first.journal.read_bytes() if first.journal.exists() else None

    second = open_volume(tmp_path, "boot-1")

    assert (second.unit_id != first.unit_id, second.predecessors) == (
        True,
        (Predecessor(first.unit_id, first.journal),),
    )
    assert left == (first.journal.read_bytes() if first.journal.exists() else None)
    assert open_volume(tmp_path, "boot-1").unit_id == second.unit_id


def test_a_crash_before_a_new_unit_has_its_id_leaves_the_old_one(tmp_path: Path) -> None:
    """The journal is made first; the one that nobody has used is then what a unit before has left."""
    first = open_volume(tmp_path, "boot-1")
    FileJournal(tmp_path / "journal-unit-00000000").close()

    again = open_volume(tmp_path, "boot-1")

    assert again.unit_id == first.unit_id
    assert [one.unit_id for one in again.predecessors] == ["unit-00000000"]


def test_where_restarts_cannot_be_noticed_the_unit_stays_and_waits_for_its_disk(tmp_path: Path) -> None:
    """As the system does not tell."""
    first = open_volume(tmp_path, "")

    assert first.is_synced
    assert open_volume(tmp_path, "") == first
