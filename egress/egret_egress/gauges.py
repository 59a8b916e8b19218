"""How a unit stands, for whoever looks: read when it is asked for, and without a cost until then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from egret.contracts.metrics import Gauge, Labels, Metrics
from egret_egress.engine import Engine
from egret_egress.ledger import Ledger
from egret_egress.metrics import (
    BACKLOG,
    BACKLOG_AGE,
    CONNECTIONS,
    IN_HAND,
    JOURNAL_FAILING,
    PORT25,
    RECORDING,
    RESOLVER,
    ROOM,
)
from egret_egress.pool import Pool
from egret_egress.probe import ResolverProbe
from egret_egress.recorder import Recorder
from egret_egress.register import Announcer


@dataclass(frozen=True, slots=True)
class Watched:
    """The parts of a unit that are looked at."""

    engine: Engine
    ledger: Ledger
    recorder: Recorder
    pool: Pool
    announcer: Announcer
    resolver: ResolverProbe


def watch(metrics: Metrics, parts: Watched) -> None:
    """Let metrics ask the parts for their state. Asked within the loop's thread only."""
    readers: dict[Gauge, Callable[[], float]] = {
        ROOM: lambda: parts.engine.room,
        IN_HAND: lambda: parts.ledger.in_hand,
        BACKLOG: lambda: parts.engine.waiting,
        BACKLOG_AGE: lambda: parts.engine.waiting_s,
        RECORDING: lambda: parts.recorder.open,
        JOURNAL_FAILING: lambda: parts.ledger.is_failing,
        CONNECTIONS: lambda: parts.pool.open_connections,
        RESOLVER: lambda: parts.resolver.is_up,
    }
    for gauge, read in readers.items():
        metrics.watch(gauge, _single(read))
    metrics.watch(PORT25, _port25(parts.announcer))


def _port25(announcer: Announcer) -> Callable[[], dict[Labels, float]]:
    return lambda: {} if announcer.port25 is None else {(): float(announcer.port25)}


def _single(read: Callable[[], float]) -> Callable[[], dict[Labels, float]]:
    return lambda: {(): float(read())}
