"""How many workers, and so connections, a place has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from random import Random
from typing import Any

import pytest

from egret.core.tls_policy import PLAIN
from egret_egress.destinations import Host
from egret_egress.engine import Capacity
from tests.fault.providers import Provider, To, VirtualLoop, run_virtually
from tests.integration.egress_rig import UNHURRIED, Wishes, handoff, rig_for, transaction

IN_HAND = 12


class AtOnce(Executor):
    """An executor without threads, for a loop in virtual time."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it now."""
        future = Future[Any]()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 (whoever waits for it is told)
            future.set_exception(error)
        return future


def most_connections(work_s: float) -> int:
    """Return how many a server saw that takes so long for a message, while for 3 s a dozen are in hand."""
    provider = Provider(Random(1), connections=1000, per_second=1_000_000, rtt_s=0.002, work_s=work_s)

    async def main(loop: VirtualLoop) -> int:
        loop.providers, loop.names = {"mx.example.org": provider}, {"192.0.2.1": "mx.example.org"}
        router = To({"example.org": Host("mx.example.org", 25, PLAIN, addresses=("192.0.2.1",))})
        async with rig_for(0, Wishes(router=router, executor=AtOnce(), timeouts=UNHURRIED)) as rig:
            number = 0
            while loop.time() < 3:
                while rig.ledger.in_hand < IN_HAND:
                    number += 1
                    assert rig.engine.take(handoff(transaction(1024 * number))).taken == [True]
                await asyncio.sleep(0.001)
            await rig.settle()
        assert len(provider.taken) == number == len(rig.book.outcomes)
        replies = [attempt.outcome.reply for attempt in rig.book.outcomes.values()]
        assert {reply.code if reply else 0 for reply in replies} == {250}
        return provider.most_open

    return run_virtually(main)


def test_a_queue_that_moves_needs_no_further_worker() -> None:
    """What waits is done as soon by the connections there are, one message behind the dot of another."""
    assert most_connections(work_s=0.01) <= IN_HAND * 2 / 3


def test_one_that_hardly_moves_has_a_connection_for_each_message_in_the_end() -> None:
    """The workers there are may be stuck with a server that takes its time."""
    assert most_connections(work_s=2.0) >= IN_HAND - 1


@pytest.mark.parametrize("work_s", [0.02, 0.2])
def test_a_long_queue_gets_the_workers_that_another_place_leaves(work_s: float) -> None:
    """Also when nothing new comes for it, and whether its first worker hardly moves or does one after the other."""
    names = {"192.0.2.1": "mx.example.com", "192.0.2.2": "mx.example.org"}
    providers = {
        name: Provider(Random(1), connections=1000, per_second=1_000_000, rtt_s=0.002, work_s=seconds)
        for name, seconds in zip(names.values(), (0.2, work_s), strict=True)
    }
    hosts = {name.removeprefix("mx."): Host(name, 25, PLAIN, addresses=(at,)) for at, name in names.items()}

    async def main(loop: VirtualLoop) -> None:
        loop.providers, loop.names = providers, names
        capacity = Capacity(workers=3, per_place=3)
        wishes = Wishes(router=To(hosts), executor=AtOnce(), capacity=capacity, timeouts=UNHURRIED)
        async with rig_for(0, wishes) as rig:
            rig.engine.take(handoff(*(transaction(1024 * number, domain="example.com") for number in range(1, 5))))
            rig.engine.take(handoff(*(transaction(1024 * number) for number in range(5, 65))))
            await rig.settle()

    run_virtually(main)

    assert providers["mx.example.org"].most_open == 3
