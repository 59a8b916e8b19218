"""A whole unit with its ports in memory: handoff over HTTP, inbound SMTP, start and drain."""

from __future__ import annotations

import asyncio
import contextlib
import io
import smtplib
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TypeVar

import aiohttp
import pytest
import uvloop
from msgspec import structs

from egret.contracts import handoff as contract
from egret.contracts.ports import Blobs
from egret.contracts.queues import InboundRecipient, unpack_inbound
from egret.contracts.records import UNIT_VALIDITY, Suspension
from egret.contracts.settings import Account, ApiKey, SendingDomain, Smarthost, SmarthostTls, Transport
from egret.contracts.submission import Submission, Submitted
from egret.core import fromid
from egret.core.apikey import key_hash
from egret.core.errors import Unavailable
from egret.core.fromid import FromIdKeys
from egret.core.outcome import Delivered, error_of
from egret.core.tls_policy import PLAIN
from egret.memory.blobs import MemoryBlobs
from egret.memory.clock import FakeClock
from egret.memory.settings import MemoryKeyWrapper, MemorySettings
from egret.memory.units import MemoryUnits
from egret_egress.config import Config
from egret_egress.destinations import Answer, Host, MxRecord
from egret_egress.holdings import Full
from egret_egress.inbound import InboundPorts, InboundServer, Recipients
from egret_egress.prometheus import PrometheusMetrics
from egret_egress.register import ACCOUNT_FULL, Announcer, Identity
from egret_egress.smtp_limits import Connected, ServerLimits
from egret_egress.unit import Running, UnitPorts, _on_duty, serving
from tests.conformance.scripted import NoDns
from tests.integration.egress_rig import NOW, Notebook, Sink, handoff, sinking, transaction

T = TypeVar("T")
KEYS = FromIdKeys({0: b"k" * 32}, 0)
SECRET = "handoff-secret"
FROMID = fromid.mint(KEYS, "aaaaaaaa", 1025)
FOREIGN = fromid.mint(KEYS, "bbbbbbbb", 1025)


class SeededDice:
    """A `Dice` of a seed."""

    def __init__(self) -> None:
        self._random = Random(1)

    def number(self) -> float:
        return self._random.random()

    def bits(self, count: int) -> int:
        return self._random.getrandbits(count)

    def octets(self, count: int) -> bytes:
        return self._random.randbytes(count)


class DownBlobs(MemoryBlobs):
    """Storage that does not answer."""

    def put(self, key: str, body: bytes) -> None:
        raise Unavailable(detail="a secret of ours")


def settings() -> MemorySettings:
    """Return settings of two accounts."""
    made = MemorySettings()
    made.put_account(Account("aaaaaaaa", "a", addresses=("me@a.example", "me@own.example")))
    made.put_account(Account("bbbbbbbb", "b"))
    made.put_domain(SendingDomain("a.example", "aaaaaaaa", "bounces.a.example"))
    made.put_domain(SendingDomain("own.example", "aaaaaaaa", "bounces.own.example", separator="+"))
    return made


@dataclass
class World:
    """The ports of a unit."""

    book: Notebook = field(default_factory=Notebook)
    blobs: Blobs = field(default_factory=MemoryBlobs)
    units: MemoryUnits = field(default_factory=MemoryUnits)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    settings: MemorySettings = field(default_factory=settings)
    wrapper: MemoryKeyWrapper = field(default_factory=lambda: MemoryKeyWrapper(bytes(16)))

    def ports(self) -> UnitPorts:
        """Return them."""
        return UnitPorts(
            self.book, self.blobs, self.units, self.settings, KEYS, self.clock, SeededDice(), NoDns(), self.wrapper
        )


def config_in(directory: Path, port: int = 1) -> Config:
    """Return the settings of a unit that delivers to a loopback port."""
    return Config(
        bind=("127.0.0.1", 0),
        url="http://127.0.0.1:1",
        smtp_listen=("127.0.0.1", 0),
        journal_dir=directory,
        hostname="unit.example",
        handoff_secret=SECRET,
        next_hop=Host("127.0.0.1", port, PLAIN),
        drain_s=2,
    )


