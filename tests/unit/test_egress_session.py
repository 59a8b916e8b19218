"""What is told of a session."""

from __future__ import annotations

import asyncio

import pytest

from egret_egress.burst import Burst
from egret_egress.connection import Connection
from egret_egress.envelope import Envelope
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
