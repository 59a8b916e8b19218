"""What the Makefile promises of its recipes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from egret import posix

MAKEFILE = Path(__file__).parents[2] / "Makefile"
PROGRAM = """#!/bin/sh
trap 'echo ended; exit 0' TERM
echo "$PYTHONPATH"
while :; do sleep 0.01; done
"""


@pytest.mark.skipif(shutil.which("make") is None or os.name != "posix", reason="needs make and a POSIX shell")
@pytest.mark.parametrize("target", ["serve", "moto"])
def test_a_server_ends_with_its_make(tmp_path: Path, target: str) -> None:
    """A request to end that only make gets reaches the program, and make waits for it; also in a folder with spaces."""
    checkout = tmp_path / "my checkout"
    program = checkout / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM)
    program.chmod(0o755)
    shutil.copy(MAKEFILE, checkout)
    made = [word for name in (".venv", ".venv-emulator") for word in ("-o", f"{name}/.ready")]
    for name in (".venv", ".venv-emulator"):
        (checkout / name).mkdir(exist_ok=True)
        (checkout / name / ".ready").touch()
    command = ["make", "-C", str(checkout), "--no-print-directory", *made, target]
    make = posix.spawn_group(command, environment={"PATH": os.environ["PATH"]}, output=subprocess.PIPE)
    assert make.stdout is not None
    try:
        assert make.stdout.readline().split(b":")[0] == str(checkout).encode()

        make.send_signal(signal.SIGTERM)

        make.wait(10)
    finally:
        posix.kill_group(make.pid)
    with make.stdout:
        assert b"ended\n" in make.stdout.read()
