"""Who a unit is: the same after a restart of its process, another one after a restart of its host."""

from __future__ import annotations

from pathlib import Path

import pytest

from egret_egress.journal import FileJournal
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


def test_where_restarts_cannot_be_noticed_the_unit_stays_and_waits_for_its_disk(tmp_path: Path) -> None:
    """As the system does not tell."""
    first = open_volume(tmp_path, "")

    assert first.is_synced
    assert open_volume(tmp_path, "") == first
