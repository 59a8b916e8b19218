"""A fromid says who it belongs to, in any case of letters, and cannot be made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.fromid import LENGTH, FromId, FromIdKeys, Purpose, mint, verify
from egret.core.ids import MAX_ID

KEYS = FromIdKeys({3: b"three", 4: b"four"}, 4)
accounts = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=8, max_size=8)
delivery_ids = st.integers(0, MAX_ID)


@given(accounts, delivery_ids)
def test_what_was_minted_is_verified(account: str, delivery_id: int) -> None:
    """Account and delivery come back, also when a relay changed the case."""
    text = mint(KEYS, account, delivery_id)

    assert len(text) == LENGTH
    assert FromId(account, delivery_id) == verify(KEYS, text) == verify(KEYS, text.upper())


@given(accounts, delivery_ids, st.integers(0, LENGTH - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_changed_character_is_refused(account: str, delivery_id: int, position: int, letter: str) -> None:
    """No single character can be replaced by another."""
    text = mint(KEYS, account, delivery_id)
    forged = text[:position] + letter + text[position + 1 :]

    assert (forged == text) == (verify(KEYS, forged) is not None)


@given(accounts, delivery_ids)
def test_an_address_of_one_purpose_is_none_of_another(account: str, delivery_id: int) -> None:
    """Who knows where bounces go cannot unsubscribe with it, nor the other way round."""
    bounce, unsubscribe = mint(KEYS, account, delivery_id), mint(KEYS, account, delivery_id, Purpose.UNSUBSCRIBE)

    assert FromId(account, delivery_id) == verify(KEYS, unsubscribe, Purpose.UNSUBSCRIBE)
    assert (verify(KEYS, unsubscribe), verify(KEYS, bounce, Purpose.UNSUBSCRIBE)) == (None, None)


@given(st.text(max_size=40))
def test_any_text_is_answered(text: str) -> None:
    """Whatever stands before the @ of a RCPT, it is judged without an exception."""
    assert verify(KEYS, text) is None


def test_a_former_key_still_verifies_and_a_retired_one_does_not() -> None:
    """Replacing the key loses no DSN until the former key is taken out."""
    text = mint(FromIdKeys({3: b"three"}, 3), "abcdefgh", 7)

    assert FromId("abcdefgh", 7) == verify(KEYS, text)
    assert verify(FromIdKeys({4: b"four"}, 4), text) is None


def test_an_id_beyond_the_range_is_a_bug() -> None:
    """Minting never cuts an id silently."""
    with pytest.raises(ValueError, match="2\\^53"):
        mint(KEYS, "abcdefgh", MAX_ID + 1)