async def post(running: Running, body: bytes, secret: str = SECRET) -> tuple[int, bytes]:
    """Post to the handoff endpoint."""
    url = f"http://127.0.0.1:{running.http_port}{contract.PATH}"
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": contract.CONTENT_TYPE}
    async with (
        aiohttp.ClientSession() as client,
        client.post(url, data=io.BytesIO(body), headers=headers) as answer,
    ):
        return answer.status, await answer.read()


def test_a_unit_announces_itself_and_delivers(tmp_path: Path) -> None:
    """From the handoff over HTTP to the outcome in the book, with the unit's row in the table."""

    async def run() -> tuple[World, list[bool], Running]:
        world = World()
        async with sinking(Sink()) as sink, serving(config_in(tmp_path, sink.port), world.ports()) as running:
            handed = replace_unit(handoff(transaction(1024)), running.unit_id)
            status, body = await post(running, contract.encode(handed))
            assert status == 202
            await sink.dots.wait()
            (unit,) = world.units.list()
            assert (True, running.unit_id) == (unit.is_usable(NOW), unit.id)
        return world, contract.decode_answer(body).taken, running

    world, taken, _ = asyncio.run(run())

    assert taken == [True]
    assert isinstance(world.book.outcomes[1024, 1].outcome, Delivered)
    assert world.units.list()[0].room == 0


def replace_unit(handed: contract.Handoff, unit: str) -> contract.Handoff:
    """Return the handoff for another unit."""
    return contract.Handoff(unit, handed.transactions)


NAIVE = structs.replace(transaction(2048), lease_until=NOW.replace(tzinfo=None))


@pytest.mark.parametrize(
    ("secret", "body", "status"),
    [
        ("wrong", contract.encode(handoff(transaction(1024))), 401),
        ("", b"", 401),
        (SECRET, b"\x93", 400),
        (SECRET, b"", 400),
        (SECRET, contract.encode(handoff(transaction(1024), NAIVE)), 400),
        (SECRET, contract.encode(handoff(transaction(1024))), 409),
        (SECRET, contract.encode(contract.Handoff("x", [], version=contract.VERSION + 1)), 400),
        (SECRET, b"x" * (17 * 1024 * 1024), 413),
    ],
    ids=[
        "wrong secret",
        "no secret",
        "not MessagePack",
        "empty",
        "no time zone",
        "another unit's",
        "later version",
        "too large",
    ],
)
def test_what_is_not_for_us_is_refused(tmp_path: Path, secret: str, body: bytes, status: int) -> None:
    """Each refusal has its status, takes nothing, and deliver reads it as a refusal."""

    async def run() -> tuple[int, int]:
        world = World()
        async with serving(config_in(tmp_path), world.ports()) as running:
            answered, _ = await post(running, body, secret)
            return answered, running.engine.room

    answered, room = asyncio.run(run())

    assert status == answered
    assert room == 2000


class Inward(NoDns):
    """A `Resolver` of a domain whose MX is in our own network."""

    async def mx(self, domain: str) -> Answer[MxRecord]:
        return Answer((MxRecord(1, "mx.example.org"),), domain)

    async def addresses(self, host: str) -> Answer[str]:
        return Answer(("127.0.0.1",), host)


