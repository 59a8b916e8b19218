"""Subkeys of the installation's secret."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from egret.core.secrets import derive, fromid_keys, subkey

SECRET = "0123456789abcdef0123456789abcdef"


def test_every_purpose_has_its_own_key() -> None:
    """A token for one purpose says nothing about another's."""
    secrets = derive(SECRET, fromid_keys(SECRET))

    assert len({secrets.fromid.keys[0], secrets.message_id[0], secrets.cursor}) == 3


def test_the_same_secret_gives_the_same_keys() -> None:
    """Every process of an installation reads what any other minted."""
    assert derive(SECRET, fromid_keys(SECRET)) == derive(SECRET, fromid_keys(SECRET))


def test_subkeys_are_those_of_hkdf() -> None:
    """The first block of HKDF-Expand with SHA-256 (RFC 5869 section 2.3), as another implementation computes it."""
    judge = HKDFExpand(SHA256(), 32, b"cursor")

    assert subkey(SECRET.encode(), "cursor") == judge.derive(SECRET.encode())


def test_a_short_secret_is_refused() -> None:
    """A secret that can be guessed protects nothing."""
    with pytest.raises(ValueError, match="16 characters"):
        derive("short", fromid_keys(SECRET))
    with pytest.raises(ValueError, match="16 characters"):
        fromid_keys("short")
