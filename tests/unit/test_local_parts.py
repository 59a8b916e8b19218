"""The small parts of local mode: scripted answers, event filters, the gateway's events, settings, processes."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from egret import posix
from egret_cli.connect import LOCAL_FILE
from egret_local import emulator
from egret_local.__main__ import main
from egret_local.processes import Child, Family, clean_up, taken
from egret_local.receiver import line
from egret_local.script import Answer, Trick, at_data, at_mail, at_rcpt
from egret_local.settings import from_environment
from egret_local.sources import matches
from egret_local.supervisor import CannotStart, Supervisor
from tests.e2e.installation import PORTS, free_ports


@pytest.mark.parametrize(
    ("address", "at_end"),
    [
        ("ann@x.example", None),
        ("ann+temperror@x.example", Answer(451, "4.0.0 scripted temporary error")),
        ("PermError@x.example", Answer(550, "5.1.1 scripted permanent error")),
        ("box-452@x.example", Answer(452, "4.0.0 scripted answer")),
        ("u552@x.example", Answer(552, "5.0.0 scripted answer")),
        ("u553@x.example", Answer(553, "5.1.3 scripted answer")),
        ("u554@x.example", Answer(554, "5.0.0 scripted answer")),
        ("u399@x.example", None),
        ("u600@x.example", None),
        ("timeout@x.example", Trick.SILENCE),
        ("a.disconnect@x.example", Trick.DISCONNECT),
        ("greylist@x.example", Trick.GREYLIST),
        ("rcptto550@x.example", None),
    ],
)
def test_a_local_part_scripts_the_answer_to_its_message(address: str, at_end: Answer | Trick | None) -> None:
    """The suffix decides, without regard to case; a prefix moves the answer away from the end of the message."""
    assert at_end == at_data(address)


def test_prefixes_move_the_answer_to_a_command() -> None:
    """`rcptto` answers at RCPT, `mailfrom` at MAIL, and only they do."""
    assert (Answer(550, "5.1.1 scripted answer"), None) == (at_rcpt("rcptto550@x"), at_rcpt("x550@x"))
    assert (Answer(451, "4.0.0 scripted answer"), None) == (at_mail("mailfrom451@x"), at_mail("x451@x"))


PATTERN = '[{"a": {"b": ["1", {"prefix": "x"}]}}, {"c": [{"exists": false}], "d": [{"anything-but": ["n"]}]}]'


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"a": {"b": "1"}, "c": 1}, True),
        ({"a": {"b": "xyz"}, "c": 1}, True),
        ({"a": {"b": "2"}, "c": 1}, False),
        ({"d": "m"}, True),
        ({"d": "n"}, False),
        ({"c": 1, "d": "m"}, False),
    ],
)
def test_event_filters_pass_what_eventbridge_would(record: dict[str, Any], expected: bool) -> None:
    """Any pattern suffices, all of its keys must fit."""
    assert expected == matches(PATTERN, record)
    assert matches("", record)


def test_an_unknown_filter_is_an_error() -> None:
    """A filter that local mode cannot play is not silently passed."""
    with pytest.raises(ValueError, match="not known in local mode"):
        matches('[{"a": [{"wildcard": "*"}]}]', {"a": "x"})


@pytest.mark.parametrize("variables", [{"HTTP_PORT": "x"}, {"SMTP_PORT": "70000"}, {"RETRY_BASE_S": "soon"}])
def test_a_setting_that_cannot_be_is_named(variables: dict[str, str], tmp_path: Path) -> None:
    """The sentence says which variable is wrong."""
    with pytest.raises(ValueError, match=next(iter(variables))):
        from_environment(variables, tmp_path)


@pytest.mark.parametrize(("deliver", "is_real"), [("", False), ("sink", False), ("real", True)])
def test_mail_leaves_this_machine_only_when_that_is_said(tmp_path: Path, deliver: str, *, is_real: bool) -> None:
    """DELIVER=real is the one word for it."""
    assert from_environment({"DELIVER": deliver}, tmp_path).real is is_real


@pytest.mark.parametrize("deliver", ["reel", "REAL", "1"])
def test_a_mistyped_way_of_delivery_is_refused(tmp_path: Path, deliver: str) -> None:
    """Nobody waits for mail that was never sent."""
    with pytest.raises(ValueError, match="DELIVER must be"):
        from_environment({"DELIVER": deliver}, tmp_path)


@pytest.mark.parametrize("prefix", ["", "EGRET_"])
def test_what_the_egress_is_told_has_its_name_there_too(tmp_path: Path, prefix: str) -> None:
    """Neither spelling is silently ignored."""
    settings = from_environment({f"{prefix}RESOLVER": "127.0.0.1:5353", f"{prefix}SHAPING": "own.toml"}, tmp_path)

    assert (settings.resolver, settings.shaping) == ("127.0.0.1:5353", "own.toml")


def test_a_taken_port_is_named_with_its_variable() -> None:
    """The user learns what to set."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]

        assert [f"port {port} is taken: choose another with HTTP_PORT=<number>"] == taken({"HTTP_PORT": port})


WAITS = [sys.executable, "-c", "import sys; sys.stdin.read(); import threading; threading.Event().wait()"]


def test_what_a_killed_supervisor_left_is_ended(tmp_path: Path) -> None:
    """The next run finds it in the record, and touches nothing else."""
    record = tmp_path / "processes.json"
    family = Family(tmp_path, record)
    child = Child("sleeper", WAITS, {})
    family.start(child)
    assert child.process is not None
    reaper = threading.Thread(target=child.process.wait)
    reaper.start()

    assert clean_up(record) == ["sleeper"]
    reaper.join(10)
    assert child.process.returncode is not None
    assert clean_up(record) == []


