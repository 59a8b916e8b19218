"""Find phrases in what people and programs write, without regular expressions: linear in the text, and quick.

A phrase is lower-case words without punctuation and apostrophes; `…` stands for up to 80 characters, `*` at either end
of a word for the rest of it (or of the text, in languages without spaces). A list of phrases separates them by `|` or
by line ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

MAX_TEXT_CHARS = 8192
"""Of a text; what is beyond has never said why."""

_GAP = 80
_TRIES = 4
"""Places where the beginning of a phrase is looked for: bounds the work."""
_ADDRESS = re.compile(r"(?<!\S)[^\s@]{0,256}@\S+")
_NO_WORD = re.compile(r"[\W_]+")


class _Phrase(NamedTuple):
    """number: its place in the list. head, rest: its pieces, each with the spaces that end its words."""

    number: int
    head: str
    rest: tuple[str, ...]


class Phrases:
    """A list of phrases, found by their first words."""

    def __init__(self, texts: Iterable[str]) -> None:
        """texts: one phrase each."""
        self._by_word: dict[str, list[_Phrase]] = {}
        self._open: list[_Phrase] = []
        self.heads: list[str] = []
        for number, text in enumerate(texts):
            head, *rest = (f" {piece.strip()} ".replace("* ", "").replace(" *", "") for piece in text.split("…"))
            phrase = _Phrase(number, head, tuple(rest))
            self.heads.append(head)
            word, space, _ = head[1:].partition(" ")
            # A first word that is not whole, or may begin anywhere, is no key.
            known = self._by_word.setdefault(word, []) if head[0] == " " and space else self._open
            known.append(phrase)

    def first(self, said: str) -> int | None:
        """Return the number of the first phrase of the list that stands in these words; None if none does."""
        found = [phrase.number for phrase in self._open if phrase.head in said and _holds(said, phrase)]
        by_word = self._by_word
        for word in set(said.split()):
            for phrase in by_word.get(word, ()):
                if phrase.head in said and _holds(said, phrase):
                    found.append(phrase.number)
                    break
        return min(found, default=None)

    def __contains__(self, said: object) -> bool:
        """Say whether one of the phrases stands in these words."""
        return isinstance(said, str) and self.first(said) is not None


def split_phrases(text: str) -> list[str]:
    """Return the phrases of a list."""
    return [phrase.strip() for phrase in re.split(r"[|\n]", text) if phrase.strip()]


def phrases(text: str) -> Phrases:
    """Return the phrases of a list, ready to be found."""
    return Phrases(split_phrases(text))


def words(text: str) -> str:
    """Return the words of a text: lower case, without addresses (they may be called anything), padded by a space."""
    lower = text[:MAX_TEXT_CHARS].lower()
    if "@" in lower:
        lower = _ADDRESS.sub(" ", lower)
    lower = lower.replace("'", "").replace("\N{RIGHT SINGLE QUOTATION MARK}", "").replace("e-mail", "email")
    return f" {_NO_WORD.sub(' ', lower).strip()} "


def _holds(said: str, phrase: _Phrase) -> bool:
    """Say whether the pieces of a phrase stand in these words, in order and near each other."""
    if not phrase.rest:
        return True
    start = -1
    for _ in range(_TRIES):
        start = said.find(phrase.head, start + 1)
        if start < 0:
            return False
        if _follow(said, start + len(phrase.head), phrase.rest):
            return True
    return False


def _follow(said: str, end: int, rest: tuple[str, ...]) -> bool:
    for piece in rest:
        found = said.find(piece, end - 1, end + _GAP + len(piece))
        if found < 0:
            return False
        end = found + len(piece)
    return True
