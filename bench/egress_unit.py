"""The egress unit of the benchmark, in a process of its own: all is real, except that what AWS keeps is in memory.

The journal is a file, the handoff comes by HTTP, outcomes go through the use case that production records by. Its store
makes each delivery up when it is asked for, as claimed by this unit, and keeps nothing of it: what grows is the unit's.
"""

from __future__ import annotations

import asyncio
import functools
import mmap
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from egret import posix
from egret.aws.clock import SystemClock, SystemDice
from egret.contracts.settings import DEFAULT_RETRY
from egret.core.delivery import Delivery, Lease, State
from egret.core.fromid import FromIdKeys
from egret.core.tls_policy import Tlsa
from egret.memory.blobs import MemoryBlobs
from egret.memory.settings import MemoryKeyWrapper, MemorySettings
from egret.memory.store import MemoryMailStore
from egret.memory.units import MemoryUnits
from egret.usecases.record_outcome import RecordPorts
from egret_egress import logs
from egret_egress.__main__ import UseCaseBook, serve, tune
from egret_egress.config import Config
from egret_egress.destinations import Answer, MxRecord
from egret_egress.engine import Capacity
from egret_egress.journal import FileJournal
from egret_egress.metrics import FROM_THE_START
from egret_egress.pool import PoolLimits
from egret_egress.prometheus import PrometheusMetrics
from egret_egress.unit import Limits, UnitPorts

SECRET: Final = "bench"
UNIT: Final = "unit-00000000000be4c4"
CONNECTIONS: Final = 20
LEASE: Final = timedelta(minutes=40)
_COUNTS: Final = struct.Struct("=QQ")
UNLIMITED: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Wish:
    """What the unit is to be like. hosts: MX hosts by domain suffix; sink: their one address, on port 25."""

    folder: Path
    port: int
    sink: str
    hosts: int = 1


