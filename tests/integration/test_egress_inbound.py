"""Port 25 as others meet it: TLS, what is found out about senders, limits, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from egret.contracts.handoff import Content
from egret.contracts.queues import Inbound, unpack_inbound
from egret.memory.blobs import MemoryBlobs
from egret.memory.clock import FakeClock
from egret.memory.reports import MemoryDmarcEvaluations
from egret_egress.destinations import Answer
from egret_egress.inbound import InboundPolicy, InboundPorts, InboundServer, Recipients
from egret_egress.judging import Judge, JudgingPorts
from egret_egress.rates import Rate
from egret_egress.smtp_limits import Occupancy, ServerLimits
from egret_egress.spf_check import Sender, Spf
from egret_egress.unit import INBOUND_THREADS, serving
from tests.certificates import Certificate
from tests.integration.egress_rig import NOW as RIG_NOW
from tests.integration.egress_rig import Sink, handoff, sinking, transaction
from tests.integration.test_egress_unit import FROMID, KEYS, SeededDice, World, config_in, replace_unit, settings
from tests.smtp_client import Wire, dialling
from tests.zone import Looking, Zone

MAIL = "From: Me <me@b.example>\r\nSubject: Hello\r\n\r\nHello\r\n."
RCPT = "RCPT TO:<me@a.example>"
SPF = {"b.example": ["v=spf1 ip4:127.0.0.1 -all"]}
REJECT = {"_dmarc.b.example": ["v=DMARC1; p=reject"]}
HOUR = timedelta(hours=1)
NOW = datetime(2026, 5, 1, tzinfo=UTC)


@dataclass
class Port25:
    """A server with its ports in memory. zone: None = nobody judges."""

    zone: Zone | None = None
    policy: InboundPolicy = field(default_factory=InboundPolicy)
    limits: ServerLimits | None = None
    certificate: Certificate | None = None
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    evaluations: MemoryDmarcEvaluations = field(default_factory=MemoryDmarcEvaluations)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    judge: type[Judge] = Judge

    @property
    def stored(self) -> list[tuple[Inbound, bytes]]:
        """What was accepted."""
        return [unpack_inbound(body) for body in self.blobs.objects.values()]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        """Serve; return the port."""
        with ThreadPoolExecutor(4) as executor:
            judge = self.judge(JudgingPorts(Looking(self.zone), executor)) if self.zone is not None else None
            recipients = Recipients(settings(), KEYS, "mx.example")
            ports = InboundPorts(
                recipients,
                self.blobs,
                self.clock,
                SeededDice(),
                executor,
                judge=judge,
                evaluations=self.evaluations,
            )
            tls = self.certificate.server() if self.certificate is not None else None
            server = InboundServer(ports, "mx.example", self.limits, self.policy, tls)
            port = await server.start("127.0.0.1", 0)
            try:
                async with asyncio.timeout(10):
                    yield port
            finally:
                await server.stop(0.2)

    def talk(self, *talks: Callable[[Wire], Awaitable[None]]) -> None:
        """Let clients talk to it one after the other, each from behind the greeting on."""

        async def run() -> None:
            async with self.serving() as port:
                for talk in talks:
                    async with dialling(port) as wire:
                        assert (await wire.reply())[:3] == "220"
                        await talk(wire)

        asyncio.run(run())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Return one for 127.0.0.1."""
    return Certificate(Path(tmp_path_factory.mktemp("tls")))


def mailing(*more: str, sender: str = "x@b.example", content: str = MAIL) -> Callable[[Wire], Awaitable[None]]:
    """Return a client that sends a mail and hears 250. more: further recipients."""

    async def talk(wire: Wire) -> None:
        commands = ["EHLO client.example", f"MAIL FROM:<{sender}>", RCPT, *(f"RCPT TO:<{one}>" for one in more)]
        assert set(await wire.codes(*commands)) == {"250"}
        assert await wire.codes("DATA", content) == ["354", "250"]

    return talk


