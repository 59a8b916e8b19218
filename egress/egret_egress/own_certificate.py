"""A certificate that the unit makes for itself: it encrypts, and proves nothing to who does not know it already."""

from __future__ import annotations

import ipaddress
import os
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

VALIDITY: Final = timedelta(days=3650)
RENEWED_BEFORE: Final = timedelta(days=30)
FILE: Final = "submission.pem"


def own_context(directory: Path, hostname: str, now: datetime) -> ssl.SSLContext:
    """Return the server's side of TLS, with the certificate in the directory; one is made where none fits any more.

    It stays the same over restarts, so that clients may be told to trust it.
    """
    path = directory / FILE
    if not _fits(path, hostname, now):
        _write(path, _made(hostname, now))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(path)
    return context


def _fits(path: Path, hostname: str, now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return False
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    is_ours = [name.value for name in names] == [hostname[:64]]
    return is_ours and now < certificate.not_valid_after_utc - RENEWED_BEFORE


def _made(hostname: str, now: datetime) -> bytes:
    """Return key and certificate as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    # In local mode it is connected to by address.
    local = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))] if hostname == "localhost" else []
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname), *local]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)


def _write(path: Path, pem: bytes) -> None:
    """Put the file in its place at once; only its owner may read it."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
    fresh.replace(path)