class Tally:
    """Two counts that another process reads: outcomes written, and those that say delivered."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(_COUNTS.size))
        self._file = path.open("r+b")
        self._map = mmap.mmap(self._file.fileno(), _COUNTS.size)
        self.lock = threading.Lock()

    def write(self, recorded: int, delivered: int) -> None:
        """Tell."""
        _COUNTS.pack_into(self._map, 0, recorded, delivered)

    def read(self) -> tuple[int, int]:
        """Return (recorded, delivered)."""
        recorded, delivered = _COUNTS.unpack_from(self._map)
        return recorded, delivered

    def close(self) -> None:
        """Let go of it."""
        self._map.close()
        self._file.close()


class Claimed(MemoryMailStore):
    """A store in which every delivery is claimed by the unit, and which counts what is written."""

    def __init__(self, unit: str, tally: Tally) -> None:
        super().__init__()
        self._now = datetime.now(UTC)
        self._lease = Lease(1, unit, self._now + LEASE)
        self._tally = tally
        self._recorded = self._delivered = 0

    def get(self, account: str, delivery_id: int, now: datetime) -> Delivery | None:
        """Make the delivery up."""
        return self._make(account, delivery_id)

    def _make(self, account: str, delivery_id: int) -> Delivery:
        return Delivery(
            account=account,
            id=delivery_id,
            recipient="customer@remote.example",
            domain="remote.example",
            reverse_path="orders@shop.example.com",
            fromid="",
            queued_at=self._now,
            not_before=self._now,
            expires_at=self._now + DEFAULT_RETRY.max_age,
            retention=timedelta(days=30),
            due_at=self._now,
            state=State.ATTEMPTING,
            lease=self._lease,
        )

    def get_many(self, keys: Sequence[tuple[str, int]], now: datetime) -> dict[tuple[str, int], Delivery]:
        """Make them all up."""
        return {key: self._make(*key) for key in keys}

    def replace(self, old: Delivery, new: Delivery) -> bool:
        """Count it."""
        return self.replace_many([(old, new)])[0]

    def replace_many(self, pairs: Sequence[tuple[Delivery, Delivery]]) -> list[bool]:
        """Count them."""
        with self.table.lock:
            self._recorded += len(pairs)
            self._delivered += sum(new.state is State.DELIVERED for _, new in pairs)
            self._tally.write(self._recorded, self._delivered)
        return [True] * len(pairs)


class Zone:
    """A `Resolver`: the domains are spread over some MX hosts, which all have one address."""

    def __init__(self, wish: Wish) -> None:
        self._hosts = wish.hosts
        self._sink = wish.sink

    async def mx(self, domain: str) -> Answer[MxRecord]:
        """Return the host of a domain `d<number>....`."""
        number = int(domain.partition(".")[0].strip("d") or "0")
        return Answer((MxRecord(10, f"mx{number % self._hosts}.provider.example"),), domain)

    async def addresses(self, host: str) -> Answer[str]:
        """Return the one address."""
        return Answer((self._sink,), host)

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        """Return none."""
        return Answer((), name)

    async def txt(self, name: str) -> Answer[str]:
        """Return none."""
        return Answer((), name)


def ports_of(wish: Wish, unit: str) -> UnitPorts:
    """Return what the unit works with."""
    clock = SystemClock()
    store = Claimed(unit, Tally(wish.folder / "tally"))
    return UnitPorts(
        book=UseCaseBook(RecordPorts(store, clock, DEFAULT_RETRY)),
        blobs=MemoryBlobs(),
        units=MemoryUnits(),
        settings=MemorySettings(),
        fromid_keys=FromIdKeys({1: b"bench"}, 1),
        clock=clock,
        dice=SystemDice(),
        resolver=Zone(wish),
        wrapper=MemoryKeyWrapper(bytes(16)),
        metrics=PrometheusMetrics(FROM_THE_START),
    )


def config_of(wish: Wish) -> Config:
    """Return its configuration: no inbound SMTP, mail to loopback allowed."""
    return Config(
        bind=("127.0.0.1", wish.port),
        url=f"http://127.0.0.1:{wish.port}",
        smtp_listen=None,
        journal_dir=wish.folder / "journal",
        hostname="mx.egret.example",
        handoff_secret=SECRET,
        drain_s=5,
        allow_loopback=True,
        shaping=_lifted(wish.folder),
    )


def _lifted(folder: Path) -> Path:
    """Return a shaping file that lifts the limits of every provider."""
    path = folder / "shaping.toml"
    path.write_text("lift_all = true\n")
    return path


def limits() -> Limits:
    """As many connections and messages as the bench asks for; room for a few handoffs of the largest messages."""
    return Limits(Capacity(), PoolLimits(per_host=CONNECTIONS, messages=UNLIMITED))


Run = Callable[[Wish], None]
"""What the process of a unit does; to be pickled."""


def run(wish: Wish) -> None:
    """Serve until SIGTERM, as the container's main does."""
    serve_with(wish, ports_of(wish, UNIT))


def serve_with(wish: Wish, ports: UnitPorts) -> None:
    """Serve until SIGTERM with other ports."""
    sys.stderr = (wish.folder / "log").open("w")
    logs.set_up()
    tune()
    journal = wish.folder / "journal"
    journal.mkdir(exist_ok=True)
    (journal / "unit.id").write_text(f"{UNIT} {posix.boot_id()}")
    FileJournal(journal / f"journal-{UNIT}").close()
    with asyncio.Runner(loop_factory=posix.loop_factory()) as runner:
        runner.run(serve(config_of(wish), ports, limits()))


@contextmanager
def running(wish: Wish, runs: Run = run) -> Iterator[int]:
    """Run the unit beside; yields its pid. runs: what its process does."""
    process = get_context("spawn").Process(target=functools.partial(runs, wish))
    process.start()
    try:
        yield process.pid or 0
    finally:
        process.terminate()
        process.join(30)
