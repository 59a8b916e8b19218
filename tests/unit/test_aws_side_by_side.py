"""Calls side by side: several at a time, answers in order, nothing begun after a failure."""

from __future__ import annotations

import threading
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.aws.clients import Clients, Target
from egret.aws.table import WORKERS, Table, work_off
from egret.core.errors import Unavailable

TABLE = Table(Clients(Target("eu-west-1", "http://127.0.0.1:1", "key", "secret")), "mail")


@given(st.lists(st.integers(), max_size=3 * WORKERS))
def test_answers_stand_in_order(arguments: list[int]) -> None:
    """Whichever thread gave them, and whether or not arguments are alike."""
    assert [number + 1 for number in arguments] == TABLE.side_by_side(lambda number: number + 1, arguments)


def test_the_caller_works_beside_all_workers() -> None:
    """Every call waits for all the others, so that one thread fewer would never end."""
    together = threading.Barrier(WORKERS + 1)

    places = TABLE.side_by_side(lambda _: together.wait(timeout=30), range(WORKERS + 1))

    assert list(range(WORKERS + 1)) == sorted(places)


def test_a_caller_does_not_wait_for_workers_who_are_busy_with_others() -> None:
    """While another caller holds all of them it does everything itself."""
    busy, done = threading.Barrier(WORKERS + 2), threading.Event()

    def hold(_: int) -> None:
        busy.wait(timeout=30)
        done.wait(timeout=30)

    holder = threading.Thread(target=TABLE.side_by_side, args=(hold, range(WORKERS + 1)))
    holder.start()
    busy.wait(timeout=30)
    try:
        assert TABLE.side_by_side(lambda number: number * 2, [0, 1, 2]) == [0, 2, 4]
    finally:
        done.set()
        holder.join()


@pytest.mark.parametrize("failing", [0, 1, WORKERS, 3 * WORKERS - 1])
def test_a_failure_reaches_the_caller(failing: int) -> None:
    """Whichever thread it happened in."""

    def write(number: int) -> int:
        if number == failing:
            raise Unavailable(detail="no answer")
        return number

    with pytest.raises(Unavailable):
        TABLE.side_by_side(write, range(3 * WORKERS))


def test_nothing_is_begun_after_a_failure() -> None:
    """What was done before it stays done."""
    waiting = deque(enumerate("abcd"))
    results: dict[int, str] = {}

    def write(letter: str) -> str:
        if letter == "c":
            raise Unavailable(detail="no answer")
        return letter

    with pytest.raises(Unavailable):
        work_off(write, waiting, results)
    assert ({0: "a", 1: "b"}, deque()) == (results, waiting)
