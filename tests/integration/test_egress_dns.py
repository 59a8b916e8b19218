"""The DNS adapter against a small authoritative server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from egret_egress.destinations import Answer, DnsTrouble, MxRecord
from egret_egress.dns import DnsResolver

T = TypeVar("T")
ZONE = {
    ("example.org.", "MX"): ["20 B.example.org.", "10 a.example.org."],
    ("null.example.", "MX"): ["0 ."],
    ("a.example.org.", "A"): ["192.0.2.1", "192.0.2.2"],
    ("a.example.org.", "AAAA"): ["2001:db8::1"],
    ("many.example.", "AAAA"): [f"2001:db8::{n}" for n in range(1, 10)],
    ("many.example.", "A"): ["192.0.2.4"],
    ("only4.example.", "A"): ["192.0.2.3"],
}
EXISTING = {name for name, _ in ZONE} | {"empty.example."}


class Server(asyncio.DatagramProtocol):
    """Answers from ZONE; names below `fails.` get SERVFAIL. questions: how many came."""

    def __init__(self) -> None:
        self.questions = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Keep the way back."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        self.questions += 1
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        question = query.question[0]
        name, kind = question.name.to_text().lower(), question.to_text().split()[-1]
        if name.endswith("fails.") or (name == "only4.example." and kind == "AAAA"):
            response.set_rcode(dns.rcode.SERVFAIL)
        elif (name, kind) in ZONE:
            response.answer.append(dns.rrset.from_text(question.name, 300, "IN", kind, *ZONE[name, kind]))
        elif name not in EXISTING:
            response.set_rcode(dns.rcode.NXDOMAIN)
        assert self._transport is not None
        self._transport.sendto(response.to_wire(), addr)


@contextlib.asynccontextmanager
async def resolving() -> AsyncIterator[tuple[DnsResolver, Server]]:
    """Run the server and a resolver that asks it."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(Server, ("127.0.0.1", 0))
    try:
        yield DnsResolver(["127.0.0.1"], transport.get_extra_info("sockname")[1]), server
    finally:
        transport.close()
        await asyncio.sleep(0)


def ask(question: Callable[[DnsResolver], Awaitable[T]]) -> T:
    """Ask one question."""

    async def run() -> T:
        async with resolving() as (resolver, _):
            return await question(resolver)

    return asyncio.run(run())


def test_mx_records_are_read() -> None:
    """Names come in lower case without the last dot; null MX is the empty name."""
    records = ask(lambda r: r.mx("example.org")).records
    assert set(records) == {MxRecord(20, "b.example.org"), MxRecord(10, "a.example.org")}
    assert ask(lambda r: r.mx("null.example")).records == (MxRecord(0, ""),)


def test_no_records_and_no_name_are_told_apart() -> None:
    """A name without MX, and NXDOMAIN."""
    assert ask(lambda r: r.mx("empty.example")) == Answer((), "empty.example", exists=True)
    assert ask(lambda r: r.mx("nowhere.example")) == Answer((), "nowhere.example", exists=False)


def test_addresses_of_both_families() -> None:
    """IPv6 first, then IPv4; none at all is no trouble."""
    first, *others = ask(lambda r: r.addresses("a.example.org")).records
    assert (first, set(others)) == ("2001:db8::1", {"192.0.2.1", "192.0.2.2"})
    assert ask(lambda r: r.addresses("empty.example")).records == ()
    assert ask(lambda r: r.addresses("nowhere.example")).records == ()


def test_many_addresses_of_one_family_do_not_hide_the_other() -> None:
    """Only the first eight addresses of a host are tried, and an installation may have no IPv6."""
    found = ask(lambda r: r.addresses("many.example")).records

    assert (len(found), found[1]) == (10, "192.0.2.4")


def test_trouble_with_one_family_does_not_matter() -> None:
    """A name server that fails on AAAA does not keep mail from the A address."""
    assert ask(lambda r: r.addresses("only4.example")).records == ("192.0.2.3",)


@pytest.mark.parametrize("name", ["x.fails", "a..b", "x" * 64 + ".example"])
def test_trouble_is_trouble(name: str) -> None:
    """SERVFAIL, and names that cannot be asked for, are temporary."""
    with pytest.raises(DnsTrouble):
        ask(lambda r: r.mx(name))


def test_answers_are_kept_for_their_ttl() -> None:
    """The second question is answered from the cache."""

    async def run() -> int:
        async with resolving() as (resolver, server):
            for _ in range(5):
                await resolver.mx("example.org")
            return server.questions

    assert asyncio.run(run()) == 1
