"""What a unit keeps on its volume: its id, its journal, and what units before it have left there.

A unit goes on after a restart of its process: what that process wrote is there. After a restart of the host some of it
may be missing, and nobody knows what. Then that unit is gone, as if its volume were, and another one begins on the same
volume (ADR 16).
"""

from __future__ import annotations

import contextlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from egret import posix

_UNIT_ID = re.compile(r"[a-z0-9-]{8,64}")


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A unit that ended with its host. journal: what is left of its journal."""

    unit_id: str
    journal: Path


@dataclass(frozen=True, slots=True)
class Volume:
    """What was found.

    unit_id: whose it is now. is_synced: the journal has to wait for the disk, since restarts cannot be noticed.
    predecessors: units of earlier runs of the host, whose journals are still there.
    """

    unit_id: str
    journal: Path
    is_synced: bool
    predecessors: tuple[Predecessor, ...]


def open_volume(directory: Path, boot_id: str) -> Volume:
    """Return what is in a unit's directory; a new unit begins where there is none, or where the host was restarted.

    boot_id: as `posix.boot_id`, "" = not known. Only for the process that holds the directory's lock.
    """
    unit_id = _same_unit(directory, boot_id) or _new_unit(directory, boot_id)
    journals = sorted(directory.glob("journal-*"))
    found = [Predecessor(path.name.removeprefix("journal-"), path) for path in journals]
    before = tuple(one for one in found if one.unit_id != unit_id and _UNIT_ID.fullmatch(one.unit_id))
    return Volume(unit_id, directory / f"journal-{unit_id}", not boot_id, before)


def _same_unit(directory: Path, boot_id: str) -> str:
    with contextlib.suppress(FileNotFoundError):
        unit_id, _, boot = (directory / "unit.id").read_text().strip().partition(" ")
        if boot == boot_id and _UNIT_ID.fullmatch(unit_id):
            return unit_id
    return ""


def _new_unit(directory: Path, boot_id: str) -> str:
    unit_id = f"unit-{secrets.token_hex(8)}"
    beside = directory / "unit.id.new"
    beside.write_text(f"{unit_id} {boot_id}\n")
    beside.replace(directory / "unit.id")
    posix.sync_directory(directory)
    return unit_id
