"""The short way to DynamoDB and SQS, against a server that answers as it is told."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError, NoCredentialsError

from egret.aws.jsonapi import DYNAMODB, JsonApi, Limits
from egret.aws.sigv4 import Credentials

LIMITS = Limits(connect_s=1, read_s=1, attempts=3, pool=4)
REQUEST = {"TableName": "mail"}
Said = tuple[int, bytes] | None
"""Status and body; None closes the connection without a word."""


@dataclass
class Server:
    """Says one thing after the other, the last one again and again; notes requests and connections."""

    says: list[Said]
    closes: bool = False
    seen: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)

    def next(self) -> Said:
        return self.says.pop(0) if len(self.says) > 1 else self.says[0]


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.seen.append((self.headers["x-amz-target"], headers, json.loads(body)))
            server.connections.add(self.client_address[1])
            said = server.next()
            if said is None:
                self.close_connection = True
                return
            status, answer = said
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            self.close_connection = server.closes

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    return Handler


@contextlib.contextmanager
def _serving(server: Server) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(server)) as httpd:
        httpd.daemon_threads = True
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}"
        finally:
            httpd.shutdown()
            thread.join()


def _credentials() -> Credentials:
    return Credentials("AKID", "secret", "token")


def _call(server: Server, operation: str = "GetItem", request: dict[str, Any] | None = None, times: int = 1) -> Any:
    """Call; return the last answer."""
    answer: Any = None
    with _serving(server) as url:
        api = JsonApi(DYNAMODB, ("eu-west-1", url), _credentials, LIMITS)
        for _ in range(times):
            answer = api.call(operation, request or REQUEST)
        del api
    return answer


def _refused(server: Server) -> ClientError:
    with pytest.raises(ClientError) as caught:
        _call(server)
    return caught.value


def test_request_bears_target_type_and_signature() -> None:
    """What AWS looks at before it looks at the body."""
    server = Server([(200, b"{}")])
    _call(server, "PutItem", {"Item": {"d": {"B": b"\0\xff"}}})
    ((target, headers, body),) = server.seen
    assert (target, headers["content-type"]) == ("DynamoDB_20120810.PutItem", "application/x-amz-json-1.0")
    assert headers["x-amz-security-token"] == "token"
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert body == {"Item": {"d": {"B": "AP8="}}}


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (b'{"Item": {"d": {"B": "AP8="}}}', {"Item": {"d": {"B": b"\0\xff"}}}),
        (b'{"Items": [{"d": {"B": "AP8="}, "n": {"N": "1"}}]}', {"Items": [{"d": {"B": b"\0\xff"}, "n": {"N": "1"}}]}),
        (b'{"Responses": {"mail": [{"d": {"B": "AP8="}}]}}', {"Responses": {"mail": [{"d": {"B": b"\0\xff"}}]}}),
        (b"", {}),
    ],
)
def test_binary_values_come_back_as_bytes(answer: bytes, found: dict[str, Any]) -> None:
    """Of one item, of a query, of a batch."""
    assert _call(Server([(200, answer)])) == found


def test_connection_is_kept() -> None:
    """Three calls, one connection."""
    server = Server([(200, b"{}")])
    _call(server, times=3)
    assert len(server.connections) == 1


def test_closed_idle_connection_is_not_used_again() -> None:
    """A frozen function wakes up after the service hung up: nothing is sent into the void, nothing is sent twice."""
    server = Server([(200, b"{}")], closes=True)
    _call(server, times=3)
    assert (len(server.connections), len(server.seen)) == (3, 3)


def test_refusal_has_the_form_of_botocore() -> None:
    """Code without its namespace, message, and what else the service tells."""
    answer = {
        "__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException",
        "message": "The conditional request failed",
        "Item": {"w": {"B": "AP8="}},
    }
    error = _refused(Server([(400, json.dumps(answer).encode())]))
    assert error.response["Error"] == {
        "Code": "ConditionalCheckFailedException",
        "Message": "The conditional request failed",
    }
    assert dict(error.response)["Item"] == {"w": {"B": b"\0\xff"}}


def _canceled(*codes: str) -> Said:
    """Return the answer to a transaction that was canceled, with the reason of each part."""
    reasons = [{"Code": code} for code in codes]
    answer = {"__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException", "CancellationReasons": reasons}
    return 400, json.dumps(answer).encode()


@pytest.mark.parametrize(
    "refusal",
    [
        (400, b'{"__type": "x#ValidationException"}'),
        (400, b'{"__type": "x#TransactionCanceledException"}'),
        _canceled("ConditionalCheckFailed", "TransactionConflict"),
        _canceled("None", "ValidationError"),
    ],
)
def test_refusal_is_not_repeated(refusal: Said) -> None:
    """Asking again would give the same answer."""
    server = Server([refusal])
    _refused(server)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        (500, b"{}"),
        (503, b"<html>busy</html>"),
        (400, b'{"__type": "x#ThrottlingException"}'),
        (400, b'{"__type": "x#TransactionConflictException"}'),
        _canceled("None", "TransactionConflict"),
        _canceled("ThrottlingError", "None"),
        None,
    ],
)
def test_trouble_that_passes_is_repeated(trouble: Said) -> None:
    """A broken service, a throttled table, another transaction at the same item, a connection that ended."""
    server = Server([trouble, (200, b'{"Count": 1}')])
    assert _call(server) == {"Count": 1}
    assert len(server.seen) == 2


def test_trouble_that_stays_is_an_error_after_the_last_try() -> None:
    """The service's own error, when it has one."""
    server = Server([(503, b"<html>busy</html>")])
    error = _refused(server)
    assert (error.response["Error"]["Code"], len(server.seen)) == ("503", LIMITS.attempts)


