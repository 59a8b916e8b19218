"""The gateway that local mode plays, asked over HTTP."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from egret_local.gateway import MAX_PAYLOAD_BYTES, MAX_REQUEST_BYTES, SURELY_SMALL_BYTES, application

TEXT = {"content-type": "text/plain"}
FORM = "application/x-www-form-urlencoded; charset=utf-8"


def asked(handle: Any, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    """Return status and body of the answer to a POST that the handler deals with."""

    async def ask() -> tuple[int, bytes]:
        async with (
            TestClient(TestServer(application(handle))) as client,
            client.post("/a%20b?c=d", data=io.BytesIO(body), headers=headers) as answer,
        ):
            return answer.status, await answer.read()

    return asyncio.run(ask())


def test_a_request_reaches_the_handler_as_an_event() -> None:
    """Path and query as they came, text as text; the result becomes the answer."""
    seen: list[Any] = []

    def handle(event: Any) -> dict[str, Any]:
        seen.append(event)
        return {"statusCode": 201, "body": "AP8=", "isBase64Encoded": True}

    assert asked(handle, b"hello", TEXT) == (201, b"\0\xff")
    assert [(one["rawPath"], one["rawQueryString"], one["body"]) for one in seen] == [("/a%20b", "c=d", "hello")]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [("application/json", "{}"), ("Text/CSV", "{}"), (FORM, "e30="), ("multipart/form-data; boundary=x", "e30=")],
)
def test_only_text_reaches_the_handler_as_text(content_type: str, body: str) -> None:
    """A form does not count as text: HTTP APIs hand it on in base64."""
    seen: list[Any] = []

    def handle(event: Any) -> dict[str, Any]:
        seen.append(event)
        return {}

    asked(handle, b"{}", {"content-type": content_type})

    assert [(one["body"], one["isBase64Encoded"]) for one in seen] == [(body, body != "{}")]


@pytest.mark.parametrize(
    ("size_bytes", "octet", "content_type", "status"),
    [
        (SURELY_SMALL_BYTES, b"\0", "text/plain", 200),
        (SURELY_SMALL_BYTES + 1, b"\0", "text/plain", 200),
        (MAX_PAYLOAD_BYTES // 6, b"\0", "text/plain", 413),  # six characters of JSON for each
        (MAX_PAYLOAD_BYTES // 6, b"x", "text/plain", 200),
        (MAX_PAYLOAD_BYTES, b"x", "text/plain", 413),
        (MAX_PAYLOAD_BYTES * 3 // 4, b"x", "image/png", 413),  # base64
        (MAX_PAYLOAD_BYTES * 3 // 4, b"x", FORM, 413),
        (MAX_PAYLOAD_BYTES * 3 // 4 - 2000, b"x", FORM, 200),
        (MAX_PAYLOAD_BYTES * 3 // 4, b"x", "application/json", 200),
    ],
)
def test_an_event_beyond_lambdas_limit_is_refused(
    size_bytes: int, octet: bytes, content_type: str, status: int
) -> None:
    """The limit is of the event as JSON, not of the body as it came."""
    answer = asked(lambda _: {}, octet * size_bytes, {"content-type": content_type})

    assert status == answer[0]


@pytest.mark.parametrize("size_bytes", [MAX_PAYLOAD_BYTES, MAX_REQUEST_BYTES + 1])
def test_what_is_too_large_hears_of_another_way(size_bytes: int) -> None:
    """Whichever limit it was."""
    status, body = asked(lambda _: {}, b"x" * size_bytes, TEXT)

    assert status == 413
    assert b'{"message": "Request Entity Too Large: give large files to UploadCreate' in body


def test_a_handler_that_raises_is_an_internal_server_error() -> None:
    """As API Gateway has it; so is an answer beyond the limit."""

    def fail(_: object) -> None:
        raise RuntimeError

    assert asked(fail, b"", TEXT)[0] == 500
    assert asked(lambda _: {"body": "x" * (MAX_PAYLOAD_BYTES + 1)}, b"", TEXT)[0] == 500
