"""An SMTP server for whoever takes mail: lets connections in and ends them. Its `Service` says what it is for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from functools import partial
from typing import Final

from egret.core.authlimits import networks_of
from egret_egress.inbound_content import ByteBudget
from egret_egress.smtp_connection import HANDSHAKE_S, Connection, tell_of_handshake
from egret_egress.smtp_dialogue import Dialogue
from egret_egress.smtp_limits import Occupancy, ServerLimits
from egret_egress.smtp_service import Service

log = logging.getLogger(__name__)

ACCEPTING_AGAIN_S: Final = 0.5
BACKLOG: Final = 100
"""Connections that nobody has accepted yet."""


class SmtpServer:
    """The listener and its connections. budget: of bytes in memory, of several servers together; None = of its own."""

    def __init__(self, service: Service, limits: ServerLimits | None = None, budget: ByteBudget | None = None) -> None:
        limits = limits or ServerLimits()
        self.occupancy = Occupancy(limits)
        self.budget = budget or ByteBudget(limits.in_flight_bytes, limits.peer_in_flight_bytes)
        self._service = service
        self._limits = limits
        self._server: asyncio.Server | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port."""
        if self._service.is_implicit:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
            listener.setblocking(False)
            self._accepting = asyncio.create_task(self._accept(listener))
            own: int = listener.getsockname()[1]
            return own
        self._server = await asyncio.get_running_loop().create_server(self._connection, host, port)
        listening: int = self._server.sockets[0].getsockname()[1]
        return listening

    def _connection(self) -> Connection:
        return Connection(self._service, self.occupancy, self._serve)

    async def _serve(self, connection: Connection) -> None:
        await Dialogue(connection, self._service, self._limits, self.budget).serve()

    async def _accept(self, listener: socket.socket) -> None:
        """Accept connections that begin with TLS, for ever. Loops tell of those only once the handshake is made."""
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                try:
                    accepted, address = await loop.sock_accept(listener)
                except OSError as error:  # no descriptor is left, or the client is gone
                    log.warning("no connection can be accepted", extra={"error": str(error)})
                    await asyncio.sleep(ACCEPTING_AGAIN_S)
                    continue
                ip = str(address[0])
                networks = networks_of(ip)
                if self.occupancy.is_full_for(networks):
                    accepted.close()
                    continue
                self.occupancy.begin_handshake(networks)
                handshake = loop.create_task(self._shake_hands(accepted, ip))
                self._handshakes.add(handshake)
                handshake.add_done_callback(partial(self._shaken, networks))

    async def _shake_hands(self, accepted: socket.socket, ip: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connection, accepted, ssl=self._service.tls, ssl_handshake_timeout=HANDSHAKE_S
            )
        except OSError as error:
            tell_of_handshake(ip, error)

    def _shaken(self, networks: Sequence[str], handshake: asyncio.Task[None]) -> None:
        self._handshakes.discard(handshake)
        self.occupancy.end_handshake(networks)

    async def stop(self, grace_s: float) -> None:
        """Stop listening; let connections end by themselves for a while, then cut them."""
        if self._server is None and self._accepting is None:
            return
        if self._server is not None:
            self._server.close()
        for task in (self._accepting, *self._handshakes):
            if task is not None:
                task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self.occupancy.all_ended()
        for connection in list(self.occupancy.connections):
            connection.end()
        self._server = self._accepting = None
