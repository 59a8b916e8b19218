"""The content of incoming mail: where it ends, what is kept of it, and how much memory that takes."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret_egress.inbound_content import MAX_LINE_BYTES, ByteBudget, ContentReader, Refused, Share

MEBIBYTE = 1 << 20


def reader_of(limit_bytes: int = MEBIBYTE, budget: ByteBudget | None = None) -> ContentReader:
    """Return a reader with a budget of its own, if none is given."""
    return ContentReader(limit_bytes, Share(budget or ByteBudget(4 * MEBIBYTE, 4 * MEBIBYTE), "192.0.2.1"))


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"a", b"..", b"\0"]), max_size=30).map(b"".join),
    st.lists(st.integers(min_value=1, max_value=5), min_size=1, max_size=60),
)
def test_content_is_the_same_however_it_is_cut(text: bytes, cuts: list[int]) -> None:
    """Lines with doubled dots come out as they went in, the commands behind the end are left alone."""
    content = b"".join(line + b"\r\n" for line in text.split(b"\r\n"))
    stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
    wire = stuffed + b".\r\nQUIT\r\n"
    reader, rest, at = reader_of(), None, 0
    for cut in (*cuts, len(wire)):
        rest = reader.feed(wire[at : at + cut])
        at += cut
        if rest is not None:
            break

    assert (content, b"QUIT\r\n") == (reader.take(), (rest or b"") + wire[at:])


def test_content_without_a_line_is_empty() -> None:
    """A dot at once ends a message of nothing."""
    reader = reader_of()

    assert (reader.feed(b".\r\n"), reader.take()) == (b"", b"")


@pytest.mark.parametrize(("over", "expected"), [(0, None), (1, Refused.TOO_LARGE)])
@pytest.mark.parametrize("chunk_bytes", [1, 7, 5000])
def test_the_limit_is_exact(over: int, expected: Refused | None, chunk_bytes: int) -> None:
    """As many bytes as the limit are taken, one more is not, however they are cut."""
    wire = b"x" * (98 + over) + b"\r\n.\r\n"
    reader = reader_of(100)
    for at in range(0, len(wire), chunk_bytes):
        reader.feed(wire[at : at + chunk_bytes])
    answer = reader.take()

    assert (answer if isinstance(answer, Refused) else None) == expected


@pytest.mark.parametrize(("length", "is_long"), [(MAX_LINE_BYTES, False), (MAX_LINE_BYTES + 1, True)])
@pytest.mark.parametrize("before", [b"", b"a\r\n" * 50_000])
def test_a_line_may_be_so_long_and_no_longer(length: int, is_long: bool, before: bytes) -> None:
    """The limit counts the line without its end, wherever it stands."""
    reader = reader_of()
    reader.feed(before + b"x" * length + b"\r\nb\r\n.\r\n")

    assert is_long == (reader.take() is Refused.LONG_LINE)


def test_memory_is_in_proportion_to_the_bytes() -> None:
    """A message of empty lines takes no more memory than another of its size."""
    reader = reader_of(2 * MEBIBYTE)
    wire = b"\r\n" * (MEBIBYTE // 2)
    tracemalloc.start()
    try:
        reader.feed(wire)
        reader.feed(b".\r\n")
        size_bytes = len(reader.take())  # type: ignore[arg-type]
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (size_bytes, peak_bytes < 4 * MEBIBYTE) == (MEBIBYTE, True)


def test_what_is_refused_takes_no_memory() -> None:
    """A line that never ends is forgotten as it comes, and its share of the budget is free at once."""
    budget = ByteBudget(MEBIBYTE, MEBIBYTE)
    reader = reader_of(1000, budget)
    tracemalloc.start()
    try:
        for _ in range(100):
            reader.feed(b"x" * 65_536)
        held_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    reader.feed(b"\r\n.\r\n")

    assert (reader.take(), budget.left, held_bytes < 200_000) == (Refused.TOO_LARGE, MEBIBYTE, True)


def test_the_budget_counts_for_all_and_for_each() -> None:
    """What is given back can be reserved again; nobody gets more than a share."""
    budget = ByteBudget(10, 6)

    assert [budget.reserve("a", 6), budget.reserve("a", 1), budget.reserve("b", 5), budget.reserve("b", 4)] == [
        True,
        False,
        False,
        True,
    ]
    budget.give_back("a", 6)
    assert (budget.left, budget.has_room("a", 6), budget.has_room("b", 3)) == (6, True, False)
