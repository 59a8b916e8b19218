"""How long the handlers take to import, beside `import boto3` and one client: what a cold start adds to Python's own.

Fresh processes, one after the other in turn, with bytecode cached as in a layer that was deployed before; CPU time,
which is what the wall would show on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.report import Bar, figure, table

FUNCTIONS: Final = ("send", "deliver", "sweep", "webhook", "dsn_ingest")
ROUNDS: Final = 15
MAX_RATIO: Final = 2.0
_TIMED: Final = "import time; t = time.process_time(); {}; print(time.process_time() - t)"
_BASELINE: Final = _TIMED.format("import boto3; boto3.client('dynamodb', region_name='us-east-1')")
_HANDLER: Final = _TIMED.format("import handler")


@dataclass(frozen=True, slots=True)
class Program:
    """What is timed: a line of Python and the folders on its path."""

    name: str
    line: str
    path: tuple[Path, ...] = ()


def programs(root: Path) -> list[Program]:
    """Return the baseline and the import of each handler, with the path that it has on Lambda."""
    layer = root / "layers" / "common"
    handlers = [Program(name, _HANDLER, (root / "functions" / name, layer)) for name in FUNCTIONS]
    return [Program("boto3 + client", _BASELINE), *handlers]


def once(program: Program, cache: Path) -> float:
    """Run in a fresh process and return the seconds it printed. Raises CalledProcessError."""
    environment = _environment(program, cache)
    done = subprocess.run(
        [sys.executable, "-c", program.line], env=environment, check=True, capture_output=True, text=True
    )
    return float(done.stdout.splitlines()[-1])


def _environment(program: Program, cache: Path) -> Mapping[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "SYSTEMROOT") if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(map(str, program.path)),
        "PYTHONPYCACHEPREFIX": str(cache),
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_REGION": "us-east-1",
    }


def measure(root: Path, rounds: int = ROUNDS) -> Iterator[tuple[str, list[float]]]:
    """Yield name and seconds of each program; all take turns, and the first round only fills the cache."""
    with TemporaryDirectory(prefix="egret-bench-") as folder:
        wanted = programs(root)
        for program in wanted:
            once(program, Path(folder))
        turns = [[once(program, Path(folder)) for program in wanted] for _ in range(rounds)]
    for program, *seconds in zip(wanted, *turns, strict=True):
        yield program.name, seconds


def report(root: Path) -> list[Bar]:
    """Measure, print, and return the bars."""
    medians = {name: statistics.median(seconds) for name, seconds in measure(root)}
    (_, baseline), *handlers = medians.items()
    rows = [[name, figure(seconds * 1000), figure(seconds / baseline)] for name, seconds in medians.items()]
    print(table(["import of", "ms", "ratio"], rows))
    return [
        Bar(f"import of {name} / boto3 + client", value / baseline, MAX_RATIO, is_counted=False)
        for name, value in handlers
    ]


def main(arguments: list[str] | None = None) -> int:
    """Print the times; they are measured, so that a missed bar is no fault."""
    argparse.ArgumentParser(description=__doc__).parse_args(arguments)
    print("\n" + "\n".join(map(str, report(Path(__file__).parent.parent))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
