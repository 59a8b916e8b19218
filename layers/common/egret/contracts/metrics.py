"""Metrics as the reusable parts count them: named quantities, without a word of who collects them.

A part takes a `Metrics` and counts; the composition root chooses what stands behind it (Prometheus text in the egress
container, nothing in tests and in other programs that use the SMTP engine).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 600.0)
"""Buckets for how long something took."""


@dataclass(frozen=True, slots=True)
class Counter:
    """Something that happens. name: without the suffix that a collector may want; labels: names, in order."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """Something that has a size, in the unit that its name ends with. buckets: upper bounds."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS


@dataclass(frozen=True, slots=True)
class Gauge:
    """Something that stands at a value when it is looked at."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


Labels = tuple[str, ...]
"""Values, in the order of the metric's label names; every label has few of them."""


class Metrics(Protocol):
    """Where is counted. Calls are cheap, never fail and never wait."""

    def count(self, metric: Counter, labels: Labels = (), amount: float = 1) -> None:
        """Add."""
        ...

    def observe(self, metric: Histogram, value: float, labels: Labels = ()) -> None:
        """Note one value."""
        ...

    def watch(self, metric: Gauge, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Ask `read` for the values whenever somebody looks; a later call for the same metric takes its place."""
        ...


class NoMetrics:
    """Counts nothing."""

    def count(self, metric: Counter, labels: Labels = (), amount: float = 1) -> None:
        """Do nothing."""

    def observe(self, metric: Histogram, value: float, labels: Labels = ()) -> None:
        """Do nothing."""

    def watch(self, metric: Gauge, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Do nothing."""
