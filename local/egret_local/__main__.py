"""`python -m egret_local`: the product on one machine, until Ctrl-C."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from egret import posix
from egret_local.settings import from_environment
from egret_local.supervisor import CannotStart, Supervisor


def main(arguments: Sequence[str] = ()) -> int:
    """Run; 1 when it cannot start, 2 when it is given arguments: it reads variables."""
    if arguments:
        print("local mode takes no arguments but variables, FRESH=1 or HTTP_PORT=8080: see the README", file=sys.stderr)
        return 2
    root = Path(__file__).resolve().parents[2]
    try:
        supervisor = Supervisor(from_environment(os.environ, root), os.environ)
        posix.on_end(supervisor.end)
        supervisor.run()
    except (CannotStart, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
