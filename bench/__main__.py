"""`python -m bench [cost growth cpu latency imports memory]`: measure, print, judge.

Exits with 1 when a bar of a counted figure is missed. Bars of times are printed too, but a busy machine misses them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bench import cost, cpu, growth, imports, latency, memory
from bench.report import Bar

PARTS: Final[Mapping[str, Callable[[Path], list[Bar]]]] = MappingProxyType(
    {
        "cost": cost.report,
        "growth": growth.report,
        "cpu": cpu.report,
        "latency": latency.report,
        "imports": imports.report,
        "memory": memory.report,
    }
)


def verdict(bars: list[Bar]) -> int:
    """Return the exit code: 1 when a counted bar is missed."""
    return int(any(bar.is_counted and not bar.is_kept for bar in bars))


def main() -> int:
    """Run the parts that are asked for, all of them by default."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    wanted = parser.parse_args().parts or list(PARTS)
    unknown = sorted(set(wanted) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}")
    bars: list[Bar] = []
    for name in wanted:
        print(f"== {name} ==\n", flush=True)
        bars += PARTS[name](Path(__file__).parent.parent)
        print(flush=True)
    print("== bars ==\n")
    print("\n".join(map(str, bars)))
    return verdict(bars)


if __name__ == "__main__":
    sys.exit(main())