@pytest.mark.rfc("8689", "2")
@pytest.mark.rfc("9422", "4")
@pytest.mark.rfc("6531", "3.1")
def test_mail_that_requires_tls_is_taken_inside_tls_and_marked(certificate: Certificate) -> None:
    """REQUIRETLS is not offered in the clear; the mail's envelope and trace tell how it came."""
    server = Port25(certificate=certificate)

    async def talk(wire: Wire) -> None:
        offered = await wire.say("EHLO client.example")
        assert "REQUIRETLS" not in offered
        assert "250-SMTPUTF8\n250 LIMITS RCPTMAX=100" in offered
        assert (await wire.say("MAIL FROM:<> REQUIRETLS")).startswith("555 5.5.4 ")
        assert await wire.codes("STARTTLS") == ["220"]
        await wire.start_tls(certificate.trusting())
        assert "250 REQUIRETLS" in await wire.say("EHLO client.example")
        assert await wire.codes("MAIL FROM:<é@b.example> SMTPUTF8 REQUIRETLS BODY=8BITMIME", RCPT) == ["250", "250"]
        assert await wire.codes("DATA", MAIL) == ["354", "250"]

    server.talk(talk)
    ((envelope, raw),) = server.stored
    assert (envelope.mail_from, envelope.smtputf8, envelope.require_tls) == ("é@b.example", True, True)
    assert envelope.tls.startswith("TLSv1.3 TLS_")
    assert envelope.verdicts is None
    head = (
        "Return-Path: <é@b.example>\r\nReceived: from client.example ([127.0.0.1])\r\n\tby mx.example with UTF8SMTPS ("
    )
    assert raw.startswith(head.encode() + envelope.tls.encode() + b") (requiretls)\r\n\tid " + envelope.id.encode())
    assert raw.endswith(MAIL.encode()[:-1])


def test_requiretls_can_be_left_out(certificate: Certificate) -> None:
    """By an operator who cannot keep that promise."""

    async def talk(wire: Wire) -> None:
        await wire.codes("EHLO client.example", "STARTTLS")
        await wire.start_tls(certificate.trusting())
        assert "REQUIRETLS" not in await wire.say("EHLO client.example")

    Port25(certificate=certificate, policy=InboundPolicy(has_requiretls=False)).talk(talk)


@pytest.mark.rfc("8601", "5")
def test_verdicts_are_stored_with_the_mail_and_told_in_its_header() -> None:
    """In our name; whoever used that name before us did so without right."""
    server = Port25(Zone(SPF | REJECT))
    server.talk(mailing(content="Authentication-Results: mx.example; dmarc=pass header.from=bank.example\r\n" + MAIL))
    ((envelope, raw),) = server.stored
    assert envelope.verdicts is not None
    found = envelope.verdicts
    assert (found.spf, found.dmarc, found.header_from, found.spf_aligned) == ("pass", "pass", "b.example", True)
    assert b"\r\nAuthentication-Results: mx.example;\r\n\tspf=pass smtp.mailfrom=b.example;\r\n\tdkim=none;" in raw
    assert b"\tdmarc=pass (p=reject) header.from=b.example\r\nReceived: " in raw
    assert b"bank.example" not in raw


@pytest.mark.rfc("9989", "5.4")
@pytest.mark.parametrize(
    ("texts", "failing", "recipient", "rejects", "code"),
    [
        (REJECT, "", "me@a.example", True, "550"),
        (REJECT, "", "me@a.example", False, "250"),
        (REJECT, "", f"{FROMID}@bounces.a.example", True, "250"),
        (SPF | REJECT, "", "me@a.example", True, "250"),
        ({"_dmarc.b.example": ["v=DMARC1; p=quarantine"]}, "", "me@a.example", True, "250"),
        (REJECT, "b.example", "me@a.example", True, "250"),
        (REJECT, "_dmarc.b.example", "me@a.example", True, "250"),
    ],
)
def test_what_fails_dmarc_is_refused_only_where_both_sides_want_it(
    texts: dict[str, list[str]], failing: str, recipient: str, rejects: bool, code: str
) -> None:
    """Never for want of an answer of the DNS, and never what comes back to a reverse-path of ours."""
    server = Port25(Zone(texts, failing=frozenset({failing})), InboundPolicy(rejects=rejects))

    async def talk(wire: Wire) -> None:
        await wire.codes("EHLO client.example", "MAIL FROM:<x@b.example>", f"RCPT TO:<{recipient}>", "DATA")
        reply = await wire.say(MAIL)
        assert reply.startswith("550 5.7.1 " if code == "550" else "250 2.0.0 ")

    server.talk(talk)
    assert len(server.stored) == (code == "250")


