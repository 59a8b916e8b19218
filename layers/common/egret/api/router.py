"""The API: a request in, an answer out. Never raises.

Order: path, verb, credentials, scope, form, JSON, use case. Answers of methods are JSON; trouble before a method is
reached (401, 404, 405, 429, 500, 503) is a sentence in plain text.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from egret.api import openapi, pages
from egret.api.auth import AuthPorts, authenticate
from egret.api.decode import decode
from egret.api.forms import Upload, read_form
from egret.api.http import HTML, JSON, SECURITY_HEADERS, Request, Response, redirect, text_response
from egret.api.methods import METHODS, Method
from egret.contracts.caller import Caller
from egret.contracts.encoding import encode
from egret.contracts.webapi import (
    MAX_ANSWER_BYTES,
    Empty,
    Error,
    ErrorCode,
    File,
    RawContent,
    SendRequest,
    SendResult,
    Wire,
)
from egret.core.errors import Conflict, InvalidRequest, Unavailable

MOUNT: Final = "/webapi"
BASE: Final = "/webapi/v0/"
MAX_IDEMPOTENCY_KEY: Final = 255
RETRY_AFTER_S: Final = 5
MAX_LOGGED_IDS: Final = 10

_STATUS: Final[Mapping[str, int]] = {
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.IDEMPOTENCY_CONFLICT: 409,
    ErrorCode.IDEMPOTENCY_IN_FLIGHT: 409,
}
"""Statuses of API errors; everything else is 400."""

_FILE_FIELDS: Final[Mapping[str, str]] = {
    "alternativefile": "alternative_files",
    "inlinefile": "inline_files",
    "attachedfile": "attached_files",
}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """A decoded call of a method.

    request: of the method's type. idempotency_key: "" when none was given. facts: of the request's line of log; a use
    case may add its own.
    """

    caller: Caller
    request: Any
    idempotency_key: str = ""
    facts: dict[str, object] = field(default_factory=dict, compare=False)


Operation = Callable[[Call], Wire | RawContent | None]
"""A use case bound to its ports. None answers `{}`."""
Page = Callable[[Request], Response]
"""Answers for people, without a login."""


class Api:
    """The HTTP API.

    operations: one for each method. auth: how callers are known. pages: what answers below a folder, which ends in `/`.
    """

    def __init__(
        self, auth: AuthPorts, operations: Mapping[str, Operation], pages: Mapping[str, Page] | None = None
    ) -> None:
        missing = METHODS.keys() ^ operations.keys()
        if missing:
            raise ValueError(f"methods and operations differ: {sorted(missing)}")
        self._auth = auth
        self._operations = operations
        self._pages = pages or {}

    def handle(self, request: Request) -> Response:
        """Answer a request; whatever goes wrong inside is logged here and told to nobody."""
        try:
            response = self._route(request)
        except Unavailable as error:
            _logger.warning("unavailable: %s", error, extra={"request_id": request.id})
            response = text_response(503, error.public, {"Retry-After": str(RETRY_AFTER_S)})
        except Exception:
            _logger.exception("request failed", extra={"request_id": request.id, "path": request.shown_path})
            response = text_response(500, f"Something went wrong here. It was noted as request {request.id}.")
        return replace(response, headers={**SECURITY_HEADERS, **response.headers})

    def _route(self, request: Request) -> Response:
        path = request.path
        if path == MOUNT:
            return redirect(f"{MOUNT}/")
        if path == f"{MOUNT}/":
            return redirect(BASE) if request.method == "GET" else _not_allowed("GET")
        if path == BASE:
            return Response(200, {"Content-Type": HTML}, pages.index())
        if path == f"{BASE}openapi.json":
            return _document(request)
        page = self._pages.get(path[: path.find("/", 1) + 1])
        if page is not None:
            return page(request)
        method = METHODS.get(path.removeprefix(BASE)) if path.startswith(BASE) else None
        if method is None:
            return text_response(404, "There is nothing here. The methods are listed at /webapi/v0/.")
        return self._method(method, request)

    def _method(self, method: Method, request: Request) -> Response:
        match request.method:
            case "GET":
                return Response(200, {"Content-Type": HTML}, pages.method_page(method))
            case "POST":
                return self._post(method, request)
            case _:
                return _not_allowed("GET, POST")

    def _post(self, method: Method, request: Request) -> Response:
        caller = authenticate(self._auth, request)
        if isinstance(caller, Response):
            return replace(caller, facts={"api_method": method.name})
        caller = replace(caller, host=request.host)
        facts: dict[str, object] = {
            "api_method": method.name,
            "account": caller.account.id,
            "login": caller.login,
        }
        try:
            answer = self._operations[method.name](replace(_call(method, caller, request), facts=facts))
            return _success(method, answer, facts)
        except InvalidRequest as error:
            return _error(error, facts)
        except Conflict as error:
            return _error(InvalidRequest(ErrorCode.ERROR, error.public, detail=error.detail), facts)


def _call(method: Method, caller: Caller, request: Request) -> Call:
    """Check and decode a POST. Raises InvalidRequest."""
    if caller.scope not in method.scopes:
        raise InvalidRequest(
            ErrorCode.FORBIDDEN, f"This key has the scope {caller.scope}, which excludes {method.name}."
        )
    if _is_cross_site(request):
        raise InvalidRequest(ErrorCode.FORBIDDEN, "A page of another site must not call with your browser's login.")
    form = read_form(request)
    decoded = decode(form.request, method.request)
    if isinstance(decoded, SendRequest) and form.uploads:
        decoded = _with_uploads(decoded, form.uploads)
    return Call(caller, decoded, _idempotency_key(request) if method.idempotent else "")


def _is_cross_site(request: Request) -> bool:
    """Tell whether a browser sends its remembered Basic login for a page elsewhere (a forged request).

    A page that has the key itself must send the header itself, which browsers ask leave for, in vain.
    """
    is_basic = request.headers.get("Authorization", "").lower().startswith("basic")
    return is_basic and request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none")


def _with_uploads(request: SendRequest, uploads: tuple[Upload, ...]) -> SendRequest:
    """Add the file parts of the form behind the files of the JSON text."""
    added: dict[str, tuple[File, ...]] = {}
    for upload in uploads:
        name = _FILE_FIELDS.get(upload.key)
        if name is None:
            continue
        added[name] = (*added.get(name, getattr(request, name)), _file(upload))
    return msgspec.structs.replace(request, **added)


def _file(upload: Upload) -> File:
    return File(
        name=upload.filename,
        content_type=upload.content_type,
        content_id=upload.content_id,
        data=base64.b64encode(upload.data).decode("ascii"),
    )


def _idempotency_key(request: Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > MAX_IDEMPOTENCY_KEY or not (key.isascii() and key.isprintable()):
        raise InvalidRequest(ErrorCode.USER, "The Idempotency-Key must be 1 to 255 printable ASCII characters.")
    return key


def _success(method: Method, answer: Wire | RawContent | None, facts: dict[str, object]) -> Response:
    if isinstance(answer, RawContent):
        kind = {"Content-Type": method.octets}
        response = redirect(answer.url) if answer.url else Response(200, kind, answer.body)
    else:
        response = Response(200, {"Content-Type": JSON}, _within_limit(encode(answer or Empty())))
    if isinstance(answer, SendResult):
        ids = [submission.queue_msg_id for submission in answer.submissions[:MAX_LOGGED_IDS]]
        facts |= {"message_id": answer.message_id, "delivery_ids": ids, "recipients": len(answer.submissions)}
    return replace(response, facts=facts)


def _within_limit(body: bytes) -> bytes:
    """Refuse what a Lambda cannot answer; a page can be made smaller, a message be fetched raw."""
    if len(body) > MAX_ANSWER_BYTES:
        raise InvalidRequest(ErrorCode.USER, "The answer is too large: ask for less (Limit), or use MessageRawGet.")
    return body


def _error(error: InvalidRequest, facts: Mapping[str, object]) -> Response:
    """Answer a mistake of the caller; its private detail goes to the log."""
    body = encode(Error(code=error.code, message=error.public))
    facts = {**facts, "code": str(error.code)} | ({"detail": error.detail} if error.detail else {})
    return Response(_STATUS.get(error.code, 400), {"Content-Type": JSON}, body, facts)


def _document(request: Request) -> Response:
    if request.method != "GET":
        return _not_allowed("GET")
    return Response(200, {"Content-Type": JSON}, openapi.document())


def _not_allowed(allowed: str) -> Response:
    return text_response(405, "This method of HTTP is not possible here.", {"Allow": allowed})