def test_service_that_hangs_up_is_an_error_after_the_last_try() -> None:
    """There is no answer to speak of."""
    server = Server([None])
    with pytest.raises(ConnectionClosedError):
        _call(server)
    assert len(server.seen) == LIMITS.attempts


def test_service_that_is_silent_is_given_up_after_the_last_try() -> None:
    """Each try waits for its time and no longer, and takes a new connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=8) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        api = JsonApi(DYNAMODB, ("eu-west-1", url), _credentials, replace(LIMITS, read_s=0.05))
        with pytest.raises(ConnectionClosedError):
            api.call("GetItem", REQUEST)
        silent.settimeout(1)
        for _ in range(LIMITS.attempts):
            silent.accept()[0].close()
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_nobody_listening_is_an_error_of_botocore() -> None:
    """Which the adapters turn into Unavailable."""
    api = JsonApi(DYNAMODB, ("eu-west-1", "http://127.0.0.1:1"), _credentials, LIMITS)
    with pytest.raises(BotoCoreError):
        api.call("GetItem", REQUEST)


def test_missing_credentials_are_an_error_of_botocore() -> None:
    """Nothing is sent unsigned."""
    server = Server([(200, b"{}")])
    with _serving(server) as url, pytest.raises(NoCredentialsError):
        JsonApi(DYNAMODB, ("eu-west-1", url), lambda: None, LIMITS).call("GetItem", REQUEST)
    assert server.seen == []


def test_repetitions_of_a_transaction_bear_one_token() -> None:
    """So that DynamoDB does it once; another transaction has another one."""
    server = Server([(500, b"{}"), (200, b"{}")])
    _call(server, "TransactWriteItems", {"TransactItems": []}, times=2)
    first, again, other = [body["ClientRequestToken"] for _, _, body in server.seen]
    assert first == again != other


def test_observer_is_told_of_the_call_and_of_its_answer() -> None:
    """Errors included; this is how costs are counted."""
    told: list[object] = []

    def observe(service: str, operation: str, request: object) -> Any:
        told.append((service, operation, request))
        return lambda answer: told.append(answer.get("Error", {}).get("Code"))

    server = Server([(400, b'{"__type": "x#ValidationException"}')])
    with _serving(server) as url, pytest.raises(ClientError):
        JsonApi(DYNAMODB, ("eu-west-1", url), _credentials, LIMITS, [observe]).call("GetItem", REQUEST)
    assert told == [("dynamodb", "GetItem", REQUEST), "ValidationException"]


@pytest.mark.parametrize(
    ("region", "host"),
    [("us-east-1", "dynamodb.us-east-1.amazonaws.com"), ("cn-north-1", "dynamodb.cn-north-1.amazonaws.com.cn")],
)
def test_aws_itself_is_asked_over_tls(region: str, host: str) -> None:
    """Without an endpoint of an emulator."""
    api = JsonApi(DYNAMODB, (region, ""), _credentials, LIMITS)
    assert api._url.geturl() == f"https://{host}"
    assert api._tls is not None
    assert api._tls.check_hostname
