"""Lambda's Runtime API, as much of it as the real runtime client asks for: next, response, error."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0


@dataclass
class RuntimeApi:
    """One sandbox's side of the API; `invoke` is Lambda's."""

    events: queue.Queue[tuple[str, bytes]] = field(default_factory=queue.Queue)
    results: queue.Queue[tuple[str, str, bytes]] = field(default_factory=queue.Queue)
    """(request id, "response" or "error", body)"""
    ids: Iterator[int] = field(default_factory=lambda: count(1))

    def invoke(self, event: Any) -> Any:
        """Hand an event to the function and return its answer; RuntimeError with what it reported instead."""
        request_id = f"00000000-0000-4000-8000-{next(self.ids):012d}"
        self.events.put((request_id, json.dumps(event).encode()))
        answered, kind, body = self.results.get(timeout=PATIENCE_S)
        if kind != "response" or answered != request_id:
            raise RuntimeError(f"{kind}: {body.decode()}")
        return json.loads(body)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one write: otherwise Nagle and delayed ACK cost 40 ms each
    api: RuntimeApi

    def handle(self) -> None:
        """Serve until the sandbox is ended, which closes the connection in the middle of a `next`."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Answer `next` once there is an event."""
        request_id, event = self.api.events.get()
        self._answer(
            200,
            event,
            {
                "Lambda-Runtime-Aws-Request-Id": request_id,
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + 29) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:under-test",
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0",
                "Content-Type": "application/json",
            },
        )

    def do_POST(self) -> None:
        """Take a response or an error: …/invocation/<id>/response, …/invocation/<id>/error, …/init/error."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        *_, request_id, kind = self.path.split("/")
        self.api.results.put((request_id, kind, body))
        self._answer(202, b'{"status":"OK"}', {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def sandbox(task_root: Path, entry: str, path: list[Path], environment: Mapping[str, str]) -> Iterator[RuntimeApi]:
    """Run a built function under awslambdaric as Lambda does: its folder, the layer, and nothing else to import."""
    api = RuntimeApi()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    given = {
        **environment,
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{server.server_address[1]}",
        "AWS_LAMBDA_FUNCTION_NAME": task_root.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_LEVEL": "INFO",
        "LAMBDA_TASK_ROOT": str(task_root),
        "PYTHONPATH": ":".join(str(each) for each in path),
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
    }
    with (task_root.parent / f"{task_root.name}.log").open("ab") as log:
        process = subprocess.Popen(  # -S: without the packages of this environment
            [sys.executable, "-S", "-m", "awslambdaric", entry], cwd=task_root, env=given, stdout=log, stderr=log
        )
        try:
            yield api
        finally:
            process.kill()
            process.wait()
            server.shutdown()
            server.server_close()
