"""The egress benchmark with outcomes that go to DynamoDB, as the emulator plays it, by the adapters of production.

Every delivery stands in the table as deliver claimed it. Two runs: the whole unit, where the emulator is what limits
the rate, and the recording alone, in a process that does nothing else. CPU per outcome = user and system time of that
process, all its threads, from the first batch to the last answer / outcomes written.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from bench import egress_peers as peers
from bench.egress_drive import Speed, unit
from bench.egress_mail import ACCOUNTS, Letter, letters
from bench.egress_unit import UNIT, Tally, Wish, ports_of, serve_with
from bench.report import Bar, figure, table
from egret.aws.app import App
from egret.aws.mail_items import delivery_item
from egret.aws.table import Table
from egret.contracts.settings import DEFAULT_RETRY
from egret.core.delivery import Attempt, Delivery, Lease, State
from egret.core.outcome import Delivered, Remote
from egret.core.reply import Reply
from egret.core.trace import SessionTrace
from egret.usecases.record_outcome import Ended, RecordPorts
from egret_egress.__main__ import UseCaseBook, app_of, tune
from egret_egress.recorder import BATCH, THREADS
from tests.aws_resources import create_resources
from tests.emulators import ministack_server

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

OUTCOMES: Final = 3000
WARM_UP: Final = 500
MOST_CPU_MS: Final = 0.6
LEASE: Final = timedelta(minutes=40)
REPLY: Final = Reply(250, ("2.0.0 Ok: queued as 4bXk2T1pQsz7Wq",))
REMOTE: Final = Remote("mx1.provider.example", "192.0.2.25")


@dataclass(frozen=True, slots=True)
class Bench:
    """An emulator with a table. environ: of an egress that uses it."""

    environ: Mapping[str, str]

    def claim(self, first: int, count: int) -> None:
        """Store deliveries number `first` and following, as `bench.egress_mail` counts, each claimed by the unit."""
        mail = Table(App.from_environment(self.environ).clients, self.environ["EGRET_MAIL_TABLE"])
        mail.put_many(delivery_item(delivery) for delivery in _claimed(first, count))

    def check(self, first: int, count: int) -> None:
        """Raise RuntimeError unless every one of them stands as delivered in the table, by one write."""
        app = App.from_environment(self.environ)
        wanted = [(delivery.account, delivery.id) for delivery in _claimed(first, count)]
        found = app.store.get_many(wanted, app.clock.now()).values()
        written = sum(delivery.state is State.DELIVERED and delivery.rev == 3 for delivery in found)
        if written != count:
            raise RuntimeError(f"{written} of {count} outcomes stand in the table")


@contextmanager
def emulator() -> Iterator[Bench]:
    """Start the emulator and make what an installation has."""
    with TemporaryDirectory(prefix="egret-bench-") as folder, ministack_server(Path(folder)) as url:
        yield Bench(create_resources(url).environment(url))


def _claimed(first: int, count: int) -> Iterator[Delivery]:
    now = datetime.now(UTC)
    for index in range(first, first + count):
        id_ = (index + 1) << 10
        fromid = f"{index:032x}"
        yield Delivery(
            account=ACCOUNTS[index % len(ACCOUNTS)],
            id=id_,
            recipient=f"customer{index}@d0.example",
            domain="d0.example",
            reverse_path=f"{fromid}@bounces.shop.example.com",
            fromid=fromid,
            queued_at=now,
            not_before=now,
            expires_at=now + DEFAULT_RETRY.max_age,
            retention=timedelta(days=30),
            due_at=now,
            state=State.ATTEMPTING,
            lease=Lease(1, UNIT, now + LEASE),
            rev=2,
        )


# --- the whole unit


class CountingBook(UseCaseBook):
    """Tells another process how many outcomes are in the table."""

    def __init__(self, ports: RecordPorts, tally: Tally) -> None:
        super().__init__(ports)
        self._tally = tally
        self._recorded = self._delivered = 0

    def record(self, account: str, delivery_id: int, attempt: Attempt) -> None:
        """Record an outcome and count it."""
        super().record(account, delivery_id, attempt)
        self._count([attempt])

    def record_all(self, ended: Sequence[Ended]) -> None:
        """Record outcomes and count them."""
        super().record_all(ended)
        self._count([attempt for _, _, attempt in ended])

    def _count(self, attempts: Sequence[Attempt]) -> None:
        with self._tally.lock:
            self._recorded += len(attempts)
            self._delivered += sum(isinstance(attempt.outcome, Delivered) for attempt in attempts)
            self._tally.write(self._recorded, self._delivered)


def run_unit(environ: Mapping[str, str], wish: Wish) -> None:
    """Serve until SIGTERM with a book of production."""
    app = app_of(environ)
    book = CountingBook(RecordPorts(app.store, app.clock, app.installation.retry), Tally(wish.folder / "tally"))
    serve_with(wish, dataclasses.replace(ports_of(wish, UNIT), book=book))


def through_unit(mail: Sequence[Letter], count: int) -> Speed:
    """Deliver into the sink and record in the table."""
    with emulator() as bench:
        bench.claim(0, WARM_UP + count)
        with unit(runs=functools.partial(run_unit, bench.environ)) as one:
            one.send(mail, WARM_UP)
            speed = one.send(mail, count)
        bench.check(0, WARM_UP + count)
        return speed


# --- recording alone


def run_alone(environ: Mapping[str, str], count: int, told: Connection) -> None:
    """Record attempts as the unit's threads do under load, and tell seconds and CPU microseconds for each."""
    app = app_of(environ)
    book = UseCaseBook(RecordPorts(app.store, app.clock, app.installation.retry))
    tune()
    ended = _ended(WARM_UP + count)
    with ThreadPoolExecutor(THREADS) as pool:
        _record(pool, book, ended[:WARM_UP])
        started, before = time.monotonic(), time.process_time()
        _record(pool, book, ended[WARM_UP:])
        told.send((time.monotonic() - started, (time.process_time() - before) / count * 1e6))


