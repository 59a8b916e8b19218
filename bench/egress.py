"""`make bench-egress`: messages per second of the egress engine on one core, beside others, into the same smtp-sink.

One run: smtp-source straight, Postfix as a relay, aiosmtplib with uvloop, then our unit: 2 KB messages for one domain,
for 10,000 domains on 20 MX hosts, 100 KB messages, and memory over 200,000 messages. Needs Debian's postfix, and root.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

from bench import egress_peers as peers
from bench.cpu import free_ports
from bench.egress_mail import Letter, handoffs, letters
from bench.egress_unit import SECRET, UNIT, Tally, Wish, running
from bench.processes import cpu_s, resident_bytes
from bench.report import Bar, figure, table
from egret.contracts.handoff import CONTENT_TYPE, PATH, Handoff, decode_answer, decode_handoff, encode

SMALL_BYTES: Final = 2 * 1024
LARGE_BYTES: Final = 100 * 1024
DOMAINS: Final = 10_000
HOSTS: Final = 20
FEEDERS: Final = 2
IN_HAND: Final = 900
MADE: Final = 20_000
PATIENCE_S: Final = 300.0
TIMES_POSTFIX: Final = 10.0
TIMES_AIOSMTPLIB: Final = 1.5
MOST_FOR_DOMAINS: Final = 1.3
LEAST_LARGE: Final = 750.0
MOST_GROWTH: Final = 1.05


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured. cpu_us: CPU of the process, microseconds for each message; 0 where it was not looked at."""

    count: int
    elapsed_s: float
    cpu_us: float = 0.0

    @property
    def rate(self) -> float:
        """Messages per second."""
        return self.count / self.elapsed_s


T = TypeVar("T")


class Pace:
    """Keeps so many messages in the unit's hand as one domain may have there: deliver, too, looks at the room."""

    def __init__(self, tally: Tally, given: int) -> None:
        self._tally = tally
        self._given = given
        self._lock = threading.Lock()

    def wait(self, size: int) -> None:
        """Return when so many more may be handed over."""
        with self._lock:
            self._given += size
            while self._given - self._tally.read()[0] > IN_HAND:
                time.sleep(0.002)


