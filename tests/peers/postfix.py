"""A Postfix of the test's own: its configuration, queue and data lie in one folder, no other instance is touched."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from egret import posix
from tests.e2e.installation import wait_until

PROGRAM = shutil.which("postfix") or "/usr/sbin/postfix"
ADDRESS = "127.0.0.25"
HOST = "mx.remote.example"
DOMAIN = "remote.example"
REPORTS = "reports"
MIME_CHECKS = r"regexp:{{{{/^Content-Type: message\/(global-)?delivery-status/ INFO {}}}}}"
SEEN = "a report within"
"""What it logs of a mail in which its MIME parser finds a DSN."""
MAILBOXES = (
    *("ann", "bob", "later", "secret", "jürgen", "jörg", "plain", "submitted", "held", "swaks", REPORTS),
    *(f"many{number}" for number in range(1, 6)),
)
GONE = "gone"
"""Accepted at RCPT, and unknown when the mail is to be delivered: its alias leads nowhere."""

SERVICES = """
%s:25 inet n - n - -  smtpd
cleanup   unix  n - n -     0  cleanup
qmgr      unix  n - n 300   1  qmgr
tlsmgr    unix  - - n 1000? 1  tlsmgr
rewrite   unix  - - n -     -  trivial-rewrite
bounce    unix  - - n -     0  bounce
defer     unix  - - n -     0  bounce
trace     unix  - - n -     0  bounce
verify    unix  - - n -     1  verify
proxymap  unix  - - n -     -  proxymap
smtp      unix  - - n -     -  smtp
showq     unix  n - n -     -  showq
error     unix  - - n -     -  error
retry     unix  - - n -     -  error
virtual   unix  - n n -     -  virtual
anvil     unix  - - n -     1  anvil
scache    unix  - - n -     1  scache
postlog   unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True, slots=True)
class Mail:
    """One stored mail, with CRLF line ends, the headers of its way included."""

    content: bytes


