"""Certificates made for a test."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.UTC)


class Certificate:
    """A self-signed certificate for 127.0.0.1 or another name, in files."""

    def __init__(self, directory: Path, name: str = "127.0.0.1") -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(NOW - datetime.timedelta(days=1))
            .not_valid_after(NOW + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([_general_name(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.path = directory / f"{name}.pem"
        self.path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )

    def server(self) -> ssl.SSLContext:
        """Return the server's side."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        return context

    def trusting(self) -> ssl.SSLContext:
        """Return the side of a client that trusts it."""
        return ssl.create_default_context(cafile=str(self.path))


class Identity:
    """A key with a certificate, below an issuer or self-signed; for a DNS name, or for 127.0.0.1 and the like.

    now: in the middle of its two days. path_length: authorities allowed below an authority. others: further names.
    """

    def __init__(
        self,
        name: str,
        now: datetime.datetime = NOW,
        *,
        issuer: Identity | None = None,
        is_authority: bool = False,
        path_length: int | None = None,
        key: Any = None,
        others: Sequence[str] = (),
    ) -> None:
        self.key: Any = key or ec.generate_private_key(ec.SECP256R1())
        self.issuer = issuer
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        signer = self.key if issuer is None else issuer.key
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer.certificate.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, path_length), critical=True)
        )
        if not is_authority:
            names = [_general_name(each) for each in (name, *others)]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        self.certificate: x509.Certificate = builder.sign(signer, algorithm)

    @property
    def der(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """The certificate as text."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def chain_pem(self) -> bytes:
        """Return key, certificate and those above it, as a server's file has them."""
        private = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return bytes(private + b"".join(identity.pem for identity in self._upwards()))

    def _upwards(self) -> list[Identity]:
        return [self] if self.issuer is None else [self, *self.issuer._upwards()]

    def server(self, directory: Path) -> ssl.SSLContext:
        """Return the side of a server that presents the whole chain. directory: for its file."""
        path = directory / f"{self.certificate.serial_number}.pem"
        path.write_bytes(self.chain_pem())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def trusting(self) -> ssl.SSLContext:
        """Return the side of a client that trusts it."""
        return ssl.create_default_context(cadata=self.pem.decode())


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
