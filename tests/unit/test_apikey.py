"""The text of API keys."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.apikey import PREFIX, RANDOM_BYTES, key_hash, key_text

randoms = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


@given(randoms)
def test_a_key_has_one_form(random: bytes) -> None:
    """A scanner finds every key by its prefix and its length."""
    text = key_text(random)

    assert (text[:3], len(text), text.isascii(), text.isprintable()) == (PREFIX, 50, True, True)


def test_a_key_ends_with_the_checksum_of_its_body() -> None:
    """CRC-32 in base62, so that a scanner can tell a key from an accident."""
    zeros, counted = key_text(bytes(RANDOM_BYTES)), key_text(bytes(range(RANDOM_BYTES)))

    assert zeros == "eg_" + "0" * 41 + "4ejiA9"
    assert counted == "eg_000D37zwY9QluoiRsV2MqABbmpQ2Fiv87dRFrKcA905VlMf"


@given(randoms, randoms)
def test_keys_differ_as_their_random_octets_do(one: bytes, other: bytes) -> None:
    """No randomness is lost on the way into text."""
    assert (key_text(one) == key_text(other)) == (one == other)


def test_a_key_is_found_by_its_sha256() -> None:
    """The stored form is plain SHA-256, so that it can be computed anywhere."""
    assert key_hash("egretegret") == hashlib.sha256(b"egretegret").hexdigest()


def test_too_little_randomness_is_a_bug() -> None:
    """A short key is never made."""
    with pytest.raises(ValueError, match="30 random octets"):
        key_text(b"short")
