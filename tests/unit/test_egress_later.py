"""What is written later: in batches, in threads, again when the table did not answer, and never twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from egret.core.errors import ContractError, Unavailable
from egret.memory.clock import FakeClock
from egret_egress.later import LANES, Later, Writing
from tests.unit.builders import NOW


class Slips:
    """Notes that are numbers: even ones may go at any time, odd ones only at the end."""

    def __init__(self, *numbers: int) -> None:
        self.waiting = list(numbers)
        self.put_back_at: list[datetime] = []

    def take(self, now: datetime, *, everything: bool = False) -> list[int]:
        taken = [number for number in self.waiting if everything or number % 2 == 0]
        self.waiting = [number for number in self.waiting if number not in taken]
        return taken

    def put_back(self, items: Sequence[int], now: datetime) -> None:
        self.waiting += items
        self.put_back_at.append(now)


class Table:
    """Keeps what it is given, batch by batch; refuses batches that hold one of `bad`."""

    def __init__(self, error: Exception | None = None, *bad: int) -> None:
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.error = error
        self.bad = set(bad)
        self._lock = threading.Lock()

    def write(self, batch: Sequence[int]) -> None:
        with self._lock:
            self.threads.add(threading.get_ident())
            if self.error is not None and self.bad & set(batch):
                raise self.error
            self.batches.append(list(batch))

    @property
    def written(self) -> list[int]:
        return sorted(number for batch in self.batches for number in batch)


def _flush(later: Later[int], limit_s: float = 10) -> None:
    with ThreadPoolExecutor(4) as executor:
        asyncio.run(later.flush(executor, limit_s))


def _later(slips: Slips, write: Callable[[Sequence[int]], None], batch: int = 1) -> Later[int]:
    return Later(slips, Writing("slips", write, batch), FakeClock(NOW))


def test_everything_is_written_at_the_end() -> None:
    """Once each, and not in the event loop's thread."""
    slips, table = Slips(*range(100)), Table()
    _flush(_later(slips, table.write))

    assert table.written == list(range(100))
    assert slips.waiting == []
    assert threading.get_ident() not in table.threads


def test_batches_have_their_size() -> None:
    """As many as one request takes, the rest in the last."""
    table = Table()
    _flush(_later(Slips(*range(60)), table.write, 25))

    assert sorted(len(batch) for batch in table.batches) == [10, 25, 25]


def test_nothing_to_write_asks_nobody() -> None:
    """An idle unit costs nothing."""
    table = Table()
    _flush(_later(Slips(), table.write))

    assert table.batches == []


def test_what_the_table_does_not_take_waits_again() -> None:
    """It and what would have come after it in the same lane, each either written or waiting, never both."""
    slips, table = Slips(*range(40)), Table(Unavailable(detail="throttled"), 8)
    _flush(_later(slips, table.write))

    assert sorted(slips.waiting + table.written) == list(range(40))
    assert slips.waiting == list(range(8, 40, LANES))
    assert slips.put_back_at == [NOW]
    table.error = None
    _flush(_later(slips, table.write))
    assert table.written == list(range(40))


def test_what_cannot_be_stored_holds_up_nobody() -> None:
    """It is dropped, and the rest is written."""
    for error in (ContractError(detail="too large"), ValueError("a bug")):
        slips, table = Slips(*range(40)), Table(error, 8)
        _flush(_later(slips, table.write))

        assert table.written == [number for number in range(40) if number != 8]
        assert slips.waiting == []


def test_what_is_not_worth_it_is_not_written() -> None:
    """And does not come again."""
    slips, table = Slips(*range(10)), Table()

    async def sift(items: Sequence[int]) -> list[int]:
        return [item for item in items if item > 6]

    _flush(Later(slips, Writing("slips", table.write, sift=sift), FakeClock(NOW)))

    assert (table.written, slips.waiting) == ([7, 8, 9], [])


def test_what_cannot_be_sifted_in_time_waits_again() -> None:
    """Neither a DNS that hangs nor the end of the unit loses it silently."""
    slips, table = Slips(*range(10)), Table()

    async def sift(items: Sequence[int]) -> list[int]:
        await asyncio.Event().wait()
        return list(items)

    later = Later(slips, Writing("slips", table.write, sift=sift), FakeClock(NOW))
    _flush(later, limit_s=0.01)
    assert (table.written, slips.waiting) == ([], list(range(10)))

    async def cancel() -> None:
        with ThreadPoolExecutor(1) as executor:
            flushing = asyncio.create_task(later.flush(executor, 10))
            await asyncio.sleep(0)
            assert slips.waiting == []
            flushing.cancel()
            await asyncio.wait([flushing])

    asyncio.run(cancel())
    assert (table.written, slips.waiting) == ([], list(range(10)))


def test_a_sieve_that_fails_ends_no_duty() -> None:
    """What it had to look at is lost, and said to be in the log."""
    slips, table = Slips(2), Table()

    async def sift(items: Sequence[int]) -> list[int]:
        if 2 in items:
            raise ValueError("a bug")
        return list(items)

    later = Later(slips, Writing("slips", table.write, sift=sift), FakeClock(NOW))
    _flush(later)
    slips.waiting = [4]
    _flush(later)

    assert (table.written, slips.waiting) == ([4], [])


def test_a_flush_ends_in_time() -> None:
    """What is left waits: a table that hangs does not keep a unit from stopping."""
    slips, table = Slips(*range(40)), Table()
    _flush(_later(slips, table.write), limit_s=0)

    assert sorted(slips.waiting) == list(range(40))
    assert table.batches == []


def test_what_is_being_written_when_the_unit_stops_is_not_lost() -> None:
    """The write under way ends, what would have come after it waits for the last flush."""
    slips, table = Slips(*range(40)), Table()

    async def run() -> None:
        loop, has_begun, may_go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

        def write(batch: Sequence[int]) -> None:
            loop.call_soon_threadsafe(has_begun.set)
            assert may_go_on.wait(10)
            table.write(batch)

        with ThreadPoolExecutor(4) as executor:
            flushing = asyncio.create_task(_later(slips, write).flush(executor, 10))
            await has_begun.wait()
            flushing.cancel()
            loop.call_later(0.01, may_go_on.set)
            await asyncio.wait([flushing])
            assert flushing.cancelled()

    asyncio.run(run())
    assert 1 <= len(table.written) <= 4
    assert sorted(slips.waiting + table.written) == list(range(40))


def test_flushing_for_ever_takes_what_is_due_and_survives_failures() -> None:
    """Odd ones are not due; a first refusal is made good by the next round."""
    slips, table = Slips(*range(6)), Table(Unavailable(), 2)

    async def run() -> None:
        loop, is_done = asyncio.get_running_loop(), asyncio.Event()

        def write(batch: Sequence[int]) -> None:
            if slips.put_back_at:
                table.error = None
            table.write(batch)
            if table.written == [0, 2, 4]:
                loop.call_soon_threadsafe(is_done.set)

        with ThreadPoolExecutor(4) as executor:
            duty = asyncio.create_task(_later(slips, write).keep_flushing(executor, 0.001))
            async with asyncio.timeout(10):
                await is_done.wait()
            duty.cancel()
            await asyncio.wait([duty])

    asyncio.run(run())
    assert slips.waiting == [1, 3, 5]
    assert slips.put_back_at == [NOW]
