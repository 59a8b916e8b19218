"""Mail that came in: S3 tells of each object under inbound/ through SQS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote_plus

import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers

from egret.aws.app import App
from egret.aws.batch import read_messages, work_through
from egret.aws.emf import metric_fields
from egret.core import unsubscribe
from egret.core.errors import ContractError
from egret.usecases.ingest import IngestPorts, ingest
from egret.usecases.report_intake import ReportIntake
from egret.usecases.unsubscribe import MailUnsubscribe, UnsubscribePorts

_logger = Logger(service="dsn-ingest")


def handle(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Take in a batch of mails."""
    _logger.append_keys(invocation=getattr(context, "aws_request_id", ""))
    return run(_ports(), event)


@cache
def _ports() -> IngestPorts:
    """Build everything once for each cold start."""
    copy_config_to_registered_loggers(_logger, include={"egret"})
    return ports_of(App.from_environment(os.environ))


def ports_of(app: App) -> IngestPorts:
    """Return what taking in needs of an installation."""
    evaluations = app.dmarc_evaluations if app.sends_dmarc_reports else None
    unsubscribing = UnsubscribePorts(app.store, app.suppressions, app.clock)
    return IngestPorts(
        store=app.store,
        blobs=app.blobs,
        mailboxes=app.mailboxes,
        clock=app.clock,
        settings=app.settings,
        secrets=app.secrets,
        unsubscribe=MailUnsubscribe(unsubscribing, unsubscribe.keys_of(app.fromid_keys)),
        reports=ReportIntake(app.received_reports, app.settings, evaluations),
    )


def run(ports: IngestPorts, event: Mapping[str, Any]) -> dict[str, Any]:
    """Find the objects, take them in, and tell which messages are to come again."""
    batch = read_messages(event, keys_of)
    told = sum(work_through(batch, lambda messages: sum(ingest(ports, key) for keys in messages for key in keys)))
    facts = {"mails": len(event["Records"]), "told": told, "failed": len(batch.failed)}
    metrics = {"Mails": sum(len(keys) for _, keys in batch.items), "Events": told}
    _logger.info("ingest", extra=facts | metric_fields("dsn-ingest", metrics))
    return batch.answer()


def keys_of(body: str) -> list[str]:
    """Return the keys of the objects that a notification tells of; of the test that S3 sends first, none.

    Keys are URL-encoded in notifications, a space as `+`. Raises ContractError on anything else.
    """
    try:
        notification = msgspec.json.decode(body)
        if notification.get("Event") == "s3:TestEvent":
            return []
        return [unquote_plus(record["s3"]["object"]["key"]) for record in notification["Records"]]
    except (msgspec.MsgspecError, AttributeError, KeyError, TypeError) as error:
        raise ContractError(detail=f"not a notification of S3: {error!r}") from error
