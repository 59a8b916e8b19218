"""The DNS adapter against a small authoritative server on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from egret.contracts.metrics import Metrics
from egret.core.tls_policy import Tlsa
from egret_egress.destinations import Answer, DnsTrouble, MxRecord
from egret_egress.dns import (
    LIFETIME_S,
    MAX_ABSENT_TTL_S,
    MAX_RECORDS,
    MAX_TTL_S,
    UNPROVEN_TTL_S,
    DnsResolver,
)
from egret_egress.prometheus import PrometheusMetrics

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
ZONE |= {
    ("_25._tcp.mx.example.", "TLSA"): ["3 1 1 " + "ab" * 32, "2 0 1 " + "cd" * 32],
    ("text.example.", "TXT"): ['"v=STSv1; " "id=1"', '"other"', '"' + "x" * 200 + '"'],
    ("long.example.", "TXT"): [f'"{n}' + "x" * 200 + '"' for n in range(40)],
    ("1.2.0.192.in-addr.arpa.", "PTR"): ["A.example.org."],
    ("chained.example.", "CNAME"): ["a.example.org."],
    ("loop1.example.", "CNAME"): ["loop2.example."],
    ("loop2.example.", "CNAME"): ["loop1.example."],
    ("dangling.example.", "CNAME"): ["nowhere.example."],
}
ZONE[(".", "NS")] = ["a.root-servers.net."]
ZONE |= {(f"c{n}.example.", "CNAME"): [f"c{n + 1}.example."] for n in range(20)}
ZONE[("c20.example.", "MX")] = ["1 mx.example."]
MANY = [f"192.0.{n // 250}.{n % 250}" for n in range(3500)]
"""As many as an answer can have: it is bounded at 64 KiB."""
EXISTING = {name for name, _ in ZONE} | {"empty.example.", "huge.example."}


class Server(asyncio.DatagramProtocol):
    """Answers from ZONE; names below `fails.` get SERVFAIL, below `bogus.` with a reason.

    questions: how many. is_broken: every name gets SERVFAIL. has_root: else the root does not exist.

    pause_s: before each answer. ttl_s: of records, and of what the SOA says of names that do not exist below `soa.`.
    """

    def __init__(self, *, is_signed: bool = True, pause_s: float = 0.0, ttl_s: int = 300) -> None:
        self.questions = 0
        self.is_broken = False
        self.has_root = True
        self._pause_s = pause_s
        self._ttl_s = ttl_s
        self._is_signed = is_signed
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Keep the way back."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        assert self._transport is not None
        query = dns.message.from_wire(data)
        try:
            body = self.answer(query).to_wire(max_size=1232)
        except dns.exception.TooBig:
            truncated = dns.message.make_response(query)
            truncated.flags |= dns.flags.TC
            body = truncated.to_wire()
        asyncio.get_running_loop().call_later(self._pause_s, self._send, body, addr)

    def _send(self, body: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(body, addr)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """Return the response to a question; an alias comes alone, as from a server that knows no more."""
        self.questions += 1
        response = dns.message.make_response(query)
        if self._is_signed:
            response.flags |= dns.flags.AD
        response.flags |= dns.flags.RA
        question = query.question[0]
        name, kind = question.name.to_text().lower(), question.to_text().split()[-1]
        if self.is_broken or name.endswith("fails.") or (name == "only4.example." and kind == "AAAA"):
            response.set_rcode(dns.rcode.SERVFAIL)
        elif name.endswith("bogus."):
            response.set_rcode(dns.rcode.SERVFAIL)
            response.use_edns(0, options=[dns.edns.EDEOption(dns.edns.EDECode.DNSSEC_BOGUS)])
        elif name == "huge.example.":
            response.answer.append(dns.rrset.from_text(question.name, 300, "IN", "A", *MANY))
        elif (name, "CNAME") in ZONE:
            response.answer.append(dns.rrset.from_text(question.name, self._ttl_s, "IN", "CNAME", *ZONE[name, "CNAME"]))
        elif (name, kind) in ZONE and (self.has_root or name != "."):
            response.answer.append(dns.rrset.from_text(question.name, self._ttl_s, "IN", kind, *ZONE[name, kind]))
        elif name not in EXISTING:
            response.set_rcode(dns.rcode.NXDOMAIN)
            if name.endswith("soa."):
                soa = f". . 1 2 3 4 {self._ttl_s}"
                response.authority.append(dns.rrset.from_text("soa.", self._ttl_s, "IN", "SOA", soa))
        return response

    async def over_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one question of a connection."""
        length = int.from_bytes(await reader.readexactly(2), "big")
        body = self.answer(dns.message.from_wire(await reader.readexactly(length))).to_wire(max_size=65535)
        writer.write(len(body).to_bytes(2, "big") + body)
        await writer.drain()
        writer.close()


