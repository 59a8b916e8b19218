"""A busy egress that is told to end, or killed, loses nothing; `make kill` does the same for longer."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.fault.end_egress import run


def test_a_busy_unit_that_is_ended_loses_nothing_and_doubles_only_what_is_unknown(tmp_path: Path) -> None:
    """Twice by SIGTERM and twice by SIGKILL, with slow, silent and paced servers, and messages begun behind a dot."""
    in_turn = [signal.SIGTERM, signal.SIGKILL] * 2
    report = asyncio.run(run(tmp_path, 500, in_turn, drain_s=1))

    assert report.failures == []
    assert report.early > 20, report
    assert report.released > 20, report
    assert max(report.exits_s) < 10, report
