"""Message-IDs that carry the submission."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.ids import MAX_ID
from egret.core.messageid import Submission, mint, mint_token, token_in, verify

KEY = b"m" * 32
ACCOUNT = "abcdefgh"

ids = st.integers(0, MAX_ID)
accounts = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=8, max_size=8)


@given(accounts, ids)
def test_what_is_minted_is_read_again(account: str, number: int) -> None:
    """A Message-ID names its submission, whatever the domain."""
    text = mint(KEY, account, number, "example.com")

    assert verify([KEY], text) == Submission(account, number)


@given(ids)
def test_case_does_not_matter(number: int) -> None:
    """Relays and people change the case of letters."""
    assert verify([KEY], mint(KEY, ACCOUNT, number, "example.com").upper()) == Submission(ACCOUNT, number)


def test_the_bare_token_is_accepted() -> None:
    """As ENVID it stands without brackets and domain."""
    assert verify([KEY], mint_token(KEY, ACCOUNT, 1 << 30)) == Submission(ACCOUNT, 1 << 30)


def test_a_replaced_key_still_verifies() -> None:
    """Mail that was sent before a change of keys comes back after it."""
    assert verify([b"new", KEY], mint(KEY, ACCOUNT, 7, "x.example")) == Submission(ACCOUNT, 7)


def test_another_key_is_refused() -> None:
    """Only who has the key can name a submission."""
    assert verify([b"other"], mint(KEY, ACCOUNT, 7, "x.example")) is None


@given(st.integers(0, 31), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_changed_character_is_refused(position: int, letter: str) -> None:
    """Nobody can make one submission out of another."""
    token = mint_token(KEY, ACCOUNT, 12345)
    changed = token[:position] + letter + token[position + 1 :]

    assert (verify([KEY], changed) is None) == (changed != token)


@given(st.text(max_size=60))
def test_any_text_can_be_asked(text: str) -> None:
    """A Message-ID that others wrote is simply not ours."""
    assert verify([KEY], text) is None


def test_what_is_no_base32_is_not_ours() -> None:
    """Even at the right length."""
    assert verify([KEY], f"<{'0' * 32}@example.com>") is None


def test_an_id_out_of_range_is_a_bug() -> None:
    """Ids stay below 2^53."""
    with pytest.raises(ValueError, match="2\\^53"):
        mint(KEY, ACCOUNT, MAX_ID + 1, "example.com")


@given(accounts, ids)
def test_the_token_within_serves_as_envid(account: str, number: int) -> None:
    """What a report gives back as Original-Envelope-Id leads to the submission as well."""
    token = token_in(mint(KEY, account, number, "example.com"))

    assert token == mint_token(KEY, account, number)
    assert verify([KEY], token) == Submission(account, number)


@pytest.mark.parametrize(
    "text", ["", "<1@example.com>", "<@>", f"<{'A' * 32}@example.com>", f"<{'a' * 33}@example.com>"]
)
def test_other_message_ids_have_no_token(text: str) -> None:
    """The submitter's own."""
    assert token_in(text) == ""
