"""An Exim of the test's own: takes mail for `exim.example`, and sends what it bounces back to us."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.peers.daemon import UNPACKED, daemon

PROGRAM = "exim4"
ADDRESS = "127.0.0.41"
HOST = "mx.exim.example"
DOMAIN = "exim.example"
GONE = f"gone@{DOMAIN}"
"""Accepted at RCPT, and unknown when the mail is to be delivered: its redirection fails."""
USER = "Debian-exim"

CONFIGURATION = """
exim_path = {program}
primary_hostname = {host}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
local_interfaces = {address}
daemon_smtp_ports = 25
tls_advertise_hosts =
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
acl_smtp_rcpt = rcpt
acl_smtp_data = data
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
never_users =
disable_ipv6
begin acl
rcpt:
  accept domains = {domain}
  deny message = relay not permitted
data:
  accept
begin routers
gone:
  driver = redirect
  domains = {domain}
  local_parts = gone
  allow_fail
  data = :fail: 550 5.1.1 No such user here any more
reports:
  driver = accept
  domains = {domain}
  senders = :
  condition = ${{if match{{$h_content-type:}}{{\\N^multipart/report;.*report-type="?delivery-status\\N}}}}
  transport = reports
local:
  driver = accept
  domains = {domain}
  transport = mailbox
back:
  driver = manualroute
  domains = ! {domain}
  transport = back
  route_data = 127.0.0.1
  self = send
begin transports
reports:
  driver = appendfile
  directory = {folder}/mail/reports
  maildir_format
  user = {user}
mailbox:
  driver = appendfile
  directory = {folder}/mail/mailbox
  maildir_format
  user = {user}
back:
  driver = smtp
  port = {back}
  allow_localhost
begin retry
* * F,1h,1m
"""


@dataclass(frozen=True, slots=True)
class Exim:
    """One that runs."""

    folder: Path

    def mails(self, mailbox: str) -> list[bytes]:
        """Return what was delivered; mailbox: `reports` for DSNs that Exim knew as such, `mailbox` for all else."""
        return [file.read_bytes() for file in sorted((self.folder / "mail" / mailbox / "new").glob("*"))]


@contextlib.contextmanager
def running_exim(back: int) -> Iterator[Exim]:
    """Run one for as long as the context is entered. back: port of 127.0.0.1 that takes what is not its own."""
    folder = Path(tempfile.mkdtemp(prefix="egret-exim-"))
    try:
        folder.chmod(0o755)
        for name in ("spool", "log", "mail"):
            (folder / name).mkdir()
            shutil.chown(folder / name, USER, USER)
        configuration = folder / "exim.conf"
        values = {"host": HOST, "domain": DOMAIN, "address": ADDRESS, "user": USER, "back": back}
        text = CONFIGURATION.format(program=UNPACKED / PROGRAM, folder=folder, **values)
        configuration.write_text(text)
        command = [str(UNPACKED / PROGRAM), "-C", str(configuration), "-bdf", "-q10s", "-oP", str(folder / "pid")]
        with daemon(command, ADDRESS, folder / "output", {"PATH": "/usr/bin:/bin"}):
            yield Exim(folder)
    finally:
        shutil.rmtree(folder)