@pytest.mark.parametrize(
    ("hostname", "reason"),
    [
        (
            "unit.example",
            "the mail server mx.example.org cannot be used: it has no public address in the DNS",
        ),
        (
            "MX.example.org",
            (
                "the DNS names no better mail server (MX) of example.org than mx.example.org, which is Egret itself, "
                "and Egret has no mailboxes of that domain: its MX records should name the server that has them"
            ),
        ),
    ],
)
def test_an_mx_host_that_is_inside_or_ourselves_is_not_reached(tmp_path: Path, hostname: str, reason: str) -> None:
    """A unit that delivers directly defers mail to a domain that points at the unit's own side."""

    async def run() -> list[str]:
        world = World()
        config = replace(config_in(tmp_path), next_hop=None, hostname=hostname)
        async with serving(config, replace(world.ports(), resolver=Inward())) as running:
            await post(running, contract.encode(replace_unit(handoff(transaction(1024)), running.unit_id)))
            async with asyncio.timeout(5):
                while not world.book.outcomes:  # noqa: ASYNC110 (the book has no event)
                    await asyncio.sleep(0.01)
        return [error_of(attempt.outcome) for attempt in world.book.outcomes.values()]

    assert asyncio.run(run()) == [reason]


async def health_of(running: Running) -> tuple[int, dict[str, object]]:
    """Return the status and the facts of /healthz."""
    url = f"http://127.0.0.1:{running.http_port}/healthz"
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return answer.status, await answer.json()


def test_a_unit_without_a_resolver_announces_no_room_and_is_well(tmp_path: Path) -> None:
    """Mail waits and uses no attempt; a restart would mend nothing, so that the container stays healthy."""

    async def run(*, answers: bool) -> tuple[bool, int, object]:
        async def asked() -> bool:
            return answers

        world = World()
        async with serving(config_in(tmp_path), replace(world.ports(), resolver_answers=asked)) as running:
            status, facts = await health_of(running)
            return world.units.list()[0].room > 0, status, facts["resolver"]

    assert asyncio.run(run(answers=False)) == (False, 200, False)
    assert asyncio.run(run(answers=True)) == (True, 200, True)


async def outcomes_of(world: World, count: int) -> None:
    """Wait until so many outcomes are recorded."""
    async with asyncio.timeout(5):
        while len(world.book.outcomes) < count:  # noqa: ASYNC110 (the book has no event)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_sink", [False, True])
def test_a_transaction_with_a_transport_goes_over_its_smarthost(tmp_path: Path, is_sink: bool) -> None:
    """The other one goes the unit's own way; in local mode both do."""

    async def run() -> tuple[World, list[int]]:
        world = World()
        async with sinking(Sink()) as own, sinking(Sink()) as relay:
            way = Smarthost("127.0.0.1", relay.port, SmarthostTls.NONE)
            world.settings.put_transport(Transport("relay", way))
            config = replace(config_in(tmp_path, own.port), is_sink=is_sink)
            routed = structs.replace(transaction(2048), transport="relay")
            async with serving(config, world.ports()) as running:
                handed = replace_unit(handoff(transaction(1024), routed), running.unit_id)
                await post(running, contract.encode(handed))
                await outcomes_of(world, 2)
            return world, [len(own.bodies), len(relay.bodies)]

    world, taken = asyncio.run(run())

    assert all(isinstance(attempt.outcome, Delivered) for attempt in world.book.outcomes.values())
    assert taken == ([2, 0] if is_sink else [1, 1])


def test_a_transport_that_does_not_exist_is_an_attempt_that_says_so(tmp_path: Path) -> None:
    """The delivery is tried again later, by when the operator may have mended it."""

    async def run() -> list[str]:
        world = World()
        async with serving(config_in(tmp_path), world.ports()) as running:
            routed = structs.replace(transaction(1024), transport="gone")
            await post(running, contract.encode(replace_unit(handoff(routed), running.unit_id)))
            await outcomes_of(world, 1)
        return [error_of(attempt.outcome) for attempt in world.book.outcomes.values()]

    assert asyncio.run(run()) == [
        "the route names the transport gone, which does not exist: add it or remove the route"
    ]


