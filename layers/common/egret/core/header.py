"""Write header fields: folding, encoded words, addresses, parameters.

Implements: RFC 5322 2.1.1, 2.2.3 and 3.2, RFC 2047, RFC 2231, RFC 6532. Every function returns whole fields, ended by
CRLF. Nothing can inject a header: control characters are refused in every value, and so is a line that is too long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import groupby

from egret.core.address import Mailbox
from egret.core.errors import InvalidRequest

LINE_AIM = 76  # RFC 5322 2.1.1 recommends 78; RFC 2047 2 wants 76 on lines with encoded words
LINE_LIMIT_OCTETS = 998  # RFC 5322 2.1.1
# Postfix cuts a header field at 102,400 octets (header_size_limit); what it cuts no longer verifies.
FIELD_LIMIT_CHARACTERS = 100_000

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_FTEXT = re.compile(r"[!-9;-~]{1,76}")  # RFC 5322 3.6.8
_LIKE_ENCODED_WORD = re.compile(r"=\?[^?]*\?[bq]\?", re.IGNORECASE)
_WORD = re.compile(r" ( *[^ ]+)")
_ENCODED_WORD_PREFIX = "=?utf-8?q?"
_ENCODED_WORD_OCTETS = 75  # RFC 2047 2
_ENCODED_WORD_ROOM = _ENCODED_WORD_OCTETS - len(_ENCODED_WORD_PREFIX) - 2
_LONGEST_ESCAPE = 12  # four octets of UTF-8 as =F0=9F=98=80
# The letters that RFC 2047 5 (3) allows unescaped everywhere, display names included.
_Q_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!*+-/")
_QUOTED_NAME_LIMIT = 60  # a longer name is written as encoded words, which can be folded
_NEEDS_BACKSLASH = re.compile(r'(["\\])')
_ATTRIBUTE_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
_PARAMETER_ROOM = 50  # octets of a parameter value per line
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def refuse_controls(field: str, value: str) -> None:
    """Raise InvalidRequest if the value has a control character or a lone surrogate; `field` names it to the caller."""
    if _CONTROL.search(value):
        raise InvalidRequest("user", f"{field} has control characters, which no mail header may have.")


def check_header_name(name: str) -> None:
    """Raise InvalidRequest unless the name is 1 to 76 printable ASCII characters without colon (RFC 5322 3.6.8)."""
    if not _FTEXT.fullmatch(name):
        raise InvalidRequest("user", "A header name must be 1 to 76 printable ASCII characters without space or colon.")


def unstructured(name: str, value: str, *, smtputf8: bool = False, verbatim: bool = False) -> str:
    """Return a field of free text; words that are not ASCII become encoded words unless SMTPUTF8.

    Space around the value is dropped. A word that only looks like an encoded word is encoded, so that it reads as it
    was given; unless `verbatim`, for values whose author writes encoded words himself.
    Raises InvalidRequest for control characters and for what cannot be folded.
    """
    refuse_controls(name, value)
    value = value.strip(" ")
    if len(value) > FIELD_LIMIT_CHARACTERS:
        raise InvalidRequest("user", f"{name} is longer than {FIELD_LIMIT_CHARACTERS} characters.")
    if smtputf8 or _is_literal(value) or (verbatim and value.isascii()):
        return fold(name, _WORD.findall(" " + value))
    return fold(name, _encoded_atoms(name, value))


def mailboxes(name: str, values: Sequence[Mailbox], *, smtputf8: bool) -> str:
    """Return an address field such as From or To; "" without mailboxes.

    Raises InvalidRequest for control characters in a display name. RFC 5322 3.4, RFC 6532 3.
    """
    atoms: list[str] = []
    for at, mailbox in enumerate(values, start=1):
        address = mailbox.address.unicode_form if smtputf8 else str(mailbox.address)
        atoms += _display_name(name, mailbox.name, smtputf8=smtputf8)
        atoms.append(f"<{address}>," if at < len(values) else f"<{address}>")
    return fold(name, atoms) if atoms else ""


def parameters(name: str, value: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Return a field `value; key=value...`, as Content-Type; long and non-ASCII values are written by RFC 2231."""
    atoms = [value]
    for key, text in pairs:
        refuse_controls(name, text)
        for atom in _parameter(key, text):
            atoms[-1] += ";"
            atoms.append(atom)
    return fold(name, atoms)


def fold(name: str, atoms: Sequence[str]) -> str:
    """Return `name: atoms`, separated by space and folded between them; the first atom stays on the first line.

    Raises InvalidRequest if a line would be over 998 octets. RFC 5322 2.2.3.
    """
    whole = f"{name}: {' '.join(atoms)}\r\n"
    if not atoms or len(whole) <= LINE_AIM:
        return whole
    lines = [f"{name}: {atoms[0]}"]
    for atom in atoms[1:]:
        if len(lines[-1]) + 1 + len(atom) > LINE_AIM:
            lines.append(f" {atom}")
        else:
            lines[-1] += f" {atom}"
    if any(len(line.encode()) > LINE_LIMIT_OCTETS for line in lines):
        raise InvalidRequest("user", f"{name} has a word that is too long for a line of a message.")
    return "\r\n".join(lines) + "\r\n"


