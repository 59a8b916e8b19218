"""Hints from the deliver queue, brought to an egress unit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers

from egret.aws.app import App
from egret.aws.batch import read_messages, work_through
from egret.aws.emf import metric_fields
from egret.contracts.queues import decode_hint
from egret.usecases.deliver import DeliverPorts, deliver

METRICS: Final = {
    "Leased": "leased",
    "Released": "released",
    "Postponed": "postpone",
    "NoRoom": "no room",
    "Suppressed": "suppress",
    "Expired": "expire",
    "Unknown": "unknown",
}
"""Metrics, and what the tally calls them."""

_logger = Logger(service="deliver")


def handle(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Deal with a batch of hints."""
    _logger.append_keys(invocation=getattr(context, "aws_request_id", ""))
    return run(_ports(), event)


@cache
def _ports() -> DeliverPorts:
    """Build everything once for each cold start."""
    copy_config_to_registered_loggers(_logger, include={"egret"})
    return ports_of(App.from_environment(os.environ))


def ports_of(app: App) -> DeliverPorts:
    """Return what deliver needs of an installation."""
    return DeliverPorts(
        store=app.store,
        suppressions=app.suppressions,
        settings=app.settings,
        units=app.units,
        egress=app.egress,
        clock=app.clock,
        retry=app.installation.retry,
    )


def run(ports: DeliverPorts, event: Mapping[str, Any]) -> dict[str, Any]:
    """Decode the hints, deliver, and tell which are to come again."""
    batch = read_messages(event, decode_hint)
    tallies = work_through(batch, lambda hints: deliver(ports, hints))
    counts = sum((tally.counts for tally in tallies), Counter[str]())
    hints = len(event["Records"])
    facts = {"hints": hints, "failed": len(batch.failed), "deliveries": dict(counts)}
    metrics = {"Hints": hints} | {name: counts[what] for name, what in METRICS.items()}
    _logger.info("deliver", extra=facts | metric_fields("deliver", metrics))
    return batch.answer()
