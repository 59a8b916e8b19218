"""Fetching an MTA-STS policy from a real HTTPS server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from egret.core.mtasts import MAX_BYTES
from egret.core.tlsrpt import ResultType
from egret_egress.destinations import Answer, PublicOnly
from egret_egress.mta_sts import NotFetched
from egret_egress.sts_fetch import MAX_RECEIVED, PATH, Fetching, HttpsFetch
from egret_egress.sts_slots import Slots
from tests.certificates import Identity
from tests.conformance.scripted import NoDns

POLICY = b"version: STSv1\nmode: none\nmax_age: 1\n"
HOST = "mta-sts.example.org"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Loopback(NoDns):
    """A `Resolver` that leads here."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._address = address

    async def addresses(self, host: str) -> Answer[str]:
        return Answer((self._address,) if self._address else (), host)


@asynccontextmanager
async def serving(handler: Handler, identity: Identity, folder: Path) -> AsyncIterator[int]:
    """Run a policy host; yields its port."""
    app = web.Application()
    app.router.add_get(PATH, handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=identity.server(folder)).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def fetched(
    handler: Handler, folder: Path, name: str = HOST, *, trust: Identity | None = None, time_s: float = 5
) -> bytes | NotFetched:
    """Fetch from a host whose certificate is for a name."""

    async def run() -> bytes | NotFetched:
        identity = Identity(name)
        async with serving(handler, identity, folder) as port:
            fetch = HttpsFetch(Fetching(Loopback(), (trust or identity).trusting(), port, time_s))
            return await fetch("example.org")

    return asyncio.run(run())


def answering(body: bytes = POLICY, status: int = 200, kind: str = "text/plain") -> Handler:
    """Return a handler that gives one answer."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers={"Content-Type": kind, "Location": PATH})

    return handle


def failure(result: bytes | NotFetched) -> tuple[ResultType, str]:
    """Return how a failure is reported."""
    assert isinstance(result, NotFetched)
    return result.failure.type, result.failure.code


@pytest.mark.rfc("8461", "3.3")
@pytest.mark.parametrize("kind", ["text/plain", "text/plain; charset=utf-8"])
def test_a_policy_is_fetched(tmp_path: Path, kind: str) -> None:
    """Over HTTPS, from the host of that name."""
    seen: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request.host.partition(":")[0])
        return await answering(kind=kind)(request)

    assert (fetched(handle, tmp_path), seen) == (POLICY, [HOST])


@pytest.mark.rfc("8461", "3.3")
@pytest.mark.parametrize(
    ("handler", "code"),
    [
        (answering(status=301), "http-301"),
        (answering(status=404), "http-404"),
        (answering(status=206), "http-206"),
        (answering(kind="text/html"), "media-type"),
        (answering(b"x" * (MAX_BYTES + 1)), "too-long"),
    ],
)
def test_only_a_plain_answer_counts(tmp_path: Path, handler: Handler, code: str) -> None:
    """No redirect, no other status, no other kind of text, no more than 64 KiB."""
    assert failure(fetched(handler, tmp_path)) == (ResultType.STS_POLICY_FETCH_ERROR, code)


def test_the_longest_policy_is_fetched(tmp_path: Path) -> None:
    """64 KiB are allowed."""
    assert fetched(answering(b"x" * MAX_BYTES), tmp_path) == b"x" * MAX_BYTES


@pytest.mark.rfc("8461", "3.3")
def test_the_certificate_must_be_the_policy_hosts(tmp_path: Path) -> None:
    """Another name, and an issuer that nobody knows, are failures of the web's PKI."""
    wrong_name = fetched(answering(), tmp_path, "example.org")
    unknown = fetched(answering(), tmp_path, trust=Identity(HOST))

    assert failure(wrong_name) == (ResultType.STS_WEBPKI_INVALID, "x509-62")
    assert failure(unknown)[0] is ResultType.STS_WEBPKI_INVALID


