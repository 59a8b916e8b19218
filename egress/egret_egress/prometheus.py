"""The `Metrics` port as Prometheus text, which the client library of the Prometheus project writes.

Counted is here: the library's own counters take locks and check their labels, for each message several times.
"""

from __future__ import annotations

import itertools
import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from egret.contracts.metrics import Counter, Gauge, Histogram, Labels

log = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST


class _Spread:
    """How observed values are spread over buckets. counts: of each bucket alone, the last one for all beyond."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def buckets(self) -> list[tuple[str, float]]:
        """Return the upper bounds as they are written, each with the number of values up to it."""
        names = (*map(floatToGoString, self.bounds), "+Inf")
        return list(zip(names, map(float, itertools.accumulate(self.counts)), strict=True))


class PrometheusMetrics:
    """A registry of its own: several may live in one process, whose memory, time and descriptors each shows.

    known: labels that are there from the start, with 0. Nothing is said of when counting began (`_created`). For one
    thread: that of the event loop.
    """

    def __init__(self, known: Mapping[Counter | Histogram, Iterable[Labels]] | None = None) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._counters: dict[str, tuple[Counter, dict[Labels, float]]] = {}
        self._histograms: dict[str, tuple[Histogram, dict[Labels, _Spread]]] = {}
        self._gauges: dict[str, tuple[Gauge, Callable[[], Mapping[Labels, float]]]] = {}
        self._registry.register(_Collector(self.families))
        prometheus_client.ProcessCollector(registry=self._registry)
        for metric, label_sets in (known or {}).items():
            for labels in label_sets:
                if isinstance(metric, Counter):
                    self.count(metric, labels, 0)
                else:
                    self._spread(metric, labels)

    def count(self, metric: Counter, labels: Labels = (), amount: float = 1) -> None:
        """Add."""
        found = self._counters.get(metric.name)
        if found is None:
            found = self._counters[metric.name] = metric, {}
        counts = found[1]
        counts[labels] = counts.get(labels, 0.0) + amount

    def observe(self, metric: Histogram, value: float, labels: Labels = ()) -> None:
        """Note one value."""
        spread = self._spread(metric, labels)
        spread.counts[bisect_left(spread.bounds, value)] += 1
        spread.total += value

    def _spread(self, metric: Histogram, labels: Labels) -> _Spread:
        found = self._histograms.get(metric.name)
        if found is None:
            found = self._histograms[metric.name] = metric, {}
        spread = found[1].get(labels)
        if spread is None:
            spread = found[1][labels] = _Spread(metric.buckets)
        return spread

    def watch(self, metric: Gauge, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Ask `read` at each exposition."""
        self._gauges[metric.name] = metric, read

    def text(self) -> bytes:
        """Return the exposition; CONTENT_TYPE is its type."""
        return generate_latest(self._registry)

    def families(self) -> list[Metric]:
        """Return everything but what is told of the process."""
        return [*self._counted(), *self._observed(), *self._watched()]

    def _counted(self) -> list[Metric]:
        families: list[Metric] = []
        for metric, counts in self._counters.values():
            counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in counts.items():
                counter.add_metric(labels, value)
            families.append(counter)
        return families

    def _observed(self) -> list[Metric]:
        families: list[Metric] = []
        for metric, spreads in self._histograms.values():
            histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, spread in spreads.items():
                histogram.add_metric(labels, spread.buckets(), spread.total)
            families.append(histogram)
        return families

    def _watched(self) -> list[Metric]:
        """Read the gauges; one that fails is left out and logged, the others stand."""
        families: list[Metric] = []
        for metric, read in list(self._gauges.values()):
            try:
                values = read()
            except Exception:
                log.exception("a gauge cannot be read", extra={"metric": metric.name})
                continue
            gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in values.items():
                gauge.add_metric(labels, value)
            families.append(gauge)
        return families


class _Collector:
    """What the library asks at each exposition."""

    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        return self._read()
