"""docs/cli.md is what the parser says."""

from __future__ import annotations

from pathlib import Path

import pytest

from egret_cli.parser import COMMANDS, make_parser
from egret_cli.reference import reference

DOCS = Path(__file__).parent.parent.parent / "docs" / "cli.md"


def test_the_page_is_up_to_date() -> None:
    """`python -m egret_cli.reference > docs/cli.md` was run after the last change of a command."""
    assert DOCS.read_text() == reference()


def test_every_command_of_the_table_can_be_parsed() -> None:
    """What the page describes exists: --help of each command is answered."""
    parser = make_parser()
    for command in COMMANDS:
        words = [word for word in (command.group, command.name) if word]
        with pytest.raises(SystemExit) as end:
            parser.parse_args([*words, "--help"])
        assert end.value.code == 0


def test_each_command_has_one_name() -> None:
    """No two commands share group and name."""
    assert len({(command.group, command.name) for command in COMMANDS}) == len(COMMANDS)
