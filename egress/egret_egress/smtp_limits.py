"""How much an SMTP server lets happen at a time, over all addresses and for each network, and who is connected."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

WIDENING: Final = (1, 3, 9)
"""Times as much as one address may have is what its network may have: IPv4 /32, /26, /21; IPv6 /64, /48, /32."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What the server lets happen at a time.

    message_bytes: of one message (a DSN may carry back the largest message that we send). in_flight_bytes: received of
    all messages under way; each lies in memory three times while it is stored, on an instance of 1 GiB in all.
    connections: over all addresses. peer_*: of one remote address (IPv6: one /64), so that nobody alone keeps everybody
    else out; one of the largest messages; for the networks around it see WIDENING. session_s: whole life of a
    connection; idle_s: between two commands (RFC 5321 4.5.3.2.7). step_s: within it, step_bytes more of a content have
    to come, or its end: who begins a large message and then dawdles holds memory that others wait for.
    """

    message_bytes: int = 32 * 1024 * 1024
    in_flight_bytes: int = 48 * 1024 * 1024
    recipients: int = 100
    connections: int = 200
    peer_in_flight_bytes: int = 32 * 1024 * 1024
    peer_connections: int = 20
    session_s: float = 30 * 60
    idle_s: float = 300
    step_s: float = 180
    step_bytes: int = 1024 * 1024


class Connected(Protocol):
    """One of those who are connected."""

    def end(self) -> None:
        """Close the connection because the server ends."""
        ...


class Occupancy:
    """Who is connected to one server. networks: those around one address, narrowest first."""

    def __init__(self, limits: ServerLimits) -> None:
        self.limits = limits
        self.connections: set[Connected] = set()
        self.connections_of: Counter[str] = Counter()
        self._handshakes = 0
        self._all_ended: asyncio.Event | None = None

    def is_full_for(self, networks: Sequence[str]) -> bool:
        """Tell whether there are too many connections, in all or of somebody's networks."""
        most = [self.limits.peer_connections * times for times in WIDENING]
        count = len(self.connections) + self._handshakes
        return count >= self.limits.connections or any(
            self.connections_of[network] >= limit for network, limit in zip(networks, most, strict=False)
        )

    def begin_handshake(self, networks: Sequence[str]) -> None:
        """Count what is to become a connection once it has TLS."""
        self._handshakes += 1
        self.connections_of.update(networks)

    def end_handshake(self, networks: Sequence[str]) -> None:
        """Count a handshake no longer; what came of it counts itself."""
        self._handshakes -= 1
        self._uncount(networks)

    def enter(self, connection: Connected, networks: Sequence[str]) -> None:
        """Count a connection."""
        self.connections.add(connection)
        self.connections_of.update(networks)

    def leave(self, connection: Connected, networks: Sequence[str]) -> bool:
        """Count a connection no longer; False when it was not counted any more."""
        if connection not in self.connections:
            return False
        self.connections.discard(connection)
        self._uncount(networks)
        if self._all_ended is not None and not self.connections:
            self._all_ended.set()
        return True

    def _uncount(self, networks: Sequence[str]) -> None:
        self.connections_of.subtract(networks)
        for network in networks:
            if not self.connections_of[network]:
                del self.connections_of[network]

    async def all_ended(self) -> None:
        """Wait until nobody is connected."""
        if self.connections:
            self._all_ended = asyncio.Event()
            await self._all_ended.wait()
