"""The processes of local mode: started, started again when they die, ended; and what a killed supervisor left.

Every process heads a group of its own, so that Ctrl-C reaches only the supervisor, which ends the others in order.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from egret import posix
from egret_local.settings import HOST

LAST_GRACE_S = 30.0
"""The process that ends last is the one with the state: it saves it in well under a second, unless there is very much
of it, and then losing it would be worse than the wait."""
RESTART_PAUSE_S = 0.5
"""At least this long between two starts of the same process."""
MAX_LOG_BYTES = 10_000_000
"""A log that has become longer gives way to a new one; one old one is kept beside it."""
LAST_LINES = 10
LAST_BYTES = 10_000
"""So much of a log is told when its process ends at the start."""


@dataclass(slots=True)
class Child:
    """One process: command, environment, and the process itself once it runs. log_start: where its log begins."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    shows_output: bool = False
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    log_start: int = 0
    restarts: int = field(default=0)


class Family:
    """All processes in the order of their start; `record` is the file that names them for a later run."""

    def __init__(self, logs: Path, record: Path, max_log_bytes: int = MAX_LOG_BYTES) -> None:
        self._logs, self._record, self._max_log_bytes = logs, record, max_log_bytes
        self._children: list[Child] = []

    def start(self, child: Child) -> None:
        """Start a process and watch over it from now on. Raises OSError when its program is missing."""
        self._children.append(child)
        self._run(child)

    def _run(self, child: Child) -> None:
        child.started_at = time.monotonic()
        if self._is_log_full(child):
            self._log(child).replace(self._old_log(child))
        output: IO[bytes] | None = None if child.shows_output else self._log(child).open("ab")
        child.log_start = output.tell() if output is not None else 0
        try:
            child.process = posix.spawn_group(child.command, environment=child.environment, output=output)
        finally:
            if output is not None:
                output.close()
        self._write_record()

    def _log(self, child: Child) -> Path:
        return self._logs / f"{child.name}.log"

    def _old_log(self, child: Child) -> Path:
        return self._logs / f"{child.name}.log.1"

    def _is_log_full(self, child: Child) -> bool:
        log = self._log(child)
        return not child.shows_output and log.exists() and log.stat().st_size > self._max_log_bytes

    def turn_logs(self) -> None:
        """Begin the logs anew that have become too long, under processes that have them open.

        A line that is written meanwhile may be lost. Windows cannot cut what is open: there only a start does it.
        """
        for child in self._children if os.name == "posix" else ():
            if self._is_log_full(child):
                shutil.copyfile(self._log(child), self._old_log(child))
                os.truncate(self._log(child), 0)  # they append: the next line becomes the first
                child.log_start = 0

    def _write_record(self) -> None:
        running = [
            {"name": c.name, "pid": c.process.pid, "mark": _mark(c.process.pid)} for c in self._children if c.process
        ]
        written = self._record.with_suffix(".new")
        written.write_text(json.dumps(running))
        written.replace(self._record)

    def revive(self) -> list[str]:
        """Start again what has died; return lines that say so."""
        lines = []
        for child in self._children:
            if child.process is None or child.process.poll() is None:
                continue
            if time.monotonic() - child.started_at < RESTART_PAUSE_S:
                continue
            child.restarts += 1
            lines.append(f"{child.name} ended with {child.process.returncode}; started again, see {self._log(child)}")
            self._run(child)
        return lines

    def ended(self, names: Collection[str]) -> str:
        """Return how the first of these processes ended that has, and the last lines of its log; "" while all run."""
        for child in self._children:
            if child.name in names and child.process is not None and child.process.poll() is not None:
                return "\n".join([f"{child.name} ended with {child.process.returncode}:", *self._last_lines(child)])
        return ""

    def _last_lines(self, child: Child) -> list[str]:
        if child.shows_output:
            return []
        with self._log(child).open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(child.log_start, size - LAST_BYTES))
            return log.read().decode(errors="replace").splitlines()[-LAST_LINES:]

    def is_running(self, name: str) -> bool:
        """Tell whether a process of that name runs."""
        return any(c.name == name and c.process is not None and c.process.poll() is None for c in self._children)

    def end(self, grace_s: float, *, last: str, last_grace_s: float = LAST_GRACE_S) -> None:
        """End every process: all but the `last` at once, that one after them; whatever does not heed is killed."""
        _end([child for child in self._children if child.name != last], grace_s)
        _end([child for child in self._children if child.name == last], last_grace_s)
        self._record.unlink(missing_ok=True)


def _end(children: Sequence[Child], grace_s: float) -> None:
    running = [child.process for child in children if child.process is not None]
    for process in running:
        posix.request_group_end(process.pid)
    deadline = time.monotonic() + grace_s
    for process in running:
        try:
            process.wait(max(0.05, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            posix.kill_group(process.pid)
            process.wait()


def clean_up(record: Path, grace_s: float = LAST_GRACE_S) -> list[str]:
    """End what a supervisor that was killed left running; return the names.

    Only a process that still is what the record says (its command line is looked at) is touched: ids are used again.
    The emulator is given time to save its state.
    """
    if not record.exists():
        return []
    left = [entry for entry in json.loads(record.read_text()) if entry["mark"] and _mark(entry["pid"]) == entry["mark"]]
    for entry in left:
        posix.request_group_end(entry["pid"])
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and any(_mark(entry["pid"]) == entry["mark"] for entry in left):
        time.sleep(0.05)
    for entry in left:
        if _mark(entry["pid"]) == entry["mark"]:
            posix.kill_group(entry["pid"])
    record.unlink(missing_ok=True)
    return [entry["name"] for entry in left]


def _mark(pid: int) -> str:
    """Return what tells a process from a later one with the same id: its start time, where the system shows it."""
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc").is_dir():
        return str(pid) if posix.is_alive(pid) else ""
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def taken(ports: Mapping[str, int]) -> list[str]:
    """Return a sentence for every port that somebody else listens on."""
    return [
        f"port {port} is taken: choose another with {name}=<number>"
        for name, port in ports.items()
        if not _is_free(port)
    ]


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def await_port(port: int, timeout_s: float) -> bool:
    """Wait until somebody listens; False when nobody does in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((HOST, port), timeout=0.5):
                return True
        except OSError:
            time.sleep(0.02)
    return False
