"""How many policy hosts are asked at a time: in all, and in one network, whose hosts may be one owner's.

Without the second bound, whoever sends to many domains of his own could take every slot with hosts that let us wait.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

SLOTS = 400
"""So many, because each of them may be a host that lets us wait for all of its time."""
IN_NETWORK = 20
"""Many domains have their policies at one provider, which answers at once."""
WAIT_S = 10.0
"""For a slot."""
_PREFIX = {4: 24, 6: 48}
"""Bits of an address that its owner does not choose, by version."""


class NoSlot(Exception):
    """None came free in time."""


def network_of(address: str) -> str:
    """Return the network that an IP address counts for: /24 or /48."""
    parsed = ipaddress.ip_address(address)
    return str(ipaddress.ip_network((parsed, _PREFIX[parsed.version]), strict=False))


class Slots:
    """The slots. in_all, in_network: how many; wait_s: for how long one is waited for; network: of an address."""

    def __init__(
        self,
        in_all: int = SLOTS,
        in_network: int = IN_NETWORK,
        wait_s: float = WAIT_S,
        network: Callable[[str], str] = network_of,
    ) -> None:
        self._all = asyncio.Semaphore(in_all)
        self._in_network = in_network
        self._wait_s = wait_s
        self._network = network
        self._networks: dict[str, _Network] = {}

    @asynccontextmanager
    async def held(self, addresses: Sequence[str]) -> AsyncIterator[None]:
        """Hold a slot in each network of the addresses, and one of all; raises NoSlot."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._wait_s):
                    # In order, so that no two wait for each other; of all last, so that nobody holds one and waits.
                    for name in sorted({self._network(address) for address in addresses}):
                        await stack.enter_async_context(self._of(name))
                    await stack.enter_async_context(self._all)
            except TimeoutError:
                raise NoSlot from None
            yield

    @asynccontextmanager
    async def _of(self, name: str) -> AsyncIterator[None]:
        network = self._networks.get(name)
        if network is None:
            network = self._networks[name] = _Network(self._in_network)
        network.users += 1
        try:
            async with network.slots:
                yield
        finally:
            network.users -= 1
            if not network.users:
                del self._networks[name]


class _Network:
    """The slots of one network. users: who hold one or wait for one."""

    __slots__ = ("slots", "users")

    def __init__(self, slots: int) -> None:
        self.slots = asyncio.Semaphore(slots)
        self.users = 0
