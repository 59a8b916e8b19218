"""Metrics come out as the text that Prometheus reads."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from egret.contracts.metrics import Counter, Gauge, Histogram, Labels, NoMetrics
from egret.core.tls_policy import OPPORTUNISTIC, PLAIN
from egret_egress import dane, security
from egret_egress import metrics as named
from egret_egress.prometheus import PrometheusMetrics
from egret_egress.transports import POLICIES

SENT = Counter("egret_sent", "Sent.", ("result",))
TOOK = Histogram("egret_took_seconds", "Took.", buckets=(1.0, 5.0))
ROOM = Gauge("egret_room", "Room.", ("unit",))


def samples(metrics: PrometheusMetrics) -> dict[tuple[str, Labels], float]:
    """Return what a scraper reads of ours: (name, label values) -> value."""
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if not sample.name.startswith("process_")
    }


def test_counters_add_up_by_label() -> None:
    """Each combination of labels has a count of its own."""
    metrics = PrometheusMetrics()
    for result, amount in (("ok", 1), ("failed", 2), ("ok", 3)):
        metrics.count(SENT, (result,), amount)

    assert samples(metrics) == {("egret_sent_total", ("ok",)): 4, ("egret_sent_total", ("failed",)): 2}


def test_what_is_known_beforehand_is_there_with_0() -> None:
    """Else the first one could not be told from one that was there for ever; labels that were not known come later."""
    metrics = PrometheusMetrics({SENT: [("ok",), ("failed",)]})
    before = samples(metrics)
    metrics.count(SENT, ("failed",))
    metrics.count(SENT, ("odd",))

    assert before == {("egret_sent_total", ("ok",)): 0, ("egret_sent_total", ("failed",)): 0}
    assert [value for _, value in sorted(samples(metrics).items())] == [1, 1, 0]


def test_known_labels_fit_their_metrics() -> None:
    """And all that counts nothing but a bare number of events is known."""
    metrics = PrometheusMetrics(named.FROM_THE_START)

    assert set(samples(metrics).values()) == {0}
    assert {metric for metric in vars(named).values() if isinstance(metric, Counter)} < set(named.FROM_THE_START)


def test_every_tls_policy_is_counted_by_one_word() -> None:
    """Names are sentences for people."""
    names = [security.MTA_STS, security.TESTING, security.WAIVED, security.PROVIDER, dane.NAME, dane.UNUSABLE]
    names += [policy.name for policy in (PLAIN, OPPORTUNISTIC, *POLICIES.values())]

    words = [named.tls_word(name) for name in (*names, "")]

    assert named.OTHER not in words
    assert all(re.fullmatch("[a-z-]+", word) for word in words)
    assert named.tls_word("something new") == named.OTHER


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are known by /proc")
def test_the_process_itself_is_told_of() -> None:
    """Memory, time and descriptors."""
    text = PrometheusMetrics().text().decode()

    assert all(f"process_{name} " in text for name in ("resident_memory_bytes", "cpu_seconds_total", "open_fds"))


def test_histograms_have_their_buckets() -> None:
    """Values fall into all buckets that are at least as large."""
    metrics = PrometheusMetrics()
    for value in (0.5, 3.0, 9.0):
        metrics.observe(TOOK, value)

    found = samples(metrics)
    buckets = {key[1]: value for key, value in found.items() if key[0].endswith("_bucket")}
    assert buckets == {("1.0",): 1, ("5.0",): 2, ("+Inf",): 3}
    assert found["egret_took_seconds_sum", ()] == pytest.approx(12.5)


def test_gauges_are_read_when_somebody_looks() -> None:
    """A gauge costs nothing until then, and the newest reader counts."""
    metrics = PrometheusMetrics()
    metrics.watch(ROOM, lambda: {("a",): 1})
    metrics.watch(ROOM, lambda: {("a",): 7, ("b",): 8})

    assert samples(metrics) == {("egret_room", ("a",)): 7, ("egret_room", ("b",)): 8}


def test_a_gauge_that_fails_hides_no_other_metric(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; everything else is still told."""
    metrics = PrometheusMetrics()
    metrics.count(SENT, ("ok",))
    metrics.watch(ROOM, lambda: {("a",): 1 // 0})

    with caplog.at_level(logging.ERROR):
        found = samples(metrics)

    assert found == {("egret_sent_total", ("ok",)): 1}
    assert "a gauge cannot be read" in caplog.text


def test_every_named_metric_can_be_exposed() -> None:
    """Names, helps and labels are what Prometheus takes, and no name is used twice."""
    defined = [value for value in vars(named).values() if isinstance(value, Counter | Histogram | Gauge)]
    metrics = PrometheusMetrics()
    for metric in defined:
        labels = tuple("x" for _ in metric.labels)
        match metric:
            case Counter():
                metrics.count(metric, labels)
            case Histogram():
                metrics.observe(metric, 1, labels)
            case Gauge():
                metrics.watch(metric, lambda labels=labels: {labels: 1})  # type: ignore[misc]

    names = {name.removesuffix("_total") for name, _ in samples(metrics)}
    assert len({metric.name for metric in defined}) == len(defined)
    assert {metric.name for metric in defined if not isinstance(metric, Histogram)} <= names


def test_no_metrics_takes_everything() -> None:
    """A part that is used alone needs no collector, and its gauges are never read."""
    nothing = NoMetrics()
    nothing.count(SENT, ("ok",))
    nothing.observe(TOOK, 1)
    nothing.watch(ROOM, lambda: {("a",): 1 // 0})

    assert not hasattr(nothing, "text")
