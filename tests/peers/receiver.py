"""A webhook receiver that keeps what it is told after the `standardwebhooks` library has verified the signature."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from typing import Any

from standardwebhooks import Webhook


class Receiver:
    """What was told. secret: of the signatures, set once it is known; url: where it listens."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.secret = ""
        self._events: list[dict[str, Any]] = []
        self._errors: list[str] = []

    def take(self, headers: dict[str, str], body: bytes) -> None:
        """Verify and keep one call."""
        try:
            self._events.append(Webhook(self.secret).verify(body.decode(), headers))
        except Exception as error:  # noqa: BLE001 (whatever it is, the test is to see it)
            self._errors.append(f"{error!r} for {body.decode(errors='replace')}")

    def events(self, queue_msg_id: int) -> list[dict[str, Any]]:
        """Return what was told of a delivery; a call that could not be verified fails the test."""
        assert self._errors == []
        return [event for event in self._events if event["QueueMsgID"] == queue_msg_id]


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    """Run a receiver on a free port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take a call."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.take({name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class's name)
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept = Receiver(f"http://127.0.0.1:{server.server_address[1]}/webhook")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()
