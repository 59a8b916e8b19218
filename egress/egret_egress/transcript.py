"""What was said in an SMTP conversation, as lines for people: bounded, printable, without content and credentials.

On the way only references are kept; lines are made when an attempt failed and somebody will read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from egret.core.reply import Reply
from egret_egress.wire import printable

MAX_BYTES = 2000
"""UTF-8 of all lines together: it is stored with the newest attempt of a delivery."""
MAX_LINE = 300
"""Characters of one line."""

Entry = bytes | Reply | int | str
"""Commands as sent, an answer, the size of a message in bytes, or a remark of our own."""


def transcript(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Return the conversation as "C: …" and "S: …" lines; of a long one the beginning and the end."""
    return _fitting([_cut(line) for line in chain.from_iterable(map(_lines, entries))])


def _lines(entry: Entry) -> Iterator[str]:
    match entry:
        case bytes():
            yield from (f"C: {printable(line)}" for line in entry.removesuffix(b"\r\n").split(b"\r\n"))
        case Reply(code, lines):
            yield from (f"S: {code}-{line}" for line in lines[:-1])
            yield f"S: {code} {lines[-1]}".rstrip()
        case int():
            yield f"C: [{entry:,} bytes of message]"
        case str():
            yield f"[{entry}]"


def _cut(line: str) -> str:
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"


def _fitting(lines: Sequence[str]) -> tuple[str, ...]:
    """Leave lines in the middle out: how it began and how it ended tells the most, and of these the end."""
    sizes = [len(line.encode()) for line in lines]
    if sum(sizes) <= MAX_BYTES:
        return tuple(lines)
    room = MAX_BYTES - 40
    first = _count(sizes, room * 2 // 5)
    last = _count(sizes[:first:-1], room - sum(sizes[:first]))
    mark = f"[{len(lines) - first - last} lines are left out here]"
    return (*lines[:first], mark, *lines[len(lines) - last :])


def _count(sizes: Iterable[int], room: int) -> int:
    """Return how many of the first lines fit."""
    count = 0
    for size in sizes:
        room -= size
        if room < 0:
            break
        count += 1
    return count
