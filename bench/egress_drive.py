"""A unit of the egress benchmark seen from deliver's side: handoffs as fast as it takes them, until all is recorded."""

from __future__ import annotations

import http.client
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
from bench.egress_mail import Letter, handoffs
from bench.egress_unit import SECRET, UNIT, Run, Tally, Wish, run, running
from bench.processes import cpu_s
from egret.contracts.handoff import CONTENT_TYPE, PATH, Handoff, decode_answer, decode_handoff, encode

FEEDERS: Final = 2
IN_HAND: Final = 900
PATIENCE_S: Final = 300.0


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
            ended = [line for line in self.log.read_text().splitlines() if '"outcome":' in line]
            other = [line for line in ended if '"outcome":"delivered"' not in line]
            raise RuntimeError(f"{told[0] - told[1]} of {told[0]} messages were not delivered, such as: {other[-1:]}")


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
def unit(hosts: int = 1, runs: Run = run) -> Iterator[Unit]:
    """Run a unit that delivers into the sink. runs: what its process does."""
    with TemporaryDirectory(prefix="egret-bench-") as folder:
        wish = Wish(Path(folder), free_ports(1)[0], peers.SINK, hosts)
        with running(wish, runs) as pid:
            peers.wait_for_port(("127.0.0.1", wish.port))
            yield Unit(wish, pid)
