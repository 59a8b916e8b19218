"""Play API Gateway (HTTP API, payload format 2.0) before the send function, and Lambda for one called directly."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from egret_local.sources import Invoke

MAX_REQUEST_BYTES = 10 * 1024 * 1024
"""API Gateway's limit of a request."""
MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
"""Lambda's limit of an event and of an answer, base64 included."""
SURELY_SMALL_BYTES = MAX_PAYLOAD_BYTES // 8
"""A body up to this size makes an event within the limit, even if JSON escapes all of it."""
TOO_LARGE = {"message": "Request Entity Too Large: give large files to UploadCreate, and its UploadID to Send"}
"""API Gateway says the first half."""
TEXT_TYPES = ("text/", "application/json", "application/xml", "application/javascript")
"""Bodies of these types reach the function as text; all others, forms too, in base64."""


def event_of(request: web.Request, body: bytes) -> dict[str, Any]:
    """Return the event that API Gateway makes of a request."""
    is_text = request.headers.get("content-type", "").lower().startswith(TEXT_TYPES)
    text = _text(body) if is_text else None
    path, _, query = request.raw_path.partition("?")
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name.lower()] = f"{headers[name.lower()]},{value}" if name.lower() in headers else value
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": headers,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "local",
            "domainName": request.host,
            "http": {
                "method": request.method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.remote or "127.0.0.1",
                "userAgent": request.headers.get("user-agent", ""),
            },
            "requestId": str(uuid.uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": int(time.time() * 1000),
        },
        "body": text if text is not None else base64.b64encode(body).decode("ascii"),
        "isBase64Encoded": text is None,
    }


def _text(body: bytes) -> str | None:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return None


def answer_of(result: Mapping[str, Any]) -> web.Response:
    """Return the HTTP answer that API Gateway makes of a function's result."""
    body = result.get("body") or ""
    content = base64.b64decode(body) if result.get("isBase64Encoded") else body.encode()
    headers = {name: str(value) for name, value in (result.get("headers") or {}).items()}
    return web.Response(status=int(result.get("statusCode", 200)), headers=headers, body=content)


def application(invoke: Invoke, workers: int = 8) -> web.Application:
    """Return the web application; the handler runs in threads, as many at once as there are workers."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="send")

    async def answer(request: web.Request) -> web.Response:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return web.json_response(TOO_LARGE, status=413)
        event = event_of(request, body)
        if len(body) > SURELY_SMALL_BYTES and len(json.dumps(event)) > MAX_PAYLOAD_BYTES:
            return web.json_response(TOO_LARGE, status=413)
        try:
            result = await asyncio.get_running_loop().run_in_executor(pool, invoke, event)
        except Exception:  # as API Gateway: a function that fails is an internal server error
            request.app.logger.exception("the send function failed")
            return web.json_response({"message": "Internal Server Error"}, status=500)
        if len(result.get("body") or "") > MAX_PAYLOAD_BYTES:
            return web.json_response({"message": "Internal Server Error"}, status=500)
        return answer_of(result)

    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app.router.add_route("*", "/{path:.*}", answer)
    return app


def invocations(name: str, invoke: Invoke, workers: int = 8) -> web.Application:
    """Return the web application that plays Lambda's Invoke for one function; the caller waits for the answer."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="invoke")

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        if request.match_info["name"] != name:
            error = {"Type": "User", "Message": f"Function not found: {request.match_info['name']}"}
            return web.json_response(error, status=404, headers={"X-Amzn-ErrorType": "ResourceNotFoundException"})
        if len(body) > MAX_PAYLOAD_BYTES:
            error = {"Type": "User", "Message": f"Request must be smaller than {MAX_PAYLOAD_BYTES} bytes"}
            return web.json_response(error, status=413, headers={"X-Amzn-ErrorType": "RequestTooLargeException"})
        try:
            result = await asyncio.get_running_loop().run_in_executor(pool, lambda: invoke(json.loads(body)))
        except Exception as error:  # as Lambda: the call succeeds, and says that the function failed
            request.app.logger.exception("%s failed", name)
            told = {"errorMessage": str(error), "errorType": type(error).__name__}
            return web.json_response(told, headers={"X-Amz-Function-Error": "Unhandled"})
        return web.json_response(result)

    # What is too large is refused with the answer of Lambda, not with that of the server.
    app = web.Application(client_max_size=2 * MAX_PAYLOAD_BYTES)
    app.router.add_post("/2015-03-31/functions/{name}/invocations", answer)
    return app
