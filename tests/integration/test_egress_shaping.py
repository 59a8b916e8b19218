"""An engine that paces: what a provider asks for is obeyed, and what has to wait is given back with the reason."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from egret.contracts.handoff import Leg, Transaction
from egret.core.outcome import Deferred, Delivered
from egret.core.tls_policy import PLAIN
from egret_egress.destinations import Answer, Hops, Host
from egret_egress.pacing import Pacing
from egret_egress.providers import Providers
from egret_egress.shaping_file import load
from tests.integration.egress_rig import Rig, Sink, Wishes, handoff, rig_for, sinking, transaction

YAHOO, GOOGLE = "mta5.am0.yahoodns.net", "aspmx.l.google.com"
TSS04 = b"421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred\r\n"
TOO_FAST = b"450 4.2.1 The user you are trying to contact is receiving mail too quickly\r\n"


class To:
    """A router whose hosts are all on one loopback port."""

    def __init__(self, port: int, *names: str) -> None:
        self._hosts = tuple(Host(name, port, PLAIN, addresses=("127.0.0.1",)) for name in names)

    async def next_hops(self, domain: str) -> Hops:
        """Return all of them."""
        return Hops(domain, domain, is_authentic=False, hosts=self._hosts)

    async def addresses(self, host: Host) -> Answer[str]:
        """Return what the host has."""
        return Answer(host.addresses, host.name)


def to(id_: int, forward_path: str) -> Transaction:
    """Return a transaction to one recipient."""
    made = transaction(id_)
    made.legs[:] = [Leg(id_, 1, forward_path)]
    return made


class Answering(Sink):
    """A sink that answers one verb in its own way. asked: how often."""

    verb = b"MAIL"
    reply = TSS04
    asked = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        while line := await reader.readline():
            if line[:4].upper() == self.verb and b"free" not in line:
                self.asked += 1
                writer.write(self.reply)
                if self.reply.startswith(b"421"):
                    return
            elif line[:4].upper() == b"DATA":
                writer.write(b"354 go\r\n")
                self.bodies.append(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 ok\r\n")
            else:
                writer.write(b"250 ok\r\n")


@contextlib.asynccontextmanager
async def pacing_rig(sink: Sink, *names: str, own: str = "") -> AsyncIterator[Rig]:
    """Run an engine with the packaged table whose mail to any domain goes to the sink under these names."""
    async with sinking(sink):
        wishes = Wishes(router=To(sink.port, *names), pacing=Pacing(Providers(load(own))))
        async with rig_for(sink.port, wishes) as rig:
            yield rig


def test_a_suspension_gives_back_what_follows() -> None:
    """The message that was answered is deferred; the next is not attempted, and reads why and until when."""

    async def run() -> tuple[Rig, Answering]:
        sink = Answering()
        async with pacing_rig(sink, YAHOO, "mta6.am0.yahoodns.net") as rig:
            rig.engine.take(handoff(transaction(1024)))
            await rig.settle()
            rig.engine.take(handoff(transaction(2048)))
            await rig.settle()
        return rig, sink

    rig, sink = asyncio.run(run())
    until, waiting = rig.book.waits[2048]

    assert isinstance(rig.book.outcomes[1024, 1].outcome, Deferred)
    assert sink.asked == 1, "no other host of the provider is asked"
    assert rig.book.released == [(2048, 1)]
    assert re.fullmatch(r"Yahoo asked us to slow down at \d\d:\d\d \(421 4\.7\.0 \[TSS04\]\)", waiting)
    assert until is not None
    assert 7000 < (until - datetime.now(UTC)).total_seconds() <= 7200


class Echoing(Sink):
    """A sink that says back every address that it refuses, with no word of its own about how much it takes."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        while line := await reader.readline():
            if line[:4] == b"RCPT":
                address = line[len(b"RCPT TO:<") : -len(b">\r\n")]
                writer.write(b"450 4.7.1 <%b>: try %b later\r\n" % (address, address.partition(b"@")[0]))
            else:
                writer.write(b"250 ok\r\n")


