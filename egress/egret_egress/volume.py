"""What a unit keeps on its volume: its id, its journal, and what units before it have left there.

A unit goes on after a restart of its process: what that process wrote is there. After a restart of the host some of it
may be missing, and nobody knows what. Then that unit is gone, as if its volume were, and another one begins on the same
volume; so it is where the journal is missing or damaged, however that came about (ADR 16).
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from egret import posix
from egret_egress.journal import FileJournal, is_whole

log = logging.getLogger(__name__)

_UNIT_ID = re.compile(r"[a-z0-9-]{8,64}")


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A unit that ended with its host, or with its journal. journal: what is left of that, which may be nothing."""

    unit_id: str
    journal: Path


@dataclass(frozen=True, slots=True)
class Volume:
    """What was found.

    unit_id: whose it is now. is_synced: the journal has to wait for the disk, since restarts cannot be noticed.
    predecessors: units that were here before, and are not known to have been withdrawn.
    """

    unit_id: str
    journal: Path
    is_synced: bool
    predecessors: tuple[Predecessor, ...]


def open_volume(directory: Path, boot_id: str) -> Volume:
    """Return what is in a unit's directory; a new unit begins where none can go on.

    One goes on while the host was not restarted and its journal is whole: without what stood there it would send again.
    boot_id: as `posix.boot_id`, "" = not known. Only for the process that holds the directory's lock. Raises OSError.
    """
    last, boot = _last_unit(directory)
    goes_on = last and boot == boot_id and _is_whole(directory, last)
    unit_id = last if goes_on else _new_unit(directory, boot_id)
    left = {path.name.removeprefix("journal-") for path in directory.glob("journal-*")} | {last}
    before = sorted(one for one in left if one != unit_id and _UNIT_ID.fullmatch(one))
    predecessors = tuple(Predecessor(one, _journal(directory, one)) for one in before)
    return Volume(unit_id, _journal(directory, unit_id), not boot_id, predecessors)


def _journal(directory: Path, unit_id: str) -> Path:
    return directory / f"journal-{unit_id}"


def _last_unit(directory: Path) -> tuple[str, str]:
    """Return the unit that was here last and the run of its host, ("", "") when nobody can read that."""
    with contextlib.suppress(FileNotFoundError):
        unit_id, _, boot = (directory / "unit.id").read_text("ascii", "replace").strip().partition(" ")
        if _UNIT_ID.fullmatch(unit_id):
            return unit_id, boot
    return "", ""


def _is_whole(directory: Path, unit_id: str) -> bool:
    if is_whole(_journal(directory, unit_id)):
        return True
    log.error("the journal is missing or damaged: another unit begins", extra={"unit": unit_id})
    return False


def _new_unit(directory: Path, boot_id: str) -> str:
    """Make a unit; only when its journal is there it is the volume's."""
    unit_id = f"unit-{secrets.token_hex(8)}"
    FileJournal(_journal(directory, unit_id)).close()
    beside = directory / "unit.id.new"
    beside.write_text(f"{unit_id} {boot_id}\n")
    beside.replace(directory / "unit.id")
    posix.sync_directory(directory)
    return unit_id
