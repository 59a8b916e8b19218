"""A whole unit in a process of its own that is given all the mail it takes; tells on stdout how much memory it needs.

Lines out: the port of inbound SMTP, then "fetched" and "stored" for each message that is in hand now; for each line in:
the peak of its resident memory in MiB.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

from egret.contracts.handoff import Content
from egret.contracts.settings import Installation
from egret.memory.blobs import MemoryBlobs
from egret.memory.clock import FakeClock
from egret_egress.__main__ import CONNECTIONS
from egret_egress.unit import serving
from tests.integration.egress_rig import NOW, handoff, transaction
from tests.integration.test_egress_unit import World, config_in, replace_unit

LARGEST = Installation("mx.example.com").max_message_bytes
LINE = b"x" * 76 + b"\r\n"
TRANSACTIONS = 14


def tell(line: object) -> None:
    """Write one line whole, from whatever thread."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def peak_mib() -> int:
    """Return the peak of this program's resident memory; getrusage would tell that of the parent, if it was larger."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


class Slow(MemoryBlobs):
    """Storage that never ends storing."""

    def get(self, key: str) -> bytes:
        """Return a new object of the largest size."""
        body = LINE * (LARGEST // len(LINE))
        tell("fetched")
        return body

    def put(self, key: str, body: bytes) -> None:
        """Hold on to it."""
        tell("stored")
        threading.Event().wait()


async def run(directory: Path, sink: int) -> None:
    """Take what fits, then answer questions."""
    world = World(blobs=Slow(), clock=FakeClock(NOW))
    async with serving(config_in(directory, sink), world.ports()) as unit:
        tell(unit.smtp_port)
        many = [
            transaction(1024 * n, domain=f"d{n}.example", account=f"a{n}", content=Content(LARGEST, key=f"content/{n}"))
            for n in range(1, TRANSACTIONS)
        ]
        answer = unit.engine.take(replace_unit(handoff(*many), unit.unit_id))
        tell(sum(answer.taken))
        while await asyncio.to_thread(sys.stdin.readline):
            tell(peak_mib())


if __name__ == "__main__":
    assert CONNECTIONS  # what production imports is in memory, too
    asyncio.run(run(Path(sys.argv[1]), int(sys.argv[2])))
