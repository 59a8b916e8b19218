"""The parser of the command line, made from the table of commands."""

from __future__ import annotations

import argparse

from egret_cli import accounts, domains, mail, mailboxes, operations, reports, routes, webhooks
from egret_cli.command import Argument, Command

COMMANDS: tuple[Command, ...] = (
    *accounts.COMMANDS,
    *domains.COMMANDS,
    *webhooks.COMMANDS,
    *mail.COMMANDS,
    *mailboxes.COMMANDS,
    *routes.COMMANDS,
    *reports.COMMANDS,
    *operations.COMMANDS,
)

SELECTION = (
    Argument("--stack", "name of the CloudFormation stack of the installation", {"metavar": "NAME", "default": ""}),
    Argument(
        "--region",
        "its AWS region, if not that of AWS_DEFAULT_REGION or of the profile",
        {"metavar": "REGION", "default": ""},
    ),
    Argument("--profile", "AWS profile to use its credentials of", {"metavar": "PROFILE", "default": ""}),
    Argument("--local", "the installation of `make serve` on this machine", {"action": "store_true"}),
    Argument("--state", "folder of its state, with --local (.egret)", {"metavar": "FOLDER", "default": ".egret"}),
)
"""Options before the command: which installation is meant."""

JSON = Argument("--json", "print JSON", {"action": "store_true"})
"""Before the command or after it."""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser; the chosen `Command` is in `command`."""
    parser = argparse.ArgumentParser(prog="egret", description="Operate an installation of Egret.", allow_abbrev=False)
    for argument in (*SELECTION, JSON):
        _add(parser, argument)
    groups = parser.add_subparsers(metavar="command", required=True)
    made: dict[str, argparse._SubParsersAction[argparse.ArgumentParser]] = {}
    for command in COMMANDS:
        if not command.name:
            _fill(groups.add_parser(command.group, help=command.summary, description=command.summary), command)
            continue
        if command.group not in made:
            group = groups.add_parser(command.group, help=_names(command.group))
            made[command.group] = group.add_subparsers(metavar="command", required=True)
        sub = made[command.group].add_parser(command.name, help=command.summary, description=command.summary)
        _fill(sub, command)
    return parser


def _names(group: str) -> str:
    return ", ".join(command.name for command in COMMANDS if command.group == group)


def _fill(parser: argparse.ArgumentParser, command: Command) -> None:
    parser.allow_abbrev = False
    for argument in command.arguments:
        _add(parser, argument)
    # Without a default of its own: what was given before the command stays.
    parser.add_argument("--json", action="store_true", help=JSON.summary, default=argparse.SUPPRESS)
    parser.set_defaults(command=command)


def _add(parser: argparse.ArgumentParser, argument: Argument) -> None:
    parser.add_argument(argument.name, help=argument.summary.replace("%", "%%"), **argument.options)
