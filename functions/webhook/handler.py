"""The outbox and the calls that come of it: two functions, so that a slow endpoint holds up nobody's events."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from typing import Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers

from egret.aws.app import App
from egret.aws.batch import batch_failures, read_messages, work_in_order, work_through
from egret.aws.emf import metric_fields
from egret.aws.stream import decode_record
from egret.contracts.ports import WebhookPoster
from egret.contracts.queues import decode_call
from egret.contracts.records import PostAnswer
from egret.contracts.settings import Account
from egret.contracts.stream import TableChange
from egret.core.compose import Composed
from egret.core.errors import ContractError
from egret.usecases.notify import NotifyPorts
from egret.usecases.post_webhook import PostPorts, post_webhooks
from egret.usecases.publish import PublishPorts, publish
from egret.usecases.webhook_call import is_success

SIDE_BY_SIDE: Final = 10
"""Accounts called at once: as many as a batch can hold."""

_logger = Logger(service="webhook")


def handle_stream(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Publish a batch of changes of the mail table."""
    _logger.append_keys(invocation=getattr(context, "aws_request_id", ""))
    return run_stream(_publish_ports(), event)


def handle_calls(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Make a batch of webhook calls."""
    _logger.append_keys(invocation=getattr(context, "aws_request_id", ""))
    return run_calls(_post_ports(), event)


@cache
def _app() -> App:
    """Build everything once for each cold start."""
    copy_config_to_registered_loggers(_logger, include={"egret"})
    return App.from_environment(os.environ)


@cache
def _publish_ports() -> PublishPorts:
    return publish_ports_of(_app())


@cache
def _post_ports() -> PostPorts:
    return post_ports_of(_app())


def publish_ports_of(app: App) -> PublishPorts:
    """Return what publishing needs of an installation."""
    return PublishPorts(
        store=app.store,
        mailboxes=app.mailboxes,
        blobs=app.blobs,
        suppressions=app.suppressions,
        settings=app.settings,
        call_queue=app.call_queue,
        clock=app.clock,
        notifying=_notify_ports_of(app),
    )


def _notify_ports_of(app: App) -> NotifyPorts:
    return NotifyPorts(
        store=app.store,
        blobs=app.blobs,
        mailboxes=app.mailboxes,
        settings=app.settings,
        hostname=app.installation.hostname,
        retry=app.installation.retry,
        queue_mail=partial(_queue_mail, app),
    )


def _queue_mail(
    app: App, account: Account, key: str, mail: Composed, recipient: str, *, require_tls: bool | None
) -> None:
    """Queue a mail of our own. What that needs is imported here: few notifications go by SMTP."""
    from egret.aws.sending import unsigned_ports  # noqa: PLC0415
    from egret.usecases.internal import InternalMail, send_internal  # noqa: PLC0415

    internal = InternalMail(key, mail.headers, mail.body, (recipient,), require_tls=require_tls)
    send_internal(unsigned_ports(app), account, internal)


def post_ports_of(app: App) -> PostPorts:
    """Return what posting needs of an installation."""
    return PostPorts(
        store=app.store,
        mailboxes=app.mailboxes,
        blobs=app.blobs,
        calls=app.calls,
        settings=app.settings,
        settings_writer=app.settings_writer,
        poster=app.poster,
        clock=app.clock,
        dice=app.dice,
        side_by_side=ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="webhook").map,
    )


def run_stream(ports: PublishPorts, event: Mapping[str, Any]) -> dict[str, Any]:
    """Decode the records up to the first that cannot be read, publish them, and tell where to go on from."""
    records, unread = _read(event)
    called = 0

    def work(changes: list[TableChange]) -> None:
        nonlocal called
        called += publish(ports, changes)

    failed = work_in_order(records, work) or unread
    count = len(event["Records"])
    facts = {"records": count, "changes": len(records), "calls": called, "failed_at": failed}
    metrics = {"Records": count, "Calls": called}
    _logger.info("publish", extra=facts | metric_fields("webhook", metrics))
    return batch_failures([failed] if failed else [])


def _read(event: Mapping[str, Any]) -> tuple[list[tuple[str, TableChange]], str]:
    """Return (sequence number, change) of each record before the first unreadable one, and the number of that."""
    records: list[tuple[str, TableChange]] = []
    for record in event["Records"]:
        sequence_number: str = record["dynamodb"]["SequenceNumber"]
        try:
            change = decode_record(record)
        except ContractError:
            _logger.exception("stream record cannot be read", extra={"record": sequence_number})
            return records, sequence_number
        if change is not None:
            records.append((sequence_number, change))
    return records, ""


def run_calls(ports: PostPorts, event: Mapping[str, Any]) -> dict[str, Any]:
    """Decode the calls, make them, and tell which are to come again."""
    batch = read_messages(event, decode_call)
    poster = _Counting(ports.poster)
    counted = replace(ports, poster=poster)
    left = [call for again in work_through(batch, lambda calls: post_webhooks(counted, calls)) for call in again]
    batch.failed += [message for message, call in batch.items if call in left and message not in batch.failed]
    facts = {"calls": len(event["Records"]), "failed": len(batch.failed)}
    metrics = {"WebhookCalls": len(poster.is_success), "WebhookFailures": poster.is_success.count(False)}
    _logger.info("calls", extra=facts | metric_fields("webhook", metrics))
    return batch.answer()


class _Counting:
    """A poster that notes how its calls went; several threads may post."""

    def __init__(self, poster: WebhookPoster) -> None:
        self._poster = poster
        self.is_success: list[bool] = []
        """Of each call that was made."""

    def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: timedelta) -> PostAnswer:
        """Make the call."""
        answer = self._poster.post(url, headers, body, timeout)
        self.is_success.append(is_success(answer))
        return answer
