"""What Postfix answers to RCPT, changed while it runs: its socketmap protocol, spoken by the test."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator


class Access:
    """The access(5) table of a running Postfix. rules: action by recipient; port: where Postfix asks."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.rules: dict[str, str] = {}

    def reply(self, request: bytes) -> bytes:
        """Return the answer to `<map> <key>`."""
        key = request.decode().partition(" ")[2]
        action = self.rules.get(key)
        return b"NOTFOUND " if action is None else b"OK " + action.encode()


@contextlib.contextmanager
def access_table() -> Iterator[Access]:
    """Serve a table on a free port."""

    class Lookups(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            """Answer netstrings with netstrings until the client closes."""
            while length := self._length():
                request = self.rfile.read(length + 1)[:-1]
                answer = table.reply(request)
                self.wfile.write(b"%d:%b," % (len(answer), answer))

        def _length(self) -> int:
            digits = b""
            while (octet := self.rfile.read(1)) not in (b":", b""):
                digits += octet
            return int(digits or b"0")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Lookups) as server:
        table = Access(server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield table
        finally:
            server.shutdown()
