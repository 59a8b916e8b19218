"""A flood of mail to a server that lies does not hold up mail to one that is well, neither meanwhile nor afterwards."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import Random

import pytest

from egret.contracts.handoff import Content
from egret.core.outcome import Delivered
from egret_egress.destinations import Answer, Direct, MxRecord
from egret_egress.engine import Capacity
from egret_egress.pacing import Pacing
from egret_egress.pool import PoolLimits
from egret_egress.providers import Providers
from egret_egress.shaping_file import load
from tests.conformance.scripted import NoDns, Serve
from tests.integration.egress_rig import Rig, Sink, Wishes, handoff, rig_for, transaction

FLOOD = 60
LARGE = b"Subject: x\r\n\r\n" + b"x" * 200_000
BAD, GOOD = "127.0.0.2", "127.0.0.3"
AT_ONCE_S = 2.0
"""Far less than any of a bad server's timeouts together would take."""

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


async def endless_line(_: Reader, writer: Writer) -> None:
    """Say one line for ever."""
    while True:
        writer.write(b"220 " + b"x" * 65536)
        await writer.drain()


async def endless_reply(_: Reader, writer: Writer) -> None:
    """Say one reply for ever."""
    while True:
        writer.write(b"220-hello\r\n" * 100)
        await writer.drain()


async def byte_by_byte(_: Reader, writer: Writer) -> None:
    """Say a byte now and then."""
    while True:
        writer.write(b"2")
        await writer.drain()
        await asyncio.sleep(0.02)


async def yes_to_everything(reader: Reader, writer: Writer) -> None:
    """Answer before anything is asked."""
    writer.write(b"220 mx\r\n")
    await reader.readline()
    writer.write(b"250-mx\r\n250 PIPELINING\r\n")
    while not writer.transport.is_closing():
        writer.write(b"250 ok\r\n" * 1000)
        await writer.drain()


async def wrong_order(reader: Reader, writer: Writer) -> None:
    """Answer other commands than those that were given."""
    writer.write(b"220 mx\r\n")
    await reader.readline()
    writer.write(b"250-mx\r\n250 PIPELINING\r\n")
    await reader.readline()
    writer.write(b"354 go\r\n250 ok\r\n250 ok\r\n")
    await reader.read()


async def silence_after_354(reader: Reader, writer: Writer) -> None:
    """Take the message and say nothing."""
    await _until_354(reader, writer)
    await reader.read()


async def not_reading(reader: Reader, writer: Writer) -> None:
    """Never read the message."""
    await _until_354(reader, writer)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(5)


async def garbage_after_the_dot(reader: Reader, writer: Writer) -> None:
    """Answer the message with what is no reply."""
    await _until_354(reader, writer)
    await reader.readuntil(b"\r\n.\r\n")
    writer.write(b"thanks\x00!\r\n")
    await reader.read()


async def closed_after_the_dot(reader: Reader, writer: Writer) -> None:
    """Close instead of an answer."""
    await _until_354(reader, writer)
    await reader.readuntil(b"\r\n.\r\n")


async def no_tls_after_all(reader: Reader, writer: Writer) -> None:
    """Offer TLS and speak something else, then close in plain text, too."""
    writer.write(b"220 mx\r\n")
    await reader.readline()
    writer.write(b"250-mx\r\n250 STARTTLS\r\n")
    if await reader.readline() == b"STARTTLS\r\n":
        writer.write(b"220 go\r\n" + b"\x16\x03\x01\xff" * 1000)
        await reader.read()


async def noise(reader: Reader, writer: Writer) -> None:
    """Say what is not SMTP."""
    writer.write(bytes(range(256)) * 100)
    await reader.read()


async def silence(reader: Reader, _: Writer) -> None:
    """Say nothing at all."""
    await reader.read()


async def slammed(_: Reader, writer: Writer) -> None:
    """Close at once."""
    writer.close()


async def _until_354(reader: Reader, writer: Writer) -> None:
    writer.write(b"220 mx\r\n")
    for answer in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        await reader.readline()
        writer.write(answer)


LIARS = [
    endless_line, endless_reply, byte_by_byte, yes_to_everything, wrong_order, silence_after_354, not_reading,
    garbage_after_the_dot, closed_after_the_dot, no_tls_after_all, noise, silence, slammed,
]  # fmt: skip


