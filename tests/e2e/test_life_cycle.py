"""Local mode starts, stops, and remembers."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.installation import END_S, PORTS, Installation, wait_until

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Installation]:
    """An installation that has not been started yet."""
    installation = Installation(tmp_path)
    yield installation
    installation.clean_up()


def test_a_taken_port_is_a_clear_error(own: Installation) -> None:
    """Each port that is taken is named with the variable that chooses another; nothing is started."""
    with socket.socket() as first, socket.socket() as second:
        for taken, name in ((first, "HTTP_PORT"), (second, "SINK_PORT")):
            taken.bind(("127.0.0.1", own.ports[name]))
            taken.listen()
        process = own.launch()

        assert process.wait(30) == 1
    expected = [
        f"port {own.ports[name]} is taken: choose another with {name}=<number>" for name in ("HTTP_PORT", "SINK_PORT")
    ]
    assert own.output.splitlines() == expected


@pytest.mark.parametrize("name", PORTS)
def test_what_is_no_port_is_a_clear_error(own: Installation, name: str) -> None:
    """Every port can be set, and a bad value is one sentence."""
    process = own.launch({name: "http"})

    assert process.wait(30) == 1
    assert own.output.strip() == f"{name}='http' is no port: give a number from 1 to 65535"


@linux_only
def test_state_survives_a_restart_and_fresh_forgets_it(own: Installation) -> None:
    """Ctrl-C ends every process within 5 s; delivery, mailbox and what was waiting are there after the next start."""
    own.start({"RETRY_BASE_S": "1"})
    sent = own.send("ann@example.net")
    own.await_end(sent["QueueMsgID"])
    wait_until(lambda: own.ask("MessageList", {})["Messages"], "in the mailbox")
    waiting = own.send("late-greylist@example.net")["QueueMsgID"]

    assert own.interrupt() < END_S
    assert own.left() == []

    own.start({"RETRY_BASE_S": "1"})
    assert own.delivery(sent["QueueMsgID"])["State"] == "delivered"
    assert [message["MessageID"] for message in own.ask("MessageList", {})["Messages"]].count(sent["MessageID"]) == 1
    # The sink greylists anew, or its first answer was heard before the restart.
    assert own.await_end(waiting)["State"] == "delivered"
    wait_until(lambda: own.is_told("delivered", waiting), "told")

    assert own.interrupt() < END_S
    own.start({"FRESH": "1"})
    assert own.call("DeliveryGet", {"QueueMsgID": sent["QueueMsgID"]}).status == 400
    assert own.ask("MessageList", {})["Messages"] == []


@linux_only
def test_two_in_one_folder_is_a_clear_error(own: Installation, tmp_path: Path) -> None:
    """Whoever starts a second one on the same state is told so, and the first runs on."""
    own.launch()
    wait_until((own.state / "processes.json").exists, "started", pause_s=0.01)
    (tmp_path / "second").mkdir()
    second = Installation(tmp_path / "second", {"STATE": str(own.state)})

    assert second.launch().wait(30) == 1
    assert f"another `make serve` runs in {own.state}" in second.output
    wait_until(lambda: "Egret runs." in own.output, "up")


@linux_only
def test_what_a_killed_supervisor_left_is_ended_by_the_next_start(own: Installation) -> None:
    """After kill -9 of the supervisor its processes run on; the next start ends them and has their mail."""
    own.start()
    sent = own.send("ann@example.net")
    own.await_end(sent["QueueMsgID"])
    before = own.processes()

    own.kill_supervisor()
    assert len(own.left()) == len(before)
    own.start()

    assert own.output.count("left over from a run that was killed") == len(before)
    assert not set(before.values()) & set(own.processes().values())
    assert len(own.left()) == len(own.processes()) + 1
    assert own.delivery(sent["QueueMsgID"])["State"] == "delivered"


@linux_only
def test_ctrl_c_while_it_starts_leaves_nothing(own: Installation) -> None:
    """Whoever changes their mind at once waits no longer than 5 s, either."""
    own.launch()
    wait_until((own.state / "processes.json").exists, "started", pause_s=0.01)

    assert own.interrupt() < END_S
    assert own.left() == []
