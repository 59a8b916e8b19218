"""Slots for policy hosts: fair between networks, and never waited for without end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from egret_egress.sts_slots import NoSlot, Slots, network_of

WAIT_S = 0.01


async def holding(slots: Slots, addresses: Sequence[str], until: asyncio.Event) -> None:
    """Hold a slot until the event."""
    async with slots.held(addresses):
        await until.wait()


async def is_free(slots: Slots, *addresses: str) -> bool:
    """Tell whether a slot can be had."""
    try:
        async with slots.held(addresses):
            return True
    except NoSlot:
        return False


def occupied(
    slots: Slots, addresses: Sequence[Sequence[str]], then: Callable[[asyncio.Event], Awaitable[None]]
) -> None:
    """Run something while others want slots for these addresses, and hold those they get."""

    async def run() -> None:
        done = asyncio.Event()
        others = [asyncio.create_task(holding(slots, each, done)) for each in addresses]
        await asyncio.sleep(0)
        await then(done)
        done.set()
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run(run())


def test_who_lets_us_wait_takes_the_slots_of_his_network_alone() -> None:
    """However many hosts there are in it, and if only one of a host's addresses is."""
    slots = Slots(in_all=4, in_network=2, wait_s=WAIT_S)

    async def then(_: asyncio.Event) -> None:
        assert await is_free(slots, "198.51.100.1")
        assert not await is_free(slots, "192.0.2.200")
        assert not await is_free(slots, "198.51.100.1", "192.0.2.200")
        assert await is_free(slots, "198.51.100.1", "198.51.100.2", "2001:db8::1")

    occupied(slots, [[f"192.0.2.{number}"] for number in range(50)], then)


def test_there_are_so_many_slots_in_all() -> None:
    """Over all networks; when they are free again the next one gets them, and nothing is kept of a network."""
    slots = Slots(in_all=3, in_network=2, wait_s=WAIT_S)

    async def then(done: asyncio.Event) -> None:
        assert not await is_free(slots, "192.0.9.1")
        done.set()
        assert await is_free(slots, "192.0.9.1")
        assert slots._networks == {}

    occupied(slots, [[f"192.0.{number}.1"] for number in range(3)], then)


@pytest.mark.parametrize(
    ("address", "network"), [("192.0.2.77", "192.0.2.0/24"), ("2001:db8:1:2::3", "2001:db8:1::/48")]
)
def test_a_network_is_what_one_owner_has(address: str, network: str) -> None:
    """/24 and /48."""
    assert network_of(address) == network
