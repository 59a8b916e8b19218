"""The next message behind the final dot of this one: faster, and nothing is lost or doubled by it."""

from __future__ import annotations

import asyncio

import pytest

from egret.contracts.handoff import Content
from egret.core.outcome import Deferred, Delivered, Unknown
from egret_egress.courier import Courier
from egret_egress.destinations import Fixed, Host
from egret_egress.engine import Capacity
from egret_egress.following import MAX_SHY, SHY_S, Ahead, Shy
from egret_egress.opening import Dialing
from egret_egress.pacing import Pacing
from egret_egress.pool import Pool, PoolLimits
from egret_egress.providers import Providers
from egret_egress.shaping_file import load
from tests.conformance.scripted import SHORT, NoDns, Notes, Row, parcel
from tests.integration.egress_rig import Notebook, Sink, Wishes, handoff, rig_for, sinking, transaction
from tests.integration.test_egress_shaping import To


class Watching(Sink):
    """A sink that counts the messages that had begun before the one before was answered."""

    early = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        while line := await reader.readline():
            if line.startswith(b"DATA"):
                writer.write(b"354 go\r\n")
                self.bodies.append(await reader.readuntil(b"\r\n.\r\n"))
                self.early += bool(reader._buffer)  # type: ignore[attr-defined]
                writer.write(b"250 2.0.0 ok\r\n")
            else:
                writer.write(b"250-sink\r\n250 PIPELINING\r\n" if line.startswith(b"EHLO") else b"250 ok\r\n")


@pytest.mark.rfc("2920", "3.1")
def test_in_a_long_queue_the_next_message_goes_behind_the_dot_of_this_one() -> None:
    """Every message arrives once and is recorded as delivered, and most began before the last one was answered."""

    async def run() -> tuple[Watching, Notebook]:
        watching = Watching()
        wishes = Wishes(limits=PoolLimits(messages=30), capacity=Capacity(per_place=2))
        async with sinking(watching) as sink, rig_for(sink.port, wishes) as rig:
            bodies = [f"Subject: {number}\r\n\r\nhello\r\n".encode() for number in range(100)]
            mail = [
                transaction(1024 * (number + 1), content=Content(len(body), body)) for number, body in enumerate(bodies)
            ]
            rig.engine.take(handoff(*mail))
            await rig.settle()
            assert rig.pool.open_connections <= 2
            return watching, rig.book

    sink, book = asyncio.run(run())

    assert len(set(sink.bodies)) == len(sink.bodies) == 100
    assert all(isinstance(attempt.outcome, Delivered) for attempt in book.outcomes.values())
    assert (len(book.outcomes), book.released) == (100, [])
    assert sink.early > 50


def test_domains_with_one_host_share_its_connections_and_follow_each_other() -> None:
    """A hundred domains with one message each go over two connections, most behind the dot of another domain's."""

    async def run() -> tuple[Watching, Notebook, int]:
        watching = Watching()
        wishes = Wishes(limits=PoolLimits(per_host=2), capacity=Capacity(per_place=2))
        async with sinking(watching) as sink, rig_for(sink.port, wishes) as rig:
            mail = [transaction(1024 * number, domain=f"d{number % 100}.example") for number in range(1, 301)]
            rig.engine.take(handoff(*mail))
            await rig.settle()
            return watching, rig.book, rig.pool.open_connections

    sink, book, connections = asyncio.run(run())

    assert len(book.outcomes) == len(sink.bodies) == 300
    assert all(isinstance(attempt.outcome, Delivered) for attempt in book.outcomes.values())
    assert (book.released, connections) == ([], 2)
    assert sink.early > 100


@pytest.mark.parametrize("when", [3, 4, 11])
def test_a_server_that_closes_while_the_next_message_has_begun_loses_and_doubles_nothing(when: int) -> None:
    """The message whose dot went without an answer is unknown, the one that was only announced goes elsewhere."""

    class Closing(Sink):
        async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 sink\r\n")
            while line := await reader.readline():
                if line.startswith(b"DATA"):
                    writer.write(b"354 go\r\n")
                    self.bodies.append(await reader.readuntil(b"\r\n.\r\n"))
                    if len(self.bodies) == when:
                        return
                    writer.write(b"250 2.0.0 ok\r\n")
                else:
                    writer.write(b"250-sink\r\n250 PIPELINING\r\n" if line.startswith(b"EHLO") else b"250 ok\r\n")

    async def run() -> tuple[Sink, Notebook]:
        wishes = Wishes(capacity=Capacity(per_place=1))
        async with sinking(Closing()) as sink, rig_for(sink.port, wishes) as rig:
            rig.engine.take(handoff(*(transaction(1024 * number) for number in range(1, 21))))
            await rig.settle()
            return sink, rig.book

    sink, book = asyncio.run(run())

    kinds = [type(attempt.outcome) for attempt in book.outcomes.values()]
    assert (kinds.count(Delivered), kinds.count(Unknown)) == (19, 1)
    assert (len(sink.bodies), book.released) == (20, [])


