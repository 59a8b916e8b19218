"""What it costs to have the settings mapped by pynamodb: `python -m bench.settings`.

Imports: fresh processes in turn, bytecode cached. Reads: CPU time of this process against a server in another one that
answers at once with an account of every field; botocore alone beside it, with the same client.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.imports import Program, once, programs
from bench.report import figure, table
from egret.aws.clients import Clients, Target
from egret.aws.clock import SystemClock
from egret.aws.settings_items import AccountItem, AddressClaim
from egret.aws.settings_reader import CachedSettings
from egret.aws.settings_store import DynamoSettings
from egret.aws.table import Table
from egret.contracts.settings import Account, WebhookSettings

ROOT: Final = Path(__file__).parent.parent
ROUNDS: Final = 15
BATCHES: Final = 15
READS: Final = 200
ACCOUNT: Final = Account(
    "abcdefgh",
    "shop",
    "A shop",
    ("login@shop.example", "second@shop.example"),
    webhook=WebhookSettings("https://hooks.example/", "Bearer x", frozenset({"failed"}), ("whsec_a", "whsec_b")),
    created_at=datetime(2031, 3, 1, tzinfo=UTC),
)


class _Handler(BaseHTTPRequestHandler):
    """Answers every GetItem: a claim when an address is asked for, the account otherwise."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    claim: Final = json.dumps({"Item": AddressClaim.at("login@shop.example", owner=ACCOUNT.id).serialize()}).encode()
    account: Final = json.dumps({"Item": AccountItem.of(ACCOUNT).serialize()}).encode()

    def do_POST(self) -> None:
        """Answer in one packet."""
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        body = self.claim if b"ADDRESS" in asked else self.account
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.wfile.write(head + body)


def serve() -> None:
    """Print the port and answer until the process is ended."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


@contextmanager
def _server() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.settings", "--serve"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            yield f"http://127.0.0.1:{int(next(iter(process.stdout or ())))}"
        finally:
            process.terminate()


def reads() -> dict[str, float]:
    """Return the CPU seconds of each kind of read: the median of batches that take turns."""
    with _server() as url:
        clients = Clients(Target("eu-west-1", url, "bench", "bench"))
        settings, plain = DynamoSettings(clients, "settings"), Table(clients, "settings")
        cached = CachedSettings(settings, SystemClock())
        kinds: dict[str, Callable[[], object]] = {
            "GetItem of botocore": lambda: plain.get(("ACCOUNT", ACCOUNT.id)),
            "account, uncached": lambda: settings.account(ACCOUNT.id),
            "account of an address, uncached": lambda: settings.account_of_address("login@shop.example"),
            "account, cached": lambda: cached.account(ACCOUNT.id),
        }
        if (found := settings.account(ACCOUNT.id)) != ACCOUNT:
            raise RuntimeError(f"not what was stored: {found}")
        batches = [{kind: _batch(read) for kind, read in kinds.items()} for _ in range(BATCHES + 1)][1:]
    return {kind: statistics.median(batch[kind] for batch in batches) for kind in kinds}


def _batch(read: Callable[[], object]) -> float:
    begun = time.process_time()
    for _ in range(READS):
        read()
    return (time.process_time() - begun) / READS


def imports() -> dict[str, float]:
    """Return the CPU seconds of importing send's handler, without and with what reads settings: medians."""
    baseline, send, *_ = programs(ROOT)
    bind = "from egret.aws.clients import Clients, Target; s.DynamoSettings(Clients(Target('eu-west-1')), 'settings')"
    wanted = [
        baseline,
        send,
        _after(send, "send + settings", "import handler; import egret.aws.settings_store as s"),
        _after(
            send, "send + settings, bound to a table", f"import handler; import egret.aws.settings_store as s; {bind}"
        ),
    ]
    with TemporaryDirectory(prefix="egret-bench-") as folder:
        turns = [[once(program, Path(folder)) for program in wanted] for _ in range(ROUNDS + 1)][1:]
    columns: Sequence[Sequence[float]] = list(zip(*turns, strict=True))
    return {program.name: statistics.median(column) for program, column in zip(wanted, columns, strict=True)}


def _after(send: Program, name: str, statements: str) -> Program:
    return replace(send, name=name, line=send.line.replace("import handler", statements))


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help="be the server that the reads are made of")
    if parser.parse_args().serve:
        serve()
    times = imports()
    baseline = times["boto3 + client"]
    rows = [[name, figure(seconds * 1000), figure(seconds / baseline)] for name, seconds in times.items()]
    print(table(["import of", "ms", "ratio"], rows), end="\n\n")
    print(table(["read", "CPU µs"], [[kind, figure(seconds * 1e6)] for kind, seconds in reads().items()]))


if __name__ == "__main__":
    main()