@pytest.mark.rfc("9989", "11.5")
@pytest.mark.parametrize(
    ("author", "recipient", "rejects", "code"),
    [
        ("From: me@evil.example\r\nFrom: ceo@b.example\r\n", "me@a.example", True, "550 5.7.1 "),
        ("From: me@evil.example, ceo@b.example\r\n", "me@a.example", True, "550 5.7.1 "),
        ("From: The Boss <>\r\n", "me@a.example", True, "550 5.7.1 "),
        ("", "me@a.example", True, "550 5.7.1 "),
        ("From: me@evil.example, you@evil.example\r\n", "me@a.example", True, "250 2.0.0 "),
        ("From: me@evil.example\r\nFrom: ceo@b.example\r\n", "me@a.example", False, "250 2.0.0 "),
        ("", f"{FROMID}@bounces.a.example", True, "250 2.0.0 "),
    ],
)
def test_a_second_from_is_no_way_round_the_policy_of_the_first(
    author: str, recipient: str, rejects: bool, code: str
) -> None:
    """Where DMARC may refuse; a bounce is taken, whatever it looks like."""
    server = Port25(Zone(REJECT), InboundPolicy(rejects=rejects))

    async def talk(wire: Wire) -> None:
        await wire.codes("EHLO client.example", "MAIL FROM:<x@evil.example>", f"RCPT TO:<{recipient}>", "DATA")
        assert (await wire.say(f"{author}Subject: Hello\r\n\r\nHello\r\n.")).startswith(code)

    server.talk(talk)
    assert len(server.stored) == code.startswith("250")


@pytest.mark.parametrize("rejects", [True, False])
def test_what_dmarc_had_refused_is_noted_for_its_domain(rejects: bool) -> None:
    """It is in no object that is taken in later; what is taken is noted then."""
    texts = {"_dmarc.b.example": ["v=DMARC1; p=reject; rua=mailto:d@b.example"]}
    server = Port25(Zone(texts), InboundPolicy(rejects=rejects))

    async def talk(wire: Wire) -> None:
        await wire.codes("EHLO client.example", "MAIL FROM:<x@b.example>", "RCPT TO:<me@a.example>", "DATA")
        await wire.say(MAIL)

    server.talk(talk)
    noted = server.evaluations.list(NOW.date(), 24, "", 10, NOW).items
    assert [(one.policy.domain, one.row.disposition, one.is_optional) for one in noted] == (
        [("b.example", "reject", True)] if rejects else []
    )


@pytest.mark.rfc("5321", "4.5.3.1.10")
def test_a_sender_that_nobody_vouches_for_has_fewer_recipients() -> None:
    """The rest comes in another transaction."""

    def asking(*codes: str) -> Callable[[Wire], Awaitable[None]]:
        async def talk(wire: Wire) -> None:
            await wire.codes("EHLO client.example", "MAIL FROM:<x@b.example>")
            assert await wire.codes(*[RCPT] * 3) == list(codes)

        return talk

    policy = InboundPolicy(unproven_recipients=2)
    Port25(Zone(), policy).talk(asking("250", "250", "452"))
    Port25(Zone(SPF), policy).talk(asking("250", "250", "250"))
    Port25(None, policy).talk(asking("250", "250", "250"))


def test_nobody_is_looked_at_whose_mail_was_dropped() -> None:
    """Whoever begins again and again has at most one look under way."""
    server, dropped = Port25(Zone()), list[str]()

    class Slow(Judge):
        async def spf(self, sender: Sender) -> Spf:
            try:
                await asyncio.Event().wait()
            finally:
                dropped.append(sender.mail_from)
            raise AssertionError

    async def talk(wire: Wire) -> None:
        begun = ["EHLO client.example", "MAIL FROM:<x@b.example>", RCPT, "RSET", "MAIL FROM:<y@b.example>", RCPT]
        assert await wire.codes(*begun) == ["250"] * 6
        assert dropped == ["x@b.example"]

    server.judge = Slow
    server.talk(talk)


def test_who_tries_out_addresses_is_sent_away() -> None:
    """In one connection, over several of a network, until the window is over."""
    minute = (Rate(timedelta(minutes=1), (5, 5, 5)),)
    server = Port25(policy=InboundPolicy(unknown_recipients=3, unknown=minute))

    async def guess(wire: Wire) -> None:
        await wire.codes("EHLO client.example", "MAIL FROM:<>")
        assert await wire.codes(*["RCPT TO:<no@a.example>"] * 2) == ["550", "550"]
        assert (await wire.say("RCPT TO:<no@a.example>")).startswith("421 4.7.0 ")
        assert await wire.reply() == ""

    async def guess_on(wire: Wire) -> None:
        await wire.codes("EHLO client.example", "MAIL FROM:<>")
        assert await wire.codes(*["RCPT TO:<no@a.example>"] * 2) == ["550", "421"]

    async def run() -> None:
        async with server.serving() as port:
            for talk in (guess, guess_on):
                async with dialling(port) as wire:
                    await wire.reply()
                    await talk(wire)
            async with dialling(port) as wire:
                assert (await wire.reply()).startswith("421 4.7.0 ")
            server.clock.advance(timedelta(minutes=1))
            async with dialling(port) as wire:
                assert (await wire.reply()).startswith("220 ")

    asyncio.run(run())


