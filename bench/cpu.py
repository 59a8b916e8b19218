"""CPU time of our own processes for each message, on the product as `make serve` runs it.

Messages come over HTTP with a few connections, so that batches form. What plays AWS (the emulator), the internet (the
sink, the webhook receiver) or the customers (this process) is left out; what local mode does in a function's process to
play API Gateway and the event sources is counted with it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.parse import quote_plus

from bench.messages import SMALL_BYTES, Kind, encoded
from bench.processes import cpu_s
from bench.report import Bar, figure, table
from egret_local.seed import KEY, LOGIN

COUNTED: Final = ("SendFunction", "DeliverFunction", "egress", "WebhookStreamFunction", "WebhookCallsFunction")
BESIDE: Final = ("SweepFunction", "DsnIngestFunction")
"""Ours too, but not on the way of a message: they run by the clock, and for the sink's mail to the sender's mailbox."""
PORTS: Final = (
    *("HTTP_PORT", "SMTP_PORT", "SUBMISSION_PORT", "SUBMISSIONS_PORT", "EGRESS_PORT", "RECEIVER_PORT", "SINK_PORT"),
    *("EMULATOR_PORT", "INVOKE_PORT"),
)
WARM_UP: Final = 60
MESSAGES: Final = 400
CONNECTIONS: Final = 8
MAX_CPU_MS: Final = 10.0
START_S: Final = 60.0
TOLD_S: Final = 120.0


@dataclass
class Told:
    """Counts the events that local mode prints. started: once the banner stands."""

    delivered: int = 0
    started: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def read(self, lines: Iterator[str]) -> None:
        """Follow the output until it ends; runs in a thread."""
        for line in lines:
            if line.startswith("Webhook events are printed"):
                self.started.set()
            elif line.startswith("webhook") and "delivered" in line:
                with self.changed:
                    self.delivered += 1
                    self.changed.notify_all()

    def wait_for(self, count: int) -> None:
        """Wait until so many deliveries were told. Raises TimeoutError."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.delivered >= count, TOLD_S):
                raise TimeoutError(f"{self.delivered} of {count} deliveries were told within {TOLD_S} s")


@dataclass(frozen=True, slots=True)
class Serving:
    """Local mode as it runs."""

    port: int
    state: Path
    told: Told

    def pids(self) -> dict[str, int]:
        """Return the process of each name."""
        return {entry["name"]: entry["pid"] for entry in json.loads((self.state / "processes.json").read_text())}

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds that each of our processes has used."""
        return {name: cpu_s(pid) for name, pid in self.pids().items() if name in (*COUNTED, *BESIDE)}


@contextmanager
def serving(root: Path) -> Iterator[Serving]:
    """Run local mode on free ports with a state of its own. Raises RuntimeError when it does not start."""
    with TemporaryDirectory(prefix="egret-bench-") as folder:
        ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
        environment = {**os.environ, **ports, "STATE": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "egret_local"],
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        told = Told()
        try:
            threading.Thread(target=told.read, args=(process.stdout,), daemon=True).start()
            if not told.started.wait(START_S):
                raise RuntimeError("local mode did not start: see what it says above")
            yield Serving(int(ports["HTTP_PORT"]), Path(folder), told)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def send(port: int, seeds: range) -> None:
    """Send a message for each seed over a few connections that stay open. Raises RuntimeError on a refusal."""
    parts = [seeds[start::CONNECTIONS] for start in range(CONNECTIONS)]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for _ in pool.map(lambda part: _send_over_one(port, part), parts):
            pass


def _send_over_one(port: int, seeds: range) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {
        "Authorization": "Basic " + b64encode(f"{LOGIN}:{KEY}".encode()).decode(),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    for seed in seeds:
        body = "request=" + quote_plus(encoded(Kind(1, SMALL_BYTES), seed))
        connection.request("POST", "/webapi/v0/Send", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"Send answered {answer.status}: {text[:200]!r}")
    connection.close()


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU milliseconds of a message by process, and how long all of them took."""

    each_ms: Mapping[str, float]
    elapsed_s: float

    @property
    def own_ms(self) -> float:
        """What the way of a message takes."""
        return sum(self.each_ms[name] for name in COUNTED)


def measure(root: Path) -> Usage:
    """Run local mode, warm it up, send, wait until all is told; return what our processes used for it."""
    with serving(root) as local:
        send(local.port, range(WARM_UP))
        local.told.wait_for(WARM_UP)
        time.sleep(2)  # what the last ones still write is not theirs who follow
        before, started = local.cpu(), time.monotonic()
        send(local.port, range(WARM_UP, WARM_UP + MESSAGES))
        local.told.wait_for(WARM_UP + MESSAGES)
        elapsed_s, after = time.monotonic() - started, local.cpu()
    return Usage({name: (after[name] - before[name]) / MESSAGES * 1000 for name in before}, elapsed_s)


def report(root: Path) -> list[Bar]:
    """Measure, print, and return the bars."""
    usage = measure(root)
    rows = [[name, figure(usage.each_ms[name])] for name in COUNTED]
    rows += [["in all", figure(usage.own_ms)], []]
    rows += [[f"beside: {name}", figure(usage.each_ms[name])] for name in BESIDE]
    print(table([f"CPU per message, {MESSAGES} messages in {usage.elapsed_s:.1f} s", "ms"], rows))
    return [Bar("ms of own CPU per message", usage.own_ms, MAX_CPU_MS, is_counted=False)]


def main(arguments: list[str] | None = None) -> int:
    """Print the times; they are measured, so that a missed bar is no fault."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    print("\n" + "\n".join(map(str, report(Path(__file__).parent.parent))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
