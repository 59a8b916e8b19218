"""A short run of the fuzzer, so that it is itself known to work; `make fuzz` runs longer."""

from __future__ import annotations

import random

import pytest

from tests.fuzz import Target, attempt, mutate, targets


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.name)
def test_spoiled_input_is_answered(target: Target) -> None:
    """No parser raises an error that is not its own, or gets stuck."""
    dice = random.Random(target.name)
    wrong = [attempt(target, mutate(dice, dice.choice(target.seeds))) for _ in range(150)]

    assert not [sentence for sentence in wrong if sentence]


def test_the_fuzzer_sees_a_fault() -> None:
    """An error that is nobody's own is reported."""
    broken = Target("broken", lambda data: data[10**6], [b"x"])

    assert attempt(broken, b"x").startswith("IndexError")
