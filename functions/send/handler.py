"""The HTTP API as a Lambda function behind API Gateway (HTTP API, payload format 2.0)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers

from egret.api.gateway import answer_of, request_of
from egret.api.http import Request, Response
from egret.api.router import Api
from egret.aws.app import App
from egret.aws.emf import metric_fields
from egret.aws.webapi import webapi

MAX_LOGGED_PATH: Final = 200

_logger = Logger(service="send")


def handle(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Answer one HTTP request."""
    return answer(_api(), event)


@cache
def _api() -> Api:
    """Build everything once for each cold start."""
    copy_config_to_registered_loggers(_logger, include={"egret"})
    return webapi(App.from_environment(os.environ))


def answer(api: Api, event: Mapping[str, Any]) -> dict[str, Any]:
    """Decode, call, encode, and write the request's one line of log."""
    started = time.perf_counter()
    request = request_of(event)
    response = api.handle(request)
    _log(request, response, time.perf_counter() - started)
    return answer_of(response)


def _log(request: Request, response: Response, duration_s: float) -> None:
    """Never a body, a key or an Authorization value."""
    recipients = response.facts.get("recipients")
    metrics = {"Accepted": recipients} if isinstance(recipients, int) else {}
    _logger.info(
        "request",
        extra={
            "http_method": request.method,
            "path": request.shown_path[:MAX_LOGGED_PATH],
            "status": response.status,
            "ms": round(duration_s * 1000, 1),
            "request_id": request.id,
            "request_bytes": len(request.body),
            "response_bytes": len(response.body),
            **response.facts,
            **metric_fields("send", metrics),
        },
    )
