"""What differs between POSIX systems and Windows: locks, directory sync, signals and process groups.

The only module that may call them (lint/portability.py holds everything else to it), so that local mode runs on
Linux, macOS and Windows alike. Where Windows has no equal, the docstring says what happens instead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType, TracebackType
    from typing import IO


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: a new or renamed file survives a power cut only after this.

    Windows cannot open a directory for this; NTFS journals names itself, so nothing is done there.
    """
    if sys.platform != "win32":
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def boot_id() -> str:
    """Return what names this run of the operating system: the same for all its processes, new after each start.

    "" where the system does not tell (Windows).
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    elif sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        with contextlib.suppress(OSError):
            return subprocess.run(command, capture_output=True, check=False).stdout.decode("ascii", "ignore").strip()  # noqa: S603
    return ""


def reserve(descriptor: int, offset: int, length: int) -> None:
    """Make a file longer by zeros that have their place on the disk: what is written there later finds room.

    Raises OSError when there is none. offset: the file's end.
    """
    if sys.platform == "linux":
        os.posix_fallocate(descriptor, offset, length)
    else:
        os.lseek(descriptor, offset, os.SEEK_SET)
        left = memoryview(bytes(length))
        while left:
            left = left[os.write(descriptor, left) :]


class FileLock:
    """One process's exclusive hold on a file; it ends with the process, however that dies.

    path: created when missing, never removed (removing it would let two processes hold "the" lock).
    Raises BlockingIOError at construction when another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(self._descriptor)
        except OSError as error:
            os.close(self._descriptor)
            raise BlockingIOError(error.errno, "another process holds the lock", str(path)) from error

    def release(self) -> None:
        """Let the next process in; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def on_terminate(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Call `callback` in the loop at Ctrl-C or a request to end (SIGINT, SIGTERM; on Windows also Ctrl-Break).

    Call it in the main thread. The handlers stay until the process ends.
    """
    if sys.platform == "win32":
        _on_terminate_windows(loop, callback)
    else:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, callback)


def _on_terminate_windows(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Windows loops have no add_signal_handler; a plain handler wakes the loop instead."""

    def wake(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(callback)

    for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
        signal.signal(getattr(signal, name), wake)


def on_end(callback: Callable[[], None]) -> None:
    """Call `callback` at Ctrl-C, at a request to end, and when the terminal is closed, unless that is ignored (nohup).

    For a program without a loop; SIGINT, SIGTERM and SIGHUP, on Windows Ctrl-Break instead of the last.
    """

    def heed(_number: int, _frame: FrameType | None) -> None:
        callback()

    signal.signal(signal.SIGINT, heed)
    signal.signal(signal.SIGTERM, heed)
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, heed)
    elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, heed)


def loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop, which is twice as fast, where it is installed (never on Windows); None elsewhere."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop


def spawn_group(
    command: Sequence[str], *, environment: Mapping[str, str], output: IO[bytes] | int | None = None
) -> subprocess.Popen[bytes]:
    """Start a program as the head of its own process group, out of reach of the terminal's Ctrl-C.

    environment: complete, nothing is inherited. output: receives stdout and stderr; ours when None.
    """
    arguments, variables = list(command), dict(environment)
    errors = None if output is None else subprocess.STDOUT
    if sys.platform == "win32":
        return subprocess.Popen(  # noqa: S603 - the caller's own command
            arguments,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP,
        )
    else:  # noqa: RET505 - mypy reads the branches by platform
        return subprocess.Popen(  # noqa: S603 - as above
            arguments, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
        )


def request_group_end(pid: int) -> None:
    """Ask the group that `spawn_group` made to end (SIGTERM; Ctrl-Break on Windows); a group already gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            os.kill(pid, signal.CTRL_BREAK_EVENT)
        else:
            os.killpg(pid, signal.SIGTERM)


def kill_group(pid: int) -> None:
    """End the group at once (SIGKILL); a group already gone is fine.

    Windows ends only the head of the group here: its children see their pipes close.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses for a group of zombies
        if sys.platform == "win32":
            os.kill(pid, signal.SIGTERM)  # TerminateProcess
        else:
            os.killpg(pid, signal.SIGKILL)


def end_group(process: subprocess.Popen[bytes], *, grace_s: float) -> int:
    """Ask a group to end, wait `grace_s` seconds for its head, kill what is left; returns the head's exit code."""
    request_group_end(process.pid)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace_s)
    kill_group(process.pid)
    return process.wait()


def is_alive(pid: int) -> bool:
    """Whether a process with this id exists, ours or not. Ids are reused: compare what else is known of it."""
    if sys.platform == "win32":
        listing = subprocess.run(  # noqa: S603 - a number is the only argument
            ["tasklist", "/FI", f"PID eq {pid}", "/NH"],  # noqa: S607 - part of Windows
            capture_output=True,
            check=False,
        )
        return str(pid).encode() in listing.stdout.split()
    else:  # noqa: RET505 - as in spawn_group
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
