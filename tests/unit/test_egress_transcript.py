"""The transcript of a conversation: what people read of an attempt that failed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from egret.core.reply import Reply
from egret_egress.transcript import MAX_BYTES, MAX_LINE, Entry, transcript

replies = st.builds(Reply, st.integers(200, 599), st.lists(st.text(max_size=400), min_size=1, max_size=9).map(tuple))
entries: st.SearchStrategy[Entry] = st.one_of(
    st.binary(max_size=600), replies, st.integers(0, 10**9), st.text(max_size=40)
)


def test_both_sides_are_shown_line_by_line() -> None:
    """Commands that went out together stand one below the other; the message is its size; NULs are escaped."""
    talk: list[Entry] = [
        Reply(220, ("mx", "hello")),
        b"MAIL FROM:<a@b>\r\nDATA\r\n",
        Reply(250),
        2153,
        "TLSv1.3 from here on",
        b"x\0\r\n",
    ]

    assert transcript(talk) == (
        "S: 220-mx",
        "S: 220 hello",
        "C: MAIL FROM:<a@b>",
        "C: DATA",
        "S: 250",
        "C: [2,153 bytes of message]",
        "[TLSv1.3 from here on]",
        r"C: x\x00",
    )


def test_of_a_long_conversation_beginning_and_end_are_kept() -> None:
    """A thousand recipients do not push out the greeting or the last answer."""
    talk: list[Entry] = [
        Reply(220, ("hello",)),
        *(Reply(250, (f"{number} ok",)) for number in range(1000)),
        Reply(421, ("bye",)),
    ]

    lines = transcript(talk)

    assert (lines[0], lines[-1]) == ("S: 220 hello", "S: 421 bye")
    (mark,) = (line for line in lines if line.startswith("["))
    assert mark == f"[{1002 - len(lines) + 1} lines are left out here]"


@given(st.lists(entries, max_size=60))
def test_it_is_bounded_whatever_was_said(talk: list[Entry]) -> None:
    """It is stored with the delivery: neither length nor number of the server's lines makes it large."""
    lines = transcript(talk)

    assert sum(len(line.encode()) for line in lines) <= MAX_BYTES
    assert all(len(line) <= MAX_LINE for line in lines)
