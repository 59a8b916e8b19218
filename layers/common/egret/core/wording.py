"""Find phrases in what people and programs write, without regular expressions: linear in the text, and quick.

A phrase is lower-case words without punctuation and apostrophes; `…` stands for up to 80 characters, `*` at either end
of a word for the rest of it (or of the text, in languages without spaces). A list of phrases separates them by `|` or
by line ends.
"""

from __future__ import annotations

import re

MAX_TEXT_CHARS = 8192
"""Of a text; what is beyond has never said why."""

_GAP = 80
_TRIES = 4
"""Places where the beginning of a phrase is looked for: bounds the work."""
_ADDRESS = re.compile(r"(?<!\S)[^\s@]{0,256}@\S+")
_NO_WORD = re.compile(r"[\W_]+")

Phrase = tuple[str, tuple[str, ...]]
"""The first piece and those that follow it, each with the spaces that end its words."""


def words(text: str) -> str:
    """Return the words of a text: lower case, without addresses (they may be called anything), padded by a space."""
    lower = text[:MAX_TEXT_CHARS].lower()
    if "@" in lower:
        lower = _ADDRESS.sub(" ", lower)
    lower = lower.replace("'", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", "").replace("e-mail", "email")
    return f" {_NO_WORD.sub(' ', lower).strip()} "


def phrases(text: str) -> tuple[Phrase, ...]:
    """Return the phrases of a list."""
    return tuple(_phrase(one) for one in re.split(r"[|\n]", text) if one.strip())


def holds(said: str, phrase: Phrase) -> bool:
    """Say whether the pieces of a phrase stand in these words, in order and near each other."""
    head, rest = phrase
    if head not in said:
        return False
    start = -1
    for _ in range(_TRIES if rest else 1):
        start = said.find(head, start + 1)
        if start < 0:
            return False
        if _follow(said, start + len(head), rest):
            return True
    return False


def holds_any(said: str, known: tuple[Phrase, ...]) -> bool:
    """Say whether one of the phrases stands in these words."""
    return any(holds(said, phrase) for phrase in known)


def _follow(said: str, end: int, rest: tuple[str, ...]) -> bool:
    for piece in rest:
        found = said.find(piece, end - 1, end + _GAP + len(piece))
        if found < 0:
            return False
        end = found + len(piece)
    return True


def _phrase(text: str) -> Phrase:
    head, *rest = (f" {piece.strip()} ".replace("* ", "").replace(" *", "") for piece in text.split("…"))
    return head, tuple(rest)
