"""The sweep, every minute; it also counts the egress units, so that they are watched from outside."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers

from egret.aws.app import App
from egret.aws.emf import metric_fields
from egret.usecases.sweep import SweepPorts, Swept, sweep

UNITS_ALIVE: Final = "UnitsAlive"
"""Metric: units whose announcement holds."""
UNITS_USABLE: Final = "UnitsUsable"
"""Metric: units that take mail now."""
QUEUE_DUE: Final = "QueueDue"
"""Metric: deliveries whose time has come, those under way included; no more are counted than the sweep looks at."""
QUEUE_OLDEST: Final = "QueueOldestSeconds"
"""Metric: how long the time of the oldest of them has come."""

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
    """Count the units, then sweep, and tell both in one line: a failure does not make the egress look dead."""
    levels = _units(ports)
    swept = None
    try:
        swept = sweep(ports)
    finally:
        _tell(levels, swept)
    return swept


def _units(ports: SweepPorts) -> dict[str, float]:
    now = ports.clock.now()
    units = ports.units.list()
    return {
        UNITS_ALIVE: sum(now < unit.valid_until for unit in units),
        UNITS_USABLE: sum(unit.is_usable(now) for unit in units),
    }


def _tell(levels: dict[str, float], swept: Swept | None) -> None:
    """Write the line of log; swept: None when it failed."""
    if swept is None:
        _logger.error("sweep", extra={"failed": True, **metric_fields("sweep", {}, levels)})
        return
    facts = {"hinted": swept.hinted, "repaired": swept.repaired, "called": swept.called}
    counts = {"Hinted": swept.hinted, "Called": swept.called}
    levels = levels | {QUEUE_DUE: swept.due, QUEUE_OLDEST: swept.late_by.total_seconds()}
    _logger.info("sweep", extra=facts | metric_fields("sweep", counts, levels))
