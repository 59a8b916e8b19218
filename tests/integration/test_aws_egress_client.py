"""The handoff over HTTP: what the unit receives, and what each way of failing means."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from egret.aws.egress_client import HandoffTimeouts, HttpEgress
from egret.contracts.handoff import (
    CONTENT_TYPE,
    PATH,
    Content,
    Handoff,
    HandoffAnswer,
    Leg,
    Transaction,
    decode_handoff,
    encode,
)
from egret.contracts.records import HandoffRefused, Unit
from egret.core.errors import Unavailable
from tests.unit.builders import ACCOUNT, NOW

SECRET = "shared"
TAKEN = (202, encode(HandoffAnswer([True], 7)))


@dataclass
class UnitServer:
    """A unit's HTTP endpoint. answer: status and body; None hangs up without a word."""

    answer: Callable[[], tuple[int, bytes] | None] = lambda: TAKEN
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)
    """Client ports seen."""

    @contextlib.contextmanager
    def serving(self) -> Iterator[Unit]:
        """Listen on 127.0.0.1; yields the unit as it would announce itself."""
        unit_server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                unit_server.requests.append((self.path, dict(self.headers.items()), body))
                unit_server.connections.add(self.client_address[1])
                answer = unit_server.answer()
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield _unit(f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _unit(url: str) -> Unit:
    return Unit("unit-a", url, "mx.egret.test", ("192.0.2.1",), port25=True, room=9, valid_until=NOW)


def _handoff() -> Handoff:
    content = Content(5, b"hello")
    return Handoff("unit-a", [Transaction(ACCOUNT, 1024, "d.example", "", [Leg(1024, 1, "c@d.example")], content, NOW)])


@pytest.fixture
def egress() -> Iterator[HttpEgress]:
    """A client whose connections are closed after the test."""
    made = HttpEgress(SECRET, HandoffTimeouts(timedelta(seconds=1), timedelta(seconds=0.5)))
    yield made
    made.close()


def test_handoff_arrives_whole(egress: HttpEgress) -> None:
    """Path, secret, type and body are those of the contract; so is the answer."""
    server = UnitServer()
    with server.serving() as unit:
        answer = egress.hand(unit, _handoff())

    (path, headers, body), *_ = server.requests
    assert answer == HandoffAnswer([True], 7)
    assert (path, headers["Authorization"], headers["Content-Type"]) == (PATH, f"Bearer {SECRET}", CONTENT_TYPE)
    assert decode_handoff(body) == _handoff()


def test_connection_is_kept(egress: HttpEgress) -> None:
    """The second handoff costs no connecting."""
    server = UnitServer()
    with server.serving() as unit:
        egress.hand(unit, _handoff())
        egress.hand(unit, _handoff())

    assert (len(server.requests), len(server.connections)) == (2, 1)


def test_unit_that_came_back_is_spoken_to_anew(egress: HttpEgress) -> None:
    """A connection that the unit closed while idle is noticed before anything is sent into it."""
    server = UnitServer()
    with server.serving() as unit:
        egress.hand(unit, _handoff())
        server.answer = lambda: None
        with pytest.raises(Unavailable):
            egress.hand(unit, _handoff())
        server.answer = lambda: TAKEN

        assert egress.hand(unit, _handoff()) == HandoffAnswer([True], 7)


def test_idle_connection_that_was_closed_is_not_used(egress: HttpEgress) -> None:
    """HTTP allows the server to close at any time between requests: that is no doubt about a handoff."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        unit = _unit(f"http://127.0.0.1:{listener.getsockname()[1]}")
        body = TAKEN[1]
        octets = b"HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n" % len(body) + body

        def answer_and_close() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(octets)

        for _ in range(2):
            thread = threading.Thread(target=answer_and_close)
            thread.start()
            answer = egress.hand(unit, _handoff())
            thread.join()
            assert answer == HandoffAnswer([True], 7)


@pytest.mark.parametrize("status", [400, 401, 409, 413, 503])
def test_refusal_means_that_nothing_was_taken(egress: HttpEgress, status: int) -> None:
    """The claims may be released at once."""
    server = UnitServer(lambda: (status, b"draining"))

    with server.serving() as unit, pytest.raises(HandoffRefused, match=f"{status}: draining"):
        egress.hand(unit, _handoff())


@pytest.mark.parametrize("status", [200, 302, 500, 502])
def test_other_status_leaves_it_open(egress: HttpEgress, status: int) -> None:
    """Something between may have answered after the unit took it."""
    server = UnitServer(lambda: (status, b""))

    with server.serving() as unit, pytest.raises(Unavailable, match=str(status)):
        egress.hand(unit, _handoff())


@pytest.mark.parametrize(
    "answer",
    [(202, b"garbage"), (202, encode(HandoffAnswer([True, True], 1))), None],
    ids=["garbage", "answer to another", "no answer"],
)
def test_answer_that_tells_nothing_leaves_it_open(egress: HttpEgress, answer: tuple[int, bytes] | None) -> None:
    """Taken or not: only the unit knows."""
    with UnitServer(lambda: answer).serving() as unit, pytest.raises(Unavailable, match="unit-a"):
        egress.hand(unit, _handoff())


def test_answer_that_comes_too_late_leaves_it_open(egress: HttpEgress) -> None:
    """The wait ends with the time allowed."""

    def answer() -> tuple[int, bytes]:
        time.sleep(0.8)
        return TAKEN

    with UnitServer(answer).serving() as unit, pytest.raises(Unavailable):
        egress.hand(unit, _handoff())


@pytest.mark.parametrize("url", ["", "https://127.0.0.1:1", "file:///etc/passwd", "http://127.0.0.1:99999"])
def test_url_that_is_none_is_a_refusal(egress: HttpEgress, url: str) -> None:
    """Nothing was sent anywhere."""
    with pytest.raises(HandoffRefused):
        egress.hand(_unit(url), _handoff())


def test_unit_that_is_not_there_took_nothing(egress: HttpEgress) -> None:
    """Refused before the first byte."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(HandoffRefused, match="no connection"):
        egress.hand(_unit(f"http://127.0.0.1:{port}"), _handoff())
