"""Transports become next hops, and a broken one is explained instead of tried."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from msgspec import structs

from egret.contracts.handoff import Content, Leg, Transaction
from egret.contracts.settings import Direct, Fail, Smarthost, SmarthostTls, Transport
from egret.core.errors import Unavailable
from egret.core.outcome import Bounced, Deferred
from egret.core.tls_policy import TlsKind
from egret.memory.settings import MemoryKeyWrapper, MemorySettings
from egret_egress import destinations
from egret_egress.courier import Courier
from egret_egress.destinations import Answer, DnsTrouble, Fixed, Hops, Host, MxRecord, Resolver, Router
from egret_egress.opening import Dialing
from egret_egress.parcel import Parcel
from egret_egress.pool import Pool
from egret_egress.session import Credentials
from egret_egress.transports import KEEP_S, POLICIES, Routers, Transports
from tests.conformance.scripted import SHORT, NoDns, Notes, parcel
from tests.unit.builders import ACCOUNT, MESSAGE_ID, NOW

OWN = Fixed(Host("192.0.2.99"), NoDns())
BOTH = ("2001:db8::1", "192.0.2.1")


class Zone(NoDns):
    """Every domain has one MX host, and that has the addresses."""

    def __init__(self, addresses: tuple[str, ...] = BOTH) -> None:
        self._addresses = addresses

    async def mx(self, domain: str) -> Answer[MxRecord]:
        return Answer((MxRecord(10, "mx.example.net"),), domain)

    async def addresses(self, host: str) -> Answer[str]:
        return Answer(self._addresses, host)


class Dice:
    """Always the same."""

    def number(self) -> float:
        return 0.0


@dataclass
class Settings(MemorySettings):
    """Settings that count how often the transports are read."""

    reads: int = 0
    is_down: bool = False

    def __post_init__(self) -> None:
        MemorySettings.__init__(self)

    def transports(self) -> Sequence[Transport]:
        """Read, and count it."""
        self.reads += 1
        if self.is_down:
            raise Unavailable
        return super().transports()


@dataclass
class Wrapper(MemoryKeyWrapper):
    """A key wrapper that counts what it opens."""

    opened: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(b"0" * 16)

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """Open, and count it."""
        self.opened.append(context)
        return super().unwrap(wrapped, context)


@dataclass
class World:
    """Transports over settings in memory."""

    settings: Settings = field(default_factory=Settings)
    wrapper: Wrapper = field(default_factory=Wrapper)
    zone: Resolver = field(default_factory=Zone)
    sink: Router | None = None

    def put(self, name: str, way: Direct | Smarthost | Fail) -> None:
        """Add a transport."""
        self.settings.put_transport(Transport(name, way))

    def relay(self, name: str = "relay", user: str = "", **changes: Any) -> None:
        """Add a smarthost, with a password when there is a user."""
        password = self.wrapper.wrap(b"s3cret", f"transport:{name}") if user else b""
        self.put(name, replace(Smarthost("relay.example.com", user=user, password=password), **changes))

    @asynccontextmanager
    async def transports(self) -> AsyncIterator[Transports]:
        """Yield what is under test."""
        routers = Routers(OWN, lambda resolver: destinations.Direct(resolver, Dice()), self.zone, self.zone, self.sink)
        with ThreadPoolExecutor(1) as executor:
            yield Transports(self.settings, self.wrapper, routers, executor)

    async def router(self, name: str, **content: Any) -> Router:
        """Return the router of one transaction over a transport."""
        async with self.transports() as transports:
            return await transports.router(transaction(name, **content))


def transaction(transport: str, **content: Any) -> Transaction:
    """Return a transaction over a transport."""
    return Transaction(
        account=ACCOUNT,
        message_id=MESSAGE_ID,
        domain="example.net",
        reverse_path="s@example.com",
        legs=[Leg(MESSAGE_ID, 1, "ann@example.net")],
        content=Content(1, b"x", **content),
        lease_until=NOW,
        transport=transport,
    )


Check = Callable[[World], Coroutine[Any, Any, None]]


def run(check: Check) -> None:
    """Run a check on a fresh world."""
    asyncio.run(check(World()))


async def host_of(router: Router) -> Host:
    """Return the one host that mail for example.net goes to."""
    hops = await router.next_hops("example.net")
    assert isinstance(hops, Hops)
    (host,) = hops.hosts
    return host


def test_without_a_transport_the_unit_goes_its_own_way() -> None:
    """And the settings are not even read."""

    async def check(world: World) -> None:
        assert OWN is await world.router("")
        assert world.settings.reads == 0

    run(check)


@pytest.mark.parametrize(
    ("tls", "kind"),
    [
        (SmarthostTls.STARTTLS, TlsKind.PKIX),
        (SmarthostTls.IMPLICIT, TlsKind.IMPLICIT),
        (SmarthostTls.UNVERIFIED, TlsKind.ENCRYPTED),
        (SmarthostTls.NONE, TlsKind.PLAIN),
    ],
)
def test_a_smarthost_is_the_only_host_of_every_domain(tls: SmarthostTls, kind: TlsKind) -> None:
    """With its port and with the protection that was asked for; without a user there is no login."""

    async def check(world: World) -> None:
        world.relay(port=2525, tls=tls)
        host = await host_of(await world.router("relay"))

        assert host.policy is not None
        assert (host.name, host.port, host.policy.kind, host.credentials) == ("relay.example.com", 2525, kind, None)

    run(check)


def test_verified_starttls_is_what_a_smarthost_has_unless_something_else_is_asked_for() -> None:
    """Submission with STARTTLS (RFC 6409): port 587, a verified certificate."""
    assert Smarthost("h") == Smarthost("h", 587, SmarthostTls.STARTTLS)
    assert [tls for tls in SmarthostTls if tls.is_verified] == [SmarthostTls.STARTTLS, SmarthostTls.IMPLICIT]


def test_a_password_is_opened_once() -> None:
    """However many transactions there are; and nobody reads it in a log."""

    async def check(world: World) -> None:
        world.relay(user="egret")
        async with world.transports() as transports:
            routers = [await transports.router(transaction("relay")) for _ in range(3)]
        host = await host_of(routers[0])

        assert host.credentials == Credentials("egret", "s3cret")
        assert world.wrapper.opened == ["transport:relay"]
        assert len(set(map(id, routers))) == 1
        assert "s3cret" not in repr(host)

    run(check)


def test_a_password_that_cannot_be_opened_defers_and_says_so() -> None:
    """It is bound to its transport: the one of another transport is none."""

    async def check(world: World) -> None:
        world.relay(user="egret", password=world.wrapper.wrap(b"s3cret", "transport:other"))
        outcome = await (await world.router("relay")).next_hops("example.net")

        assert outcome == Deferred("the password of the transport relay cannot be decrypted: set it again")

    run(check)


def test_an_unknown_transport_defers_and_says_what_to_do() -> None:
    """The route stays, the transport was removed or never was."""

    async def check(world: World) -> None:
        world.relay()
        outcome = await (await world.router("gone")).next_hops("example.net")
        advice = "the route names the transport gone, which does not exist: add it or remove the route"

        assert outcome == Deferred(advice)

    run(check)


@pytest.mark.parametrize(
    ("way", "kind", "line"),
    [
        (Fail(), Bounced, "554 5.7.0 Mail of this kind is not sent."),
        (Fail(550, "No."), Bounced, "550 5.7.0 No."),
        (Fail(451, "Not now."), Deferred, "451 4.7.0 Not now."),
    ],
)
def test_a_failing_transport_answers_without_a_connection(way: Fail, kind: type, line: str) -> None:
    """With its code and message; the recipient is not to blame."""

    async def check(world: World) -> None:
        world.put("no", way)
        world.sink = OWN
        outcome = await (await world.router("no")).next_hops("example.net")

        assert isinstance(outcome, kind)
        assert isinstance(outcome, (Bounced, Deferred))
        assert outcome.reply is not None
        assert outcome.reply.first_line == line
        assert not (isinstance(outcome, Bounced) and outcome.names_recipient)

    run(check)


@pytest.mark.parametrize(
    ("way", "addresses"),
    [(Direct(), BOTH), (Direct(disable_ipv6=True), BOTH[1:]), (Direct(disable_ipv4=True), BOTH[:1])],
)
def test_a_direct_transport_may_leave_out_a_family(way: Direct, addresses: tuple[str, ...]) -> None:
    """The MX hosts are found as always."""

    async def check(world: World) -> None:
        world.put("mx", way)
        router = await world.router("mx")
        host = await host_of(router)

        assert host.name == "mx.example.net"
        assert (await router.addresses(host)).records == addresses

    run(check)


@pytest.mark.parametrize(("way", "family"), [(Direct(disable_ipv4=True), "IPv6"), (Direct(disable_ipv6=True), "IPv4")])
def test_a_host_without_an_address_of_the_family_is_trouble_and_not_without_address(way: Direct, family: str) -> None:
    """To have no address at all would be final; this the operator can change."""

    async def check(world: World) -> None:
        world.zone = Zone(BOTH[1:] if family == "IPv6" else BOTH[:1])
        world.put("mx", way)
        router = await world.router("mx")

        with pytest.raises(DnsTrouble, match=f"it has no {family} address"):
            await router.addresses(await host_of(router))

    run(check)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("relay", "the smarthost relay.example.com of the transport relay has no address in the DNS"),
        ("mx", "no mail server of the domain has an address in the DNS"),
        ("", "the smarthost relay.example.net has no address in the DNS"),
    ],
)
def test_who_has_no_address_is_named(name: str, reason: str) -> None:
    """The recipient's domain is not to blame for a smarthost that the DNS does not know."""

    async def check(world: World) -> None:
        world.zone = Zone(())
        world.relay()
        world.put("mx", Direct())
        notes, own = Notes(), Fixed(Host("relay.example.net", 587, POLICIES[SmarthostTls.STARTTLS]), NoDns())
        one = parcel(notes, ["ann@example.net"], b"x")
        async with world.transports() as transports:
            courier = Courier(own, Pool(), Dialing("unit.example", SHORT), transports)
            transaction = structs.replace(one.transaction, transport=name)
            await courier.deliver(Parcel(transaction, one.content, notes))

        assert notes.outcomes[0] == Deferred(reason)

    run(check)


