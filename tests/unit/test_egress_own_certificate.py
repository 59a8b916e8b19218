"""The certificate that a unit makes for itself."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

from cryptography import x509

from egret_egress.own_certificate import FILE, RENEWED_BEFORE, VALIDITY, own_context
from tests.unit.builders import NOW


def test_it_is_made_once_and_anew_before_it_ends(tmp_path: Path) -> None:
    """Whoever was told to trust it is not asked again at each restart; another name needs another one."""
    made = []
    for hostname, now in (
        ("mail.egret.example", NOW),
        ("mail.egret.example", NOW + VALIDITY - RENEWED_BEFORE - timedelta(minutes=1)),
        ("mail.egret.example", NOW + VALIDITY - RENEWED_BEFORE + timedelta(minutes=1)),
        ("mx.egret.example", NOW + VALIDITY),
    ):
        own_context(tmp_path, hostname, now)
        made.append((tmp_path / FILE).read_bytes())

    assert made[0] == made[1]
    assert len(set(made)) == 3


def test_it_names_the_host_and_its_key_is_for_the_owner_alone(tmp_path: Path) -> None:
    """As names are looked for today: in the alternative names."""
    own_context(tmp_path, "localhost", NOW)
    path = tmp_path / FILE
    names = x509.load_pem_x509_certificate(path.read_bytes()).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )

    assert names.value.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(one) for one in names.value.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_none_is_replaced(tmp_path: Path) -> None:
    """A half-written or foreign one does not keep the unit from starting."""
    (tmp_path / FILE).write_bytes(b"-----BEGIN")
    own_context(tmp_path, "localhost", NOW)

    assert b"BEGIN CERTIFICATE" in (tmp_path / FILE).read_bytes()