class Unit:
    """A running unit, seen from deliver's side."""

    def __init__(self, wish: Wish, pid: int) -> None:
        self.pid = pid
        self.log = wish.folder / "log"
        self._port = wish.port
        self._tally = Tally(wish.folder / "tally")
        self._given = 0

    def send(self, mail: Sequence[Letter], count: int) -> Speed:
        """Hand over so many messages and wait until every outcome is written."""
        bodies = list(handoffs(UNIT, mail, self._given, count))
        self._pace = Pace(self._tally, self._given)
        self._given += count
        before, started = cpu_s(self.pid), time.monotonic()
        source = iter(bodies)
        lock = threading.Lock()
        with ThreadPoolExecutor(FEEDERS) as pool:
            for done in [pool.submit(self._feed, _shared(source, lock)) for _ in range(FEEDERS)]:
                done.result()
        self._await(self._given)
        elapsed_s = time.monotonic() - started
        return Speed(count, elapsed_s, (cpu_s(self.pid) - before) / count * 1e6)

    def _feed(self, bodies: Iterable[tuple[int, bytes]]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": CONTENT_TYPE}
        for size, body in bodies:
            self._pace.wait(size)
            left: bytes | None = body
            while left is not None:
                connection.request("POST", PATH, left, headers)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != http.HTTPStatus.ACCEPTED:
                    raise RuntimeError(f"the unit answered {answer.status}: {content[:200]!r}")
                left = _refused(left, decode_answer(content).taken)
                if left is not None:
                    time.sleep(0.005)
        connection.close()

    def _await(self, count: int) -> None:
        until = time.monotonic() + PATIENCE_S
        while (told := self._tally.read())[0] < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{told[0]} of {count} outcomes were written")
            time.sleep(0.002)
        if told[1] != told[0]:
            last = self.log.read_text().splitlines()[-1:]
            raise RuntimeError(f"{told[0] - told[1]} of {told[0]} messages were not delivered; the log ends: {last}")


def _shared(source: Iterator[T], lock: threading.Lock) -> Iterator[T]:
    while True:
        with lock:
            body = next(source, None)
        if body is None:
            return
        yield body


def _refused(body: bytes, taken: Sequence[bool]) -> bytes | None:
    """Return a handoff of what was not taken, None when everything was."""
    if all(taken):
        return None
    handed = decode_handoff(body)
    left = [transaction for transaction, was in zip(handed.transactions, taken, strict=True) if not was]
    return encode(Handoff(handed.unit, left))


@contextmanager
def unit(hosts: int = 1) -> Iterator[Unit]:
    """Run a unit that delivers into the sink."""
    with TemporaryDirectory(prefix="egret-bench-") as folder:
        wish = Wish(Path(folder), free_ports(1)[0], peers.SINK, hosts)
        with running(wish) as pid:
            peers.wait_for_port(("127.0.0.1", wish.port))
            yield Unit(wish, pid)


def small() -> list[Letter]:
    """Return the messages of one domain."""
    return letters(MADE, SMALL_BYTES, ["d0.example"])


def compare(count: int, mail: Sequence[Letter]) -> dict[str, Speed]:
    """Measure the peers."""
    slow = max(1000, count // 10)
    return {
        "smtp-source, straight": Speed(count, peers.source(count, SMALL_BYTES, (peers.SINK, peers.SINK_PORT))),
        "Postfix, as a relay": Speed(slow, peers.through_postfix(slow, SMALL_BYTES)),
        "aiosmtplib, uvloop": Speed(len(mail), peers.aiosmtplib(mail)),
    }


def own(count: int, mail: Sequence[Letter]) -> dict[str, Speed]:
    """Measure our unit."""
    found: dict[str, Speed] = {}
    with unit() as one:
        one.send(mail, 1000)
        found["Egret"] = one.send(mail, count)
    many = letters(MADE, SMALL_BYTES, [f"d{number}.example" for number in range(DOMAINS)])
    with unit(HOSTS) as one:
        one.send(many, 1000)
        found[f"Egret, {DOMAINS:,} domains on {HOSTS} hosts"] = one.send(many, count)
    large = letters(500, LARGE_BYTES, ["d0.example"])
    with unit() as one:
        one.send(large, 100)
        found["Egret, 100 KB"] = one.send(large, max(500, count // 10))
    return found


def memory(mail: Sequence[Letter]) -> tuple[int, int]:
    """Return the resident bytes of a unit after 20,000 and after 200,000 more messages."""
    with unit() as one:
        one.send(mail, 20_000)
        before = resident_bytes(one.pid)
        for _ in range(10):
            one.send(mail, 20_000)
        return before, resident_bytes(one.pid)


def bars(found: dict[str, Speed], grown: tuple[int, int] | None) -> list[Bar]:
    """Return what was promised. Rates are turned round, since a bar is the most that may be."""
    egret, many = found["Egret"].rate, found[f"Egret, {DOMAINS:,} domains on {HOSTS} hosts"].rate
    postfix, library = found["Postfix, as a relay"].rate, found["aiosmtplib, uvloop"].rate
    kept = [
        Bar("Postfix / Egret, messages per second", postfix / egret, 1 / TIMES_POSTFIX, is_counted=False),
        Bar("aiosmtplib / Egret, messages per second", library / egret, 1 / TIMES_AIOSMTPLIB, is_counted=False),
        Bar("cost of 10,000 domains / of one", egret / many, MOST_FOR_DOMAINS, is_counted=False),
        Bar("ms for a message of 100 KB", 1000 / found["Egret, 100 KB"].rate, 1000 / LEAST_LARGE, is_counted=False),
    ]
    if grown is not None:
        kept.append(Bar("memory after 200,000 messages / before", grown[1] / grown[0], MOST_GROWTH, is_counted=False))
    return kept


def show(found: dict[str, Speed], grown: tuple[int, int] | None) -> None:
    """Print the table."""
    egret = found["Egret"].rate
    rows = [
        [name, figure(one.rate), figure(egret / one.rate), figure(one.cpu_us) if one.cpu_us else "-"]
        for name, one in found.items()
    ]
    print(table(["into smtp-sink, 20 connections", "messages/s", "Egret is x times", "CPU us each"], rows))
    if grown is not None:
        print(f"\nmemory: {grown[0] / 1e6:.1f} MB after 20,000 messages, {grown[1] / 1e6:.1f} MB after 200,000 more")


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; they are measured, so that a missed bar is no fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=40_000, help="messages in a measurement (default 40000)")
    parser.add_argument("--only", choices=["egret", "memory"], help="one of our own measurements")
    wanted = parser.parse_args(arguments)
    mail = small()
    with peers.sink():
        if wanted.only is not None:
            return _only(wanted.only, wanted.count, mail)
        found = {**compare(wanted.count, mail), **own(wanted.count, mail)}
        grown = memory(mail)
    show(found, grown)
    print("\n" + "\n".join(map(str, bars(found, grown))))
    return 0


def _only(what: str, count: int, mail: Sequence[Letter]) -> int:
    if what == "memory":
        before, after = memory(mail)
        print(f"{before / 1e6:.1f} MB, then {after / 1e6:.1f} MB: x {after / before:.3f}")
        return 0
    with unit() as one:
        one.send(mail, 1000)
        speed = one.send(mail, count)
    print(f"{speed.rate:,.0f}/s, {speed.cpu_us:.1f} us of CPU each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
