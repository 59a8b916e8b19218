"""Holdings keep room for those who have nothing in hand, whatever the others do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from egret_egress.holdings import Full, Holdings

CAPACITY = 40
STEPS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["x.example", "y.example", "z.example"])), max_size=99
)


@given(STEPS)
def test_a_newcomer_always_has_room(steps: list[tuple[str, str]]) -> None:
    """However many add whatever they may, each gets its part and somebody new may still add."""
    held = Holdings()
    for account, domain in steps:
        if held.may_add(account, domain, CAPACITY):
            held.add(account, domain, 1)

    assert held.may_add("new", "new.example", CAPACITY)
    assert held.total <= CAPACITY * 7 // 8


@given(STEPS)
def test_what_is_given_back_leaves_no_trace(steps: list[tuple[str, str]]) -> None:
    """Nobody is full of what is over, and memory stays bounded by what is in hand."""
    held = Holdings()
    for account, domain in steps:
        held.add(account, domain, 5)
    for account, domain in reversed(steps):
        held.add(account, domain, -5)

    assert (held.total, held.full(0, 99)) == (0, [])


def test_who_may_add_nothing_is_named_fullest_first() -> None:
    """A domain that is not known any more has no name; its account has."""
    held = Holdings()
    held.add("a", "x.example", 9)
    held.add("b", "", 8)
    held.add("c", "z.example", 1)

    assert held.full(18 + 7, 99) == [Full("*", "a"), Full("x.example"), Full("*", "b")]
    assert held.full(18 + 7, 1) == [Full("*", "a")]
