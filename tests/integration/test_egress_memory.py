"""An egress unit lives in the memory of its container, whatever mail it is given; the largest message passes it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from egret.contracts.handoff import Content
from egret.contracts.queues import unpack_inbound
from egret.contracts.settings import Installation
from egret.memory.blobs import MemoryBlobs
from tests.conformance.scripted import listening
from tests.integration.egress_rig import Sink, Wishes, handoff, rig_for, transaction
from tests.integration.test_egress_unit import receiving
from tests.integration.test_template import container

LARGEST = Installation("mx.example.com").max_message_bytes
LINE = b"x" * 76 + b"\r\n"
BODY = LINE * (LARGEST // len(LINE))
SENDERS = 6


async def _never_ending(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer all but the content, of which no more is read than a buffer takes."""
    writer.write(b"220 tarpit\r\n")
    while line := await reader.readline():
        if line.upper().startswith(b"DATA"):
            writer.write(b"354 go\r\n")
            await asyncio.Event().wait()
        writer.write(b"250 ok\r\n")


async def _send(port: int, number: int, content: bytes) -> bytes:
    """Send a message from an address of its own; return the reply to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.0.{number}", 0))
    try:
        for command in ("", "HELO client.example\r\n", "MAIL FROM:<>\r\n", "RCPT TO:<me@a.example>\r\n", "DATA\r\n"):
            writer.write(command.encode())
            assert (await reader.readline())[:1] in (b"2", b"3")
        writer.write(content + b".\r\n")
        return await reader.readline()
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def _unit(directory: Path, sink: int) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.egress_full", str(directory), str(sink)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def _peak_of(process: asyncio.subprocess.Process) -> int:
    """Give a unit all the mail that it takes, both ways; return the peak of its memory in MiB."""
    assert process.stdout is not None
    assert process.stdin is not None
    port, taken = [int(await process.stdout.readline()) for _ in range(2)]
    sending = [asyncio.create_task(_send(port, number, BODY)) for number in range(2, 2 + SENDERS)]
    in_hand = {b"fetched\n": 0, b"stored\n": 0}
    while in_hand[b"fetched\n"] < taken or in_hand[b"stored\n"] + sum(task.done() for task in sending) < SENDERS:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                in_hand[await process.stdout.readline()] += 1
    assert in_hand[b"stored\n"]
    process.stdin.write(b"\n")
    peak = int(await process.stdout.readline())
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    return peak


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux does")
def test_a_unit_that_is_full_fits_into_its_container(tmp_path: Path) -> None:
    """Servers that take nothing and a storage that does not end, with the largest messages: /tmp has its part, too."""

    async def run() -> int:
        async with asyncio.timeout(60), listening(_never_ending) as sink, _unit(tmp_path, sink) as process:
            return await _peak_of(process)

    (tmpfs,) = container()["LinuxParameters"]["Tmpfs"]

    peak = asyncio.run(run())
    assert peak + tmpfs["Size"] < container()["Memory"]


def test_the_largest_message_goes_out() -> None:
    """It fits into what is left for one domain of a unit that has nothing else in hand."""

    async def run() -> Sink:
        sink, wishes = Sink(), Wishes(fetch=lambda _: BODY)
        async with listening(sink.serve, limit=2 * LARGEST) as port, rig_for(port, wishes) as rig:
            assert rig.engine.take(handoff(transaction(1024, content=Content(len(BODY), key="k")))).taken == [True]
            await rig.settle()
            return sink

    assert [len(body) for body in asyncio.run(run()).bodies] == [len(BODY) + 3]


def test_the_largest_message_comes_back_whole_in_a_bounce() -> None:
    """One peer may send it by itself, with room for what the bounce adds."""
    blobs = MemoryBlobs()

    async def run() -> bytes:
        async with asyncio.timeout(30), receiving(blobs) as (_, port):
            return await _send(port, 2, BODY + LINE * 1000)

    assert asyncio.run(run()).startswith(b"250 ")
    ((_, stored),) = blobs.objects.items()
    trace, _, content = unpack_inbound(stored)[1].partition(LINE)
    assert trace.startswith(b"Return-Path: ")
    assert len(content) == len(BODY) + 999 * len(LINE)