class Postfix:
    """The remote mail server: takes mail for `remote.example` on port 25 of a loopback address.

    overrides: settings of main.cf that are to be other than usual; {config} stands for its folder.
    """

    def __init__(self, folder: Path, address: str = ADDRESS, overrides: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.address = address
        self._overrides = overrides or {}
        self._config = folder / "config"

    @property
    def log(self) -> list[str]:
        """Return the lines of its log."""
        path = self.folder / "log"
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def configure(self, transports: Mapping[str, str], access_port: int) -> None:
        """Write its configuration.

        transports: next hops by domain, such as `smtp:[127.0.0.1]:1025`. access_port: of the table asked at RCPT.
        """
        self._config.mkdir()
        for name in ("queue", "data", "mail"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        shutil.chown(self.folder / "mail", "postfix", "postfix")
        _make_certificate(self._config / "tls.pem")
        (self._config / "master.cf").write_text(SERVICES % self.address)
        overrides = {name: value.replace("{config}", str(self._config)) for name, value in self._overrides.items()}
        settings = {**self._settings(transports, access_port), **overrides}
        lines = [f"{name} = {value}" for name, value in settings.items()]
        (self._config / "main.cf").write_text("\n".join(lines) + "\n")

    def private(self) -> dict[str, str]:
        """Return what keeps an instance to itself: folders of its own, this machine only, no mailbox and no DNS."""
        return {
            "compatibility_level": "3.6",
            "queue_directory": f"{self.folder}/queue",
            "data_directory": f"{self.folder}/data",
            "maillog_file": f"{self.folder}/log",
            "maillog_file_prefixes": str(self.folder),
            "inet_interfaces": "127.0.0.1",  # of our address it would say that no interface has it
            "inet_protocols": "ipv4",
            "mydestination": "",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            "smtp_dns_support_level": "disabled",
        }

    def _settings(self, transports: Mapping[str, str], access_port: int) -> dict[str, str]:
        user, group = pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postfix").gr_gid
        return {
            **self.private(),
            "myhostname": HOST,
            "mynetworks": "",
            "virtual_mailbox_domains": DOMAIN,
            "virtual_mailbox_base": f"{self.folder}/mail",
            "virtual_mailbox_maps": _inline({f"{name}@{DOMAIN}": f"{name}/" for name in MAILBOXES}),
            "virtual_alias_maps": _inline({f"{GONE}@{DOMAIN}": f"nobody@{DOMAIN}"}),
            "virtual_uid_maps": f"static:{user}",
            "virtual_gid_maps": f"static:{group}",
            "virtual_minimum_uid": "1",
            "transport_maps": _inline(transports),
            "smtpd_relay_restrictions": "reject_unauth_destination",
            "smtpd_recipient_restrictions": f"check_recipient_access socketmap:inet:127.0.0.1:{access_port}:access",
            "mime_header_checks": MIME_CHECKS.format(SEEN),
            "smtpd_tls_security_level": "may",
            "smtpd_tls_chain_files": f"{self._config}/tls.pem",
            "smtpd_tls_received_header": "yes",
        }

    def present(self, chain_pem: bytes) -> None:
        """Write key and certificates to where `smtpd_tls_chain_files = {config}/chain.pem` finds them."""
        path = self._config / "chain.pem"
        path.write_bytes(chain_pem)
        path.chmod(0o600)

    def add(self, name: str, text: str) -> None:
        """Write a file into the configuration's folder. name: may lie in a folder of it."""
        path = self._config / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def run(self, *arguments: str) -> None:
        """Run `postfix` on this instance; raises AssertionError with its words when it fails."""
        done = subprocess.run(
            [PROGRAM, "-c", str(self._config), *arguments], capture_output=True, check=False, timeout=60
        )
        assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace") + "\n".join(self.log)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        assert not self._is_listening(), f"another server, left over or not, listens on {self.address}:25"
        self.run("start")
        wait_until(self._is_listening, "listening")

    def _is_listening(self) -> bool:
        try:
            socket.create_connection((self.address, 25), timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Stop it and wait until its master is gone."""
        pid = self._pid()
        if pid == 0:
            return
        self.run("stop")
        wait_until(lambda: not posix.is_alive(pid), "gone")

    def _pid(self) -> int:
        try:
            return int((self.folder / "queue" / "pid" / "master.pid").read_text())
        except (OSError, ValueError):
            return 0

    def mails(self, mailbox: str) -> list[Mail]:
        """Return what was delivered into a mailbox."""
        files = sorted((self.folder / "mail" / mailbox / "new").glob("*"))
        return [Mail(file.read_bytes().replace(b"\n", b"\r\n")) for file in files]


def _inline(entries: Mapping[str, str]) -> str:
    return "inline:{" + ", ".join(f"{{{key} = {value}}}" for key, value in entries.items()) + "}"


def _make_certificate(path: Path) -> None:
    """Write a key and a certificate that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    path.chmod(0o600)


@contextlib.contextmanager
def running_postfix(
    transports: Mapping[str, str],
    access_port: int,
    *,
    address: str = ADDRESS,
    overrides: Mapping[str, str] | None = None,
    chain_pem: bytes = b"",
    files: Mapping[str, str] | None = None,
) -> Iterator[Postfix]:
    """Run one for as long as the context is entered. Its daemons are not root: its folder is open to all.

    overrides: see `Postfix`. chain_pem: for `Postfix.present`. files: for `Postfix.add`, by name.
    """
    folder = Path(tempfile.mkdtemp(prefix="egret-postfix-"))
    folder.chmod(0o755)
    postfix = Postfix(folder, address, overrides)
    try:
        postfix.configure(transports, access_port)
        postfix.present(chain_pem)
        for name, text in (files or {}).items():
            postfix.add(name, text)
        postfix.start()
        yield postfix
    finally:
        postfix.stop()
        shutil.rmtree(folder)


def is_possible() -> bool:
    """Tell whether this machine can run one: port 25 and the change of user need root."""
    return os.name == "posix" and os.geteuid() == 0 and Path(PROGRAM).exists()
