"""How connections are opened."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from egret_egress.burst import Burst
from egret_egress.connection import Connection, ConnectionFailed
from egret_egress.opening import Dialing
from tests.certificates import Identity

HOST = "mx.example.org"


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    """Let both sides talk until they agree; raises ssl.SSLError when they do not."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=HOST),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for side in list(sides):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            sides.remove(side)
    assert not sides


def trusting(identity: Identity) -> ssl.SSLContext:
    """Return the settings of verified connections, with one more authority to believe."""
    context = Dialing("unit.example").verified
    context.load_verify_locations(cadata=identity.pem.decode())
    return context


@pytest.mark.rfc("8461", "4.2")
def test_a_common_name_is_no_name(tmp_path: Path) -> None:
    """Verified is who has an alternative name (SAN) that fits; what stands in the subject counts for nothing."""
    named, unnamed = Identity(HOST), Identity(HOST, is_authority=True)

    shake_hands(trusting(named), named.server(tmp_path))
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(trusting(unnamed), unnamed.server(tmp_path))


def test_a_name_that_tls_cannot_ask_for_ends_the_connection_and_no_more() -> None:
    """Whoever owns a domain chooses the names of its servers: trouble with one of them is an outcome, not a fault."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        async with server:
            host, port = server.sockets[0].getsockname()
            _, connection = await loop.create_connection(lambda: Connection(loop, Burst()), host, port)
            await connection.start_tls(Dialing("unit.example").opportunistic, "x" * 64 + ".example", 5)

    with pytest.raises(ConnectionFailed, match="TLS could not be agreed on"):
        asyncio.run(run())
