"""CloudWatch metrics in a line of log that is written anyway (embedded metric format): no request, no second line.

CloudWatch keeps them under the namespace in POWERTOOLS_METRICS_NAMESPACE, with the dimension `service`. Each name costs
by the hours in which it is written, so what did not happen is left out: no data means none.
"""

from __future__ import annotations

from collections.abc import Mapping

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit


def metric_fields(
    service: str, counts: Mapping[str, float], levels: Mapping[str, float] | None = None
) -> dict[str, object]:
    """Return the fields that make a line of log carry metrics; none without a namespace, outside Lambda.

    counts: what happened, 0 is left out. levels: how things stand, 0 is said too. A name that ends in Seconds is in
    seconds, all others are numbers of things.
    """
    metrics = EphemeralMetrics(service=service)
    written = {name: value for name, value in counts.items() if value} | dict(levels or {})
    if not metrics.namespace or not written:
        return {}
    for name, value in written.items():
        metrics.add_metric(name, MetricUnit.Seconds if name.endswith("Seconds") else MetricUnit.Count, value)
    return dict(metrics.serialize_metric_set())
