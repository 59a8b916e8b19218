"""A proxy before an emulator that spoils answers: loses them, or changes what they say."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """A server between client and emulator. spoil: (operation, answer) -> what is sent, None = nothing.

    refusal: what every request is answered with, status 400, once it is set.
    """

    target: str
    spoil: Callable[[str, bytes], bytes | None] = lambda _, body: body
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refusal: bytes = b""

    def forward(self, handler: BaseHTTPRequestHandler) -> None:
        """Pass a request on, and back what `spoil` leaves of the answer."""
        request = handler.rfile.read(int(handler.headers["Content-Length"]))
        operation = handler.headers["X-Amz-Target"].rpartition(".")[2]
        self.seen.append((operation, json.loads(request)))
        if self.refusal:
            _answer(handler, 400, self.refusal)
            return
        connection = http.client.HTTPConnection(urlsplit(self.target).netloc)
        try:
            connection.request("POST", "/", request, dict(handler.headers.items()))
            answer = connection.getresponse()
            body = self.spoil(operation, answer.read())
        finally:
            connection.close()
        if body is None:
            handler.close_connection = True
            return
        _answer(handler, answer.status, body)


def _answer(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/x-amz-json-1.0")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextlib.contextmanager
def serving(proxy: Proxy) -> Iterator[str]:
    """Listen on 127.0.0.1; yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            proxy.forward(self)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def losing_first(operation: str) -> Callable[[str, bytes], bytes | None]:
    """Return a spoiler that swallows the first answer to an operation."""
    lost: list[str] = []

    def spoil(seen: str, body: bytes) -> bytes | None:
        if seen == operation and not lost:
            lost.append(seen)
            return None
        return body

    return spoil