async def _listening(server: Server) -> tuple[asyncio.Server, asyncio.DatagramTransport]:
    """Find a port that is free for both."""
    while True:
        tcp = await asyncio.start_server(server.over_tcp, "127.0.0.1", 0)
        address = tcp.sockets[0].getsockname()
        try:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: server, address)
        except OSError:
            tcp.close()
        else:
            return tcp, transport


@contextlib.asynccontextmanager
async def resolving(*, validates: bool = True, is_signed: bool = True) -> AsyncIterator[tuple[DnsResolver, Server]]:
    """Run the server, over UDP and TCP, and a resolver that asks it."""
    server = Server(is_signed=is_signed)
    async with asking(server, validates=validates) as resolver:
        yield resolver, server


@contextlib.asynccontextmanager
async def asking(
    server: Server, *, validates: bool = False, counting: Metrics | None = None, lifetime_s: float = LIFETIME_S
) -> AsyncIterator[DnsResolver]:
    """Run a server, over UDP and TCP, and a resolver that asks it."""
    tcp, transport = await _listening(server)
    port = transport.get_extra_info("sockname")[1]
    try:
        yield DnsResolver(["127.0.0.1"], port, validates=validates, counting=counting, lifetime_s=lifetime_s)
    finally:
        tcp.close()
        await tcp.wait_closed()
        transport.close()
        await asyncio.sleep(0)


def test_a_resolver_that_knows_the_root_or_nothing_of_it_answers() -> None:
    """Each time anew; one that fails or cannot be reached does not. A server of private names has no root."""

    async def run() -> tuple[list[bool], int]:
        async with resolving() as (resolver, server):
            found = [await resolver.answers()]
            server.has_root = False
            found.append(await resolver.answers())
            server.is_broken = True
            return [*found, await resolver.answers()], server.questions

    (known, private, broken), questions = asyncio.run(run())

    assert (known, private, broken) == (True, True, False)
    assert questions >= 3


def ask(question: Callable[[DnsResolver], Awaitable[T]], *, validates: bool = True, is_signed: bool = True) -> T:
    """Ask one question."""

    async def run() -> T:
        async with resolving(validates=validates, is_signed=is_signed) as (resolver, _):
            return await question(resolver)

    return asyncio.run(run())


def test_mx_records_are_read() -> None:
    """Names come in lower case without the last dot; null MX is the empty name."""
    records = ask(lambda r: r.mx("example.org")).records
    assert set(records) == {MxRecord(20, "b.example.org"), MxRecord(10, "a.example.org")}
    assert ask(lambda r: r.mx("null.example")).records == (MxRecord(0, ""),)


def test_no_records_and_no_name_are_told_apart() -> None:
    """A name without MX, and NXDOMAIN."""
    assert ask(lambda r: r.mx("empty.example")) == Answer((), "empty.example", is_authentic=True)
    assert ask(lambda r: r.mx("nowhere.example")) == Answer((), "nowhere.example", is_authentic=True, exists=False)


