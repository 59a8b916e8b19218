"""A token says who wants no more mail of which account, to us alone, and nobody else makes one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.address import Address
from egret.core.fromid import FromIdKeys
from egret.core.ids import MAX_ID
from egret.core.unsubscribe import Wish, keys_of, mailbox_of, seal, unseal, wishes_in

FROMIDS = FromIdKeys({3: b"three", 4: b"four"}, 4)
KEYS = keys_of(FROMIDS)
LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
LONGEST = str(Address('"' * 64, ".".join(["a" * 62] * 4)))
wishes = st.builds(
    Wish,
    st.text(LETTERS, min_size=8, max_size=8),
    st.integers(0, MAX_ID),
    st.sampled_from(["ann@example.net", "jörg@xn--bcher-kva.example", LONGEST, "a@b"]),
)
WISH = Wish("abcdefgh", 1 << 40, "ann@example.net")


@given(wishes)
def test_what_was_sealed_is_unsealed(wish: Wish) -> None:
    """In any case of letters; the text is fit for a URL, for a subject, and for the line of a header."""
    token = seal(KEYS, wish)

    assert wish == unseal(KEYS, token) == unseal(KEYS, token.upper())
    assert re.fullmatch(r"[a-z2-7]{45,800}", token)
    assert list(wishes_in(KEYS, f"Re: unsubscribe {token.title()} now, {'a' * 60}")) == [wish]


@given(wishes, st.data())
def test_a_changed_token_is_refused(wish: Wish, data: st.DataObject) -> None:
    """No character but the last, which has bits to spare, can be replaced, and none be left out or added."""
    token = seal(KEYS, wish)
    position = data.draw(st.integers(0, len(token) - 2))
    letter = data.draw(st.sampled_from(LETTERS.replace(token[position], "")))

    assert unseal(KEYS, token[:position] + letter + token[position + 1 :]) is None
    assert unseal(KEYS, token[:position] + token[position + 1 :]) is None
    assert unseal(KEYS, f"{token}a") in (None, wish)


@given(st.text(max_size=100) | st.text(LETTERS, max_size=2000))
def test_any_text_is_answered(text: str) -> None:
    """Whatever stands in a URL or a subject."""
    assert unseal(KEYS, text) is None
    assert list(wishes_in(KEYS, text)) == []


def test_a_token_hides_the_address() -> None:
    """It stands in logs; nothing of the address, and nothing of another installation's, can be read from it."""
    one, other = seal(KEYS, WISH), seal(KEYS, Wish(WISH.account, WISH.delivery_id, "bob@example.net"))

    assert sum(a == b for a, b in zip(one, other, strict=True)) < len(one) / 4
    assert unseal(keys_of(FromIdKeys({0: b"another"}, 0)), one) is None


def test_old_keys_still_open_what_they_sealed() -> None:
    """A link outlives the key that it was made with, as long as the key is known."""
    token = seal(keys_of(FromIdKeys({3: b"three"}, 3)), WISH)

    assert unseal(KEYS, token) == WISH
    assert unseal(keys_of(FromIdKeys({4: b"four"}, 4)), token) is None


def test_an_id_beyond_53_bits_is_refused() -> None:
    """It is ours alone to make."""
    with pytest.raises(ValueError, match="2\\^53"):
        seal(KEYS, Wish("abcdefgh", MAX_ID + 1, "a@b"))


@given(wishes)
def test_the_address_for_mail_is_one(wish: Wish) -> None:
    """Its local part has at most 64 octets."""
    mailbox = mailbox_of(FROMIDS, wish.account, wish.delivery_id, "bounces.example.com")

    assert str(Address.parse(mailbox)) == mailbox
    assert mailbox.startswith("unsubscribe+")
