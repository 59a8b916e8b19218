"""What is told of a session."""

from __future__ import annotations

import asyncio

import pytest

from egret.core.outcome import Bounced, Deferred, Outcome, Unknown
from egret_egress.burst import Burst
from egret_egress.connection import Connection
from egret_egress.content import Content
from egret_egress.envelope import Envelope
from egret_egress.exchange import Exchange
from egret_egress.session import Endpoint, Session, Timeouts
from egret_egress.wire import Peer


@pytest.mark.parametrize(
    ("transactions", "earlier"),
    [
        (1, ()),
        (2, ("[1 earlier message went over this connection]",)),
        (3, ("[2 earlier messages went over this connection]",)),
    ],
)
def test_the_transcript_counts_the_messages_before(transactions: int, earlier: tuple[str, ...]) -> None:
    """What others said in theirs is not shown."""

    async def run() -> tuple[str, ...]:
        connection = Connection(asyncio.get_running_loop(), Burst())
        session = Session(connection, Endpoint("mx", "127.0.0.1"), Peer("mx"), Timeouts(), ["hello"])
        session.transactions = transactions
        exchange = session.exchange(Envelope("s@x", ("a@x",), 10))
        exchange.start()
        return session.transcript(exchange)

    assert asyncio.run(run()) == ("[hello]", *earlier, "C: MAIL FROM:<s@x>")


class Wire(asyncio.Transport):
    """A transport to a server that has answered before it is asked. sent: what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.sent += data

    def abort(self) -> None:
        """Nothing is open."""


class Ending:
    """A `session.Conductor` of a server that ends the connection as the dot is about to go, or has gone."""

    def __init__(self, connection: Connection, *, is_late: bool, last_words: bytes = b"") -> None:
        self._connection = connection
        self._is_late = is_late
        self._last_words = last_words

    def before_dot(self) -> None:
        """Have the server go."""
        loop = asyncio.get_running_loop()
        if self._is_late:
            loop.call_later(0, self._end)
        else:
            loop.call_soon(self._end)

    def _end(self) -> None:
        if self._last_words:
            self._connection.data_received(self._last_words)
        self._connection.eof_received()

    def following(self) -> Exchange | None:
        """Return nothing more."""
        return None


def ended(*, is_late: bool, last_words: bytes = b"") -> tuple[type[Outcome | None], bool, bool]:
    """Return what became of a message, whether its dot has gone, and whether the transcript shows it."""

    async def run() -> tuple[type[Outcome | None], bool, bool]:
        connection, wire = Connection(asyncio.get_running_loop(), Burst()), Wire()
        connection.connection_made(wire)
        session = Session(connection, Endpoint("mx", "127.0.0.1"), Peer("mx", {"PIPELINING": ""}), Timeouts())
        exchange = session.exchange(Envelope("s@x", ("a@x",), 10))
        loop, conductor = asyncio.get_running_loop(), Ending(connection, is_late=is_late, last_words=last_words)
        loop.call_later(0.001, connection.data_received, b"250 ok\r\n250 ok\r\n354 go\r\n")
        await session.transact(exchange, Content(b"hello\r\n"), conductor, loop.time() + 9)
        is_told = "C: [10 bytes of message]" in session.transcript(exchange)
        return type(exchange.outcomes[0]), wire.sent.endswith(b"\r\n.\r\n"), is_told

    return asyncio.run(run())


@pytest.mark.parametrize(("is_late", "kind"), [(False, Deferred), (True, Unknown)])
def test_a_dot_that_had_not_gone_when_the_connection_ended_leaves_no_doubt(is_late: bool, kind: type[Outcome]) -> None:
    """Writes wait for the end of the loop's turn: who is gone by then has got no message. Afterwards nobody knows.

    The transcript has the message when it went.
    """
    assert ended(is_late=is_late) == (kind, is_late, is_late)


@pytest.mark.parametrize(
    ("said", "kind"), [(b"250 ok\r\n", Deferred), (b"451 no\r\n", Deferred), (b"550 no\r\n", Bounced)]
)
def test_no_answer_to_a_dot_that_never_went_says_that_it_was_delivered(said: bytes, kind: type[Outcome]) -> None:
    """It can only be one to something else; a refusal is one all the same."""
    assert ended(is_late=False, last_words=said) == (kind, False, False)
