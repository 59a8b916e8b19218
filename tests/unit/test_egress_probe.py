"""Whether names can be looked up at all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from egret_egress.holdings import Full
from egret_egress.probe import ResolverProbe, ResolvingLoad


@dataclass
class Busy:
    """A `Load` with room."""

    room: int = 5
    full: list[Full] = field(default_factory=lambda: [Full("a.example")])


def rooms(answers: list[bool]) -> list[int]:
    """Return the room before any probe and after each answer."""
    left = iter(answers)

    async def ask() -> bool:
        return next(left)

    async def run() -> list[int]:
        probe = ResolverProbe(ask)
        load = ResolvingLoad(Busy, probe)
        found = [load.room]
        for _ in answers:
            await probe.probe()
            found.append(load.room)
        return found

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([False, False], [0, 0, 0]),
        ([True, False, True], [0, 5, 5, 5]),
        ([True, False, False, False, True], [0, 5, 5, 0, 0, 5]),
    ],
    ids=["never came up", "one lost", "died and came back"],
)
def test_there_is_no_room_while_the_resolver_is_dead(answers: list[bool], expected: list[int]) -> None:
    """It is dead before its first answer and after two failures in a row, and lives with the next answer."""
    assert rooms(answers) == expected


def test_a_resolver_that_is_not_asked_is_up() -> None:
    """The probe is for the configured one; its duty ends at once. What is full is told in any case."""
    probe = ResolverProbe(None)
    asyncio.run(probe.keep_probing())
    load = ResolvingLoad(Busy, probe)

    assert (probe.is_up, load.room, load.full) == (True, 5, [Full("a.example")])


def test_a_failure_is_looked_into_at_once() -> None:
    """A dead resolver is found out without waiting for the next interval."""

    async def run() -> int:
        left = [True, False, False]

        async def ask() -> bool:
            return left.pop(0)

        probe = ResolverProbe(ask)
        await probe.probe()
        await probe.probe()
        task = asyncio.create_task(probe.keep_probing(3600, 0))
        async with asyncio.timeout(5):
            while probe.is_up:  # noqa: ASYNC110 (the probe has no event)
                await asyncio.sleep(0.001)
        task.cancel()
        return len(left)

    assert asyncio.run(run()) == 0


def test_probing_goes_on() -> None:
    """Until it is cancelled."""

    async def run() -> int:
        asked, enough = 0, asyncio.Event()

        async def ask() -> bool:
            nonlocal asked
            asked += 1
            if asked == 3:
                enough.set()
            return True

        task = asyncio.create_task(ResolverProbe(ask).keep_probing(0))
        async with asyncio.timeout(5):
            await enough.wait()
        task.cancel()
        return asked

    assert asyncio.run(run()) == 3