def test_names_of_an_address_are_read() -> None:
    """As host names."""
    assert ask(lambda r: r.pointers("1.2.0.192.in-addr.arpa")).records == ("a.example.org",)


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
    """A name server that fails on AAAA keeps mail neither from the A address nor from DANE."""
    found = ask(lambda r: r.addresses("only4.example"))

    assert (found.records, found.is_authentic) == (("192.0.2.3",), True)


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


@pytest.mark.rfc("2308", "5")
@pytest.mark.parametrize("given_s", [30, 2**31 - 1])
@pytest.mark.parametrize(
    ("name", "most_s"),
    [
        ("only4.example", MAX_TTL_S),
        ("gone.soa", MAX_ABSENT_TTL_S),
        ("gone.example", UNPROVEN_TTL_S),
        ("dangling.example", UNPROVEN_TTL_S),
    ],
)
def test_no_answer_is_kept_for_ever(name: str, given_s: int, most_s: int) -> None:
    """Whatever its server says: a day, and an hour for what is not there, if there is a word of it at all."""

    async def run() -> float:
        async with asking(Server(ttl_s=given_s)) as resolver:
            with contextlib.suppress(DnsTrouble):
                await resolver.addresses(name)
            return resolver._cache[name, "A"][0] - asyncio.get_running_loop().time()

    is_told = name in ("only4.example", "gone.soa", "dangling.example")
    assert asyncio.run(run()) == pytest.approx(min(given_s, most_s) if is_told else most_s, abs=5)


def test_a_look_up_ends_in_time_however_many_aliases_there_are() -> None:
    """The time is for all of it, and is told to whoever looks at the metrics."""
    metrics = PrometheusMetrics()

    async def run() -> float:
        async with asking(Server(pause_s=0.1), counting=metrics, lifetime_s=0.35) as resolver:
            began_at = asyncio.get_running_loop().time()
            with pytest.raises(DnsTrouble, match="do not answer"):
                await resolver.mx("c5.example")
            return asyncio.get_running_loop().time() - began_at

    assert asyncio.run(run()) < 0.8
    assert 'egret_dns_seconds_count{result="timeout"} 1.0' in metrics.text().decode()


def test_the_time_of_questions_is_counted_by_what_came_of_them() -> None:
    """What is in the cache asks nobody, and is not counted."""
    metrics = PrometheusMetrics()

    async def run() -> None:
        async with asking(Server(), counting=metrics) as resolver:
            for name in ("example.org", "gone.example", "it.fails", "example.org"):
                with contextlib.suppress(DnsTrouble):
                    await resolver.mx(name)

    asyncio.run(run())

    counts = [line for line in metrics.text().decode().splitlines() if line.startswith("egret_dns_seconds_count")]
    assert counts == [f'egret_dns_seconds_count{{result="{word}"}} 1.0' for word in ("answer", "nxdomain", "failure")]


def test_an_answer_that_is_larger_than_anybody_needs_is_not_kept() -> None:
    """Many of them would fill the memory; to ask again costs only whoever gave it."""

    async def run() -> int:
        async with resolving() as (resolver, server):
            before = 0
            for _ in range(2):
                before = server.questions
                await resolver.txt("long.example")
            return server.questions - before

    assert asyncio.run(run()) > 0


def test_everybody_who_asks_at_once_shares_one_question() -> None:
    """Five hundred workers on a new domain ask once."""

    async def run() -> int:
        async with resolving() as (resolver, server):
            answers = await asyncio.gather(*(resolver.mx("example.org") for _ in range(500)))
            assert len(set(answers)) == 1
            return server.questions

    assert asyncio.run(run()) == 1


def test_who_is_canceled_takes_the_answer_from_nobody() -> None:
    """The question goes on for the others."""

    async def run() -> int:
        async with resolving() as (resolver, server):
            first = asyncio.create_task(resolver.mx("example.org"))
            await asyncio.sleep(0)
            second = asyncio.create_task(resolver.mx("example.org"))
            await asyncio.sleep(0)
            first.cancel()
            assert len((await second).records) == 2
            return server.questions

    assert asyncio.run(run()) == 1


