"""The text of API keys."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.apikey import PREFIX, RANDOM_BYTES, key_hash, key_text, looks_genuine

randoms = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


@given(randoms)
def test_a_key_looks_genuine(random: bytes) -> None:
    """A scanner finds every key by its prefix and can tell it from an accident by its checksum."""
    text = key_text(random)

    assert (text.startswith(PREFIX), len(text), text.isascii(), looks_genuine(text)) == (True, 50, True, True)


@given(randoms, randoms)
def test_keys_differ_as_their_random_octets_do(one: bytes, other: bytes) -> None:
    """No randomness is lost on the way into text."""
    assert (key_text(one) == key_text(other)) == (one == other)


@given(randoms, st.integers(3, 49), st.sampled_from("0aZ~"))
def test_a_typing_mistake_is_noticed(random: bytes, position: int, letter: str) -> None:
    """A changed character breaks the checksum."""
    text = key_text(random)
    changed = text[:position] + letter + text[position + 1 :]

    assert looks_genuine(changed) == (changed == text)


@pytest.mark.parametrize("text", ["", "eg_", "egretegret", "xx_" + "0" * 47, "eg_" + "ä" * 47])
def test_other_texts_do_not_look_genuine(text: str) -> None:
    """The form is exact."""
    assert looks_genuine(text) is False


def test_a_key_is_found_by_its_sha256() -> None:
    """The stored form is plain SHA-256, so that it can be computed anywhere."""
    assert key_hash("egretegret") == hashlib.sha256(b"egretegret").hexdigest()


def test_too_little_randomness_is_a_bug() -> None:
    """A short key is never made."""
    with pytest.raises(ValueError, match="30 random octets"):
        key_text(b"short")
