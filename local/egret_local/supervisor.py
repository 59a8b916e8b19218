"""Start everything in order, keep it running, end it in order."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from egret import posix
from egret.aws.app import App
from egret.usecases.replay import ReplayPorts, replay
from egret_local import emulator, resources, seed
from egret_local.processes import Child, Family, await_port, clean_up, taken
from egret_local.settings import HOST, REGION, SUBMIT_FUNCTION, LocalSettings
from egret_local.stack import Function, Names, Stack, read_stack

START_TIMEOUT_S = 30.0
GRACE_S = 2.0
"""Time for processes to end by themselves: Ctrl-C is to be done within 5 s. Only the emulator is given more."""
WATCH_PAUSE_S = 0.2
LEASE_S = 30
"""After this long an attempt is asked for again: short, so that a process that is killed holds nothing up for long."""
ANSWER_TIMEOUT_S = 5
"""How long the sink may be silent."""
EMULATOR = "emulator"
LOCK = "lock"
HOLDER = "pid"
"""Names whoever holds the lock: the lock itself cannot be read on every system."""
REPLAY_MARGIN = timedelta(minutes=1)


class CannotStart(Exception):
    """Local mode cannot run; the text says what to do."""


class _Ended(Exception):
    """Ctrl-C came while it was starting."""


class Supervisor:
    """One run of local mode."""

    def __init__(self, settings: LocalSettings, inherited: Mapping[str, str]) -> None:
        self._settings = settings
        self._inherited = inherited
        self._family = Family(settings.state / "logs", settings.state / "processes.json")
        self._ending = False

    def run(self) -> None:
        """Start, watch until `end` is called, stop. Raises CannotStart."""
        settings = self._settings
        settings.state.mkdir(parents=True, exist_ok=True)
        with _exclusive(settings):
            (settings.state / HOLDER).write_text(str(os.getpid()))
            for name in clean_up(settings.state / "processes.json"):
                print(f"ended {name}, left over from a run that was killed")
            _check_ports(settings)
            if settings.fresh:
                _forget(settings)
            (settings.state / "logs").mkdir(exist_ok=True)
            try:
                self._start()
                print(banner(settings), flush=True)
                self._watch()
            except _Ended:
                pass
            finally:
                self._family.end(GRACE_S, last=EMULATOR)
                # What listens on these ports next may be another checkout's, which is not for our commands.
                _environment_file(settings).unlink(missing_ok=True)

    def end(self) -> None:
        """Ask the run to stop."""
        self._ending = True

    def _watch(self) -> None:
        while not self._ending:
            for line in self._family.revive():
                print(line, flush=True)
            self._family.turn_logs()
            time.sleep(WATCH_PAUSE_S)

    def _start(self) -> None:
        settings = self._settings
        self._start_emulator()
        stack, names = _make_stack(settings)
        common = self._common(stack)
        self._go_on()
        resources.make(stack, names)
        _write_environment(settings, common)
        self._go_on()
        seed.seed(common, settings.receiver_url)
        self._go_on()
        self._catch_up(common)
        self._start_mail(common)
        for function in stack.functions.values():
            if function.sources or function.has_http or function.name == SUBMIT_FUNCTION:
                self._family.start(self._worker(function, common))
        http = [function.name for function in stack.functions.values() if function.has_http]
        servers = {
            settings.http_port: http,
            settings.egress_port: ["egress"],
            settings.smtp_port: ["egress"],
            settings.submission_port: ["egress"],
            settings.submissions_port: ["egress"],
            settings.invoke_port: [SUBMIT_FUNCTION],
            settings.receiver_port: ["receiver"],
        }
        for port, whose in servers.items():
            self._await(port, whose, f"nothing came up on port {port}: see {settings.state / 'logs'}")

    def _start_emulator(self) -> None:
        settings = self._settings
        try:
            self._family.start(Child(EMULATOR, emulator.command(settings), self._plain(emulator.environment(settings))))
        except OSError as error:
            raise CannotStart(f"the AWS emulator is not installed ({error}): make .venv-emulator/.ready") from error
        log = settings.state / "logs" / "emulator.log"
        self._await(settings.emulator_port, [EMULATOR], f"the AWS emulator did not start: see {log}")

    def _await(self, port: int, names: Sequence[str], otherwise: str) -> None:
        """Wait until somebody listens on a port; raises CannotStart with a sentence, and _Ended.

        names: the processes that may be the one to listen; when one of them ends, nobody waits for longer.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await_port(port, WATCH_PAUSE_S):
            self._go_on()
            if ended := self._family.ended(names):
                raise CannotStart(ended)
            if time.monotonic() > deadline:
                raise CannotStart(otherwise)

    def _go_on(self) -> None:
        if self._ending:
            raise _Ended

    def _start_mail(self, common: Mapping[str, str]) -> None:
        settings = self._settings
        receiver = [sys.executable, "-m", "egret_local.receiver", str(settings.receiver_port)]
        self._family.start(Child("receiver", receiver, self._plain({"STATE": str(settings.state)}), shows_output=True))
        if not settings.real:
            sink = [sys.executable, "-m", "egret_local.sink", str(settings.sink_port), str(settings.smtp_port)]
            self._family.start(Child("sink", sink, self._plain(common)))
        self._family.start(
            Child("egress", [sys.executable, "-m", "egret_egress"], self._plain({**common, **_egress(settings)}))
        )

    def _worker(self, function: Function, common: Mapping[str, str]) -> Child:
        spec = {**asdict(function), "environment": {}}
        environment = {**function.environment, **common, "EGRET_LOCAL_FUNCTION": json.dumps(spec)}
        command = [sys.executable, "-m", "egret_local.worker", function.name]
        return Child(function.name, command, self._plain(environment))

    def _common(self, stack: Stack) -> dict[str, str]:
        """Return what every process of ours has in its environment: the functions' variables, for this machine."""
        settings = self._settings
        variables: dict[str, str] = {}
        for function in stack.functions.values():
            variables |= {name: value for name, value in function.environment.items() if name.startswith("EGRET_")}
        return variables | {
            **resources.CREDENTIALS,
            **{name: str(port) for name, port in settings.ports.items()},
            "AWS_ENDPOINT_URL": settings.emulator_url,
            "EGRET_LOCAL": "1",
            "EGRET_PEDANTIC": "1",
            "EGRET_LOCAL_ROOT": str(settings.root),
            "STATE": str(settings.state),
            "SWEEP_S": str(settings.sweep_s),
            "EGRET_HOSTNAME": "localhost",
            "EGRET_RETRY_BASE_S": str(settings.retry_base_s),
            "EGRET_HINT_GRACE_S": "5",
            "EGRET_LEASE_S": str(LEASE_S),
            "EGRET_SETTINGS_KEEP_S": "1",  # who tries something out looks at once whether it works
        }

    def _plain(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return a complete environment: what a program needs of ours, and the variables."""
        kept = ("PATH", "HOME", "PYTHONPATH", "SYSTEMROOT", "LANG", "TMPDIR")
        return {name: self._inherited[name] for name in kept if name in self._inherited} | dict(variables)

    def _catch_up(self, common: Mapping[str, str]) -> None:
        """Tell events that were written but not told when the last run ended: the emulator's stream ends with it."""
        checkpoints = list(self._settings.state.glob("stream-*.json"))
        if not checkpoints:
            return
        last = max(path.stat().st_mtime for path in checkpoints)
        app = App.from_environment(common)
        ports = ReplayPorts(app.store, app.mailboxes, app.settings_writer, app.suppressions, app.call_queue, app.clock)
        replay(ports, datetime.fromtimestamp(last, UTC) - REPLAY_MARGIN)
        for path in checkpoints:
            path.unlink()


def _exclusive(settings: LocalSettings) -> posix.FileLock:
    try:
        return posix.FileLock(settings.state / LOCK)
    except BlockingIOError as error:
        holder = settings.state / HOLDER
        which = f" as process {holder.read_text()}" if holder.exists() else ""
        message = f"another `make serve` runs in {settings.state}{which}: end it, or choose another folder"
        raise CannotStart(f"{message} with STATE=<folder>") from error


def _check_ports(settings: LocalSettings) -> None:
    sentences = taken(settings.ports)
    if sentences:
        raise CannotStart("\n".join(sentences))


def _forget(settings: LocalSettings) -> None:
    """Remove the state of earlier runs, but not the lock that this run holds, nor who it is."""
    for path in settings.state.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (LOCK, HOLDER):
            path.unlink()


def _make_stack(settings: LocalSettings) -> tuple[Stack, Names]:
    master = _master(settings)

    def secret(reference: str) -> str:
        return hmac.new(master, reference.encode(), hashlib.sha256).hexdigest()

    text = (settings.root / "template.yaml").read_text()
    names = Names(settings.emulator_url, REGION, secret)
    path = settings.state / "kms.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    keys = resources.make_keys(read_stack(text, {}, names), settings.emulator_url, known)
    path.write_text(json.dumps(keys))
    names = Names(settings.emulator_url, REGION, secret, keys)
    return read_stack(text, {"Hostname": "localhost"}, names), names


def _master(settings: LocalSettings) -> bytes:
    """Return the secret that stands for AWS's generated ones; it survives restarts like the data signed with it."""
    path = settings.state / "secret"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
    return path.read_bytes()


def _environment_file(settings: LocalSettings) -> Path:
    """Return the file by which the command line finds a running installation."""
    return settings.state / "environment.json"


def _write_environment(settings: LocalSettings, common: Mapping[str, str]) -> None:
    """Leave what the command line needs to reach this installation; only its owner may read the secrets in it."""
    path = _environment_file(settings)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(dict(common), file)
    fresh.replace(path)


def _egress(settings: LocalSettings) -> dict[str, str]:
    variables = {
        "EGRET_EGRESS_BIND": f"{HOST}:{settings.egress_port}",
        "EGRET_EGRESS_URL": f"http://{HOST}:{settings.egress_port}",
        "EGRET_SMTP_LISTEN": f"{HOST}:{settings.smtp_port}",
        "EGRET_SUBMISSION_LISTEN": f"{HOST}:{settings.submission_port}",
        "EGRET_SUBMISSIONS_LISTEN": f"{HOST}:{settings.submissions_port}",
        "EGRET_SUBMIT_FUNCTION": SUBMIT_FUNCTION,
        "AWS_ENDPOINT_URL_LAMBDA": settings.invoke_url,
        "EGRET_JOURNAL_DIR": str(settings.state / "journal"),
        "EGRET_ROUTE": "direct",
    }
    if not settings.real:
        variables |= {
            "EGRET_LOCAL_SINK": f"{HOST}:{settings.sink_port}",
            "EGRET_ANSWER_TIMEOUT_S": str(ANSWER_TIMEOUT_S),
        }
    if settings.resolver:
        variables["EGRET_RESOLVER"] = settings.resolver
    if settings.shaping:
        variables["EGRET_SHAPING"] = settings.shaping
    return variables


def swaks(settings: LocalSettings) -> str:
    """Return a command that submits a message."""
    login = f"-tls -au {seed.LOGIN} -ap {seed.KEY}"
    return f"swaks -s {HOST}:{settings.submission_port} {login} -f {seed.LOGIN} -t ann@example.net"


def banner(settings: LocalSettings) -> str:
    """Return what is printed once everything runs."""
    request = '{"To": [{"Address": "ann@example.net"}], "Subject": "Hello", "Text": "It works."}'
    where = "real MX hosts" if settings.real else "the sender's own mailbox, unless the address asks for a failure"
    return f"""
Egret runs. Ctrl-C ends it; its state stays in {settings.state}.

  API       {settings.api_url}    account {seed.LOGIN}, key {seed.KEY}
  SMTP      {HOST}:{settings.submission_port} (STARTTLS), {HOST}:{settings.submissions_port} (TLS), with the same login
  SMTP in   {HOST}:{settings.smtp_port}    egress {HOST}:{settings.egress_port}/healthz
  mail to   {where}

Send a message:

  curl -u {seed.LOGIN}:{seed.KEY} {settings.api_url}Send --data-urlencode 'request={request}'

Or by SMTP:

  {swaks(settings)}

Webhook events are printed here as they come.
"""
