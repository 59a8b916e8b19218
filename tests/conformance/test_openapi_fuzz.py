"""Requests that schemathesis makes from our own OpenAPI document: answers keep what the document promises.

The API runs in process, through a WSGI shim, on ports in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from egret.api import openapi
from egret.api.http import Headers, Request
from egret.api.router import Api
from tests.api_service import KEY, api_of_service
from tests.unit.sending import Service

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
StartResponse = Callable[[str, list[tuple[str, str]]], object]


def wsgi(api: Api) -> Callable[[dict[str, Any], StartResponse], Iterable[bytes]]:
    """Return the API as a WSGI application (PEP 3333)."""

    def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        headers = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
        headers["Content-Type"] = environ.get("CONTENT_TYPE", "")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        path = environ["PATH_INFO"].encode("latin-1").decode(errors="replace")
        request = Request(environ["REQUEST_METHOD"], path, Headers(headers), body, source_ip="192.0.2.1")
        response = api.handle(request)
        status = f"{response.status} {HTTPStatus(response.status).phrase}"
        start_response(status, list(response.headers.items()))
        return [response.body]

    return application


API = api_of_service(Service())
schema = schemathesis.openapi.from_wsgi("/webapi/v0/openapi.json", wsgi(API))


@schema.parametrize()
@settings(suppress_health_check=list(HealthCheck), max_examples=25, deadline=None)
def test_answers_keep_what_the_document_promises(case: schemathesis.Case[Any]) -> None:
    """Statuses, types and schemas as documented, for requests that fit the document and for such that do not."""
    response = case.call(headers={"Authorization": f"Bearer {KEY}"})
    case.validate_response(response, checks=CHECKS)


def test_the_document_that_is_fuzzed_is_the_one_that_is_served() -> None:
    """The same methods."""
    assert set(schema.raw_schema["paths"]) == set(json.loads(openapi.document())["paths"])
