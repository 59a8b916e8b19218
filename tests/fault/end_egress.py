"""End a busy egress with SIGTERM and SIGKILL, again and again, and see that nothing is lost; run by hand.

    make kill

Real processes, journals and sockets. Mail goes to three servers at a time: a quick one with a long queue, where the
next message begins behind the final dot of this one; one that takes a third of a second for each answer, and never
gives some; one with the limits of an unknown provider, so that most of its mail waits. Whoever gets something back
hands it over again. Afterwards every message must have arrived, once, or once more for each attempt marked unknown; a
unit that was told to end must have told of all that it took, in time; and of the messages on one connection only one
may be unknown after a kill, since only one final dot can be without an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from msgspec import structs

from egret.contracts import handoff as contract
from egret.contracts.handoff import Content, Transaction
from tests.e2e.installation import ROOT
from tests.integration.egress_rig import transaction
from tests.integration.test_egress_unit import SECRET

WAYS = ("", "", "", "slow", "paced")
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
SILENT_EVERY = 7
HANDED = 100
LIMIT_S = 200.0
_RECIPIENT = re.compile(rb"<r(\d+)@")


@dataclass
class Servers:
    """The three mail servers. copies: by delivery; seen_on: the last connection that a delivery was announced on.

    early: how often the next message had begun with the dot; healed: everybody answers, and quickly.
    """

    copies: Counter[int] = field(default_factory=Counter)
    seen_on: dict[int, int] = field(default_factory=dict)
    early: int = 0
    healed: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until the other side is gone."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection, current = next(self._numbers), 0
        is_slow = writer.get_extra_info("sockname")[0] == HOSTS[1]
        writer.write(b"220 mx\r\n")
        while line := await reader.readline():
            if line.startswith(b"EHLO"):
                writer.write(b"250-mx\r\n250 PIPELINING\r\n")
            elif line.startswith(b"DATA"):
                writer.write(b"354 go\r\n")
                await reader.readuntil(b"\r\n.\r\n")
                self.copies[current] += 1
                self.early += bool(reader._buffer)  # type: ignore[attr-defined]
                await self._think(current, is_slow)
                writer.write(b"250 2.0.0 ok\r\n")
            else:
                if (match := _RECIPIENT.search(line)) is not None:
                    current = int(match[1])
                    self.seen_on[current] = connection
                writer.write(b"250 ok\r\n")

    async def _think(self, delivery: int, is_slow: bool) -> None:
        pause_s = 0.003 if not is_slow else 0.3
        if is_slow and (delivery >> 10) % SILENT_EVERY == 0:
            await self.healed.wait()
        elif not self.healed.is_set():
            await asyncio.sleep(pause_s)


@contextlib.asynccontextmanager
async def listening(servers: Servers) -> AsyncIterator[int]:
    """Run them on one port of three addresses."""
    async with contextlib.AsyncExitStack() as stack:
        port = 0
        for host in HOSTS:
            server = await asyncio.start_server(servers.serve, host, port)
            await stack.enter_async_context(server)
            port = server.sockets[0].getsockname()[1]
        yield port


@dataclass
class Desk:
    """Who hands mail over and hears what became of it: attempts by delivery, as deliver and the store keep them.

    waiting: to be handed over. in_hand: taken by the unit, nothing heard yet. newly_unknown: since the last signal.
    """

    attempt: dict[int, int] = field(default_factory=dict)
    waiting: set[int] = field(default_factory=set)
    in_hand: set[int] = field(default_factory=set)
    delivered: set[int] = field(default_factory=set)
    unknown: Counter[int] = field(default_factory=Counter)
    released: Counter[int] = field(default_factory=Counter)
    newly_unknown: list[int] = field(default_factory=list)

    def hear(self, words: Sequence[str]) -> None:
        """Read one line of the unit; what was told before changes nothing."""
        delivery, attempt = int(words[1]), int(words[2])
        if attempt != self.attempt[delivery] or delivery in self.delivered:
            return
        self.in_hand.discard(delivery)
        if words[0] == "release":
            self.released[delivery] += 1
        elif words[3] == "delivered":
            self.delivered.add(delivery)
            self.waiting.discard(delivery)
            return
        else:
            self.attempt[delivery] += 1
            if words[3] == "unknown":
                self.unknown[delivery] += 1
                self.newly_unknown.append(delivery)
        self.waiting.add(delivery)

    def next_ones(self) -> list[Transaction]:
        """Return what is to be handed over next."""
        made = []
        for delivery in sorted(self.waiting)[:HANDED]:
            way = WAYS[(delivery >> 10) % len(WAYS)]
            body = f"Subject: {delivery}\r\n\r\nhello\r\n".encode()
            one = transaction(delivery, domain=f"{way or 'quick'}.example", content=Content(len(body), body))
            legs = [structs.replace(leg, attempt=self.attempt[delivery]) for leg in one.legs]
            made.append(structs.replace(one, transport=way, legs=legs))
        return made

    def taken(self, transactions: Sequence[Transaction], flags: Sequence[bool]) -> None:
        """Note what the unit has taken."""
        for one, was_taken in zip(transactions, flags, strict=True):
            if was_taken:
                self.in_hand.add(one.legs[0].delivery_id)
                self.waiting.discard(one.legs[0].delivery_id)


@dataclass
class Report:
    """What became of a run. exits_s: seconds from SIGTERM to the end; failures: sentences, none = all promises kept."""

    messages: int = 0
    copies: int = 0
    unknown: int = 0
    released: int = 0
    early: int = 0
    killed: int = 0
    exits_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        exits = ", ".join(f"{seconds:.2f}" for seconds in self.exits_s)
        return "\n".join([
            f"messages {self.messages}, copies {self.copies}, attempts marked unknown {self.unknown}",
            f"given back {self.released}, begun behind another's dot {self.early}",
            f"killed {self.killed} times; SIGTERM to exit: {exits} s",
            *self.failures[:20],
        ])  # fmt: skip


class Unit:
    """One process of the unit. directory: of its journal, which outlives it."""

    def __init__(self, directory: Path, drain_s: float, port: int, desk: Desk) -> None:
        self._arguments = (str(directory), str(drain_s), str(port))
        self._desk = desk
        self._ready: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Start it, wait until it serves."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = (sys.executable, "-m", "tests.fault.egress_process", *self._arguments)
        self._process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env=environment, cwd=ROOT
        )
        self._listening = asyncio.create_task(self._listen())
        async with asyncio.timeout(30):
            self._id, self._port = await self._ready

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            words = line.decode().split()
            if words[0] == "ready":
                self._ready.set_result((words[1], words[2]))
            else:
                self._desk.hear(words)

    async def feed(self, client: aiohttp.ClientSession) -> None:
        """Hand over what waits, as far as it is taken."""
        transactions = self._desk.next_ones()
        if not transactions:
            return
        body = contract.encode(contract.Handoff(self._id, transactions))
        headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": contract.CONTENT_TYPE}
        # Known to be in hand from here on: the unit may tell of them before it has answered.
        self._desk.taken(transactions, [True] * len(transactions))
        url = f"http://127.0.0.1:{self._port}{contract.PATH}"
        async with client.post(url, data=body, headers=headers) as answer:
            flags = contract.decode_answer(await answer.read()).taken if answer.status == 202 else []
        for one, was_taken in itertools.zip_longest(transactions, flags, fillvalue=False):
            if not was_taken and isinstance(one, Transaction):
                self._desk.in_hand.discard(one.legs[0].delivery_id)
                self._desk.waiting.add(one.legs[0].delivery_id)

    async def end(self, how: signal.Signals) -> float:
        """Send the signal; return the seconds until the process is gone and all it told is read."""
        begun = asyncio.get_running_loop().time()
        self._process.send_signal(how)
        await self._process.wait()
        took = asyncio.get_running_loop().time() - begun
        await self._listening
        return took


async def run(directory: Path, messages: int, signals: Sequence[signal.Signals], drain_s: float = 2) -> Report:
    """Send messages, end the unit by each signal in turn while it is busy, let all be delivered, check."""
    report, desk, servers = Report(messages), Desk(), Servers()
    ids = [1024 * number for number in range(1, messages + 1)]
    desk.attempt, desk.waiting = dict.fromkeys(ids, 1), set(ids)
    async with listening(servers) as port, aiohttp.ClientSession() as client:
        for number, how in enumerate(signals):
            unit = Unit(directory, drain_s, port, desk)
            await unit.start()
            enough = messages * 3 // 5 * (number + 0.8) / len(signals)
            async with asyncio.timeout(LIMIT_S):
                while len(desk.delivered) < enough:
                    await unit.feed(client)
                    await asyncio.sleep(0.01)
            desk.newly_unknown.clear()
            took = await unit.end(how)
            _check_end(report, desk, how, took, drain_s)
            if how is signal.SIGKILL:
                await _check_recovery(report, desk, servers, Unit(directory, drain_s, port, desk))
        servers.healed.set()
        unit = Unit(directory, drain_s, port, desk)
        await unit.start()
        async with asyncio.timeout(LIMIT_S):
            while len(desk.delivered) < messages:
                await unit.feed(client)
                await asyncio.sleep(0.02)
        report.exits_s.append(await unit.end(signal.SIGTERM))
    _check_copies(report, desk, servers)
    return report


def _check_end(report: Report, desk: Desk, how: signal.Signals, took: float, drain_s: float) -> None:
    if how is signal.SIGKILL:
        report.killed += 1
        return
    report.exits_s.append(took)
    if took > drain_s + 20:
        report.failures.append(f"the unit took {took:.1f} s to end")
    if desk.in_hand:
        report.failures.append(f"a unit that ended in order never told of {sorted(desk.in_hand)[:10]}")


async def _check_recovery(report: Report, desk: Desk, servers: Servers, unit: Unit) -> None:
    """Start the unit again: all that was in hand is told, and of each connection at most one is unknown."""
    announced = dict(servers.seen_on)
    await unit.start()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while desk.in_hand:  # noqa: ASYNC110 (the desk has no event)
                await asyncio.sleep(0.01)
    await unit.end(signal.SIGTERM)
    if desk.in_hand:
        report.failures.append(f"after a kill nothing was told of {sorted(desk.in_hand)[:10]}")
    by_connection = Counter(announced[delivery] for delivery in desk.newly_unknown if delivery in announced)
    for connection, count in by_connection.items():
        if count > 1:
            report.failures.append(f"{count} messages of connection {connection} are unknown after a kill")


def _check_copies(report: Report, desk: Desk, servers: Servers) -> None:
    report.copies, report.unknown = servers.copies.total(), desk.unknown.total()
    report.released, report.early = desk.released.total(), servers.early
    for delivery in desk.attempt:
        copies, unknown = servers.copies[delivery], desk.unknown[delivery]
        if not 1 <= copies <= 1 + unknown:
            report.failures.append(f"{copies} copies of {delivery}, {unknown} attempts marked unknown")


def main() -> int:
    """Run as a program; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description="End a busy egress by signals.")
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5, help="how often it is ended by each signal")
    arguments = parser.parse_args()
    is_bad = False
    in_turn = [signal.SIGTERM, signal.SIGKILL] * arguments.rounds
    for messages, signals, drain_s in ((arguments.messages, in_turn, 2.0), (600, [signal.SIGTERM], 90.0)):
        with tempfile.TemporaryDirectory(prefix="egret-") as folder:
            report = asyncio.run(run(Path(folder), messages, signals, drain_s))
        is_bad = is_bad or bool(report.failures)
        print(f"drain of {drain_s:.0f} s: {report}\n{'FAILED' if report.failures else 'ok'}", flush=True)
    return int(is_bad)


if __name__ == "__main__":
    sys.exit(main())
