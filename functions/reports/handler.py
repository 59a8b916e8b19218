"""Reports to other domains, every hour: DMARC reports whose interval has ended, and after midnight TLS reports."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers

from egret.aws.app import App
from egret.aws.emf import metric_fields
from egret.aws.report_dns import SystemDns
from egret.aws.sending import report_send_ports
from egret.contracts.reports import ReportKind
from egret.core.errors import Unavailable
from egret.usecases.dmarc_reports import send_dmarc_reports
from egret.usecases.report_sending import ReportPorts, Tally
from egret.usecases.tls_reports import TlsReporting, send_tls_reports

METRICS: Final = {ReportKind.DMARC: "DmarcReports", ReportKind.TLS: "TlsReports"}
"""Metrics: reports queued."""
SIDE_BY_SIDE: Final = 32
"""Domains whose DNS is waited for at once."""
MARGIN: Final = timedelta(seconds=60)
"""Of an invocation, for what was begun: a question to DNS, and the reports that wait for their turn."""

_logger = Logger(service="reports")


def handle(event: Mapping[str, Any], context: Any) -> None:
    """Send what is due."""
    _logger.append_keys(invocation=getattr(context, "aws_request_id", ""))
    time = timedelta(milliseconds=context.get_remaining_time_in_millis()) - MARGIN
    app = _app()
    run(ports_of(app), event, dmarc=app.sends_dmarc_reports, tls=TlsReporting(app.tls_reporting), time=time)


@cache
def _app() -> App:
    """Build everything once for each cold start."""
    copy_config_to_registered_loggers(_logger, include={"egret"})
    return App.from_environment(os.environ)


def ports_of(app: App) -> ReportPorts:
    """Return what sending reports needs of an installation."""
    return ReportPorts(
        sending=report_send_ports(app),
        evaluations=app.dmarc_evaluations,
        tls_results=app.tls_results,
        suppressions=app.report_suppressions,
        dns=SystemDns(),
        side_by_side=ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="reports").map,
    )


def run(ports: ReportPorts, event: Mapping[str, Any], *, dmarc: bool, tls: TlsReporting, time: timedelta) -> None:
    """Send the reports that are due at the hour of the event, and tell of each kind in a line.

    time: after which no report is begun; of DMARC, after half of it when TLS reports are due as well.
    Raises Unavailable when some could not be queued or were left: the invocation is then repeated, and queues those
    alone.
    """
    began = ports.now()
    end = _whole_hour(event, began)
    sends_tls = end.hour == 0 and tls is not TlsReporting.OFF
    lacking = 0
    if dmarc:
        until = began + (time / 2 if sends_tls else time)
        lacking += _told(ReportKind.DMARC, send_dmarc_reports(ports, end, until))
    if sends_tls:
        lacking += _told(ReportKind.TLS, send_tls_reports(ports, _day_before(end), began + time, tls))
    if not dmarc and tls is TlsReporting.OFF:
        _logger.info("reports", extra={"off": True})
    if lacking:
        raise Unavailable(detail=f"{lacking} reports were not queued")


def _whole_hour(event: Mapping[str, Any], now: datetime) -> datetime:
    """Return the hour that the schedule meant, so that a repetition an hour later makes the same reports."""
    try:
        at = datetime.fromisoformat(event["time"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        at = now
    return at.replace(minute=0, second=0, microsecond=0)


def _day_before(end: datetime) -> date:
    return (end - timedelta(hours=1)).date()


def _told(kind: ReportKind, tally: Tally) -> int:
    """Log what became of the reports of a kind; return how many the next run has to look at."""
    facts = {
        "kind": kind.value,
        "queued": tally.queued,
        "not_wanted": tally.not_wanted,
        "unanswered": tally.unanswered,
        "too_large": tally.too_large,
        "failed": tally.failed,
        "left": tally.left,
    }
    _logger.info("reports", extra=facts | metric_fields("reports", {METRICS[kind]: tally.queued}))
    return tally.failed + tally.left
