"""The peers of the egress benchmark, all into the same sink: smtp-source, Postfix as a relay, aiosmtplib."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from bench.egress_mail import Letter
from bench.egress_unit import CONNECTIONS
from egret.posix import loop_factory
from tests.peers.postfix import SERVICES, Postfix

SINK: Final = "127.0.0.77"
SINK_PORT: Final = 25
RELAY: Final = ("127.0.0.78", 2525)
BEHIND_S: Final = 180.0


def program(name: str) -> str:
    """Return the path of one of Postfix's test programs."""
    return shutil.which(name) or f"/usr/sbin/{name}"


def wait_for_port(address: tuple[str, int]) -> None:
    """Wait until somebody listens. Raises TimeoutError."""
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(address, timeout=1).close()
        except OSError:
            if time.monotonic() > until:
                raise TimeoutError(f"nobody listens on {address[0]}:{address[1]}") from None
            time.sleep(0.05)
        else:
            return


@contextmanager
def sink() -> Iterator[int]:
    """Run smtp-sink, which takes everything and keeps nothing; yields its pid."""
    process = subprocess.Popen([program("smtp-sink"), "-u", "nobody", "-m", "2000", f"{SINK}:{SINK_PORT}", "1000"])
    try:
        wait_for_port((SINK, SINK_PORT))
        time.sleep(0.2)
        if process.poll() is not None:
            raise RuntimeError(f"smtp-sink does not run: does another benchmark have {SINK}:{SINK_PORT}?")
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def source(count: int, size_bytes: int, target: tuple[str, int]) -> float:
    """Send with smtp-source; return the seconds it took. Raises CalledProcessError."""
    to = f"{target[0]}:{target[1]}"
    wanted = ["-d", "-s", str(CONNECTIONS), "-m", str(count), "-l", str(size_bytes)]
    started = time.monotonic()
    subprocess.run(
        [program("smtp-source"), *wanted, "-f", "orders@shop.example.com", "-t", "ann@d0.example", to], check=True
    )
    return time.monotonic() - started


class Relay(Postfix):
    """A Postfix that takes mail from this machine and brings all of it to the sink, over as many connections."""

    def set_up(self) -> None:
        """Write its configuration."""
        config = self.folder / "config"
        config.mkdir()
        for name in ("queue", "data"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        _, *services = SERVICES.strip().splitlines()
        first = f"{RELAY[0]}:{RELAY[1]} inet n - n - -  smtpd"
        (config / "master.cf").write_text("\n".join([first, *services]) + "\n")
        (config / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in self._relaying().items()))

    def _relaying(self) -> dict[str, str]:
        return {
            **self.private(),
            "myhostname": "relay.example",
            "mynetworks": "127.0.0.0/8",
            "relayhost": f"[{SINK}]:{SINK_PORT}",
            "default_destination_concurrency_limit": str(CONNECTIONS),
            "initial_destination_concurrency": str(CONNECTIONS),
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
        }

    def sent(self) -> int:
        """Return how many messages its log says were sent."""
        return sum("status=sent" in line for line in self.log)


@contextmanager
def relay() -> Iterator[Relay]:
    """Run a private Postfix. Its daemons are not root: its folder is open to all."""
    folder = Path(tempfile.mkdtemp(prefix="egret-relay-"))
    folder.chmod(0o755)
    postfix = Relay(folder)
    try:
        postfix.set_up()
        postfix.run("start")
        wait_for_port(RELAY)
        yield postfix
    finally:
        postfix.stop()
        shutil.rmtree(folder)


def through_postfix(count: int, size_bytes: int) -> float:
    """Give Postfix messages with smtp-source; return the seconds until it has sent the last one on."""
    with relay() as postfix:
        started = time.monotonic()
        source(count, size_bytes, RELAY)
        while postfix.sent() < count:
            if time.monotonic() - started > BEHIND_S:
                raise TimeoutError(f"Postfix sent {postfix.sent()} of {count}")
            time.sleep(0.1)
        return time.monotonic() - started


def aiosmtplib(mail: Sequence[Letter]) -> float:
    """Send with aiosmtplib on uvloop, in a process of its own; return the seconds it took."""
    context = get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_aiosmtplib, args=(mail, theirs))
    process.start()
    theirs.close()
    try:
        return float(ours.recv())
    finally:
        process.join(30)


def _aiosmtplib(mail: Sequence[Letter], pipe: Any) -> None:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        pipe.send(runner.run(_send_all(list(mail))))


async def _send_all(mail: list[Letter]) -> float:
    from aiosmtplib import SMTP  # noqa: PLC0415

    clients = [SMTP(hostname=SINK, port=SINK_PORT, start_tls=False) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(client.connect() for client in clients))
    started = time.monotonic()
    mail.reverse()
    await asyncio.gather(*(_send_some(client, mail) for client in clients))
    elapsed_s = time.monotonic() - started
    await asyncio.gather(*(client.quit() for client in clients))
    return elapsed_s


async def _send_some(client: Any, mail: list[Letter]) -> None:
    while mail:
        letter = mail.pop()
        await client.sendmail(letter.reverse_path, [letter.forward_path], letter.content)