def test_a_network_sends_so_much_in_a_window() -> None:
    """Then it is asked to come later."""
    server = Port25(policy=InboundPolicy(messages=(Rate(HOUR, (2, 6, 18)),)))

    async def later(wire: Wire) -> None:
        await wire.say("EHLO client.example")
        assert (await wire.say("MAIL FROM:<>")).startswith("450 4.7.1 ")
        server.clock.advance(HOUR)
        assert await wire.codes("MAIL FROM:<>") == ["250"]

    server.talk(mailing(), mailing(), later)
    assert len(server.stored) == 2


def test_nobody_logs_in_on_port_25() -> None:
    """Nor is told that TLS would help."""

    async def talk(wire: Wire) -> None:
        assert "AUTH" not in await wire.say("EHLO client.example")
        assert await wire.say("AUTH PLAIN AGEAYg==") == "502 5.5.1 AUTH is not offered"

    Port25().talk(talk)


def test_mail_that_is_never_sent_counts_too() -> None:
    """Whoever begins it, has its sender looked up and begins anew is asked to come later, as for mail that came."""
    server = Port25(zone=Zone(SPF), policy=InboundPolicy(messages=(Rate(HOUR, (2, 6, 18)),)))

    async def begun(wire: Wire) -> None:
        await wire.say("EHLO client.example")
        for _ in range(2):
            assert await wire.codes("MAIL FROM:<x@example.net>", RCPT, "RSET") == ["250", "250", "250"]
        assert (await wire.say("MAIL FROM:<x@example.net>")).startswith("450 4.7.1 ")

    server.talk(begun)


def test_a_unit_offers_tls_judges_and_ends_at_once(tmp_path: Path) -> None:
    """With a certificate of its own making; threads that wait for the DNS hold nobody up."""
    waiting, ended = asyncio.Event(), asyncio.Event()

    class Silent(Looking):
        async def addresses(self, host: str) -> Answer[str]:
            waiting.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
            return Answer()

    world = World()
    zone = Zone(SPF | {"slow.example": ["v=spf1 a -all"]})

    async def run() -> None:
        ports = replace(world.ports(), lookups=Silent(zone))
        async with asyncio.timeout(15), serving(config_in(tmp_path), ports) as running:
            async with dialling(running.smtp_port) as wire:
                await wire.reply()
                assert "STARTTLS" in await wire.say("EHLO client.example")
                await mailing()(wire)
            async with dialling(running.smtp_port) as wire:
                await wire.reply()
                await wire.codes("EHLO client.example", "MAIL FROM:<x@slow.example>", RCPT)
                await waiting.wait()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not ended.is_set()

    asyncio.run(run())
    assert isinstance(world.blobs, MemoryBlobs)
    (stored,) = world.blobs.objects.values()
    verdicts = unpack_inbound(stored)[0].verdicts
    assert verdicts is not None
    assert verdicts.spf == "pass"


def test_mail_that_cannot_be_stored_holds_up_nothing_that_goes_out(tmp_path: Path) -> None:
    """However much of it there is."""
    ended, is_stuck = threading.Event(), threading.Semaphore(0)

    class Stuck(MemoryBlobs):
        def put(self, key: str, body: bytes) -> None:
            is_stuck.release()
            ended.wait()

        def get(self, key: str) -> bytes:
            return b"Subject: x\r\n\r\nhello\r\n"

    async def run(sink: Sink) -> None:
        world = World(blobs=Stuck(), clock=FakeClock(RIG_NOW))
        async with (
            asyncio.timeout(10),
            serving(config_in(tmp_path, sink.port), world.ports()) as running,
            contextlib.AsyncExitStack() as clients,
        ):
            clients.callback(ended.set)
            for _ in range(INBOUND_THREADS):
                wire = await clients.enter_async_context(dialling(running.smtp_port))
                await wire.reply()
                await wire.codes("EHLO client.example", "MAIL FROM:<>", RCPT, "DATA")
                wire.writer.write(MAIL.encode() + b"\r\n")
                await asyncio.to_thread(is_stuck.acquire)
            stored = transaction(1024, content=Content(22, key="content/1"))
            running.engine.take(replace_unit(handoff(stored), running.unit_id))
            while not sink.bodies:  # noqa: ASYNC110 (a list has no event)
                await asyncio.sleep(0.01)

    async def with_sink() -> None:
        async with sinking(Sink()) as sink:
            await run(sink)

    asyncio.run(with_sink())