def date_time(at: datetime) -> str:
    """Return an aware datetime in the form `2 Jan 2006 15:04:05 -0700` (RFC 5322 3.3)."""
    if (offset := at.utcoffset()) is None:
        raise ValueError("a date in a message needs its zone")
    minutes = int(offset.total_seconds()) // 60
    hour, minute = divmod(abs(minutes), 60)
    sign = "-" if minutes < 0 else "+"
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year:04} {at:%H:%M:%S} {sign}{hour:02}{minute:02}"


def quoted_string(text: str) -> str:
    """Return the text in double quotes, with backslashes where needed (RFC 5322 3.2.4)."""
    return '"' + _NEEDS_BACKSLASH.sub(r"\\\1", text) + '"'


def encoded_words(text: str, first_room: int = _ENCODED_WORD_OCTETS) -> list[str]:
    """Return the text as Q-encoded words of at most 75 characters; none splits a character. RFC 2047 4.2 and 5 (3).

    first_room: characters that the first word may take, for the line that it shares with the header's name.
    """
    room = max(first_room - _ENCODED_WORD_OCTETS + _ENCODED_WORD_ROOM, _LONGEST_ESCAPE)
    words: list[str] = []
    pieces: list[str] = []
    used = 0
    for piece in map(_q, text):
        if used + len(piece) > room:
            words.append(f"{_ENCODED_WORD_PREFIX}{''.join(pieces)}?=")
            used, pieces, room = 0, [], _ENCODED_WORD_ROOM
        pieces.append(piece)
        used += len(piece)
    words.append(f"{_ENCODED_WORD_PREFIX}{''.join(pieces)}?=")
    return words


@lru_cache(maxsize=1024)
def _q(character: str) -> str:
    if character in _Q_SAFE:
        return character
    return "_" if character == " " else "".join(f"={octet:02X}" for octet in character.encode())


def _is_literal(word: str) -> bool:
    """Whether the text can stand as it is: ASCII, and nothing in it would be taken for an encoded word."""
    return word.isascii() and not _LIKE_ENCODED_WORD.search(word)


def _encoded_atoms(name: str, value: str) -> list[str]:
    """Return the words of a value, each run of words that cannot stand as they are as encoded words."""
    atoms: list[str] = []
    for literal, run in groupby(_WORD.findall(" " + value), key=_is_literal):
        if literal:
            atoms += run
        else:
            room = _ENCODED_WORD_OCTETS if atoms else LINE_AIM - len(name) - 2
            atoms += encoded_words(" ".join(run), room)
    return atoms


def _display_name(field: str, name: str, *, smtputf8: bool) -> list[str]:
    """Return the atoms of a display name, none when it is empty."""
    refuse_controls(f"A name in {field}", name)
    if not name.strip():
        return []
    if len(name) > FIELD_LIMIT_CHARACTERS:
        raise InvalidRequest("user", f"A name in {field} is longer than {FIELD_LIMIT_CHARACTERS} characters.")
    if len(name) <= _QUOTED_NAME_LIMIT and (_is_literal(name) or (smtputf8 and not _LIKE_ENCODED_WORD.search(name))):
        return [quoted_string(name)]
    return encoded_words(name, LINE_AIM - len(field) - 2)


def _parameter(key: str, text: str) -> list[str]:
    """Return `key=value`, in numbered pieces when it is long (RFC 2231 3), percent-encoded when not ASCII (4)."""
    if text.isascii():
        if len(text) <= _PARAMETER_ROOM:
            return [f"{key}={quoted_string(text)}"]
        pieces = [text[at : at + _PARAMETER_ROOM] for at in range(0, len(text), _PARAMETER_ROOM)]
        return [f"{key}*{number}={quoted_string(piece)}" for number, piece in enumerate(pieces)]
    pieces = _percent_pieces(text)
    if len(pieces) == 1:
        return [f"{key}*=utf-8''{pieces[0]}"]
    first, *rest = pieces
    return [f"{key}*0*=utf-8''{first}", *(f"{key}*{number}*={piece}" for number, piece in enumerate(rest, start=1))]


def _percent_pieces(text: str) -> list[str]:
    """Return the text percent-encoded, in pieces for one line each; none splits a character."""
    pieces = [""]
    for character in text:
        escaped = (
            character if character in _ATTRIBUTE_CHARS else "".join(f"%{octet:02X}" for octet in character.encode())
        )
        if len(pieces[-1]) + len(escaped) > _PARAMETER_ROOM:
            pieces.append("")
        pieces[-1] += escaped
    return pieces
