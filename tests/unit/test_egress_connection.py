"""A connection by itself: what may lie unread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from egret_egress.burst import Burst
from egret_egress.connection import FEW_UNREAD, MAX_UNREAD, MAX_UNREAD_BYTES, Connection, ConnectionFailed
from egret_egress.exchange import WINDOW

BABBLE = "the server sent more replies than there were commands"


class Quiet(asyncio.Transport):
    """A transport that does nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Lose it."""

    def abort(self) -> None:
        """Nothing is open."""


def heard(*packets: bytes) -> tuple[int, str]:
    """Return how many replies are read of what came in these packets, and why the connection has ended, "" = not."""

    async def run() -> tuple[int, str]:
        connection = Connection(asyncio.get_running_loop(), Burst())
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
        connection = Connection(asyncio.get_running_loop(), Burst())
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


class Recording(Quiet):
    """A transport that remembers what it was given to send."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self._error = error

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it, or fail."""
        if self._error is not None:
            raise self._error
        self.sent.append(bytes(data))


def on_loop(test: Callable[[asyncio.AbstractEventLoop, Burst], Awaitable[None]]) -> None:
    """Run a test on a loop, with a burst."""

    async def run() -> None:
        await test(asyncio.get_running_loop(), Burst())

    asyncio.run(run())


def connected(loop: asyncio.AbstractEventLoop, burst: Burst, transport: Recording) -> Connection:
    """Return a connection that stands."""
    connection = Connection(loop, burst)
    connection.connection_made(transport)
    return connection


def test_what_is_written_in_one_turn_of_the_loop_goes_out_together() -> None:
    """After all that is to be done in it, connection by connection, each in one write."""

    async def test(loop: asyncio.AbstractEventLoop, burst: Burst) -> None:
        transports = [Recording(), Recording()]
        one, other = (connected(loop, burst, transport) for transport in transports)
        one.write(b"MAIL ")
        other.write(b"QUIT")
        one.write(b"RCPT")
        assert [transport.sent for transport in transports] == [[], []]
        await asyncio.sleep(0)
        assert [transport.sent for transport in transports] == [[b"MAIL RCPT"], [b"QUIT"]]
        one.write(b"DATA")
        await asyncio.sleep(0)
        assert transports[0].sent == [b"MAIL RCPT", b"DATA"]

    on_loop(test)


def test_a_connection_that_fails_keeps_none_of_the_others() -> None:
    """Its own failure is told to whoever uses it."""

    async def test(loop: asyncio.AbstractEventLoop, burst: Burst) -> None:
        good = Recording()
        broken = connected(loop, burst, Recording(OSError(5, "Broken")))
        broken.write(b"one")
        connected(loop, burst, good).write(b"other")
        await asyncio.sleep(0)
        assert good.sent == [b"other"]
        with pytest.raises(ConnectionFailed, match="broken"):
            broken.write(b"more")

    on_loop(test)


def test_nothing_goes_out_once_the_connection_has_ended() -> None:
    """What waited for the end of the turn stays unsent, and is known to."""

    async def test(loop: asyncio.AbstractEventLoop, burst: Burst) -> None:
        transport = Recording()
        connection = connected(loop, burst, transport)
        connection.write(b"DATA")
        connection.eof_received()
        await asyncio.sleep(0)
        assert transport.sent == []
        assert connection.has_unsent

    on_loop(test)


def test_who_waits_until_more_may_be_written_has_written() -> None:
    """Else a large message would pile up here however slowly it is read."""

    async def test(loop: asyncio.AbstractEventLoop, burst: Burst) -> None:
        transport = Recording()
        connection = connected(loop, burst, transport)
        for chunk in (b"first", b"second"):
            connection.write(chunk)
            await connection.drain(5)
            assert transport.sent[-1] == chunk
        await asyncio.sleep(0)
        assert transport.sent == [b"first", b"second"]

    on_loop(test)


def test_who_writes_a_large_message_lets_others_work_in_between() -> None:
    """However fast it is read: each piece waits for its turn."""

    async def test(loop: asyncio.AbstractEventLoop, burst: Burst) -> None:
        connection, order = connected(loop, burst, Recording()), list[str]()

        async def write(name: str) -> None:
            for _ in range(3):
                connection.write(b"piece")
                await connection.drain(5)
                order.append(name)

        await asyncio.gather(write("one"), write("other"))
        assert order == ["one", "other"] * 3

    on_loop(test)
