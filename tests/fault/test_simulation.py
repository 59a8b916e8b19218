"""The promises hold whatever dies, fails, gets lost or comes twice; and the simulator sees it when they do not."""

from __future__ import annotations

import pytest

from tests.fault import simulate as command
from tests.fault.simulation import Build, simulate

SEEDS = 500
ENOUGH = 600
"""Seeds within which every broken build must be found."""
BROKEN = [build for build in Build if build is not Build.SOUND]


@pytest.mark.slow
def test_the_promises_hold() -> None:
    """Nothing accepted is lost, nothing is sent twice, everything is told, nobody sees another's, content stays."""
    violations = [f"seed {seed}: {said}" for seed in range(SEEDS) if (said := simulate(seed).violation)]

    assert not violations


@pytest.mark.slow
@pytest.mark.parametrize("build", BROKEN)
def test_a_broken_build_is_found(build: Build) -> None:
    """With a guard taken out the simulator soon finds a promise that is broken."""
    assert any(simulate(seed, build).violation for seed in range(ENOUGH))


def test_a_seed_replays() -> None:
    """The same seed gives the same run, to the last line of the trace."""
    assert simulate(7).trace == simulate(7).trace


def test_seeds_differ() -> None:
    """Another seed is another run."""
    assert simulate(7).trace != simulate(8).trace


def test_the_wild_phase_does_what_it_should() -> None:
    """Crashes, failures, interleavings, restarts, late handoffs, DSNs, calls: a few runs have all of them."""
    trace = "\n".join(line for seed in range(60) for line in simulate(seed).trace)
    happenings = (
        "CRASH before store", "CRASH after store", "UNAVAILABLE after store.replace", "MEANWHILE, after", "RECEIVED",
        "dies with power", "dies for good", "withdraws", "is cut off", "late at unit", "too long", "is lost",
        "mail-1-1 comes back", "mail-1-2 comes back", ": complained", "CRASH before port 25", "CRASH after port 25",
        "off the list", "delivery_cancel", "hold rule for", ": failed", ": delivered",
        ": delayed", ": suppressed", ": canceled", ": relayed", ": unrecognized",
    )  # fmt: skip

    assert [one for one in happenings if one not in trace] == []


def test_a_violation_is_a_line_and_an_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """The command names the seed of what it finds and ends with 1."""
    seed = next(seed for seed in range(ENOUGH) if simulate(seed, Build.NO_LEASE).violation)

    assert command.main(["--seed", str(seed), "--build", "no lease"]) == 1
    assert capsys.readouterr().out.startswith(f"seed {seed}: ")


def test_a_sound_seed_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    """The trace is printed when it is asked for."""
    assert command.main(["--seed", "7", "--verbose"]) == 0
    assert "time passes" in capsys.readouterr().out
