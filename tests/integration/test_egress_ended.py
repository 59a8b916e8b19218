"""A busy egress that is told to end, or killed, loses nothing; `make kill` does the same for longer."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from egret_egress.journal import FileJournal, is_whole
from tests.fault.end_egress import run


def test_a_busy_unit_that_is_ended_loses_nothing_and_doubles_only_what_is_unknown(tmp_path: Path) -> None:
    """Twice by SIGTERM and twice by SIGKILL, with slow, silent and paced servers, and messages begun behind a dot."""
    in_turn = [signal.SIGTERM, signal.SIGKILL] * 2
    report = asyncio.run(run(tmp_path, 500, in_turn, drain_s=1))

    assert report.failures == []
    assert report.early > 20, report
    assert report.released > 20, report
    assert max(report.exits_s) < 10, report


WRITES = """
import sys
from pathlib import Path
from egret_egress.journal import FileJournal
journal = FileJournal(Path(sys.argv[1]))
appends = [[b"end".rjust(100 + 37 * size, b"x")] * size for size in range(1, 61)]
print("ready", flush=True)
while True:
    for records in appends:
        journal.append(*records)
"""


def test_a_journal_is_whole_wherever_its_process_is_killed(tmp_path: Path) -> None:
    """What the kill cuts is no damage, whichever way memory is copied: the unit goes on, without the cut append."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for number in range(16):
        path = tmp_path / f"journal-{number}"
        command = [sys.executable, "-c", WRITES, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.005 + number / 2000)
            process.kill()

        assert is_whole(path)
        journal = FileJournal(path)
        sizes = Counter(len(record) for record in journal.read_all())
        assert [size for size, count in sizes.items() if count % ((size - 100) // 37)] == []
        journal.close()
