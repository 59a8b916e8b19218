"""A server of the test's own that stays in the foreground: started, awaited, ended with all its children."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from egret import posix
from tests.e2e.installation import wait_until

UNPACKED = Path(__file__).resolve().parents[2] / ".peers" / "root" / "usr" / "sbin"
"""Programs of packages that cannot be installed beside Postfix."""


def is_possible(program: str) -> bool:
    """Tell whether this machine can run one: port 25 and the change of user need root."""
    return os.name == "posix" and os.geteuid() == 0 and (UNPACKED / program).exists()


@contextlib.contextmanager
def daemon(command: Sequence[str], address: str, log: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run one that listens on port 25 of an address, for as long as the context is entered."""
    assert not _is_listening(address), f"another server, left over or not, listens on {address}:25"
    with log.open("ab") as output:
        process = posix.spawn_group(command, environment=dict(environment), output=output)
    try:

        def is_up() -> bool:
            assert process.poll() is None, log.read_text(errors="replace")
            return _is_listening(address)

        wait_until(is_up, "listening")
        yield
    finally:
        process.terminate()
        with contextlib.suppress(Exception):
            process.wait(10)
        posix.kill_group(process.pid)


def _is_listening(address: str) -> bool:
    try:
        socket.create_connection((address, 25), timeout=1).close()
    except OSError:
        return False
    return True