def test_an_address_that_is_said_back_slows_down_nobody() -> None:
    """Whatever words an account puts into it."""

    async def run() -> Pacing:
        sink, pacing = Echoing(), Pacing(Providers(load()))
        async with sinking(sink):
            wishes = Wishes(router=To(sink.port, "mx.hoster.example"), pacing=pacing)
            async with rig_for(sink.port, wishes) as rig:
                for number, words in enumerate(("exchange.rate", '"deferred due to IP reputation"', "throttle"), 1):
                    rig.engine.take(handoff(to(1024 * number, f"{words}@example.net")))
                    await rig.settle()
                assert len(rig.book.outcomes) == 3
        return pacing

    (lane,) = asyncio.run(run()).lanes()

    assert (lane.state.rate.refused, lane.state.slow, lane.state.complaint) == (0.0, None, "")


def test_a_recipient_that_gets_mail_too_fast_waits_alone() -> None:
    """450 4.2.1 at Google: the next message to it waits, one to another recipient goes."""

    async def run() -> Rig:
        sink = Answering()
        sink.verb, sink.reply = b"RCPT", TOO_FAST
        async with pacing_rig(sink, GOOGLE, own='[provider.google]\ntls = "required"\nwarmup = false') as rig:
            rig.engine.take(handoff(transaction(1024)))
            await rig.settle()
            rig.engine.take(handoff(to(2048, "r1024@example.org"), to(4096, "free@example.org")))
            await rig.settle()
        return rig

    rig = asyncio.run(run())

    assert isinstance(rig.book.outcomes[4096, 1].outcome, Delivered)
    assert rig.book.released == [(2048, 1)]
    assert "mail too fast" in rig.book.waits[2048][1]


def test_a_connection_too_many_costs_no_attempt() -> None:
    """What opened it goes over one of the others."""

    class Two(Sink):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self.open_now >= 2:
                writer.write(b"421 4.7.0 too many connections\r\n")
                self.connections += 1
                return
            await super().serve(reader, writer)

    async def run() -> Rig:
        sink = Two()
        own = '[provider.x]\nhosts = ["x.example"]\nconnections = 10\nmessage_rate = "10000/s"'
        async with pacing_rig(sink, "mx.x.example", own=own) as rig:
            rig.engine.take(handoff(*(transaction(1024 * number) for number in range(1, 101))))
            await rig.settle()
        assert sink.connections > 2
        return rig

    rig = asyncio.run(run())

    assert {type(attempt.outcome) for attempt in rig.book.outcomes.values()} == {Delivered}
    assert len(rig.book.outcomes) == 100


def test_who_was_put_back_when_the_provider_asked_us_to_slow_down_waits_untried() -> None:
    """One recipient was refused for being too much, so that the next transaction for those left is not begun at all."""

    class OneByOne(Sink):
        async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 sink\r\n")
            paths = 0
            while line := await reader.readline():
                verb = line[:4].upper()
                paths = paths + 1 if verb == b"RCPT" else 0 if verb == b"MAIL" else paths
                if verb == b"RCPT" and paths > 1:
                    writer.write(b"452 4.5.3 one at a time\r\n")
                elif verb == b"DATA":
                    writer.write(b"354 go\r\n")
                    self.bodies.append(await reader.readuntil(b"\r\n.\r\n"))
                    writer.write(b"451 4.7.0 [TSS04] that is enough\r\n" if len(self.bodies) == 1 else b"250 ok\r\n")
                else:
                    writer.write(b"250 ok\r\n")

    async def run() -> tuple[Rig, Sink]:
        sink = OneByOne()
        own = '[[rule]]\nprovider = "yahoo"\ncodes = [451]\naction = "suspend"\nduration = "2h"\n'
        async with pacing_rig(sink, YAHOO, "mta6.am0.yahoodns.net", own=own) as rig:
            made = transaction(1024)
            made.legs[:] = [Leg(1024 + number, 1, f"r{number}@example.org") for number in range(3)]
            rig.engine.take(handoff(made))
            await rig.settle()
        return rig, sink

    rig, sink = asyncio.run(run())

    assert len(sink.bodies) == 1
    assert [type(attempt.outcome) for attempt in rig.book.outcomes.values()] == [Deferred]
    assert sorted(rig.book.released) == [(1025, 1), (1026, 1)]
    assert "asked us to slow down" in rig.book.waits[1025][1]
