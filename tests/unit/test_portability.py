"""The lint that keeps what only POSIX has in one module."""

from __future__ import annotations

from pathlib import Path

import pytest

from lint import portability

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import os\nos.fork()", "os.fork"),
        ("import os as system\nsystem.killpg(1, 15)", "os.killpg"),
        ("from os import setsid\nsetsid()", "os.setsid"),
        ("import os\nos.open('.', os.O_RDONLY | os.O_DIRECTORY)", "os.O_DIRECTORY"),
        ("import fcntl", "fcntl"),
        ("from fcntl import flock", "fcntl"),
        ("def peak():\n    import resource\n    return resource", "resource"),
        ("import signal\nsignal.SIGKILL", "signal.SIGKILL"),
        ("def f(loop):\n    loop.add_signal_handler(15, print)", "add_signal_handler"),
        ("import asyncio\nasyncio.get_running_loop().add_signal_handler(15, print)", "add_signal_handler"),
        ("import subprocess\nsubprocess.Popen([], start_new_session=True)", "start_new_session"),
    ],
)
def test_what_only_posix_has_is_found(source: str, name: str) -> None:
    """Every way of naming a POSIX-only call is found, whatever its module is called locally."""
    assert [found for _, found in portability.findings(source)] == [name]


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.kill(1, 15); os.fsync(3); os.getpid()",
        "import signal\nsignal.SIGTERM, signal.SIGINT",
        "from egret import posix\nposix.kill_group(1)",
        "from egret.posix import sync_directory",
        "'os.fork() and fcntl in words'",
        "class Pool:\n    def fork(self): ...\nPool().fork()",
    ],
)
def test_what_every_system_has_is_left_alone(source: str) -> None:
    """Portable calls, our own module and mere words are no findings."""
    assert portability.findings(source) == []


def test_a_finding_names_its_place_and_the_way_out(tmp_path: Path) -> None:
    """A finding is a sentence with file and line, and says where the call may stand."""
    package = tmp_path / "egress" / "egret_egress"
    package.mkdir(parents=True)
    (package / "server.py").write_text("import os\n\nos.fork()\n")
    assert portability.check(tmp_path) == [
        "egress/egret_egress/server.py:3: os.fork is not on every system: it belongs in layers/common/egret/posix.py"
    ]


def test_the_one_module_may_and_needs_to() -> None:
    """The module that is let off exists, and would be reported otherwise."""
    source = (ROOT / portability.ALLOWED).read_text(encoding="utf-8")
    assert "add_signal_handler" in {name for _, name in portability.findings(source)}
