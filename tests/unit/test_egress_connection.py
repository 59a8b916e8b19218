"""A connection by itself: what may lie unread."""

from __future__ import annotations

import asyncio

import pytest

from egret_egress.connection import FEW_UNREAD, MAX_UNREAD, MAX_UNREAD_BYTES, Connection, ConnectionFailed
from egret_egress.exchange import WINDOW

BABBLE = "the server sent more replies than there were commands"


class Quiet(asyncio.Transport):
    """A transport that does nothing."""

    def write(self, data: object) -> None:
        """Lose it."""

    def abort(self) -> None:
        """Nothing is open."""


def heard(*packets: bytes) -> tuple[int, str]:
    """Return how many replies are read of what came in these packets, and why the connection has ended, "" = not."""

    async def run() -> tuple[int, str]:
        connection = Connection(asyncio.get_running_loop())
        connection.connection_made(Quiet())
        for packet in packets:
            if connection.is_open:
                connection.data_received(packet)
        count = 0
        while connection.next_reply() is not None:
            count += 1
        try:
            connection.write(b"")
        except ConnectionFailed as failure:
            return count, failure.reason
        return count, ""

    return asyncio.run(run())


@pytest.mark.parametrize("size", [1, 100, 4000])
def test_all_answers_that_may_be_asked_for_at_once_may_come_at_once(size: int) -> None:
    """Those to a whole window and to the dot before it, in packets of any size."""
    said = (b"250 " + b"x" * min(size, 1000) + b"\r\n") * (WINDOW + 1)

    assert heard(*(said[at : at + size] for at in range(0, len(said), size))) == (WINDOW + 1, "")


def test_replies_that_are_read_count_no_more() -> None:
    """A connection may live long, and a message may have thousands of recipients."""

    async def run() -> bool:
        connection = Connection(asyncio.get_running_loop())
        connection.connection_made(Quiet())
        said = (b"250 " + b"x" * 1000 + b"\r\n") * WINDOW
        for _ in range(100):
            connection.data_received(said)
            while connection.next_reply() is not None:
                pass
        return connection.is_quiet()

    assert asyncio.run(run())


def test_replies_that_lie_unread_are_bounded_in_number() -> None:
    """More than that nobody has asked for."""
    count, reason = heard(*[b"250 ok\r\n"] * 10_000)

    assert (count, reason) == (MAX_UNREAD + 1, BABBLE)


def test_replies_that_lie_unread_are_bounded_in_bytes() -> None:
    """A server fills no memory with long replies either."""
    reply = (b"250-" + b"x" * 400 + b"\r\n") * 9 + b"250 ok\r\n"

    count, reason = heard(*[reply] * 10_000)

    assert reason == BABBLE
    assert count * len(reply) <= MAX_UNREAD_BYTES + (FEW_UNREAD + 1) * len(reply)