def test_a_slow_host_is_given_up(tmp_path: Path) -> None:
    """A byte now and then does not keep anybody waiting for ever."""

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.05)

    assert failure(fetched(drip, tmp_path, time_s=0.5)) == (ResultType.STS_POLICY_FETCH_ERROR, "timeout")


@pytest.mark.parametrize("address", ["", "127.0.0.1"], ids=["no address", "closed"])
def test_a_host_that_is_not_there(address: str) -> None:
    """No address, and nobody who listens."""

    async def run() -> bytes | NotFetched:
        return await HttpsFetch(Fetching(Loopback(address), port=1))("example.org")

    assert failure(asyncio.run(run())) == (ResultType.STS_POLICY_FETCH_ERROR, "connection")


def test_a_host_inside_our_network_is_not_asked(tmp_path: Path) -> None:
    """The guard of MX hosts is the guard of policy hosts: nothing reaches the server."""
    seen: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return await answering()(request)

    async def run() -> bytes | NotFetched:
        identity = Identity(HOST)
        async with serving(handle, identity, tmp_path) as port:
            return await HttpsFetch(Fetching(PublicOnly(Loopback()), identity.trusting(), port))("example.org")

    assert failure(asyncio.run(run())) == (ResultType.STS_POLICY_FETCH_ERROR, "connection")
    assert seen == []


@pytest.mark.parametrize(
    ("head", "flood"),
    [
        pytest.param(b"", b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n", id="interim answers"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5;",
            b"a" * 1000,
            id="the extension of a chunk",
        ),
    ],
)
def test_a_host_that_floods_us_is_given_up(tmp_path: Path, head: bytes, flood: bytes) -> None:
    """What is no body is bounded, too: reading it for all of the time would keep the loop from everything else."""
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing() and sent < 64 * MAX_RECEIVED:
                writer.write(flood * 100)
                sent += len(flood) * 100
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    async def run() -> bytes | NotFetched:
        identity = Identity(HOST)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=identity.server(tmp_path))
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await HttpsFetch(Fetching(Loopback(), identity.trusting(), port, 20))("example.org")

    assert failure(asyncio.run(run())) == (ResultType.STS_POLICY_FETCH_ERROR, "connection")
    assert sent < 64 * MAX_RECEIVED


class Elsewhere(NoDns):
    """A `Resolver` of one good host and of many that belong to somebody else."""

    async def addresses(self, host: str) -> Answer[str]:
        return Answer(("127.0.0.3" if host == HOST else "127.0.0.2",), host)


def test_hosts_that_let_us_wait_do_not_keep_us_from_others(tmp_path: Path) -> None:
    """They wait for each other, a few at a time; whoever gets no slot was not asked."""

    async def good(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % len(POLICY) + POLICY)
        writer.close()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def run() -> tuple[bytes | NotFetched, list[bytes | NotFetched]]:
        identity = Identity(HOST)
        server = await asyncio.start_server(good, "127.0.0.3", 0, ssl=identity.server(tmp_path))
        port = server.sockets[0].getsockname()[1]
        async with server, await asyncio.start_server(silent, "127.0.0.2", port):
            slots = Slots(in_all=6, in_network=5, wait_s=0.4, network=str)
            fetch = HttpsFetch(Fetching(Elsewhere(), identity.trusting(), port, connect_s=0.8), slots)
            others = [asyncio.create_task(fetch(f"d{number}.evil.example")) for number in range(30)]
            await asyncio.sleep(0.05)
            found = await asyncio.wait_for(fetch("example.org"), 0.3)
            return found, await asyncio.gather(*others)

    found, others = asyncio.run(run())

    assert found == POLICY
    assert [failure(each)[1] for each in others] == ["timeout"] * 5 + ["busy"] * 25
    assert [isinstance(each, NotFetched) and each.was_asked for each in others] == [True] * 5 + [False] * 25
