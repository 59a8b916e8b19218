"""Idle connections: how long each is kept."""

from __future__ import annotations

import asyncio

from egret_egress.burst import Burst
from egret_egress.connection import Connection
from egret_egress.idle import IdleSessions
from egret_egress.session import Endpoint, Session, Timeouts
from egret_egress.turns import Group, Host
from egret_egress.wire import Peer
from tests.fault.providers import VirtualLoop, run_virtually


def test_a_short_time_is_kept_behind_a_long_one() -> None:
    """Each connection is closed when its own time is over, whichever came first."""

    async def main(loop: VirtualLoop) -> dict[str, int]:
        began, closed = loop.time(), dict[str, int]()

        def gone(host: Host) -> None:
            closed[str(host.key)] = round(loop.time() - began)

        sessions = IdleSessions(10, gone)
        for key, idle_s in (("long", 60.0), ("short", 15.0), ("middle", 30.0)):
            host = Host(key, Group(key, None))
            session = Session(Connection(loop, Burst()), Endpoint(key, "127.0.0.1"), Peer(key), Timeouts())
            sessions.keep(host, session, idle_s)
        await asyncio.sleep(100)
        return closed

    assert run_virtually(main) == {"short": 15, "middle": 30, "long": 60}