@pytest.mark.parametrize("tls", SmarthostTls)
def test_requiretls_needs_a_smarthost_that_proves_who_it_is(tls: SmarthostTls) -> None:
    """554 5.7.30 at once, without a connection, where it need not."""

    async def check(world: World) -> None:
        world.relay(tls=tls)
        outcome = await (await world.router("relay", require_tls=True)).next_hops("example.net")
        free = await (await world.router("relay", require_tls=False)).next_hops("example.net")

        assert isinstance(outcome, Hops) == tls.is_verified
        if isinstance(outcome, Bounced):
            assert outcome.reply is not None
            assert outcome.reply.first_line == "554 5.7.30 REQUIRETLS is not supported"
        assert isinstance(free, Hops)

    run(check)


def test_requiretls_of_direct_transports_is_left_to_the_hosts() -> None:
    """Their own policies decide."""

    async def check(world: World) -> None:
        world.put("mx", Direct())

        assert (await host_of(await world.router("mx", require_tls=True))).name == "mx.example.net"

    run(check)


def test_in_local_mode_everything_that_is_sent_goes_to_the_sink() -> None:
    """A route of a copied installation must not bring test mail to a real relay."""

    async def check(world: World) -> None:
        world.sink = Fixed(Host("127.0.0.1"), NoDns())
        world.relay()
        world.put("mx", Direct())

        assert [world.sink] * 2 == [await world.router(name) for name in ("relay", "mx")]

    run(check)


