"""What the queue in memory does to a record on demand."""

from __future__ import annotations

import pytest

from egret.core.errors import Unavailable
from egret.memory.queue import MemoryQueue


def _queue(*bodies: str) -> MemoryQueue[str]:
    queue = MemoryQueue[str]()
    queue.put(bodies)
    return queue


def test_taken_records_are_in_flight_until_deleted() -> None:
    """Oldest first, no more than asked for."""
    queue = _queue("a", "b", "c")
    taken = queue.take(2)
    state = (queue.waiting, queue.in_flight)
    queue.delete(taken[0].receipt)

    assert [record.body for record in taken] == ["a", "b"]
    assert state == (["c"], ["a", "b"])
    assert (queue.waiting, queue.in_flight, len(queue)) == (["c"], ["b"], 1)


def test_given_back_records_come_again_behind_the_others() -> None:
    """With a new receipt, and a count of how often they came; the old receipt is worth nothing."""
    queue = _queue("a", "b")
    first = queue.take(1)[0]
    queue.give_back(first.receipt)
    again = queue.take(2)
    queue.delete(first.receipt)

    assert [(record.body, record.receives) for record in again] == [("b", 1), ("a", 2)]
    assert first.receipt not in {record.receipt for record in again}
    assert queue.in_flight == ["b", "a"]


def test_death_of_the_consumer_brings_everything_back() -> None:
    """Nothing in flight is lost."""
    queue = _queue("a", "b", "c")
    queue.take(2)
    queue.give_back_all()

    assert (queue.waiting, queue.in_flight) == (["c", "a", "b"], [])


def test_records_can_be_lost_duplicated_and_delayed() -> None:
    """By their place among those that wait."""
    queue = _queue("a", "b", "c")
    queue.duplicate(1)
    queue.delay()
    queue.lose(1)

    assert queue.waiting == ["b", "b", "a"]


def test_queue_that_is_down_takes_nothing() -> None:
    """Unavailable, and afterwards as before."""
    queue = _queue("a")
    queue.is_down = True
    with pytest.raises(Unavailable):
        queue.put(["b"])
    queue.is_down = False
    queue.put(["c"])

    assert queue.waiting == ["a", "c"]
