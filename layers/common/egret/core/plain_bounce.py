"""Read reports of MTAs that have no machine-readable part, or leave out of it what they say in words.

There is one reader for all of them: who sends it, its subject and its first words tell that it is a report; what is
before the returned message names those that failed, at the beginning of a line, behind a label or in a sentence; what
follows each of them says why. What it looks for is in `bounce_rules`. Does not judge why (`failure` does), and does
not read languages that the rules have no words of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from egret.core.bounce_rules import COPIES, DELAYS, FAILS, FORMATS, LABELS, OPENINGS, OTHERS, SENDERS, SUBJECTS
from egret.core.mime import decode_words
from egret.core.mimescan import Fields, Mail, first, split_header
from egret.core.report_text import notice_text, original_fields
from egret.core.wording import holds_any, phrases, words

MAX_LINES = 1000
MAX_RECIPIENTS = 1000
MAX_REASON_CHARS = 2048

_SENDERS, _SUBJECTS, _OPENINGS, _DELAYS, _COPIES, _LABELS, _OTHERS, _FAILS = (
    phrases(mark.phrases) for mark in (SENDERS, SUBJECTS, OPENINGS, DELAYS, COPIES, LABELS, OTHERS, FAILS)
)
_FORMATS = tuple((mark.name, phrases(mark.phrases)) for mark in FORMATS)

_LOCAL = r"[^\s<>()\[\],;:\"@\\]"
_ADDRESS = re.compile(rf'(?<!{_LOCAL})("[^"\n]{{1,64}}"|{_LOCAL}{{1,128}})@([\w][\w.-]{{0,254}}|\[[\w.:]{{3,60}}\])')
_LEAD = re.compile(
    r"[\s>*•·+-]*(?:\d{1,3}[.)]\s)?[\s<\[(\"']*(?:(?:rfc822|smtp|utf-8|mailto|imceaex)[;:]\s?)*[\s<\"']*", re.IGNORECASE
)
_TAIL = re.compile(r"[>\]\"')]*[ \t]*")
_LIST_TAIL = re.compile(r"$|[:;,(\[-]|\.\.\.| {2}|\t|on \S+, \d|\.$")
_HEADER_LINE = re.compile(
    r"(?:Received:\s+(?:from|by|\()|Return-Path:|Delivered-To:|DKIM-Signature:|X-Envelope-)", re.IGNORECASE
)
_REPLY = re.compile(r"(?<![\d.])[45]\d\d[ -](?:#?[245]\.\d\.\d|\S)")
_RULER = re.compile(r"[-=_*#~+ \t]{4,}")


class _Found(NamedTuple):
    """An address in a notice. rank: 3 the best of places, 1 the worst."""

    line: int
    address: str
    rest: str
    rank: int


@dataclass(frozen=True, slots=True)
class Failed:
    """What a notice says of one recipient. reason: one line, "" if it gives none."""

    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A report in words."""

    format: str
    text: str
    """What stands before the returned message."""
    failed: tuple[Failed, ...]
    is_delayed: bool
    original: Fields

    def reason_for(self, address: str) -> str:
        """Return what it says of an address; of one that it does not name, what it says of its only one."""
        named = [one.reason for one in self.failed if one.address.lower() == address.lower()]
        if named:
            return named[0]
        return self.failed[0].reason if len(self.failed) == 1 else ""


def is_report(mail: Mail) -> bool:
    """Say whether a mail looks like a report of an MTA: two of its sender, its subject and its first words."""
    fields = mail.fields
    if first(fields, "x-failed-recipients"):
        return True
    sender = f"{first(fields, 'from')} {first(fields, 'return-path')}".replace("@", " ").lower()
    is_daemon = "<>" in sender or holds_any(words(sender), _SENDERS)
    is_subject = holds_any(words(decode_words(first(fields, "subject"))), _SUBJECTS)
    if is_daemon and is_subject:
        return True
    return (is_daemon or is_subject) and holds_any(words(notice_text(mail.parts)), _OPENINGS)


def read_notice(mail: Mail) -> Notice:
    """Read what a mail says in words of those that failed."""
    text, returned = _cut(notice_text(mail.parts))
    lines = text.split("\n")[:MAX_LINES]
    own = _own_addresses(mail.fields)
    found = _best(list(_addresses(lines)), own)
    failed = tuple(_failed(lines, found))
    if not failed:
        listed = first(mail.fields, "x-failed-recipients")
        failed = tuple(Failed(match[0], "") for match in _ADDRESS.finditer(listed))
    said = words(text)
    return Notice(
        format=next((name for name, marks in _FORMATS if holds_any(said, marks)), "text"),
        text=text,
        failed=failed,
        is_delayed=holds_any(said, _DELAYS) or holds_any(words(first(mail.fields, "subject")), _DELAYS),
        original=original_fields(mail.parts) or returned,
    )


