"""Events of API Gateway to requests, answers to what it expects."""

from __future__ import annotations

import base64

import pytest

from egret.api.gateway import MAX_TEXT_BYTES, answer_of, request_of
from egret.api.http import Headers, Request, Response, text_response

EVENT = {
    "version": "2.0",
    "rawPath": "/webapi/v0/Send",
    "rawQueryString": "a=b",
    "headers": {"content-type": "text/plain", "x-forwarded-for": "198.51.100.9"},
    "requestContext": {"http": {"method": "POST", "path": "/p", "sourceIp": "192.0.2.1"}, "requestId": "r"},
    "body": "é",
    "isBase64Encoded": False,
}


def test_an_event_is_a_request() -> None:
    """The client's address is the gateway's, never a header that a client can write."""
    request = request_of(EVENT)
    assert (request.method, request.path, request.query, request.source_ip, request.id, request.body) == (
        *("POST", "/webapi/v0/Send", "a=b", "192.0.2.1", "r"),
        "é".encode(),
    )
    assert request.headers["Content-Type"] == "text/plain"


@pytest.mark.parametrize("raw", [b"", b"\xff\x00", b"request=%7B%7D"])
def test_base64_bodies_are_decoded(raw: bytes) -> None:
    """Binary types come so."""
    body = base64.b64encode(raw).decode()
    assert request_of({**EVENT, "body": body, "isBase64Encoded": True}).body == raw


def test_a_get_has_neither_body_nor_headers() -> None:
    """Keys that the gateway leaves out."""
    event = {"requestContext": {"http": {"method": "GET"}}}
    assert request_of(event) == Request("GET", "", Headers({}), b"")


def test_text_goes_as_text() -> None:
    """Readable in the gateway's own tools, and smaller."""
    assert answer_of(text_response(404, "Nö.")) == {
        "statusCode": 404,
        "headers": {"Content-Type": "text/plain; charset=utf-8"},
        "body": "Nö.\n",
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize("body", [b"\xff", b"\x01" * (MAX_TEXT_BYTES + 1)])
def test_bytes_and_large_bodies_go_as_base64(body: bytes) -> None:
    """Escapes of JSON could make large text larger than a Lambda can answer; base64 has a known size."""
    answer = answer_of(Response(200, {}, body))
    assert (base64.b64decode(answer["body"]), answer["isBase64Encoded"]) == (body, True)
