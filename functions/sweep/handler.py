"""The sweep, every minute; it also counts the egress units, so that they are watched from outside."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from egret.aws.app import App
from egret.usecases.sweep import SweepPorts, Swept, sweep

UNITS_ALIVE: Final = "UnitsAlive"
"""Metric: units whose announcement holds."""
UNITS_USABLE: Final = "UnitsUsable"
"""Metric: units that take mail now."""

_logger = Logger(service="sweep")


def handle(event: Mapping[str, Any], context: object) -> None:
    """Sweep once."""
    _logger.append_keys(invocation=getattr(context, "aws_request_id", ""))
    run(_ports())


@cache
def _ports() -> SweepPorts:
    """Build everything once for each cold start."""
    copy_config_to_registered_loggers(_logger, include={"egret"})
    return ports_of(App.from_environment(os.environ))


def ports_of(app: App) -> SweepPorts:
    """Return what the sweep needs of an installation."""
    return SweepPorts(
        store=app.store,
        due=app.due,
        calls=app.calls,
        call_queue=app.call_queue,
        hint_queue=app.hint_queue,
        units=app.units,
        clock=app.clock,
    )


def run(ports: SweepPorts) -> Swept:
    """Count the units, then sweep: a sweep that fails does not make the egress look dead."""
    _watch(ports)
    swept = sweep(ports)
    facts = {"hinted": swept.hinted, "repaired": swept.repaired, "called": swept.called}
    _logger.info("sweep", extra=facts)
    return swept


def _watch(ports: SweepPorts) -> None:
    """Write the metrics of the units as one line of log; the namespace is POWERTOOLS_METRICS_NAMESPACE."""
    now = ports.clock.now()
    units = ports.units.list()
    metrics = EphemeralMetrics(service="sweep")
    metrics.add_metric(UNITS_ALIVE, MetricUnit.Count, sum(now < unit.valid_until for unit in units))
    metrics.add_metric(UNITS_USABLE, MetricUnit.Count, sum(unit.is_usable(now) for unit in units))
    metrics.flush_metrics()