def _record(pool: ThreadPoolExecutor, book: UseCaseBook, ended: Sequence[Ended]) -> None:
    batches = [ended[start : start + BATCH] for start in range(0, len(ended), BATCH)]
    for _ in pool.map(book.record_all, batches):
        pass


def _ended(count: int) -> list[Ended]:
    now = datetime.now(UTC)
    trace = SessionTrace("", "opportunistic", "TLSv1.3")
    attempt = Attempt(1, now, timedelta(milliseconds=180), Delivered(REPLY, REMOTE), trace)
    return [(delivery.account, delivery.id, attempt) for delivery in _claimed(0, count)]


def alone(count: int) -> Speed:
    """Record prepared attempts in a process that does nothing else."""
    context = get_context("spawn")
    with emulator() as bench:
        bench.claim(0, WARM_UP + count)
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=run_alone, args=(bench.environ, count, there))
        process.start()
        there.close()
        elapsed_s, cpu_us = here.recv()
        process.join()
        bench.check(0, WARM_UP + count)
    return Speed(count, elapsed_s, cpu_us)


# --- what is said


@dataclass(frozen=True, slots=True)
class Recorded:
    """through: the unit with the table; alone: recording only."""

    through: Speed
    alone: Speed

    def show(self, in_memory: Speed) -> None:
        """Print. in_memory: the same unit whose outcomes go to memory."""
        rows = [
            ["the unit, outcomes in memory", figure(in_memory.rate), figure(in_memory.cpu_us)],
            ["the unit, outcomes in DynamoDB", figure(self.through.rate), figure(self.through.cpu_us)],
            ["    the latter - the former", "", figure(self.through.cpu_us - in_memory.cpu_us)],
            ["recording alone", figure(self.alone.rate), figure(self.alone.cpu_us)],
        ]
        print(table(["into DynamoDB; the emulator limits the rate", "outcomes/s", "own CPU us each"], rows))

    def bars(self) -> list[Bar]:
        """Return what was promised, for the writing alone and for all that the unit does with a message."""
        alone, through = self.alone.cpu_us / 1000, self.through.cpu_us / 1000
        return [
            Bar("ms of own CPU per outcome written", alone, MOST_CPU_MS, is_counted=False),
            Bar("the same, all work of the unit included", through, MOST_CPU_MS, is_counted=False),
        ]


def measure(mail: Sequence[Letter], count: int = OUTCOMES) -> Recorded:
    """Measure both; the sink must run."""
    return Recorded(through_unit(mail, count), alone(count))


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; they are measured, so that a missed bar is no fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=OUTCOMES, help=f"outcomes in a measurement (default {OUTCOMES})")
    parser.add_argument("--alone", action="store_true", help="only the recording alone")
    wanted = parser.parse_args(arguments)
    if wanted.alone:
        one = alone(wanted.count)
        print(f"{one.rate:,.0f} outcomes/s, {one.cpu_us:.0f} us of own CPU each")
        return 0
    mail = letters(5000, 2048, ["d0.example"])
    with peers.sink():
        with unit() as one_unit:
            one_unit.send(mail, 1000)
            in_memory = one_unit.send(mail, 20_000)
        recorded = measure(mail, wanted.count)
    recorded.show(in_memory)
    print("\n" + "\n".join(map(str, recorded.bars())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
