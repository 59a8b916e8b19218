"""An egress unit in a process of its own, journal and handoff as in production; what it records it tells on stdout.

Arguments: the journal's directory, the seconds that a drain may take, and the port of the mail servers, which is the
same on 127.0.0.1 (the unit's own way, without limits), 127.0.0.2 (transport slow) and 127.0.0.3 (transport paced, with
the limits of an unknown provider). Lines out: "ready UNIT PORT", "record ID ATTEMPT OUTCOME", "release ID ATTEMPT".
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from egret import posix
from egret.contracts.settings import Smarthost, SmarthostTls, Transport
from egret.core.delivery import Attempt, Lease
from egret.core.outcome import name_of
from egret.usecases.record_outcome import Ended
from egret_egress.__main__ import tune
from egret_egress.unit import serving
from tests.integration.egress_rig import Notebook
from tests.integration.test_egress_unit import World, config_in

SHAPING = """
[provider.fast]
hosts = ["127.0.0.1"]
lifted = true
[provider.slow]
hosts = ["127.0.0.2"]
lifted = true
"""


def tell(*words: object) -> None:
    """Write one line, whole: what is told before a kill has been told."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


class Told(Notebook):
    """A `Book` whose pages are read by the parent process."""

    def record_all(self, ended: Sequence[Ended]) -> None:
        """Tell them all."""
        for _, delivery_id, attempt in ended:
            tell("record", delivery_id, attempt.number, name_of(attempt.outcome))

    def record(self, account: str, delivery_id: int, attempt: Attempt) -> None:
        """Tell it."""
        self.record_all([(account, delivery_id, attempt)])

    def release(
        self, account: str, delivery_id: int, lease: Lease, until: datetime | None = None, waiting: str = ""
    ) -> None:
        """Tell it."""
        tell("release", delivery_id, lease.attempt)


async def run(directory: Path, drain_s: float, port: int) -> None:
    """Serve until SIGTERM, then drain, as `egret_egress.__main__` does."""
    shaping = directory / "shaping.toml"
    shaping.write_text(SHAPING)
    world = World(book=Told())
    for name, host in (("slow", "127.0.0.2"), ("paced", "127.0.0.3")):
        world.settings.put_transport(Transport(name, Smarthost(host, port, SmarthostTls.NONE)))
    stop = asyncio.Event()
    posix.on_terminate(asyncio.get_running_loop(), stop.set)
    config = replace(config_in(directory, port), drain_s=drain_s, shaping=shaping, smtp_listen=None)
    async with serving(config, world.ports()) as unit:
        tell("ready", unit.unit_id, unit.http_port)
        await stop.wait()


if __name__ == "__main__":
    tune()
    with asyncio.Runner(loop_factory=posix.loop_factory()) as runner:
        runner.run(run(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
