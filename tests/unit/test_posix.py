"""What egret.posix promises, on the system at hand."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from egret import posix

if TYPE_CHECKING:
    from pathlib import Path

SLEEPER = [sys.executable, "-c", "import sys, time; print('up', flush=True); time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    process = posix.spawn_group(command, environment=dict(os.environ), output=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"up"
    process.stdout.close()
    return process


def test_a_directory_can_be_synced_after_a_rename(tmp_path: Path) -> None:
    """Syncing a directory neither fails nor changes what is in it."""
    (tmp_path / "new").write_bytes(b"journal")
    (tmp_path / "new").rename(tmp_path / "final")
    posix.sync_directory(tmp_path)
    assert (tmp_path / "final").read_bytes() == b"journal"


def test_a_held_lock_refuses_a_second_holder(tmp_path: Path) -> None:
    """Only one holder at a time; the next one gets in once the first let go."""
    path = tmp_path / "lock"
    with posix.FileLock(path), pytest.raises(BlockingIOError, match="another process holds the lock"):
        posix.FileLock(path)
    with posix.FileLock(path) as lock:
        lock.release()
        posix.FileLock(path).release()


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    """A process that died without letting go leaves no lock behind."""
    path = tmp_path / "lock"
    code = f"import os, pathlib; from egret import posix; l = posix.FileLock(pathlib.Path({str(path)!r})); os._exit(9)"
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 9
    posix.FileLock(path).release()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_end_reaches_the_loop(number: signal.Signals) -> None:
    """SIGINT and SIGTERM call the callback in the loop instead of ending the process."""

    async def main() -> str:
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        posix.on_terminate(loop, asked.set)
        signal.raise_signal(number)
        await asyncio.wait_for(asked.wait(), timeout=10)
        return "asked"

    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert asyncio.run(main()) == "asked"
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)


def test_a_group_ends_when_asked() -> None:
    """A program that heeds SIGTERM ends by it, within its grace."""
    process = _start(SLEEPER)
    assert posix.is_alive(process.pid)
    assert posix.end_group(process, grace_s=10) == -signal.SIGTERM
    assert not posix.is_alive(process.pid)


def test_a_deaf_group_is_killed_after_its_grace() -> None:
    """A program that ignores SIGTERM ends all the same."""
    assert posix.end_group(_start(DEAF), grace_s=0.05) == -signal.SIGKILL


def test_ending_a_group_that_is_gone_is_fine() -> None:
    """Ending twice neither fails nor hits another process."""
    process = _start(SLEEPER)
    posix.end_group(process, grace_s=10)
    posix.request_group_end(process.pid)
    posix.kill_group(process.pid)
    assert process.returncode == -signal.SIGTERM


def test_the_fast_loop_hears_requests_to_end() -> None:
    """Whichever loop there is, it runs, and the handlers work on it."""

    async def wait() -> str:
        ended = asyncio.Event()
        posix.on_terminate(asyncio.get_running_loop(), ended.set)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(ended.wait(), 10)
        return type(asyncio.get_running_loop()).__module__.partition(".")[0]

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with asyncio.Runner(loop_factory=posix.loop_factory()) as runner:
        assert runner.run(wait()) == ("asyncio" if sys.platform == "win32" else "uvloop")
    signal.signal(signal.SIGINT, before[0])
    signal.signal(signal.SIGTERM, before[1])


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signals that one process sends another")
@pytest.mark.parametrize(
    ("name", "before", "heard"),
    [
        ("SIGINT", "SIG_IGN", 1),
        ("SIGTERM", "SIG_DFL", 1),
        ("SIGHUP", "SIG_DFL", 1),
        ("SIGHUP", "SIG_IGN", 0),
    ],
)
def test_a_program_hears_that_it_is_to_end(name: str, before: str, heard: int) -> None:
    """By Ctrl-C, by request, and when its terminal is closed, unless whoever started it had that ignored."""
    code = f"""
import os, signal
from egret import posix
heard = []
signal.signal(signal.{name}, signal.{before})
posix.on_end(lambda: heard.append(1))
os.kill(os.getpid(), signal.{name})
print(len(heard))
"""
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == f"{heard}\n"
