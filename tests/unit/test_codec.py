"""Compression of what the table stores."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.aws import codec
from egret.aws.dictionary import DICTIONARIES
from egret.core.errors import ContractError

RELEASED = {1: "c98cba2c65dbf51523686c8b11b1fbc5e1385cfe4aa28e06ec7fdf1c196ccfcd"}
"""SHA-256 of each dictionary: changing one would make what was stored with it unreadable."""


@given(st.binary(max_size=3000))
def test_decode_is_the_inverse_of_encode(raw: bytes) -> None:
    """Whatever the bytes, they come back."""
    assert raw == codec.decode(codec.encode(raw))


@given(st.binary(max_size=300), st.integers(0, 300))
def test_decode_is_the_inverse_at_any_threshold(raw: bytes, size_bytes: int) -> None:
    """Plain and deflated forms are told apart by their first byte."""
    assert raw == codec.decode(codec.encode_above(raw, size_bytes))


@given(st.binary(max_size=300))
def test_encoding_costs_one_byte_at_most(raw: bytes) -> None:
    """What does not compress is stored as it stands."""
    assert len(codec.encode(raw)) <= len(raw) + 1


@given(st.binary(max_size=200))
def test_decode_raises_nothing_but_contract_error(stored: bytes) -> None:
    """Bytes that nobody encoded are an error of the contract, not a crash."""
    try:
        codec.decode(stored)
    except ContractError:
        return
    assert stored[0] in (codec.PLAIN, *DICTIONARIES)


@pytest.mark.parametrize("version", [codec.CURRENT + 1, 255])
def test_unknown_form_is_a_contract_error(version: int) -> None:
    """A value of a later release says so, by its number."""
    with pytest.raises(ContractError, match=str(version)):
        codec.decode(bytes((version,)) + b"whatever")


def test_truncated_value_is_a_contract_error() -> None:
    """Half a value is not taken for a whole one."""
    stored = codec.encode(b"Content-Type: text/plain; charset=utf-8\r\n" * 20)

    for length in range(len(stored)):
        with pytest.raises(ContractError):
            codec.decode(stored[:length])


def test_what_follows_a_value_is_a_contract_error() -> None:
    """Bytes after the end are noticed."""
    stored = codec.encode(b"Content-Type: text/plain; charset=utf-8\r\n" * 20)

    with pytest.raises(ContractError):
        codec.decode(stored + b"x")


def test_released_dictionaries_are_unchanged() -> None:
    """Every dictionary is the one that values were stored with."""
    assert {number: hashlib.sha256(octets).hexdigest() for number, octets in DICTIONARIES.items()} == RELEASED


def test_dictionary_shortens_the_headers_of_a_small_message() -> None:
    """What every message has costs little: the reason for the dictionary."""
    headers = (
        b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nHello"
    )

    assert len(codec.encode(headers)) < len(headers) / 3