def _cut(text: str) -> tuple[str, Fields]:
    """Return what stands before the returned message, and the header of that."""
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if _HEADER_LINE.match(line):
            return "\n".join(lines[:number]), _returned(lines[number:])
        if number and len(line) < 120 and "@" not in line and _is_copy_line(line):
            return "\n".join(lines[:number]), _returned(lines[number + 1 :])
    return text, ()


def _is_copy_line(line: str) -> bool:
    said = words(line)
    is_short = len(said) < 80 and (
        line[:1] in "-=*_>" or said.rstrip().endswith(("follows", "below")) or line.rstrip().endswith((":", "-", "."))
    )
    return is_short and holds_any(said, _COPIES)


def _returned(lines: list[str]) -> Fields:
    text = "\n".join(lines).lstrip("\n")
    return split_header(text.encode("utf-8", "replace"))[0]


def _own_addresses(fields: Fields) -> frozenset[str]:
    """Return who the report is for: they are named in it, and have not failed."""
    mine = (
        value
        for name, value in fields
        if name.lower() in ("to", "delivered-to", "x-original-to", "envelope-to", "from")
    )
    return frozenset(match[0].lower() for value in mine for match in _ADDRESS.finditer(value))


def _addresses(lines: list[str]) -> Iterator[_Found]:
    for number, line in enumerate(lines):
        if "@" not in line:
            continue
        for match in _ADDRESS.finditer(line[:1000]):
            rank, rest = _rank(line, match, lines[number - 1] if number else "")
            if rank:
                yield _Found(number, match[0].strip("'").rstrip(".-"), rest, rank)


def _rank(line: str, match: re.Match[str], before: str) -> tuple[int, str]:
    prefix, suffix = line[: match.start()], line[match.end() :]
    tail = _TAIL.match(suffix)
    rest = suffix[tail.end() :] if tail else suffix
    lead = _LEAD.match(prefix)
    if lead is not None and lead.end() == len(prefix):
        said_before = words(before) if before.rstrip()[-1:].isalpha() else "  "
        if _LIST_TAIL.match(rest) and not holds_any(said_before, _OTHERS):
            return 3, rest
        return (1, line) if holds_any(words(rest), _FAILS) else (0, "")
    said = words(prefix.replace("@", " "))
    clause = words(re.split(r"[.;|]", prefix.rstrip("<[(\"' \t"))[-1])
    if holds_any(clause, _OTHERS):
        return 0, ""
    if prefix.rstrip("<[(\"' \t").endswith(":"):
        if holds_any(clause, _LABELS) or holds_any(clause, _FAILS):
            return 2, f"{prefix} {rest}"
        return 1, f"{prefix} {rest}"
    if holds_any(said, _FAILS) or holds_any(words(rest), _FAILS):
        return 1, line
    return 0, ""


def _best(found: list[_Found], own: frozenset[str]) -> list[_Found]:
    """Return those found in the best of places, each once; the reader's own addresses only if there is no other."""
    others = [one for one in found if one.address.lower() not in own] or found
    rank = max((one.rank for one in others), default=0)
    best: dict[str, _Found] = {}
    for one in others:
        if one.rank == rank:
            best.setdefault(one.address.lower(), one)
    return list(best.values())[:MAX_RECIPIENTS]


def _failed(lines: list[str], found: list[_Found]) -> Iterator[Failed]:
    ends = [*(one.line for one in found[1:]), len(lines)][: len(found)]
    reasons = [_reason(lines, one, end) for one, end in zip(found, ends, strict=True)]
    for number in range(len(reasons) - 2, -1, -1):
        reasons[number] = reasons[number] or reasons[number + 1]
    for one, reason in zip(found, reasons, strict=True):
        yield Failed(one.address, reason)


def _reason(lines: list[str], one: _Found, end: int) -> str:
    """Return what is said of an address: the rest of its line and what follows, until a blank line or the next."""
    said = [one.rest.strip()] if len(one.rest.strip(" :;,.-")) > 1 else []
    for line in lines[one.line + 1 : end]:
        bare = line.strip()
        if _RULER.fullmatch(line):
            continue
        if not bare and said:
            break
        if bare:
            said.append(bare)
    return " ".join(said)[:MAX_REASON_CHARS]