@dataclass
class Names(NoDns):
    """A DNS where the bad domain has one bad host, or ten thousand."""

    hosts: int = 1

    async def mx(self, domain: str) -> Answer[MxRecord]:
        """Return the hosts of a domain."""
        count = self.hosts if domain == "bad.example" else 1
        return Answer(tuple(MxRecord(number, f"mx{number}.{domain}") for number in range(count)), domain)

    async def addresses(self, host: str) -> Answer[str]:
        """Return the one address."""
        return Answer((BAD if host.endswith("bad.example") else GOOD,), host)


class _Dice:
    def __init__(self) -> None:
        self._random = Random(1)

    def number(self) -> float:
        """Return the next one."""
        return self._random.random()


@contextlib.asynccontextmanager
async def beside(liar: Serve, good: Sink) -> AsyncIterator[int]:
    """Run the liar and a good server on the same port of two addresses."""
    serving: set[asyncio.Task[None]] = set()

    def closing(serve: Serve) -> Serve:
        async def serve_and_close(reader: Reader, writer: Writer) -> None:
            task = asyncio.current_task()
            assert task is not None
            serving.add(task)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)
            serving.discard(task)
            writer.transport.abort()

        return serve_and_close

    bad_server = await asyncio.start_server(closing(liar), BAD, 0)
    port = bad_server.sockets[0].getsockname()[1]
    good_server = await asyncio.start_server(closing(good.serve), GOOD, port)
    async with bad_server, good_server:
        yield port
        left = list(serving)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
            await asyncio.sleep(0)


async def delivered_at_once(rig: Rig, id_: int) -> bool:
    """Hand over a message to the good domain, wait for it only shortly."""
    rig.engine.take(handoff(transaction(id_, domain="good.example")))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(AT_ONCE_S):
            while (id_, 1) not in rig.book.outcomes:  # noqa: ASYNC110 (the book has no event)
                await asyncio.sleep(0.005)
    attempt = rig.book.outcomes.get((id_, 1))
    return attempt is not None and isinstance(attempt.outcome, Delivered)


def flooded(liar: Serve, pacing: Pacing, names: Names) -> tuple[bool, bool, int, int, bool]:
    """Flood a liar: is good mail delivered meanwhile and afterwards, connections left, ends told of, any delivered."""

    async def run() -> tuple[bool, bool, int, int, bool]:
        good = Sink()
        async with beside(liar, good) as port:
            router = Direct(names, _Dice(), port)
            limits = PoolLimits(patience_s=0.5)
            wishes = Wishes(router=router, capacity=Capacity(workers=30), pacing=pacing, limits=limits)
            async with rig_for(port, wishes) as rig:
                content = Content(len(LARGE), LARGE)
                ids = [1024 * number for number in range(1, FLOOD + 1)]
                rig.engine.take(handoff(*(transaction(id_, domain="bad.example", content=content) for id_ in ids)))
                meanwhile = await delivered_at_once(rig, 1024 * 1000)
                await rig.settle()
                afterwards = await delivered_at_once(rig, 1024 * 1001)
                await rig.settle()
                ended = {id_ for id_, _ in rig.book.outcomes} | {id_ for id_, _ in rig.book.released}
                lies = [rig.book.outcomes[id_, 1].outcome for id_ in ids if (id_, 1) in rig.book.outcomes]
                is_fooled = any(isinstance(outcome, Delivered) for outcome in lies)
                return meanwhile, afterwards, rig.pool.open_connections, len(ended & set(ids)), is_fooled

    return asyncio.run(run())


@pytest.mark.parametrize("liar", LIARS)
@pytest.mark.parametrize("is_paced", [False, True], ids=["lifted", "paced"])
def test_a_unit_delivers_at_once_while_and_after_a_flood_to_a_liar(liar: Serve, is_paced: bool) -> None:
    """Nobody waits behind the lies, each message has its end, no connection is left but the good server's idle one."""
    pacing = Pacing(Providers(load())) if is_paced else Pacing()
    meanwhile, afterwards, connections, ended, is_fooled = flooded(liar, pacing, Names())

    assert (meanwhile, afterwards) == (True, True)
    assert (connections, ended, is_fooled) == (1, FLOOD, False)


def test_a_domain_with_ten_thousand_mail_servers_holds_nobody_up() -> None:
    """A few of them are asked, and all slam the door."""
    meanwhile, afterwards, _, ended, _ = flooded(slammed, Pacing(), Names(hosts=10_000))

    assert (meanwhile, afterwards, ended) == (True, True, FLOOD)
