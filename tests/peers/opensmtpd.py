"""An OpenSMTPD of the test's own: takes mail for `osmtpd.example`, and sends what it bounces back to us.

The paths of its spool and its control socket are built into it: it is the only one on the machine.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.peers.daemon import UNPACKED, daemon
from tests.peers.sinks import free_port

PROGRAM = "smtpd"
ADDRESS = "127.0.0.42"
HOST = "mx.osmtpd.example"
DOMAIN = "osmtpd.example"
GONE = f"gone@{DOMAIN}"
"""Accepted at RCPT, and refused by the server behind it."""
SPOOL = Path("/var/spool/smtpd")
CHROOT = Path("/var/lib/opensmtpd/empty")

CONFIGURATION = """
listen on {address} port 25 hostname {host}
action "behind" relay host smtp://127.0.0.1:{behind}
action "back" relay host smtp://127.0.0.1:{back}
match from any for domain "{domain}" action "behind"
match from any for any action "back"
"""


class Behind:
    """The server behind it: keeps mail for everybody but one."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []

    async def handle_RCPT(  # noqa: N802 (aiosmtpd's name)
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Refuse the one who is gone."""
        if address == GONE:
            return "550 5.1.1 No such user here any more"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Keep it."""
        assert isinstance(envelope.original_content, bytes)
        self.mails.append(envelope.original_content)
        return "250 2.0.0 kept"


@dataclass(frozen=True, slots=True)
class OpenSmtpd:
    """One that runs, and the server behind it."""

    behind: Behind


@contextlib.contextmanager
def running_opensmtpd(back: int) -> Iterator[OpenSmtpd]:
    """Run one for as long as the context is entered. back: port of 127.0.0.1 that takes what is not its own."""
    folder = Path(tempfile.mkdtemp(prefix="egret-osmtpd-"))
    behind = Behind()
    controller = Controller(behind, hostname="127.0.0.1", port=free_port("127.0.0.1"))
    controller.start()
    try:
        CHROOT.mkdir(parents=True, exist_ok=True)
        SPOOL.mkdir(mode=0o711, exist_ok=True)
        values = {"host": HOST, "domain": DOMAIN, "address": ADDRESS, "behind": controller.port, "back": back}
        configuration = folder / "smtpd.conf"
        configuration.write_text(CONFIGURATION.format(**values))
        configuration.chmod(0o600)
        # It runs itself again for each of its parts, by the name that it was called by.
        environment = {"PATH": f"{UNPACKED}:/usr/sbin:/usr/bin:/bin"}
        command = [str(UNPACKED / PROGRAM), "-d", "-v", "-f", str(configuration)]
        with daemon(command, ADDRESS, folder / "output", environment):
            yield OpenSmtpd(behind)
    finally:
        controller.stop()
        shutil.rmtree(folder)
        shutil.rmtree(SPOOL, ignore_errors=True)
