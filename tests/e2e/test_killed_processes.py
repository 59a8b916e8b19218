"""kill -9 of any one of our processes loses nothing."""

from __future__ import annotations

import pytest

from tests.e2e.installation import Installation
from tests.fault.kill_processes import VICTIMS, run

SENDS = 200


@pytest.mark.slow
def test_no_accepted_message_is_lost_when_a_process_is_killed(shared: Installation) -> None:
    """Each process is killed while mail is sent: what was accepted is delivered and told, with no copy too many."""
    report = run(shared, SENDS)

    assert report.failures == []
    assert len(report.accepted) >= SENDS
    assert dict(report.killed) == dict.fromkeys(VICTIMS, 1)