def test_transactions_at_the_same_time_share_one_reading() -> None:
    """A burst after the settings have run out does not read them for each."""

    async def check(world: World) -> None:
        world.relay()
        async with world.transports() as transports:
            await asyncio.gather(*(transports.router(transaction("relay")) for _ in range(20)))

        assert world.settings.reads == 1

    run(check)


def test_a_change_is_seen_once_the_time_is_over() -> None:
    """The router is made anew for a transport that is another one now, and only for that."""

    async def check(world: World) -> None:
        world.relay()
        world.relay("other")
        async with world.transports() as transports:
            before = [await transports.router(transaction(name)) for name in ("relay", "other")]
            world.relay(host="new.example.com")
            still = await transports.router(transaction("relay"))
            transports._until -= KEEP_S
            after = [await transports.router(transaction(name)) for name in ("relay", "other")]

        assert still is before[0]
        assert after[1] is before[1]
        assert (await host_of(after[0])).name == "new.example.com"

    run(check)


def test_settings_that_cannot_be_read_stay_as_they_were() -> None:
    """Mail goes on; before the first reading nobody can say where to, so nothing is tried."""

    async def check(world: World) -> None:
        world.relay()
        async with world.transports() as transports:
            world.settings.is_down = True
            with pytest.raises(Unavailable):
                await transports.router(transaction("relay"))
            world.settings.is_down = False
            known = await transports.router(transaction("relay"))
            world.settings.is_down = True
            transports._until -= KEEP_S
            assert known is await transports.router(transaction("relay"))

    run(check)
