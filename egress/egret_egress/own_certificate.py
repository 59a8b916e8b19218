"""The certificate of our own SMTP servers: from files, or made here; renewed while connections go on.

Other servers encrypt to whatever certificate there is; only those who ask MTA-STS or DANE of us check it (RFC 7435).
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from egret.contracts.ports import Clock

log = logging.getLogger(__name__)

VALIDITY = timedelta(days=365)
RENEWED_BEFORE = timedelta(days=30)
"""The end of one that was made here."""
LOOKING_S = 3600.0
"""Between two looks at whether there is a newer one."""
_CN_CHARS = 64


class CertificateError(Exception):
    """The files cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files of a certificate with its chain, and of its key."""

    certificate: Path
    key: Path


@dataclass(slots=True)
class OwnCertificate:
    """One certificate for all servers of a unit. files: None = made here for the hostname.

    scratch: directory in which a key made here lies for a moment, None = the system's for such files. context: of every
    server; a newer certificate is loaded into it. Raises CertificateError.
    """

    hostname: str
    clock: Clock
    files: CertificateFiles | None = None
    scratch: Path | None = None
    context: ssl.SSLContext = field(init=False)
    _until: datetime = field(init=False)
    _seen: tuple[float, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        """Load the first."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._load()

    def renew(self) -> bool:
        """Load a newer certificate if there is one, or make it in time; tell whether. Raises CertificateError."""
        is_due = self._times() != self._seen if self.files is not None else self.clock.now() >= self._until
        if is_due:
            self._load()
        return is_due

    async def keep_renewing(self) -> None:
        """Look once an hour, for ever. What cannot be used is told in the log, and the old one stays."""
        while True:
            await asyncio.sleep(LOOKING_S)
            try:
                if self.renew():
                    log.info("the certificate was renewed")
            except CertificateError as error:
                log.error("the new certificate cannot be used", extra={"error": str(error)})  # noqa: TRY400 (says it all)

    def _times(self) -> tuple[float, ...]:
        files = (self.files.certificate, self.files.key) if self.files is not None else ()
        try:
            return tuple(path.stat().st_mtime for path in files)
        except OSError as error:
            raise CertificateError(str(error)) from error

    def _load(self) -> None:
        if self.files is None:
            now = self.clock.now()
            self._until = now + VALIDITY - RENEWED_BEFORE
            self._load_made(make(self.hostname, now))
            return
        seen = self._times()
        try:
            self.context.load_cert_chain(self.files.certificate, self.files.key)
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(f"{self.files.certificate} and {self.files.key}: {error}") from error
        self._seen = seen

    def _load_made(self, pem: bytes) -> None:
        # OpenSSL reads files only; this one is nobody else's, and is there for a moment.
        descriptor, name = tempfile.mkstemp(dir=self.scratch)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
            self.context.load_cert_chain(name)
        finally:
            Path(name).unlink()


def make(hostname: str, now: datetime) -> bytes:
    """Return a key and a self-signed certificate for a host name, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:_CN_CHARS])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