@pytest.mark.rfc("2920", "3.1")
def test_what_has_begun_is_given_back_when_the_unit_drains() -> None:
    """Its dot has not gone, so that another unit may send it."""

    async def run() -> tuple[Sink, Notebook]:
        wishes = Wishes(capacity=Capacity(per_place=1))
        async with sinking(Sink(gate=asyncio.Event())) as sink, rig_for(sink.port, wishes) as rig:
            rig.engine.take(handoff(*(transaction(1024 * number) for number in range(1, 6))))
            await sink.dots.wait()
            assert sink.gate is not None
            asyncio.get_running_loop().call_later(0.05, sink.gate.set)
            await rig.engine.drain(5)
            return sink, rig.book

    sink, book = asyncio.run(run())

    assert len(sink.bodies) == len(book.outcomes) == 1
    assert sorted(book.released) == [(1024 * number, 1) for number in range(2, 6)]


def test_hosts_that_are_shy_are_forgotten() -> None:
    """After a time, and the oldest when there are many."""
    shy = Shy()
    for number in range(MAX_SHY + 1):
        shy.note(f"mx{number}", 10.0)

    assert [shy.has(host, 11.0) for host in ("mx0", "mx1", f"mx{MAX_SHY}", "other")] == [False, True, True, False]
    assert not shy.has("mx1", 10.0 + SHY_S)


def test_an_answer_that_asks_us_to_stop_stops_what_has_begun() -> None:
    """The message behind the dot is not sent, though the server would take it: it waits like all the others."""

    class Stopping(Sink):
        mails = 0

        async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 sink\r\n")
            while line := await reader.readline():
                self.mails += line.startswith(b"MAIL")
                if line.startswith(b"DATA"):
                    writer.write(b"354 go\r\n")
                    self.bodies.append(await reader.readuntil(b"\r\n.\r\n"))
                    if len(self.bodies) == 3:
                        writer.write(b"451 4.7.0 that is enough\r\n")
                    else:
                        writer.write(b"250 2.0.0 ok\r\n")
                else:
                    writer.write(b"250-sink\r\n250 PIPELINING\r\n" if line.startswith(b"EHLO") else b"250 ok\r\n")

    async def run() -> tuple[Stopping, Notebook]:
        sink = Stopping()
        table = load(
            '[provider.x]\nhosts = ["x.example"]\nstart_message_rate = "1000/s"\nmessage_rate = "10000/s"\n'
            '[[rule]]\nprovider = "x"\ncodes = [451]\naction = "suspend"\nduration = "2h"\n'
        )
        async with sinking(sink):
            wishes = Wishes(
                router=To(sink.port, "mx.x.example"), pacing=Pacing(Providers(table)), capacity=Capacity(per_place=1)
            )
            async with rig_for(sink.port, wishes) as rig:
                rig.engine.take(handoff(*(transaction(1024 * number) for number in range(1, 21))))
                await rig.settle()
                return sink, rig.book

    sink, book = asyncio.run(run())

    kinds = [type(attempt.outcome) for attempt in book.outcomes.values()]
    assert (len(sink.bodies), kinds.count(Delivered), kinds.count(Deferred)) == (3, 2, 1)
    assert (len(book.released), sink.mails) == (17, 4)


def test_a_fault_in_looking_for_the_next_message_says_nothing_unknown_of_this_one() -> None:
    """Its dot has not gone: it is simply put off."""

    class Faulty(Row):
        def take(self, ahead: Ahead) -> None:
            raise LookupError("a fault")

    async def run() -> tuple[Notes, int]:
        notes, sink = Notes(), Sink()
        async with sinking(sink):
            pool = Pool()
            courier = Courier(Fixed(Host("127.0.0.1", sink.port), NoDns()), pool, Dialing("unit.example", SHORT))
            row = Faulty([parcel(one, ["a@example.org"], b"Subject: x\r\n\r\n.\r\n") for one in (notes, Notes())])
            with pytest.raises(LookupError):
                await row.bring(courier)
            await pool.close()
        return notes, len(sink.bodies)

    notes, arrived = asyncio.run(run())

    assert (notes.dots, notes.outcomes, arrived) == ([], {}, 0)
