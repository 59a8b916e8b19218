"""The AWS emulators that tests run against: moto in this process, ministack in one of its own.

Both listen on 127.0.0.1 only. As a program it serves moto until Ctrl-C (`make moto`).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from moto.dynamodb.responses import DynamoHandler
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from egret import posix
from egret_local.processes import taken
from egret_local.settings import port_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

REGION = "eu-west-1"
ACCESS_KEY = "emulator"
SECRET_KEY = "emulator"

MINISTACK = Path(__file__).parent.parent / ".venv-emulator" / ("Scripts" if sys.platform == "win32" else "bin")
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0


class ClientArguments(TypedDict):
    """What `boto3.client(service, **client_arguments(url))` needs; nothing is read from the environment."""

    endpoint_url: str
    region_name: str
    aws_access_key_id: str
    aws_secret_access_key: str


def client_arguments(endpoint_url: str) -> ClientArguments:
    """Point a boto3 client at an emulator, with credentials that no real account has."""
    return ClientArguments(
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )


@functools.cache
def _serialise_moto_dynamodb() -> None:
    """Let one DynamoDB request at a time into moto, which loses acknowledged writes otherwise.

    A transaction that fails restores a snapshot of whole tables, and with it undoes what others wrote meanwhile.
    """
    lock = threading.RLock()
    unlocked: Callable[[DynamoHandler], Any] = DynamoHandler.call_action

    def call_action(self: DynamoHandler) -> Any:
        with lock:
            return unlocked(self)

    DynamoHandler.call_action = call_action  # type: ignore[method-assign]


@contextlib.contextmanager
def moto_server(port: int = 0) -> Iterator[str]:
    """Serve moto from a thread of this process (0: any free port); yields its URL."""
    _serialise_moto_dynamodb()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    host, bound_port = server.get_host_and_port()
    try:
        yield f"http://{host}:{bound_port}"
    finally:
        server.stop()
        if server._server is not None:
            server._server.server_close()


@contextlib.contextmanager
def ministack_server(folder: Path) -> Iterator[str]:
    """Run ministack with its state and log under `folder`; yields its URL, stops it gracefully.

    Raises RuntimeError with its last words when it does not come up.
    """
    if not MINISTACK.exists():
        raise RuntimeError("ministack is not installed: make .venv-emulator/.ready")
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    with (folder / "ministack.log").open("wb") as log:
        process = posix.spawn_group(
            [str(MINISTACK / "python"), "-m", "ministack"], environment=_environment(folder, port), output=log
        )
        try:
            _await_health(process, url, folder / "ministack.log")
            yield url
        finally:
            posix.end_group(process, grace_s=STOP_TIMEOUT_S)


def _environment(folder: Path, port: int) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "HOME") if name in os.environ}
    return inherited | {
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",  # it listens on every interface
        "SFTP_ENABLED": "0",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,  # it checks the signature of presigned URLs
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "STATE_DIR": str(folder / "state"),
        "S3_DATA_DIR": str(folder / "s3"),
        "TMPDIR": str(folder),
        "LOG_LEVEL": "WARNING",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_health(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_ministack/health", timeout=1):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise RuntimeError(f"ministack did not come up: {log.read_text(errors='replace')[-2000:]}")


def main(arguments: Sequence[str]) -> int:
    """Serve moto until Ctrl-C; 1 and a sentence when it cannot listen: moto would wait for itself without end."""
    parser = argparse.ArgumentParser(description="A moto server on 127.0.0.1 that keeps concurrent writes.")
    parser.add_argument("--port", default="5000")
    try:
        port = port_of({"PORT": parser.parse_args(arguments).port}, "PORT", 0)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if sentences := taken({"PORT": port}):
        print(*sentences, file=sys.stderr)
        return 1
    with moto_server(port) as url:
        print(f"moto: {url}  (region {REGION}, any credentials; Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