def test_a_process_that_died_is_started_again(tmp_path: Path) -> None:
    """The family watches over its members."""
    family = Family(tmp_path, tmp_path / "processes.json")
    child = Child("short", [sys.executable, "-c", "pass"], {}, started_at=-1e9)
    family.start(child)
    assert child.process is not None
    first = child.process.pid
    child.process.wait()
    child.started_at = -1e9

    assert len(family.revive()) == 1
    assert first != child.process.pid
    family.end(5, last="")


def test_a_process_that_ends_at_the_start_has_the_last_word(tmp_path: Path) -> None:
    """What it wrote in this run, at most ten lines; nothing while it runs, nor for others."""
    for name in ("bad", "brief"):
        (tmp_path / f"{name}.log").write_text("of yesterday\n")
    family = Family(tmp_path, tmp_path / "processes.json")
    bad = Child("bad", [sys.executable, "-c", "print(*range(20), sep='\\n'); raise SystemExit(2)"], {})
    mute = Child("mute", [sys.executable, "-c", "raise SystemExit(3)"], {}, shows_output=True)
    brief = Child("brief", [sys.executable, "-c", "raise SystemExit(4)"], {})
    for child in (bad, mute, brief):
        family.start(child)
        assert child.process is not None
        child.process.wait()
    family.start(Child("good", WAITS, {}))

    assert family.ended(["good", "bad"]) == "\n".join(["bad ended with 2:", *map(str, range(10, 20))])
    assert (family.ended(["mute"]), family.ended(["brief"])) == ("mute ended with 3:", "brief ended with 4:")
    assert family.ended(["good"]) == ""
    family.end(5, last="")


@pytest.mark.skipif(os.name != "posix", reason="a log that is open cannot be cut on Windows")
def test_a_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    """A long one is put aside while its process goes on writing, and another time at a start; one old one is kept."""
    go, log, old = tmp_path / "go", tmp_path / "wordy.log", tmp_path / "wordy.log.1"
    code = (
        "import pathlib, sys, time; print('x' * 100, flush=True)\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.005)\n"
        "print('after', flush=True)"
    )
    family = Family(tmp_path, tmp_path / "processes.json", max_log_bytes=100)
    child = Child("wordy", [sys.executable, "-c", code], {})
    family.start(child)
    while not log.stat().st_size:
        time.sleep(0.005)

    family.turn_logs()
    assert (log.read_text(), old.read_text()) == ("", "x" * 100 + "\n")
    go.touch()
    assert child.process is not None
    child.process.wait()
    family.turn_logs()
    assert log.read_text() == "after\n"

    log.write_text("y" * 101)
    family.start(Child("wordy", [sys.executable, "-c", ""], {}))
    assert (log.read_text(), old.read_text()) == ("", "y" * 101)
    family.end(5, last="")


def test_a_start_does_not_wait_for_a_process_that_has_ended(tmp_path: Path) -> None:
    """It gives up at once, with what the process said; here the emulator, whose environment lacks it.

    However a run ends, the command line no longer finds it: others may listen on its ports.
    """
    program = Path(emulator.command(from_environment({}, tmp_path))[0])
    program.parent.mkdir(parents=True)
    program.symlink_to(sys.executable)
    settings = from_environment(dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True)), tmp_path)

    found_by = settings.state / LOCAL_FILE
    found_by.parent.mkdir(parents=True)
    found_by.write_text("{}")

    with pytest.raises(CannotStart, match=r"emulator ended with 1:\n.*No module named ministack"):
        Supervisor(settings, {}).run()
    assert not found_by.exists()


def test_who_starts_a_second_run_learns_of_the_first(tmp_path: Path) -> None:
    """The sentence names its process, so that it can be ended; `FRESH=1` does not make it forget."""
    settings = from_environment({"STATE": str(tmp_path), "FRESH": "1"}, tmp_path)
    with pytest.raises(CannotStart, match="not installed"):
        Supervisor(settings, {}).run()

    with posix.FileLock(tmp_path / "lock"), pytest.raises(CannotStart, match=f"as process {os.getpid()}: end it"):
        Supervisor(settings, {}).run()


def test_arguments_start_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks for help gets some."""
    assert main(["--help"]) == 2
    assert "HTTP_PORT" in capsys.readouterr().err


def test_the_receiver_prints_what_happened() -> None:
    """One line names the event, the recipient and the answer."""
    payload = {"Event": "failed", "Recipient": "a@x", "QueueMsgID": 7, "SMTPCode": 550, "SMTPEnhancedCode": "5.1.1"}

    said = {**payload, "Error": "refused: 550 5.1.1 no such user"}
    assert line(said) == "webhook  failed        a@x  #7  refused: 550 5.1.1 no such user"
    said = {**payload, "SMTPEnhancedCode": "", "Error": "refused"}
    assert line(said) == "webhook  failed        a@x  #7  550  refused"
    assert line({**payload, "Suppressing": True}) == "webhook  failed        a@x  #7  550 5.1.1  (address suppressed)"
    mail = {"From": [{"Name": "", "Address": "a@x"}], "Subject": "Hi\x1b", "Meta": {"RcptTo": "b@y", "MsgID": 8}}
    assert line(mail) == r"webhook  incoming      a@x to b@y  #8  'Hi\x1b'"
