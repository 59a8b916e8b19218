"""The submission function: the SMTP listener of the egress calls it with a raw message, and waits for the answer."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers

from egret.aws.app import App
from egret.aws.emf import metric_fields
from egret.aws.sending import send_ports
from egret.contracts.submission import Submission, Submitted
from egret.usecases.answer_submission import AnswerPorts, answer_submission
from egret.usecases.login import OnceAnHour

_logger = Logger(service="submit")


def handle(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Answer one submission; an event that is none raises, and the listener asks its client to come again."""
    return answer(_ports(), event)


@cache
def _ports() -> AnswerPorts:
    """Build everything once for each cold start."""
    copy_config_to_registered_loggers(_logger, include={"egret"})
    return ports_of(App.from_environment(os.environ))


def ports_of(app: App) -> AnswerPorts:
    """Return what the function needs of an installation."""
    return AnswerPorts(send_ports(app), OnceAnHour(app.settings_writer))


def answer(ports: AnswerPorts, event: Mapping[str, Any]) -> dict[str, Any]:
    """Decode, take or refuse, encode, and write the submission's one line of log."""
    started = time.perf_counter()
    facts: dict[str, object] = {}
    submitted = answer_submission(ports, msgspec.convert(event, Submission), facts)
    _log(submitted, facts, time.perf_counter() - started)
    result: dict[str, Any] = msgspec.to_builtins(submitted)
    return result


def _log(submitted: Submitted, facts: Mapping[str, object], duration_s: float) -> None:
    """Never content or the key."""
    recipients = facts.get("recipients")
    metrics = {"Accepted": recipients} if isinstance(recipients, int) else {}
    _logger.info(
        "submission",
        extra={
            "code": submitted.code,
            "ms": round(duration_s * 1000, 1),
            **facts,
            **metric_fields("submit", metrics),
        },
    )