def test_the_id_stays_with_the_journal_directory(tmp_path: Path) -> None:
    """A restart keeps the id; another volume makes another unit."""

    async def id_in(directory: Path) -> str:
        async with serving(config_in(directory), World().ports()) as running:
            return running.unit_id

    first = asyncio.run(id_in(tmp_path / "a"))

    assert first == asyncio.run(id_in(tmp_path / "a"))
    assert first != asyncio.run(id_in(tmp_path / "b"))


def test_two_units_cannot_share_a_journal(tmp_path: Path) -> None:
    """The second process on a journal directory does not start."""

    async def run() -> None:
        async with serving(config_in(tmp_path), World().ports()), serving(config_in(tmp_path), World().ports()):
            pass

    with pytest.raises(BlockingIOError):
        asyncio.run(run())


def test_a_unit_whose_table_is_down_begins_nothing(tmp_path: Path) -> None:
    """Without an announcement that holds, attempts are given back."""

    class DownUnits(MemoryUnits):
        def put(self, unit: object) -> None:
            raise Unavailable

    async def run() -> World:
        world = World(units=DownUnits())
        async with sinking(Sink()) as sink, serving(config_in(tmp_path, sink.port), world.ports()) as running:
            await post(running, contract.encode(replace_unit(handoff(transaction(1024)), running.unit_id)))
        return world

    assert asyncio.run(run()).book.released == [(1024, 1)]


def test_who_stays_full_is_suspended() -> None:
    """A domain that is full at two announcements in a row stands in the row; one that is not any more does not."""

    @dataclass
    class Busy:
        room: int = 5
        full: list[Full] = field(default_factory=list)

    async def run() -> list[tuple[Suspension, ...]]:
        busy, units = Busy(), MemoryUnits()
        announcer = Announcer(Identity("unit-1", "", "", ()), units, FakeClock(NOW), lambda: busy, ())
        rows = []
        with ThreadPoolExecutor(1) as executor:
            for full in ([Full("a.example")], [Full("a.example"), Full("*", "b")], [Full("*", "b")], []):
                busy.full = full
                await announcer.announce(executor)
                rows.append(units.list()[0].suspensions)
        return rows

    first, second, third, last = asyncio.run(run())

    assert [(s.domain, s.account, s.until) for s in second] == [("a.example", "", NOW + UNIT_VALIDITY)]
    assert [(s.domain, s.account, s.reason) for s in third] == [("*", "b", ACCOUNT_FULL)]
    assert first == last == ()


# --- submission


class Taking:
    """A `Submitter` that takes everything."""

    def submit(self, submission: Submission) -> Submitted:
        """Say so."""
        return Submitted(1024, "<1@unit.example>")


def test_accounts_submit_where_the_unit_listens_for_them(tmp_path: Path) -> None:
    """By STARTTLS and by TLS, with a certificate of the unit's own; elsewhere nobody listens."""
    local = ("127.0.0.1", 0)
    listening = replace(config_in(tmp_path), submission_listen=local, submissions_listen=local)
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE

    def submit(running: Running) -> None:
        with smtplib.SMTP("127.0.0.1", running.submission_port) as client:
            client.starttls(context=unverified)
            client.login("me@a.example", "a key")
            client.sendmail("me@a.example", "ann@example.net", b"Subject: Hi\r\n\r\n")
        with smtplib.SMTP_SSL("127.0.0.1", running.submissions_port, context=unverified) as client:
            client.ehlo()
            assert client.docmd("MAIL", "FROM:<me@a.example>")[0] == 530

    async def run() -> Running:
        world = World()
        world.settings.put_key(ApiKey(key_hash("a key"), "aaaaaaaa", "me@a.example"))
        metrics = PrometheusMetrics()
        offering = replace(world.ports(), submitter=Taking(), metrics=metrics)
        async with serving(listening, offering) as running:
            await asyncio.to_thread(submit, running)
        assert b'egret_submitted_messages_total{answer="250"} 1' in metrics.text()
        async with serving(config_in(tmp_path), offering) as running:
            return running

    running = asyncio.run(run())

    assert (running.submission_port, running.submissions_port) == (0, 0)


