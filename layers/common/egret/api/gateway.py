"""API Gateway's events (HTTP API, payload format 2.0) to requests, and answers to what it expects.

The local gateway speaks the same, so that both run the same code.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

from egret.api.http import Headers, Request, Response

MAX_TEXT_BYTES: Final = 256 * 1024
"""Larger bodies travel as base64: inside the JSON of an answer, escapes could make text longer than that."""


def request_of(event: Mapping[str, Any]) -> Request:
    """Return the request of an event."""
    context = event["requestContext"]
    body = event.get("body") or ""
    return Request(
        method=context["http"]["method"],
        path=event.get("rawPath", ""),
        headers=Headers(event.get("headers") or {}),
        body=base64.b64decode(body) if event.get("isBase64Encoded") else body.encode("utf-8", "surrogatepass"),
        source_ip=context["http"].get("sourceIp", ""),
        query=event.get("rawQueryString", ""),
        id=context.get("requestId", ""),
        host=context.get("domainName", ""),
    )


def answer_of(response: Response) -> dict[str, Any]:
    """Return the answer as API Gateway expects it."""
    text = _text(response)
    return {
        "statusCode": response.status,
        "headers": dict(response.headers),
        "body": base64.b64encode(response.body).decode("ascii") if text is None else text,
        "isBase64Encoded": text is None,
    }


def _text(response: Response) -> str | None:
    """Return the body as text, None when it must travel as base64."""
    if len(response.body) > MAX_TEXT_BYTES:
        return None
    try:
        return response.body.decode()
    except UnicodeDecodeError:
        return None
