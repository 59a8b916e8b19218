"""Postfix's test server, smtp-sink, with the failures that it can show, and what it has taken."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.installation import wait_until

PROGRAM = shutil.which("smtp-sink") or "/usr/sbin/smtp-sink"


@dataclass(frozen=True)
class SmtpSink:
    """One that runs. dump: the file to which it appends each message, with `X-` lines about its way before it."""

    address: str
    port: int
    dump: Path

    def said(self, name: str) -> list[str]:
        """Return what it notes of each message under a name, such as `X-Client-Addr`."""
        if not self.dump.exists():
            return []
        start = f"{name}: "
        lines = self.dump.read_text(errors="replace").splitlines()
        return [line.removeprefix(start) for line in lines if line.startswith(start)]


def free_port(address: str) -> int:
    """Return a port of a loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def smtp_sink(address: str, port: int, options: Sequence[str] = ()) -> Iterator[SmtpSink]:
    """Run one for as long as the context is entered. It gives root up, so that its folder is open to all."""
    folder = Path(tempfile.mkdtemp(prefix="egret-sink-"))
    folder.chmod(0o777)
    command = [PROGRAM, "-u", "nobody", "-D", "dump", *options, f"{address}:{port}", "100"]
    try:
        with (folder / "output").open("wb") as output, _ended(command, folder, output.fileno()) as process:

            def is_listening() -> bool:
                assert process.poll() is None, (folder / "output").read_text(errors="replace")
                return _is_listening(address, port)

            wait_until(is_listening, "listening")
            yield SmtpSink(address, port, folder / "dump")
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _ended(command: Sequence[str], folder: Path, output: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, cwd=folder, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.terminate()


def _is_listening(address: str, port: int) -> bool:
    """Tell it from the system's table, since a connection would be one more for the server to handle."""
    octets = "".join(f"{int(part):02X}" for part in reversed(address.split(".")))
    lines = Path("/proc/net/tcp").read_text().splitlines()
    return any(line.split()[1:4:2] == [f"{octets}:{port:04X}", "0A"] for line in lines[1:])
