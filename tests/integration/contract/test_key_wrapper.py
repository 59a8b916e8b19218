"""The contract of `KeyWrapper`: what is wrapped can be read by us only, for the purpose it was wrapped for."""

from __future__ import annotations

import os

import pytest

from egret.core.errors import ContractError
from tests.integration.contract.backends import Backend

RSA_KEY = os.urandom(1218)
"""As long as an RSA-2048 key, PKCS8 DER."""


@pytest.mark.parametrize("plain", [RSA_KEY, b"\x00"], ids=["key", "octet"])
def test_unwrapping_gives_the_plaintext(backend: Backend, plain: bytes) -> None:
    """And the ciphertext does not show it."""
    wrapped = backend.wrapper.wrap(plain, "example.com")

    assert plain == backend.wrapper.unwrap(wrapped, "example.com")
    assert RSA_KEY not in wrapped


def test_context_is_bound(backend: Backend) -> None:
    """The key of one domain cannot be passed off as another's."""
    wrapped = backend.wrapper.wrap(RSA_KEY, "example.com")

    with pytest.raises(ContractError):
        backend.wrapper.unwrap(wrapped, "example.net")


@pytest.mark.parametrize("wrapped", [b"", b"short", os.urandom(300)], ids=["empty", "short", "noise"])
def test_foreign_bytes_are_refused(backend: Backend, wrapped: bytes) -> None:
    """Whatever they are."""
    with pytest.raises(ContractError):
        backend.wrapper.unwrap(wrapped, "example.com")


def test_damage_is_noticed(backend: Backend) -> None:
    """One changed bit at the end."""
    if backend.name == "ministack":
        pytest.skip("its KMS does not authenticate what it encrypts")
    wrapped = backend.wrapper.wrap(RSA_KEY, "example.com")

    with pytest.raises(ContractError):
        backend.wrapper.unwrap(wrapped[:-1] + bytes([wrapped[-1] ^ 1]), "example.com")
