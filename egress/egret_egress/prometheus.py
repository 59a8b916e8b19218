"""The `Metrics` port as Prometheus text, by the client library of the Prometheus project."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily

from egret.contracts.metrics import Counter, Gauge, Histogram, Labels

log = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST


class PrometheusMetrics:
    """A registry of its own: several may live in one process, whose memory, time and descriptors each shows.

    known: labels that are there from the start, with 0. Nothing is said of when counting began (`_created`).
    """

    def __init__(self, known: Mapping[Counter | Histogram, Iterable[Labels]] | None = None) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._children: dict[tuple[str, Labels], Any] = {}
        self._families: dict[str, Any] = {}
        self._gauges: dict[str, tuple[Gauge, Callable[[], Mapping[Labels, float]]]] = {}
        self._registry.register(_Watched(self._gauges))
        prometheus_client.ProcessCollector(registry=self._registry)
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        for metric, label_sets in (known or {}).items():
            for labels in label_sets:
                self._child(metric, labels)

    def count(self, metric: Counter, labels: Labels = (), amount: float = 1) -> None:
        """Add."""
        child = self._children.get((metric.name, labels))
        if child is None:
            child = self._child(metric, labels)
        child.inc(amount)

    def observe(self, metric: Histogram, value: float, labels: Labels = ()) -> None:
        """Note one value."""
        child = self._children.get((metric.name, labels))
        if child is None:
            child = self._child(metric, labels)
        child.observe(value)

    def watch(self, metric: Gauge, read: Callable[[], Mapping[Labels, float]]) -> None:
        """Ask `read` at each exposition."""
        self._gauges[metric.name] = metric, read

    def text(self) -> bytes:
        """Return the exposition; CONTENT_TYPE is its type."""
        return generate_latest(self._registry)

    def _child(self, metric: Counter | Histogram, labels: Labels) -> Any:
        family = self._families.get(metric.name)
        if family is None:
            family = self._families[metric.name] = self._family(metric)
        child = family.labels(*labels) if metric.labels else family
        self._children[metric.name, labels] = child
        return child

    def _family(self, metric: Counter | Histogram) -> Any:
        match metric:
            case Counter():
                return prometheus_client.Counter(metric.name, metric.help, metric.labels, registry=self._registry)
            case Histogram():
                return prometheus_client.Histogram(
                    metric.name, metric.help, metric.labels, registry=self._registry, buckets=metric.buckets
                )


class _Watched:
    """The gauges, read when somebody looks; one that fails is left out and logged, the others stand."""

    def __init__(self, gauges: Mapping[str, tuple[Gauge, Callable[[], Mapping[Labels, float]]]]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for metric, read in list(self._gauges.values()):
            try:
                values = read()
            except Exception:
                log.exception("a gauge cannot be read", extra={"metric": metric.name})
                continue
            family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for labels, value in values.items():
                family.add_metric(labels, value)
            yield family
