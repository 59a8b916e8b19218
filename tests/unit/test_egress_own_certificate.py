"""The certificate of our own SMTP servers."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from egret.memory.clock import FakeClock
from egret_egress.own_certificate import (
    RENEWED_BEFORE,
    VALIDITY,
    CertificateError,
    CertificateFiles,
    OwnCertificate,
    make,
)

NOW = datetime.now(UTC).replace(microsecond=0)


def shown(context: ssl.SSLContext) -> x509.Certificate:
    """Return what a client of the context sees, without a network."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = context.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server)
    for _ in range(3):
        for side in (theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    der = theirs.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der)


def files_in(directory: Path, name: str, at: float) -> CertificateFiles:
    """Write a certificate as an operator does. at: when the files say that they were written."""
    files = CertificateFiles(directory / "cert.pem", directory / "key.pem")
    pem = make(name, NOW)
    end = pem.index(b"-----BEGIN CERTIFICATE")
    files.key.write_bytes(pem[:end])
    files.certificate.write_bytes(pem[end:])
    for path in (files.key, files.certificate):
        os.utime(path, (at, at))
    return files


def name_of(certificate: x509.Certificate) -> str:
    """Return the DNS name."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (name,) = names.get_values_for_type(x509.DNSName)
    return name


def test_one_is_made_for_the_hostname_and_anew_before_it_ends() -> None:
    """The servers' context stays the same."""
    clock = FakeClock(NOW)
    own = OwnCertificate("mx.example", clock)
    first = shown(own.context)
    assert name_of(first) == "mx.example"
    assert first.not_valid_before_utc < NOW < first.not_valid_after_utc == NOW + VALIDITY
    assert own.context.minimum_version == ssl.TLSVersion.TLSv1_2

    assert not own.renew()
    clock.advance(VALIDITY - RENEWED_BEFORE)
    assert own.renew()
    assert shown(own.context).not_valid_after_utc == first.not_valid_after_utc + VALIDITY - RENEWED_BEFORE


def test_a_hostname_may_be_longer_than_a_common_name() -> None:
    """It stands among the names."""
    name = ".".join(["x" * 50] * 3)
    assert name_of(shown(OwnCertificate(name, FakeClock(NOW)).context)) == name


def test_files_are_read_and_read_anew_when_they_change(tmp_path: Path) -> None:
    """Whoever renews them need not tell the unit."""
    own = OwnCertificate("mx.example", FakeClock(NOW), files_in(tmp_path, "one.example", 1000))
    assert name_of(shown(own.context)) == "one.example"
    assert not own.renew()
    files_in(tmp_path, "two.example", 2000)
    assert own.renew()
    assert name_of(shown(own.context)) == "two.example"


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """At the start; later the old certificate stays."""
    with pytest.raises(CertificateError, match=r"none\.pem"):
        OwnCertificate("mx.example", FakeClock(NOW), CertificateFiles(tmp_path / "none.pem", tmp_path / "none.pem"))
    files = files_in(tmp_path, "one.example", 1000)
    own = OwnCertificate("mx.example", FakeClock(NOW), files)
    files.certificate.write_text("nonsense")
    with pytest.raises(CertificateError, match=r"cert\.pem"):
        own.renew()
    assert name_of(shown(own.context)) == "one.example"


def test_a_key_made_here_is_left_nowhere(tmp_path: Path) -> None:
    """Its file is there for a moment, in the directory for it and in no other."""
    own = OwnCertificate("mx.example", FakeClock(NOW), scratch=tmp_path)
    assert name_of(shown(own.context)) == "mx.example"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        OwnCertificate("mx.example", FakeClock(NOW), scratch=tmp_path / "none")
