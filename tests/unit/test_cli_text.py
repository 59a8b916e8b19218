"""Answers are aligned for people and exact for machines."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from egret_cli.text import as_json, cell, facts, table
from tests.unit.builders import NOW


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """Names above, values below, no space at the end of a line."""
    rows: list[dict[str, object]] = [{"name": "a", "since": None}, {"name": "longer", "since": NOW}]

    assert table(rows, "nothing").splitlines() == [
        "name    since",
        "a       -",
        "longer  2026-03-04 05:06:07Z",
    ]


def test_no_rows_are_a_sentence() -> None:
    """An empty table says what is missing."""
    assert table([], "There is nothing.") == "There is nothing."


def test_facts_stand_one_per_line() -> None:
    """Names in a column of their own."""
    assert facts({"id": 1, "is on": True}) == "id     1\nis on  yes"


def test_what_strangers_wrote_cannot_steer_a_terminal() -> None:
    """Escape sequences and line ends of a subject or a reply become spaces."""
    assert cell("a\x1b[31m\nb\u202e") == "a [31m b "


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(days=30), "30 d"),
        (timedelta(hours=36), "1.5 d"),
        (timedelta(minutes=90), "1.5 h"),
        (timedelta(seconds=90), "1.5 min"),
        (timedelta(milliseconds=120), "0.12 s"),
        (("a", "b"), "a, b"),
        ((), "-"),
    ],
)
def test_periods_and_lists_read_well(value: object, text: str) -> None:
    """The largest unit that fits; elements with commas."""
    assert cell(value) == text


def test_json_keeps_instants_and_durations_exact() -> None:
    """RFC 3339 and seconds; sets are sorted."""
    data = {"at": NOW, "took": timedelta(minutes=1), "events": frozenset({"b", "a"})}

    assert json.loads(as_json(data)) == {"at": "2026-03-04T05:06:07+00:00", "took": 60.0, "events": ["a", "b"]}
