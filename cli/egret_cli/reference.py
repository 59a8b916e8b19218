"""The reference of all commands, docs/cli.md: `python -m egret_cli.reference > docs/cli.md`."""

from __future__ import annotations

import sys
from argparse import BooleanOptionalAction

from egret_cli.command import Argument, Command
from egret_cli.parser import COMMANDS, JSON, SELECTION

MAX_OPTIONS = 4
"""In a line of usage; more are only in the table."""
HEAD = """# The command line

`egret` operates an installation: with the credentials of AWS that the machine has, on a stack that `sam deploy` made,
or on the local mode of `make serve`. It works on the tables themselves, needs no API key, and reads no secret.

    egret --stack egret account create acme --address app@example.com
    egret --stack egret key create acme
    egret --stack egret domain add acme example.com
    egret --local delivery list egret

In a checkout, `egret …` is `make egret ARGS='…'`; in ARGS a `$` is written `$$`. Or it is
`PYTHONPATH=layers/common:cli .venv/bin/python -m egret_cli …`, whose exit status is its own and not make's.

It prints aligned text, or JSON with `--json`, before or after the command. It exits with 0, with 1 and one sentence on
standard error when it cannot do what was asked, with 2 when the command line is wrong. Secrets are shown once, when
they are made.

What is changed works within a minute, on local mode within a second; until then, events may go to the webhook that
was set before. `webhook test` calls the new one at once.

A time is RFC 3339 (`2026-01-31T12:00Z`; UTC unless it says otherwise), or so many seconds, minutes, hours or days
ago: `90m`, `36h`, `7d`.

## Which installation

These options stand before the command; one of `--stack` and `--local` is needed.

"""


def reference() -> str:
    """Return docs/cli.md."""
    parts = [HEAD + _arguments((*SELECTION, JSON))]
    group = ""
    for command in COMMANDS:
        if command.group != group:
            group = command.group
            parts.append(f"## egret {group}")
        parts.append(_section(command))
    return "\n\n".join(parts) + "\n"


def _section(command: Command) -> str:
    arguments = [_usage(argument) for argument in command.arguments if _is_needed(argument)]
    options = [_usage(argument) for argument in command.arguments if not _is_needed(argument)]
    if len(options) > MAX_OPTIONS:
        options = ["[options]"]
    words = ["egret", command.group, command.name, *arguments, *options]
    usage = f"    {' '.join(word for word in words if word)}"
    return "\n\n".join(part for part in (usage, command.summary, _arguments(command.arguments)) if part)


def _arguments(arguments: tuple[Argument, ...]) -> str:
    if not arguments:
        return ""
    rows = [f"| `{_name(argument)}` | {_meaning(argument)} |" for argument in arguments]
    return "\n".join(["| argument | meaning |", "|---|---|", *rows])


def _is_needed(argument: Argument) -> bool:
    return not argument.name.startswith("-") or bool(argument.options.get("required"))


def _usage(argument: Argument) -> str:
    name, options = _name(argument), argument.options
    if not argument.name.startswith("-"):
        return {"+": f"{name} ...", "*": f"[{name} ...]"}.get(options.get("nargs", ""), name)
    return name if _is_needed(argument) else f"[{name}]"


def _name(argument: Argument) -> str:
    name, options = argument.name, argument.options
    if not name.startswith("-"):
        return str(options.get("metavar", name)).upper()
    if options.get("action") is BooleanOptionalAction:
        return f"{name}, --no-{name.removeprefix('--')}"
    if options.get("action") == "store_true":
        return name
    return f"{name} {options.get('metavar', name.removeprefix('--').upper())}"


def _meaning(argument: Argument) -> str:
    choices = argument.options.get("choices")
    return f"{argument.summary}: {', '.join(choices)}" if choices else argument.summary


if __name__ == "__main__":
    sys.stdout.write(reference())