@pytest.mark.rfc("7672", "2.1.1")
@pytest.mark.parametrize("validates", [True, False])
@pytest.mark.parametrize("is_signed", [True, False])
def test_gather_authentic(*, validates: bool, is_signed: bool) -> None:
    """The AD bit counts when the resolver is known to validate, and only then; of addresses in every answer."""

    def asked(question: Callable[[DnsResolver], Awaitable[Answer[T]]]) -> bool:
        return ask(question, validates=validates, is_signed=is_signed).is_authentic

    expected = validates and is_signed
    assert asked(lambda r: r.mx("example.org")) is expected
    assert asked(lambda r: r.addresses("a.example.org")) is expected
    assert asked(lambda r: r.tlsa("_25._tcp.mx.example")) is expected
    assert asked(lambda r: r.mx("empty.example")) is expected
    assert asked(lambda r: r.addresses("only4.example")) is expected


def test_ad_is_believed_of_a_resolver_on_this_machine_only() -> None:
    """Between us and any other, somebody may set a bit."""
    far = DnsResolver(["192.0.2.53"], validates=True)
    near = DnsResolver(["127.0.0.1", "::1"], validates=True)
    mixed = DnsResolver(["127.0.0.1", "192.0.2.53"], validates=True)

    assert [resolver.is_believed for resolver in (far, near, mixed)] == [False, True, False]


def test_gather_tlsa() -> None:
    """Records as they are; none is none, and so is a name that does not exist."""
    found = ask(lambda r: r.tlsa("_25._tcp.mx.example"))

    assert set(found.records) == {Tlsa(3, 1, 1, b"\xab" * 32), Tlsa(2, 0, 1, b"\xcd" * 32)}
    assert ask(lambda r: r.tlsa("empty.example")).records == ()
    assert ask(lambda r: r.tlsa("_25._tcp.nowhere.example")).records == ()


@pytest.mark.parametrize(("name", "is_bogus"), [("x.bogus", True), ("x.fails", False)])
def test_bogus_is_told_from_broken_and_both_from_none(name: str, *, is_bogus: bool) -> None:
    """RFC 8914: the resolver says why it answers SERVFAIL."""
    with pytest.raises(DnsTrouble) as trouble:
        ask(lambda r: r.tlsa(name))

    assert trouble.value.is_bogus is is_bogus


def test_texts_are_joined() -> None:
    """The strings of one record belong together (RFC 7208 section 3.3, RFC 8461 section 3.1)."""
    assert set(ask(lambda r: r.txt("text.example")).records) == {"v=STSv1; id=1", "other", "x" * 200}


@pytest.mark.rfc("5321", "5.1")
def test_gather_cname() -> None:
    """An alias that comes alone is followed, and the name at its end is told; so is an end that does not exist."""
    found = ask(lambda r: r.addresses("chained.example"))
    nowhere = ask(lambda r: r.mx("dangling.example"))

    assert (found.expanded, len(found.records)) == ("a.example.org", 3)
    assert (nowhere.expanded, nowhere.exists) == ("nowhere.example", False)
    assert ask(lambda r: r.mx("c4.example")).expanded == "c20.example"


@pytest.mark.parametrize("name", ["loop1.example", "c3.example"], ids=["loop", "too long"])
def test_gather_cname_loops(name: str) -> None:
    """More than sixteen aliases lead nowhere."""
    with pytest.raises(DnsTrouble, match="alias"):
        ask(lambda r: r.mx(name))


def test_an_answer_of_thousands_of_records_is_cut() -> None:
    """As many as fit into a DNS message come over TCP; a few of them are kept."""
    assert len(ask(lambda r: r.addresses("huge.example")).records) == MAX_RECORDS
