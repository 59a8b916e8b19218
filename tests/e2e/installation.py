"""Local mode as a user runs it: `python -m egret_local` in a process of its own, on free ports, with its own state."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from egret import posix
from egret_local.processes import clean_up
from egret_local.seed import KEY, LOGIN

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]
PORTS = (
    *("HTTP_PORT", "SMTP_PORT", "SUBMISSION_PORT", "SUBMISSIONS_PORT", "EGRESS_PORT", "RECEIVER_PORT", "SINK_PORT"),
    *("EMULATOR_PORT", "INVOKE_PORT"),
)
START_S = 60.0
END_S = 5.0
"""Within so much time Ctrl-C is to end everything."""
TERMINAL = ("delivered", "failed", "suppressed", "canceled")


def wait_until(condition: Callable[[], T], what: str, limit_s: float = 60.0, pause_s: float = 0.05) -> T:
    """Return what the condition returns once it is true; raises AssertionError when it is not in time."""
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"after {limit_s:.0f} s: not {what}"
        time.sleep(pause_s)
    return value


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, below those that systems give to outgoing connections."""
    found: set[int] = set()
    while len(found) < count:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.add(port)
    return list(found)


def free_port() -> int:
    """Return one of `free_ports`."""
    return free_ports(1)[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API: the status, and the JSON object."""

    status: int
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Login:
    """Who calls the API."""

    address: str = LOGIN
    key: str = KEY


class Installation:
    """One installation of local mode.

    folder: holds its state and its output. settings: variables beside those for ports and state, e.g. RETRY_BASE_S.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._begins = 0

    # --- the process

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables of the process: what `make serve` sets, and the ports."""
        paths = [ROOT, *(ROOT / part for part in ("layers/common", "egress", "local", "cli"))]
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ}
        ports = {name: str(port) for name, port in self.ports.items()}
        own = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "STATE": str(self.state)}
        return {**inherited, **own, **ports, **self._settings}

    @property
    def output(self) -> str:
        """Return what the present run has printed."""
        return (self.folder / "serve.log").read_bytes()[self._begins :].decode(errors="replace")

    def launch(self, settings: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start the process and do not wait."""
        log = self.folder / "serve.log"
        self._begins = log.stat().st_size if log.exists() else 0
        output: IO[bytes]
        with log.open("ab") as output:
            self._process = posix.spawn_group(
                [sys.executable, "-m", "egret_local"],
                environment={**self.environment, **(settings or {})},
                output=output,
            )
        return self._process

    def start(self, settings: Mapping[str, str] | None = None) -> None:
        """Start, and wait for the banner."""
        process = self.launch(settings)

        def is_up() -> bool:
            assert process.poll() is None, f"it ended with {process.returncode}: {self.output}"
            return "Egret runs." in self.output

        wait_until(is_up, "up", START_S)

    def interrupt(self) -> float:
        """Press Ctrl-C and wait for the end; return the seconds that took."""
        assert self._process is not None
        begun = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(30) == 0, self.output
        return time.monotonic() - begun

    def kill_supervisor(self) -> None:
        """Kill the head alone, so that the others are left."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def kill(self, name: str) -> None:
        """Kill -9 one of its processes."""
        posix.kill_group(self.processes()[name])

    def processes(self) -> dict[str, int]:
        """Return the process ids by name, as the supervisor has noted them."""
        entries = json.loads((self.state / "processes.json").read_text())
        return {entry["name"]: entry["pid"] for entry in entries}

    def left(self) -> list[str]:
        """Return the command lines of all processes that were started for this installation and live (Linux)."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(self.state).encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    def clean_up(self) -> None:
        """End whatever runs, whatever state it is in."""
        if self._process is not None:
            posix.request_group_end(self._process.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(40)
            posix.kill_group(self._process.pid)
            self._process.wait()
        clean_up(self.state / "processes.json")

    # --- the API

    def call(
        self, method: str, request: object, login: Login | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Call a method of the API; raises OSError when nobody answers."""
        status, body = self._request(method, request, login, headers)
        return Answer(status, json.loads(body))

    def raw(self, mail_id: int, login: Login | None = None) -> bytes:
        """Return a mail of the account's mailboxes as it is."""
        status, body = self._request("MessageRawGet", {"MsgID": mail_id}, login, None)
        assert status == 200, body
        return body

    def _request(
        self, method: str, request: object, login: Login | None, headers: Mapping[str, str] | None
    ) -> tuple[int, bytes]:
        who = login or Login()
        token = base64.b64encode(f"{who.address}:{who.key}".encode()).decode()
        body = urllib.parse.urlencode({"request": json.dumps(request)}).encode()
        url = f"http://127.0.0.1:{self.ports['HTTP_PORT']}/webapi/v0/{method}"
        fields = {"Authorization": f"Basic {token}", **(headers or {})}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, fields), timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def ask(self, method: str, request: object, login: Login | None = None) -> dict[str, Any]:
        """Call a method that must succeed; return its result."""
        answer = self.call(method, request, login)
        assert answer.status == 200, answer
        return answer.content

    def send(self, recipient: str, subject: str = "Test", login: Login | None = None) -> dict[str, Any]:
        """Send a message to one recipient; return the Submission with its MessageID."""
        request = {"To": [{"Address": recipient}], "Subject": subject, "Text": "Hello."}
        result = self.ask("Send", request, login)
        submission: dict[str, Any] = result["Submissions"][0]
        return submission | {"MessageID": result["MessageID"]}

    def delivery(self, queue_msg_id: int, login: Login | None = None) -> dict[str, Any]:
        """Return one delivery."""
        found: dict[str, Any] = self.ask("DeliveryGet", {"QueueMsgID": queue_msg_id}, login)["Delivery"]
        return found

    def await_delivery(
        self, queue_msg_id: int, condition: Callable[[dict[str, Any]], bool], login: Login | None = None
    ) -> dict[str, Any]:
        """Wait until a delivery is as wished; return it."""
        last: list[dict[str, Any]] = []

        def look() -> bool:
            last[:] = [self.delivery(queue_msg_id, login)]
            return condition(last[0])

        try:
            wait_until(look, "the delivery as wished", 90)
        except AssertionError as error:
            raise AssertionError(f"{error}: {json.dumps(last, indent=1)}") from None
        return last[0]

    def await_end(self, queue_msg_id: int, login: Login | None = None) -> dict[str, Any]:
        """Wait until a delivery is in a terminal state; return it."""
        return self.await_delivery(queue_msg_id, lambda found: found["State"] in TERMINAL, login)

    def pages(self, method: str, request: Mapping[str, object], field: str) -> Iterator[dict[str, Any]]:
        """Yield everything that a method lists."""
        cursor = ""
        while True:
            result = self.ask(method, {**request, "Cursor": cursor})
            yield from result[field]
            cursor = result["Cursor"]
            if not cursor:
                return

    def is_told(self, event: str, queue_msg_id: int) -> bool:
        """Tell whether the receiver has printed an event of a delivery."""
        lines = self.output.splitlines()
        return any(line.split()[:2] == ["webhook", event] and f"#{queue_msg_id}" in line.split() for line in lines)

    # --- the command line

    def cli(self, *arguments: str) -> Any:
        """Run `egret --local`; return the JSON that it prints."""
        command = [sys.executable, "-m", "egret_cli", "--local", "--state", str(self.state), "--json", *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)


@contextlib.contextmanager
def installed(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Installation]:
    """Run an installation for as long as the context is entered."""
    installation = Installation(folder, settings)
    try:
        installation.start()
        yield installation
    finally:
        installation.clean_up()