# --- inbound


def test_known_recipients_are_known() -> None:
    """Fromids in any case at their own domain, login addresses; nothing else, and no other tenant's fromid."""
    found = Recipients(settings(), KEYS).find
    tagged = f"me+{FROMID}@own.example"
    upper = f"{FROMID.upper()}@Bounces.A.Example"

    assert InboundRecipient(f"{FROMID}@bounces.a.example", "aaaaaaaa", 1025) == found(f"{FROMID}@bounces.a.example")
    assert InboundRecipient(upper, "aaaaaaaa", 1025) == found(upper)
    assert InboundRecipient(tagged, "aaaaaaaa", 1025) == found(tagged)
    assert InboundRecipient("Me@A.example", "aaaaaaaa") == found("Me@A.example")
    assert InboundRecipient("me+x@own.example", "aaaaaaaa") == found("me+x@own.example")
    for unknown in (
        f"{FOREIGN}@bounces.a.example",
        f"{'a' * 32}@bounces.a.example",
        f"{FROMID}@a.example",
        f"{FROMID}@other.example",
        "you@a.example",
        "me+x@a.example",
        "+@own.example",
        "not an address",
        "",
    ):
        assert None is found(unknown), unknown


def test_addresses_of_list_unsubscribe_are_known() -> None:
    """In any case, at a return-path domain of the account or at its own; a fromid in one is none, nor another's."""
    found = Recipients(settings(), KEYS).find
    token = fromid.mint(KEYS, "aaaaaaaa", 1025, fromid.Purpose.UNSUBSCRIBE)
    genuine = [
        f"unsubscribe+{token}@bounces.a.example",
        f"UNSUBSCRIBE+{token.upper()}@Bounces.A.example",
        f"unsubscribe+{token}@own.example",
    ]

    assert [found(one) for one in genuine] == [InboundRecipient(one, "aaaaaaaa", 1025, True) for one in genuine]
    for unknown in (
        f"unsubscribe+{FROMID}@bounces.a.example",
        f"unsubscribe+{fromid.mint(KEYS, 'bbbbbbbb', 1025, fromid.Purpose.UNSUBSCRIBE)}@bounces.a.example",
        f"{token}@bounces.a.example",
        f"unsubscribe+{token}@other.example",
        "unsubscribe+@bounces.a.example",
        "unsubscribe@bounces.a.example",
    ):
        assert None is found(unknown), unknown


def test_fromids_that_submitters_chose_are_known() -> None:
    """At the return-path domain and behind the separator of their account's domains, in any case; nowhere else."""
    chosen = {("aaaaaaaa", "order-17"): 2048}
    find = Recipients(settings(), KEYS, own=lambda account, text: chosen.get((account, text), 0)).find

    for known in ("Order-17@bounces.a.example", "me+ORDER-17@own.example"):
        assert InboundRecipient(known, "aaaaaaaa", 2048) == find(known)
    assert InboundRecipient("me+order-18@own.example", "aaaaaaaa") == find("me+order-18@own.example")
    assert InboundRecipient(f"me+{FROMID}@own.example", "aaaaaaaa", 1025) == find(f"me+{FROMID}@own.example")
    for unknown in ("order-17@a.example", "order-17@other.example", "order-18@bounces.a.example"):
        assert None is find(unknown), unknown