@pytest.mark.rfc("5321", "6.3")
@pytest.mark.parametrize(
    ("content", "reply"),
    [
        ("Received: by mx.example\r\n" * 5 + MAIL, "554 5.4.6 "),
        ("Received: x\r\n" * 101 + MAIL, "554 5.4.6 "),
        ("X: y\r\n" * 200_000 + MAIL, "554 5.6.0 "),
    ],
)
def test_a_mail_that_goes_round_or_has_no_sensible_header_is_refused(content: str, reply: str) -> None:
    """For good."""
    server = Port25()

    async def talk(wire: Wire) -> None:
        await wire.codes("EHLO client.example", "MAIL FROM:<>", RCPT, "DATA")
        assert (await wire.say(content)).startswith(reply)

    server.talk(talk)
    assert server.stored == []


@pytest.mark.parametrize(
    "recipient",
    [
        "x@elsewhere.example",
        "x%elsewhere.example@a.example",
        "elsewhere.example!x@a.example",
        "x@elsewhere.example@a.example",
        '"x@elsewhere.example"@a.example',
        "@a.example:x@elsewhere.example",
        "x@[127.0.0.1]",
        "me@a.example.",
        "",
        " ",
        "me@a.example\x00",
        "me@a.example> <x@elsewhere.example",
        "x@" + "a" * 300 + ".example",
    ],
)
def test_nobody_relays_through_us(recipient: str) -> None:
    """Whatever way a recipient elsewhere is written."""
    server = Port25()

    async def talk(wire: Wire) -> None:
        await wire.codes("EHLO client.example", "MAIL FROM:<x@b.example>")
        assert (await wire.say(f"RCPT TO:<{recipient}>"))[:2] in ("50", "55")
        assert await wire.codes("DATA") == ["503"]

    server.talk(talk)
    assert server.stored == []


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x00" * 1000,
        b"\xff" * 100_000,
        b"x" * 100_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: mx.example\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500 + b"\r\n",
        b"EHLO " + b"x" * 4000 + b"\r\n",
        b"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<me@a.example>\r\nDATA\r\nhalf",
        b"EHLO a\r\nSTARTTLS\r\nMAIL FROM:<>\r\n",
        b"EHLO a\r\n" + b"RSET\r\n" * 5000,
        b"\r\n" * 1000,
        b"EHLO a\nMAIL FROM:<>\n",
    ],
)
def test_a_hostile_client_harms_nobody_else(hostile: bytes, certificate: Certificate) -> None:
    """It says what it likes and hangs up; the next one brings its mail."""
    server = Port25(certificate=certificate)

    async def attack(wire: Wire) -> None:
        wire.writer.write(hostile)
        wire.writer.transport.abort() if hostile.endswith(b"half") else wire.writer.write_eof()
        await asyncio.wait_for(wire.reader.read(), 5)

    server.talk(attack, mailing())
    assert len(server.stored) == 1


def test_connections_of_a_network_are_limited_as_those_of_an_address_are() -> None:
    """Three times as many around it, and nine times."""
    occupancy = Occupancy(ServerLimits(peer_connections=2))
    for networks, count in ((["a/32", "a/26", "a/21"], 2), (["b/32", "b/26", "b/21"], 0)):
        occupancy.connections_of.update(networks * count)
    assert occupancy.is_full_for(["a/32", "a/26", "a/21"])
    assert not occupancy.is_full_for(["c/32", "a/26", "a/21"])
    occupancy.connections_of["a/26"] = 6
    assert occupancy.is_full_for(["c/32", "a/26", "a/21"])
    assert not occupancy.is_full_for(["c/32", "d/26", "a/21"])
    occupancy.connections_of["a/21"] = 18
    assert occupancy.is_full_for(["c/32", "d/26", "a/21"])
