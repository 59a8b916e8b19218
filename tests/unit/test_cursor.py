"""Opaque cursors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from egret.core.cursor import seal, unseal

KEY = b"c" * 32


@given(st.text(), st.text(st.characters(codec="utf-8")))
def test_a_cursor_comes_back(scope: str, inner: str) -> None:
    """What was sealed is unsealed with the same scope."""
    assert unseal(KEY, scope, seal(KEY, scope, inner)) == inner


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_cursor_is_bound_to_its_scope(one: str, other: str) -> None:
    """Another account, or another filter, cannot use it."""
    assert unseal(KEY, other, seal(KEY, one, "17")) == ("17" if one == other else None)


@given(st.text(min_size=1))
def test_any_text_can_be_asked(text: str) -> None:
    """What nobody sealed is no cursor."""
    assert unseal(KEY, "scope", text) is None


def test_another_key_is_refused() -> None:
    """A cursor of another installation is none of ours."""
    assert unseal(b"other", "scope", seal(KEY, "scope", "17")) is None


def test_the_end_is_the_empty_text() -> None:
    """No text is the beginning in a request and the end in an answer."""
    assert (seal(KEY, "scope", ""), unseal(KEY, "scope", "")) == ("", "")
