"""Run many seeds of the simulator side by side: `make simulate SEEDS=20000`.

Prints one line for each violation, with its seed, and ends with 1 if there was any. `--seed S --verbose` replays one
run and prints everything that happened in it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence

from tests.fault.simulation import STEPS, Build, Result, simulate

CHUNK = 25


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(description="Crash the path of a message at every step.")
    parser.add_argument("--seeds", type=int, default=500, help="how many runs")
    parser.add_argument("--seed", type=int, help="the first seed; alone: only this one")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of the wild phase of a run")
    parser.add_argument("--build", type=Build, default=Build.SOUND, choices=list(Build), help="a broken build")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="how many work side by side")
    parser.add_argument("--verbose", action="store_true", help="print the trace of every violation, or of --seed")
    given = parser.parse_args(arguments)
    if given.seed is not None and "--seeds" not in arguments:
        return _replay(simulate(given.seed, given.build, given.steps), verbose=given.verbose)
    return _run(given)


def _replay(result: Result, *, verbose: bool) -> int:
    if verbose:
        print("\n".join(result.trace))
    print(_line(result) if result.violation else f"seed {result.seed}: every promise was kept")
    return bool(result.violation)


def _run(given: argparse.Namespace) -> int:
    first = given.seed or 0
    jobs = [(seed, given.build, given.steps) for seed in range(first, first + given.seeds)]
    started = time.perf_counter()
    violations = 0
    with multiprocessing.Pool(given.processes) as pool:
        for result in pool.imap_unordered(_job, jobs, CHUNK):
            if result.violation:
                violations += 1
                print("\n".join(result.trace if given.verbose else ()))
                print(_line(result), flush=True)
    took = time.perf_counter() - started
    print(f"{given.seeds} seeds, {violations} violations, {took:.0f} s, {given.seeds / took:.0f} seeds a second")
    return bool(violations)


def _job(job: tuple[int, Build, int]) -> Result:
    result = simulate(*job)
    return result if result.violation else Result(result.seed, "", [])


def _line(result: Result) -> str:
    return f"seed {result.seed}: {result.violation}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