@pytest.mark.rfc("5321", "4.5.1")
@pytest.mark.rfc("2142", "2")
def test_those_in_charge_are_known_at_every_domain_that_we_take_mail_for() -> None:
    """In any case: the marked account, else the domain's owner, else the oldest account; a login goes before."""
    made = settings()
    find = Recipients(made, KEYS, "Unit.example").find
    at = ["a.example", "bounces.A.example", "own.example", "bounces.own.example"]
    everywhere = [f"{role}@{domain}" for role in ("Postmaster", "ABUSE") for domain in [*at, "unit.EXAMPLE"]]
    made.put_domain(SendingDomain("b.example", "bbbbbbbb", "bounces.b.example"))
    made.put_account(Account("cccccccc", "c", addresses=("abuse@b.example",), created_at=NOW))

    assert [find(one) for one in everywhere] == [InboundRecipient(one, "aaaaaaaa") for one in everywhere]
    assert find("PostMaster") == InboundRecipient("PostMaster", "aaaaaaaa")
    assert find("postmaster@b.example") == InboundRecipient("postmaster@b.example", "bbbbbbbb")

    made.put_account(Account("dddddddd", "d", is_postmaster=True, created_at=NOW))

    assert [find(one) for one in everywhere] == [InboundRecipient(one, "dddddddd") for one in everywhere]
    assert find("postmaster") == InboundRecipient("postmaster", "dddddddd")
    assert find("abuse@b.example") == InboundRecipient("abuse@b.example", "cccccccc")
    for unknown in ("postmaster@other.example", "abuse", "abuse@other.example", "me@unit.example", "postmaster@"):
        assert None is find(unknown), unknown


def test_nobody_is_in_charge_of_an_installation_without_accounts() -> None:
    """There is no mailbox yet."""
    assert None is Recipients(MemorySettings(), KEYS, "unit.example").find("postmaster")


@contextlib.asynccontextmanager
async def receiving(blobs: Blobs, limits: ServerLimits | None = None) -> AsyncIterator[tuple[InboundServer, int]]:
    """Run an inbound server on a free port."""
    with ThreadPoolExecutor(2) as executor:
        ports = InboundPorts(Recipients(settings(), KEYS), blobs, FakeClock(NOW), SeededDice(), executor)
        server = InboundServer(ports, "unit.example", limits)
        port = await server.start("127.0.0.1", 0)
        try:
            yield server, port
        finally:
            await server.stop(0.5)


def talk(blobs: Blobs, client: Callable[[smtplib.SMTP], T], limits: ServerLimits | None = None) -> T:
    """Run a blocking SMTP client against an inbound server."""

    def with_client(port: int) -> T:
        with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=5) as smtp:
            return client(smtp)

    async def run() -> T:
        async with receiving(blobs, limits) as (_, port):
            return await asyncio.to_thread(with_client, port)

    return asyncio.run(run())


