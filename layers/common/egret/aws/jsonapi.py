"""Requests to AWS's JSON services (DynamoDB, SQS) by the shortest way: msgspec, a signature, a kept connection.

botocore takes four times as long for a call and a tenth of a second to load its model of DynamoDB; what every message
asks for goes this way. Answers and errors have botocore's form, so that whoever calls cannot tell the difference.
"""

from __future__ import annotations

import base64
import http.client
import random
import select
import ssl
import time
import uuid
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from botocore.exceptions import ClientError, ConnectionClosedError, NoCredentialsError
from botocore.httpsession import get_cert_path

from egret.aws.sigv4 import Credentials, Scope, sign

Json = dict[str, Any]
Observer = Callable[[str, str, Mapping[str, Any]], Callable[[Mapping[str, Any]], None] | None]
"""Told of (service, operation, request) before each call; what it returns is told the answer, errors included."""

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 5.0
THROTTLED: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottledException",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Refusals that pass by themselves, whatever status they come with."""
CANCELED: Final = "TransactionCanceledException"
PASSING_REASONS: Final = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
"""Why a transaction was canceled that may be done a moment later, as one that met another at the same item."""
_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Service:
    """A JSON service. target: what stands before the operation in X-Amz-Target."""

    name: str
    target: str


DYNAMODB: Final = Service("dynamodb", "DynamoDB_20120810.")
SQS: Final = Service("sqs", "AmazonSQS.")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how often. attempts: of one call, the first one included; pool: connections kept."""

    connect_s: float
    read_s: float
    attempts: int
    pool: int


class JsonApi:
    """One service in one region; safe for threads.

    endpoint_url: of an emulator, "" for AWS itself. credentials: asked before each call; None: there are none.
    """

    def __init__(
        self,
        service: Service,
        endpoint: tuple[str, str],
        credentials: Callable[[], Credentials | None],
        limits: Limits,
        observers: Iterable[Observer] = (),
    ) -> None:
        region, endpoint_url = endpoint
        url = urlsplit(endpoint_url or _endpoint(service.name, region))
        self._service = service
        self._scope = Scope(region, service.name)
        self._url = url
        self._credentials = credentials
        self._limits = limits
        self._observers = observers
        self._idle: deque[http.client.HTTPConnection] = deque()
        weakref.finalize(self, _close, self._idle)
        self._tls = ssl.create_default_context(cafile=get_cert_path(True)) if url.scheme == "https" else None

    def call(self, operation: str, request: Mapping[str, Any]) -> Json:
        """Make a call and return the decoded answer.

        Bytes are written as base64, as the services want it; binary values of DynamoDB's items come back as bytes.
        Raises ClientError for what the service refuses, BotoCoreError when it does not answer.
        """
        told = [observe(self._service.name, operation, request) for observe in self._observers]
        status, answer = self._repeated(operation, _ENCODE(_with_token(operation, request)))
        if status >= http.HTTPStatus.MULTIPLE_CHOICES:
            answer = _error(status, answer)
        for tell in told:
            if tell is not None:
                tell(answer)
        if "Error" in answer:
            raise ClientError(answer, operation)  # type: ignore[arg-type]
        return answer

    # --- over the wire

    def _repeated(self, operation: str, body: bytes) -> tuple[int, Json]:
        """Send until there is an answer that another try would not change."""
        for attempt in range(1, self._limits.attempts + 1):
            is_last = attempt == self._limits.attempts
            try:
                status, answer = self._send(operation, body)
            except (OSError, http.client.HTTPException, msgspec.DecodeError) as error:
                if is_last:
                    raise ConnectionClosedError(endpoint_url=self._url.geturl(), error=error) from error
            else:
                if is_last or not _is_passing(status, answer):
                    return status, answer
            time.sleep(random.random() * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt))
        raise AssertionError("no attempt was allowed")

    def _send(self, operation: str, body: bytes) -> tuple[int, Json]:
        connection = self._connection()
        try:
            connection.request("POST", "/", body, self._headers(operation, body))
            response = connection.getresponse()
            raw = response.read()
        except BaseException:
            connection.close()
            raise
        if response.will_close or len(self._idle) >= self._limits.pool:
            connection.close()
        else:
            self._idle.append(connection)
        return response.status, _decoded(response.status, raw)

    def _headers(self, operation: str, body: bytes) -> dict[str, str]:
        credentials = self._credentials()
        if credentials is None:
            raise NoCredentialsError
        headers = {
            "content-type": "application/x-amz-json-1.0",
            "host": self._url.netloc,
            "x-amz-target": self._service.target + operation,
        }
        signed = sign(credentials, self._scope, headers, body, datetime.now(UTC))
        signed["user-agent"] = "egret"
        return signed

    def _connection(self) -> http.client.HTTPConnection:
        """Return a connection that stands: the one used last, or a new one."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if not _was_closed(connection):
                return connection
            connection.close()
        return self._open()

    def _open(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._tls is None:
            connection = http.client.HTTPConnection(host, port, timeout=self._limits.connect_s)
        else:
            connection = http.client.HTTPSConnection(host, port, timeout=self._limits.connect_s, context=self._tls)
        connection.connect()
        connection.sock.settimeout(self._limits.read_s)
        return connection


def _close(connections: deque[http.client.HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


def _endpoint(service: str, region: str) -> str:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://{service}.{region}.{suffix}"


def _was_closed(connection: http.client.HTTPConnection) -> bool:
    """Tell whether the service closed an idle connection: then it can be read, which gives the end of the stream."""
    if connection.sock is None:
        return True
    readable, _, _ = select.select([connection.sock], [], [], 0)
    return bool(readable)


# --- what goes and comes


def _with_token(operation: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add the token by which DynamoDB knows the repetition of a transaction."""
    if operation != "TransactWriteItems" or "ClientRequestToken" in request:
        return request
    return {**request, "ClientRequestToken": str(uuid.uuid4())}


def _decoded(status: int, raw: bytes) -> Json:
    """Return the answer; what a proxy or a broken service says instead of JSON is an error without a name."""
    try:
        answer = _DECODE(raw) if raw else {}
    except msgspec.DecodeError:
        if status < http.HTTPStatus.MULTIPLE_CHOICES:
            raise
        return {"message": raw[:200].decode("utf-8", "replace")}
    for item in _items(answer):
        for value in item.values():
            if "B" in value:
                value["B"] = base64.b64decode(value["B"])
    return answer


def _items(answer: Json) -> Iterable[dict[str, Json]]:
    """Yield the items of an answer, wherever it has them."""
    if "Item" in answer:
        yield answer["Item"]
    yield from answer.get("Items", ())
    for found in answer.get("Responses", {}).values():
        yield from found


def _name(answer: Json) -> str:
    """Return the name of an error, which stands behind a namespace."""
    return str(answer.get("__type", "")).rpartition("#")[2]


def _is_passing(status: int, answer: Json) -> bool:
    if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        return True
    if status < http.HTTPStatus.MULTIPLE_CHOICES:
        return False
    name = _name(answer)
    return name in THROTTLED or (name == CANCELED and _is_canceled_for_now(answer))


def _is_canceled_for_now(answer: Json) -> bool:
    reasons = {reason.get("Code") for reason in answer.get("CancellationReasons", ())} - {"None"}
    return bool(reasons) and reasons <= PASSING_REASONS


def _error(status: int, answer: Json) -> Json:
    """Return an error as botocore has it in `ClientError.response`."""
    sentence = str(answer.get("message") or answer.get("Message") or "")
    kept = {name: value for name, value in answer.items() if name not in ("__type", "message", "Message")}
    return {
        **kept,
        "Error": {"Code": _name(answer) or str(status), "Message": sentence},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
