"""`egret`, or `python -m egret_cli`: parse, call one use case, print."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from egret.aws.app import App
from egret.core.errors import EgretError, InvalidRequest, Unavailable
from egret_cli.command import Ports
from egret_cli.connect import environment
from egret_cli.parser import make_parser
from egret_cli.text import as_json

Connect = Callable[[argparse.Namespace], Ports]


def run(words: Sequence[str], connect: Connect) -> int:
    """Carry out one command line; return 0, or 1 after one sentence on standard error.

    A command line that is wrong ends in SystemExit 2 (argparse).
    """
    parser = make_parser()
    arguments = parser.parse_args(words)
    if bool(arguments.stack) == arguments.local:
        parser.error("name the installation: --stack NAME, or --local")
    try:
        answer = arguments.command.run(connect(arguments), arguments)
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    except InvalidRequest as error:
        print(f"egret: {error.public}", file=sys.stderr)
        return 1
    except Unavailable as error:
        hint = " Is `make serve` running?" if arguments.local else ""
        print(f"egret: {error}{hint}", file=sys.stderr)
        return 1
    except EgretError as error:
        print(f"egret: {error}", file=sys.stderr)
        return 1
    print(as_json(answer.data) if arguments.json else answer.text)
    if answer.failure:
        print(f"egret: {answer.failure}", file=sys.stderr)
    return 1 if answer.failure else 0


def connect_to(environ: Mapping[str, str]) -> Connect:
    """Return the way from the options of a command line to an installation."""
    return lambda arguments: App.from_environment(environment(arguments, environ))


def main() -> int:
    """Run with the arguments and the environment of this process."""
    try:
        return run(sys.argv[1:], connect_to(os.environ))
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