def test_250_comes_after_the_object_is_stored() -> None:
    """What was accepted lies in storage byte for byte, with its envelope and who each recipient is."""
    blobs = MemoryBlobs()
    raw = b"Subject: bounce\r\n\r\n.dot\r\nbare\nline " + b"x" * 2000 + b"\r\n"

    def client(smtp: smtplib.SMTP) -> dict[str, tuple[int, bytes]]:
        recipients = [f"{FROMID}@bounces.a.example", "me@a.example", "nobody@a.example"]
        smtp.ehlo()
        smtp.mail("")
        refused = {}
        for recipient in recipients:
            code, text = smtp.rcpt(recipient)
            if code != 250:
                refused[recipient] = (code, text)
        smtp.putcmd("data")
        assert smtp.getreply()[0] == 354
        smtp.send(raw.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert smtp.getreply()[0] == 250
        return refused

    refused = talk(blobs, client)

    assert refused == {"nobody@a.example": (550, b"5.1.1 No such recipient here")}
    ((key, stored),) = blobs.objects.items()
    envelope, body = unpack_inbound(stored)
    assert key == f"inbound/2026-05-01/{envelope.id}"
    assert body.endswith(b"\r\n" + raw)
    assert (envelope.mail_from, envelope.remote_ip, envelope.ehlo) == ("", "127.0.0.1", "client.example")
    expected = [
        InboundRecipient(f"{FROMID}@bounces.a.example", "aaaaaaaa", 1025),
        InboundRecipient("me@a.example", "aaaaaaaa"),
    ]
    assert expected == envelope.recipients


@pytest.mark.rfc("5321", "4.5.1")
def test_the_bare_postmaster_gets_mail() -> None:
    """As a client writes it, without a domain and in any case; nobody else may be written to so."""

    def client(smtp: smtplib.SMTP) -> list[int]:
        smtp.ehlo()
        smtp.docmd("MAIL FROM:<>")
        codes = [smtp.docmd(f"RCPT TO:<{name}>")[0] for name in ("postmaster", "POSTMASTER", "abuse")]
        return [*codes, smtp.data(b"Subject: x\r\n\r\nhello\r\n")[0]]

    blobs = MemoryBlobs()

    assert talk(blobs, client) == [250, 250, 550, 250]
    (stored,) = blobs.objects.values()
    assert [(one.account, one.address) for one in unpack_inbound(stored)[0].recipients] == [
        ("aaaaaaaa", "postmaster"),
        ("aaaaaaaa", "POSTMASTER"),
    ]


def test_storage_that_is_down_means_later_and_tells_nothing() -> None:
    """Without storage there is no 250, and no word of ours reaches the peer."""

    def client(smtp: smtplib.SMTP) -> tuple[int, bytes]:
        with pytest.raises(smtplib.SMTPDataError) as refusal:
            smtp.sendmail("x@y.example", ["me@a.example"], b"Subject: x\r\n\r\n")
        error = refusal.value.smtp_error
        return refusal.value.smtp_code, error if isinstance(error, bytes) else error.encode()

    assert talk(DownBlobs(), client) == (451, b"4.3.0 Try again later")


def test_recipients_of_one_mail_are_limited() -> None:
    """Beyond the limit a recipient is asked to come in another transaction."""

    def client(smtp: smtplib.SMTP) -> list[int]:
        smtp.ehlo()
        smtp.mail("x@y.example")
        return [smtp.rcpt("me@a.example")[0] for _ in range(4)]

    assert talk(MemoryBlobs(), client, ServerLimits(recipients=2)) == [250, 250, 452, 452]


@pytest.mark.parametrize("announced", ["", "SIZE=2000"])
def test_a_message_beyond_the_limit_is_refused(announced: str) -> None:
    """Announced or not, nothing larger than the limit is kept."""

    def client(smtp: smtplib.SMTP) -> int:
        smtp.ehlo()
        if smtp.mail("x@y.example", [announced] if announced else [])[0] == 552:
            return 552
        smtp.rcpt("me@a.example")
        return smtp.data(b"x" * 900 + b"\r\n" + b"y" * 900)[0]

    blobs = MemoryBlobs()
    assert talk(blobs, client, ServerLimits(message_bytes=1000)) == 552
    assert blobs.objects == {}


@pytest.mark.parametrize("limits", [ServerLimits(in_flight_bytes=999), ServerLimits(peer_in_flight_bytes=999)])
@pytest.mark.parametrize("size", [999, 1000])
def test_mail_beyond_the_budget_is_asked_to_come_later(limits: ServerLimits, size: int) -> None:
    """Memory for messages in flight is bounded, over all connections and for each address."""

    def client(smtp: smtplib.SMTP) -> list[int]:
        smtp.ehlo()
        codes = []
        for announced in ([], [f"SIZE={size}"]):
            smtp.mail("x@y.example", announced)
            smtp.rcpt("me@a.example")
            smtp.putcmd("data")
            code = smtp.getreply()[0]
            if code == 354:
                smtp.send(b"x" * 800 + b"\r\n" + b"x" * (size - 804) + b"\r\n.\r\n")
                code = smtp.getreply()[0]
            codes.append(code)
            smtp.rset()
        return codes

    assert talk(MemoryBlobs(), client, limits) == [250 if size == 999 else 452] * 2


def test_content_that_never_ends_a_line_is_thrown_away() -> None:
    """What is too large is read to its end, refused, and leaves the connection usable and no memory taken."""

    def client(port: int) -> list[int]:
        with smtplib.SMTP("127.0.0.1", port, "client.example", timeout=5) as smtp:
            smtp.ehlo()
            smtp.mail("x@y.example")
            smtp.rcpt("me@a.example")
            smtp.putcmd("data")
            codes = [smtp.getreply()[0]]
            smtp.send(b"x" * 500_000 + b"\r\n.\r\nNOOP\r\n")
            return [*codes, smtp.getreply()[0], smtp.getreply()[0]]

    async def run() -> tuple[list[int], int]:
        limits = ServerLimits(message_bytes=1000)
        async with receiving(MemoryBlobs(), limits) as (server, port):
            return await asyncio.to_thread(client, port), server.budget.left - limits.in_flight_bytes

    assert asyncio.run(run()) == ([354, 552, 250], 0)


@pytest.mark.parametrize("limits", [ServerLimits(connections=1), ServerLimits(peer_connections=1)])
@pytest.mark.parametrize("loop_factory", [None, uvloop.Loop])
def test_too_many_connections_are_turned_away(
    limits: ServerLimits, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None
) -> None:
    """A connection beyond the limits hears 421, whoever's event loop it is; one that ends makes room."""

    async def greeting_of(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        greeting = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return greeting[:3]

    async def run() -> list[bytes]:
        async with receiving(MemoryBlobs(), limits) as (server, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            codes = [(await reader.readline())[:3], await greeting_of(port)]
            writer.close()
            await writer.wait_closed()
            async with asyncio.timeout(5):
                while server.occupancy.connections or server.occupancy.connections_of:  # noqa: ASYNC110 (a set has no event)
                    await asyncio.sleep(0.01)
            return [*codes, await greeting_of(port)]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        assert runner.run(run()) == [b"220", b"421", b"220"]


@pytest.mark.parametrize("ending", [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n\x00.\r\n", b"\r.\r"])
def test_only_crlf_dot_crlf_ends_a_message(ending: bytes) -> None:
    """Every other line end with a dot is content, so that no second message can be smuggled in."""
    smuggled = b"MAIL FROM:<evil@x.example>\r\nRCPT TO:<me@a.example>\r\nDATA\r\nsmuggled"
    blobs = MemoryBlobs()

    def client(smtp: smtplib.SMTP) -> int:
        smtp.ehlo()
        smtp.mail("x@y.example")
        smtp.rcpt("me@a.example")
        smtp.putcmd("data")
        smtp.getreply()
        smtp.send(b"a" + ending + smuggled + b"\r\n.\r\n")
        return smtp.getreply()[0]

    assert talk(blobs, client) == 250
    (stored,) = blobs.objects.values()
    assert smuggled in unpack_inbound(stored)[1]


def test_a_config_never_shows_its_secret(tmp_path: Path) -> None:
    """Settings can be logged."""
    assert SECRET not in repr(replace(config_in(tmp_path), url="x"))


def test_a_client_that_hangs_up_at_once_leaves_nothing_open() -> None:
    """Who connects and closes in the same breath, as port scanners do, takes none of the connections that may be."""

    async def run() -> set[Connected]:
        async with receiving(MemoryBlobs()) as (server, port):
            for _ in range(20):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await writer.wait_closed()
            async with asyncio.timeout(5):
                while server.occupancy.connections:  # noqa: ASYNC110 (a set has no event)
                    await asyncio.sleep(0.01)
            return server.occupancy.connections

    assert asyncio.run(run()) == set()


def test_a_duty_that_ends_by_a_fault_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Else a unit would go on without its announcements, or its notes, and nobody would know why."""

    async def fail() -> None:
        raise ValueError("a bug")

    async def run() -> None:
        async with contextlib.AsyncExitStack() as stack:
            _on_duty(stack, asyncio.create_task(fail()))
            _on_duty(stack, asyncio.create_task(asyncio.sleep(60)))
            await asyncio.sleep(0.01)

    asyncio.run(run())

    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "a duty of the unit has ended"
    ]
