"""Answers as text: aligned columns for people, JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

GAP = "  "


def table(rows: Sequence[Mapping[str, object]], empty: str) -> str:
    """Return rows of equal keys under their names, in aligned columns; `empty` when there is none."""
    if not rows:
        return empty
    lines = [list(rows[0]), *([cell(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        GAP.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def facts(values: Mapping[str, object]) -> str:
    """Return one line per value, the names in a column of their own."""
    width = max(len(name) for name in values)
    return "\n".join(f"{name.ljust(width)}{GAP}{cell(value)}".rstrip() for name, value in values.items())


def cell(value: object) -> str:
    """Return a value as people read it, on one line, without control characters: some of it strangers wrote."""
    match value:
        case None:
            text = "-"
        case bool():
            text = "yes" if value else "no"
        case datetime():
            text = value.strftime("%Y-%m-%d %H:%M:%SZ")
        case timedelta():
            text = period(value)
        case list() | tuple() | set() | frozenset():
            text = ", ".join(cell(item) for item in value)
        case _:
            text = str(value)
    return "".join(character if character.isprintable() else " " for character in text) or "-"


def period(value: timedelta) -> str:
    """Return a duration in the largest unit that keeps it whole enough."""
    seconds = value.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds:.4g} s"


def as_json(data: object) -> str:
    """Return data as indented JSON; instants in RFC 3339, durations in seconds."""
    return json.dumps(data, default=_plain, ensure_ascii=False, indent=2)


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case set() | frozenset():
            return sorted(value)
        case _:
            raise TypeError(f"{type(value).__name__} in an answer")
