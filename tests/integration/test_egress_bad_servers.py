"""Servers that lie, babble, stall and vanish: the attempt fails with its reason, within bounds; the engine lives."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from egret.core.outcome import Bounced, Deferred, Delivered, Outcome, Unknown
from egret_egress.pool import Pool, PoolLimits
from egret_egress.session import Timeouts
from tests.certificates import Certificate
from tests.conformance.scripted import SHORT, Notes, Serve, courier_to, listening, parcel
from tests.integration.egress_rig import Sink, Wishes, handoff, rig_for, sinking, transaction


def send_to(serve: Serve, timeouts: Timeouts = SHORT, body: bytes = b"Subject: x\r\n") -> tuple[Outcome, float]:
    """Send one message to a server; return the outcome and how many seconds it took."""

    async def run() -> tuple[Outcome, float]:
        notes, pool = Notes(), Pool()
        loop = asyncio.get_running_loop()
        async with listening(serve) as port:
            started = loop.time()
            await courier_to(port, pool, timeouts).deliver(parcel(notes, ["a@example.org"], body))
            took = loop.time() - started
            await pool.close()
        return notes.outcomes[0], took

    return asyncio.run(run())


def test_replies_cut_at_every_byte_are_understood() -> None:
    """A server that sends each byte in a packet of its own gets its mail in."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(text: bytes) -> None:
            for byte in text:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)

        await say(b"220-hello\r\n220 mx\r\n")
        while line := await reader.readline():
            if line == b"DATA\r\n":
                await say(b"354-go\r\n354 on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                await say(b"250-2.0.0 thank\r\n250 2.0.0 you\r\n")
            elif line.startswith(b"EHLO"):
                await say(b"250-mx\r\n250-PIPELINING\r\n250 SIZE\r\n")
            else:
                await say(b"250 ok\r\n")

    outcome, _ = send_to(serve)

    assert isinstance(outcome, Delivered)
    assert outcome.reply.lines == ("2.0.0 thank", "2.0.0 you")


@pytest.mark.parametrize("said", [[b"550 you are blocked\r\n"], [b"220 mx\r\n", b"550 not from you\r\n"]])
def test_a_server_that_does_not_want_us_says_nothing_of_the_recipient(said: list[bytes]) -> None:
    """Refused at the greeting or at EHLO, the mail is bounced, and nobody concludes that the address is dead."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in said:
            writer.write(line)
            await reader.readline()

    outcome, _ = send_to(serve)

    assert isinstance(outcome, Bounced)
    assert (outcome.reply and outcome.reply.code, outcome.names_recipient) == (550, False)


def test_an_endless_line_is_cut_short() -> None:
    """Ten megabytes without a line end neither fill memory nor hold the attempt up."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _number in range(160):
            writer.write(b"220 " + b"x" * 65536)
            await writer.drain()

    outcome, _ = send_to(serve)

    assert outcome == Deferred("the server's reply is too long", None, outcome.remote)


def test_an_endless_reply_is_cut_short() -> None:
    """A reply that never ends is left."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"220-hello\r\n" * 100)
            await writer.drain()

    outcome, _ = send_to(serve)

    assert outcome == Deferred("the server's reply has too many lines", None, outcome.remote)


def test_a_byte_now_and_then_does_not_hold_us() -> None:
    """The time is for the whole reply: bytes that trickle in do not prolong it."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"2")
            await writer.drain()
            await asyncio.sleep(0.02)

    outcome, took = send_to(serve, replace(SHORT, greeting=0.2))

    assert isinstance(outcome, Deferred)
    assert took < 1


def test_slow_answers_are_bounded_together() -> None:
    """A server that answers each command just in time is left when the attempt's own time is over."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        while await reader.readline():
            await asyncio.sleep(0.15)
            writer.write(b"250 ok\r\n")

    outcome, took = send_to(serve, replace(SHORT, attempt=0.25))

    assert isinstance(outcome, Deferred)
    assert took < 1


def test_a_server_that_does_not_read_is_left() -> None:
    """A large message into a closed window ends by the time for a block, and was not sent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    outcome, _ = send_to(serve, replace(SHORT, block=0.1), b"x" * 30_000_000)

    assert outcome == Deferred("the server did not read the message in time", None, outcome.remote)


def test_a_refusal_in_the_middle_of_a_large_message_counts() -> None:
    """552 while the content still flows, then a reset: the answer is read."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        await reader.readexactly(100_000)
        writer.write(b"552 5.3.4 enough\r\n")
        await writer.drain()
        await reader.read()

    outcome, _ = send_to(serve, SHORT, b"x" * 30_000_000)

    assert outcome.reply is not None
    assert outcome.reply.first_line == "552 5.3.4 enough"


def test_answers_that_nobody_asked_for_end_it_at_once() -> None:
    """A server that says 250 to everything beforehand is not believed, and does not fill memory."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        await reader.readline()
        writer.write(b"250-mx\r\n250 PIPELINING\r\n")
        while not writer.transport.is_closing():
            writer.write(b"250 ok\r\n" * 10_000)
            await writer.drain()

    outcome, took = send_to(serve)

    assert isinstance(outcome, Deferred)
    assert took < 2


def test_answers_far_beyond_the_commands_end_it_at_once() -> None:
    """Within a transaction, too: what is left unread is bounded."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        await reader.readline()
        writer.write(b"250-mx\r\n250 PIPELINING\r\n")
        await reader.readline()
        writer.write(b"250 ok\r\n250 ok\r\n354 go\r\n" + b"250 delivered, honestly\r\n" * 100_000)
        await reader.read()

    outcome, took = send_to(serve)

    assert isinstance(outcome, Deferred)
    assert took < 2


@pytest.mark.parametrize("answers", [(b"354", b"250", b"250"), (b"250", b"354", b"250"), (b"221", b"221", b"354")])
def test_answers_in_the_wrong_order_deliver_nothing(answers: tuple[bytes, ...]) -> None:
    """Each answer is read for the command it stands behind."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        await reader.readline()
        writer.write(b"250-mx\r\n250 PIPELINING\r\n")
        await reader.readline()
        writer.write(b"".join(answer + b" ok\r\n" for answer in answers))
        await reader.readuntil(b"DATA\r\n")
        writer.write(b"250 ok\r\n")
        await reader.read()

    assert not isinstance(send_to(serve)[0], Delivered)


def test_silence_after_354_is_unknown_once_the_dot_went() -> None:
    """The message may have arrived; and the wait is bounded."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        await reader.read()

    outcome, took = send_to(serve, replace(SHORT, final=0.2))

    assert isinstance(outcome, Unknown)
    assert took < 2


def test_a_certificate_chain_of_a_megabyte_is_not_read(tmp_path: Path) -> None:
    """The handshake ends early, and opportunistic TLS goes on in plain text over a second connection."""
    certificate = Certificate(tmp_path)
    pem = certificate.path.read_text()
    extra = pem[pem.index("-----BEGIN CERTIFICATE-----") :]
    certificate.path.write_text(pem + extra * (1_000_000 // len(ssl.PEM_cert_to_DER_cert(extra))))
    context, seen = certificate.server(), []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        while line := await reader.readline():
            seen.append(line)
            if line == b"STARTTLS\r\n":
                writer.write(b"220 go\r\n")
                await writer.start_tls(context)
            elif line.startswith(b"EHLO"):
                writer.write(b"250-mx\r\n250 STARTTLS\r\n")
            elif line == b"DATA\r\n":
                writer.write(b"354 go\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 ok\r\n")
            else:
                writer.write(b"250 ok\r\n")

    outcome, took = send_to(serve)

    assert isinstance(outcome, Delivered)
    assert seen.count(b"STARTTLS\r\n") == 1
    assert took < 2


@pytest.mark.parametrize("noise", [b"\x00" * 1000, b"\xff\xfe" * 500 + b"\r\n", b"\r\n" * 50, b"220\x00ok\r\n"])
def test_noise_instead_of_a_greeting_is_deferred(noise: bytes) -> None:
    """No byte string makes the client raise."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(noise)
        await reader.read()

    assert isinstance(send_to(serve)[0], Deferred)


def test_garbage_after_the_dot_leaves_the_outcome_unknown() -> None:
    """What cannot be understood is no answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            await reader.readline()
            writer.write(answer)
        await reader.readuntil(b"\r\n.\r\n")
        writer.write(b"thanks!\r\n")
        await reader.read()

    assert isinstance(send_to(serve)[0], Unknown)


def test_an_idle_connection_that_died_costs_no_attempt() -> None:
    """A server that closes an idle connection, with or without 421, gets the next message over a new one."""

    class Closing(Sink):
        async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 sink\r\n")
            while line := await reader.readline():
                if line.startswith(b"DATA"):
                    writer.write(b"354 go\r\n")
                    self.bodies.append(await reader.readuntil(b"\r\n.\r\n"))
                    writer.write(b"250 ok\r\n")
                elif len(self.bodies) == self.connections:
                    # The second MAIL on a connection: the server has had enough, and says so too late.
                    writer.write(b"421 4.4.2 idle too long\r\n" if self.connections % 2 else b"")
                    return
                else:
                    writer.write(b"250 ok\r\n")

    async def run() -> tuple[Closing, list[Outcome]]:
        async with sinking(Closing()) as sink, rig_for(sink.port, Wishes(limits=PoolLimits(per_host=1))) as rig:
            for number in range(1, 5):
                rig.engine.take(handoff(transaction(1024 * number)))
                await rig.settle()
            assert isinstance(sink, Closing)
            return sink, [attempt.outcome for attempt in rig.book.outcomes.values()]

    sink, outcomes = asyncio.run(run())

    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert (len(sink.bodies), sink.connections) == (4, 4)


@pytest.mark.parametrize("said", [b"421 4.4.2 idle too long\r\n", b"2", b"250 delivered, honestly\r\n" * 20_000])
def test_an_idle_connection_on_which_the_server_speaks_is_closed(said: bytes) -> None:
    """At the first byte: nothing of what comes unasked lies in memory, and the next message has a new connection."""

    class Babbling(Sink):
        closed = asyncio.Semaphore(0)

        async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 sink\r\n")
            while line := await reader.readline():
                if line.startswith(b"DATA"):
                    writer.write(b"354 go\r\n")
                    self.bodies.append(await reader.readuntil(b"\r\n.\r\n"))
                    writer.write(b"250 ok\r\n")
                    await writer.drain()
                    await asyncio.sleep(0.05)
                    writer.write(said)
                    with contextlib.suppress(ConnectionError):
                        assert await reader.read() == b""
                    self.closed.release()
                    return
                writer.write(b"250 ok\r\n")

    async def run() -> tuple[Babbling, list[Outcome]]:
        async with sinking(Babbling()) as sink, rig_for(sink.port) as rig:
            assert isinstance(sink, Babbling)
            for number in range(1, 3):
                rig.engine.take(handoff(transaction(1024 * number)))
                await rig.settle()
                await asyncio.wait_for(sink.closed.acquire(), 2)
                assert rig.pool.open_connections == 0
            return sink, [attempt.outcome for attempt in rig.book.outcomes.values()]

    sink, outcomes = asyncio.run(run())

    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert (len(sink.bodies), sink.connections) == (2, 2)


def test_the_pool_is_well_after_bad_servers() -> None:
    """Slots that failed attempts held are free again."""

    async def run() -> int:
        async def slam(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with listening(slam) as port, rig_for(port, Wishes(limits=PoolLimits(per_host=2))) as rig:
            for number in range(1, 30):
                rig.engine.take(handoff(transaction(1024 * number)))
            await rig.settle()
            return rig.pool.open_connections

    assert asyncio.run(run()) == 0
