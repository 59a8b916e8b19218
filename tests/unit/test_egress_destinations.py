"""Where mail for a domain goes."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Mapping
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.outcome import Bounced, Deferred
from egret_egress.destinations import (
    MAX_ADDRESSES,
    MAX_HOSTS,
    Answer,
    Direct,
    DnsTrouble,
    Fixed,
    Hops,
    Host,
    MxRecord,
    NextHops,
    Ourselves,
    PublicOnly,
)
from tests.conformance.scripted import NoDns


class Zone(NoDns):
    """A `Resolver` of fixed answers; an exception is raised, None for `mx` is a name that does not exist."""

    def __init__(
        self,
        mx: tuple[MxRecord, ...] | DnsTrouble | None = (),
        addresses: tuple[str, ...] | DnsTrouble = (),
        aliases: Mapping[str, str] | None = None,
        authentic: Container[str] = (),
    ) -> None:
        self._mx = mx
        self._addresses = addresses
        self._aliases = aliases or {}
        self._authentic = authentic

    async def mx(self, domain: str) -> Answer[MxRecord]:
        if isinstance(self._mx, DnsTrouble):
            raise self._mx
        exists = self._mx is not None
        return Answer(self._mx or (), self._aliases.get(domain, domain), domain in self._authentic, exists)

    async def addresses(self, host: str) -> Answer[str]:
        if isinstance(self._addresses, DnsTrouble):
            raise self._addresses
        return Answer(self._addresses, self._aliases.get(host, host), host in self._authentic)


class Seeded:
    """Dice of a seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def number(self) -> float:
        return self._random.random()


def hops(zone: Zone, domain: str = "example.org", seed: int = 1) -> NextHops:
    """Return where mail for a domain goes."""
    return asyncio.run(Direct(zone, Seeded(seed)).next_hops(domain))


def names(found: NextHops) -> list[str]:
    """Return the hosts' names."""
    assert isinstance(found, Hops)
    return [host.name for host in found.hosts]


@pytest.mark.rfc("7505", "3")
def test_null_mx_bounces_without_a_host() -> None:
    """A sole "MX 0 ." means that the domain takes no mail: 5.1.10, and addresses are not looked at."""
    found = hops(Zone((MxRecord(0, ""),), ("192.0.2.1",)))

    assert isinstance(found, Bounced)
    assert found.reply is not None
    assert found.reply.enhanced_code == "5.1.10"


@pytest.mark.rfc("7505", "3")
def test_a_dot_beside_other_records_is_no_host() -> None:
    """Null MX counts only alone."""
    assert names(hops(Zone((MxRecord(0, ""), MxRecord(10, "mx.example.org"))))) == ["mx.example.org"]


@pytest.mark.rfc("5321", "5.1")
def test_a_domain_without_mx_is_its_own_host() -> None:
    """The implicit MX has the domain's addresses."""
    found = hops(Zone((), ("2001:db8::1", "192.0.2.1")))

    assert found == Hops("example.org", "example.org", is_authentic=False, hosts=(Host("example.org"),))


@pytest.mark.rfc("5321", "5.1")
def test_gather_cname() -> None:
    """What a domain's CNAME leads to is processed in its place; the implicit MX is the name at its end."""
    zone = Zone((), ("192.0.2.1",), {"example.org": "hosted.example"})

    assert hops(zone) == Hops("example.org", "hosted.example", is_authentic=False, hosts=(Host("hosted.example"),))


@pytest.mark.rfc("7672", "2.2.1")
@pytest.mark.parametrize("authentic", [(), ("example.org",)], ids=["insecure", "authentic"])
def test_gather_authentic(authentic: tuple[str, ...]) -> None:
    """The hosts are as trustworthy as the answer that named them."""
    found = hops(Zone((MxRecord(1, "mx.example.org"),), ("192.0.2.1",), authentic=authentic))

    assert isinstance(found, Hops)
    assert found.is_authentic is bool(authentic)


def test_records_that_name_no_host_are_left_out() -> None:
    """A set of MX records of which some are wrong is used as far as it is right; one that is all wrong is put off."""
    bad = [MxRecord(1, name) for name in ("192.0.2.1", "a b.example", "-x.example", "x" * 64 + ".example", "caf\\195")]

    assert names(hops(Zone((*bad, MxRecord(2, "mx_1.example.org"))))) == ["mx_1.example.org"]
    assert isinstance(hops(Zone(tuple(bad))), Deferred)


def test_an_alias_to_what_is_no_host_is_put_off() -> None:
    """Its name would stand in TLS and in records, and whoever owns the domain chooses it."""
    assert isinstance(hops(Zone((), ("192.0.2.1",), {"example.org": "a\\032b.example"})), Deferred)


@pytest.mark.parametrize("zone", [Zone(None), Zone((), ())], ids=["NXDOMAIN", "no records"])
def test_a_domain_without_anything_bounces(zone: Zone) -> None:
    """A typing error in the domain is told at once: 5.1.2."""
    found = hops(zone)

    assert isinstance(found, Bounced)
    assert found.reply is not None
    assert found.reply.enhanced_code == "5.1.2"


@pytest.mark.parametrize("zone", [Zone(DnsTrouble("x")), Zone((), DnsTrouble("x"))])
def test_dns_trouble_is_deferred(zone: Zone) -> None:
    """No answer is no verdict."""
    found = hops(zone)

    assert isinstance(found, Deferred)
    assert "example.org" in found.reason


some_records = st.builds(MxRecord, st.integers(0, 3), st.sampled_from(["a", "b", "c", "d", "e"]))


@given(st.lists(some_records, min_size=1), st.integers())
def test_hosts_come_in_the_order_of_preference(records: list[MxRecord], seed: int) -> None:
    """Whatever the dice say, a host never stands before one that is preferred to it, and no host twice."""
    found = names(hops(Zone(tuple(records)), seed=seed))
    best = {name: min(record.preference for record in records if record.host == name) for name in found}

    assert found == sorted(found, key=best.__getitem__)
    assert sorted(found) == sorted({record.host for record in records})


def test_equal_hosts_share_the_load() -> None:
    """Among equals the dice decide."""
    equals = tuple(MxRecord(10, name) for name in "abc")

    assert {names(hops(Zone(equals), seed=seed))[0] for seed in range(30)} == {"a", "b", "c"}


async def takes_home(domain: str) -> bool:
    """Tell of the domain whose mailboxes are here."""
    return domain == "home.example"


def hops_from_us(zone: Zone, domain: str = "example.org") -> NextHops:
    """Return where mail goes from a host that is called us.example."""
    return asyncio.run(Direct(zone, Seeded(1), ourselves=Ourselves("US.example.", takes_home)).next_hops(domain))


@pytest.mark.rfc("5321", "5.1")
def test_a_backup_mx_brings_mail_to_better_hosts_only() -> None:
    """Ourselves, our equals and everybody behind us are left out."""
    records = (MxRecord(10, "a"), MxRecord(20, "us.example"), MxRecord(20, "b"), MxRecord(30, "c"), MxRecord(30, "a"))

    assert names(hops_from_us(Zone(records))) == ["a"]
    assert names(hops_from_us(Zone((*records, MxRecord(5, "d"), MxRecord(30, "us.example"))))) == ["d", "a"]


@pytest.mark.rfc("5321", "5.1")
@pytest.mark.parametrize(
    "zone",
    [
        Zone((MxRecord(10, "us.example"), MxRecord(10, "a"), MxRecord(20, "b"))),
        Zone((MxRecord(0, "us.example"),)),
        Zone((), ("192.0.2.1",), {"example.org": "us.example"}),
    ],
    ids=["best", "only", "implicit"],
)
def test_a_domain_that_names_us_alone_is_deferred_with_the_cause(zone: Zone) -> None:
    """It is a mistake in the DNS, which says nothing about the recipient: there is no reply to suppress for."""
    found = hops_from_us(zone)

    assert isinstance(found, Deferred)
    assert found.reply is None
    assert "no better mail server (MX) of example.org than us.example, which is Egret itself" in found.reason


def test_mail_for_mailboxes_that_are_here_goes_through_our_own_port() -> None:
    """Where we are the best host, and only to ourselves."""
    records = (MxRecord(10, "us.example"), MxRecord(10, "a"), MxRecord(20, "b"))

    assert names(hops_from_us(Zone(records), "home.example")) == ["us.example"]


def test_the_number_of_hosts_and_addresses_is_bounded() -> None:
    """A domain with 10,000 MX hosts of 10,000 addresses gets a few of them."""
    many = Direct(
        Zone(tuple(MxRecord(1, f"mx{n}") for n in range(10_000)), tuple(f"192.0.2.{n % 250}" for n in range(10_000))),
        Seeded(1),
    )

    async def run() -> tuple[int, int]:
        found = await many.next_hops("example.org")
        assert isinstance(found, Hops)
        return len(found.hosts), len((await many.addresses(found.hosts[0])).records)

    assert asyncio.run(run()) == (MAX_HOSTS, MAX_ADDRESSES)


@pytest.mark.parametrize("domain", ["[127.0.0.1]", "[192.0.2.1]", "[IPv6:::1]"])
def test_nobody_says_by_an_address_literal_where_we_connect(domain: str) -> None:
    """The API refuses them (`core.address`); here they are names like all others, which the DNS does not have."""
    assert isinstance(hops(Zone(None), domain), Bounced)


def public_of(*found: str, allow_loopback: bool = False) -> tuple[str, ...]:
    """Return what is left of a host's addresses."""
    resolver = PublicOnly(Zone((), found), allow_loopback=allow_loopback)
    return asyncio.run(resolver.addresses("mx.example.org")).records


def test_only_public_addresses_are_reached() -> None:
    """Public addresses beside others are used, in their order; a host without addresses still has none."""
    assert public_of("10.0.0.1", "8.8.8.8", "::1", "2600::1", "169.254.169.254") == ("8.8.8.8", "2600::1")
    assert public_of() == ()


@pytest.mark.parametrize(
    "inside", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00:ec2::254", "::ffff:8.8.8.8"]
)
def test_a_host_that_is_inside_is_not_reached(inside: str) -> None:
    """An MX host that points into our network is trouble of its domain's DNS, not a place to go."""
    with pytest.raises(DnsTrouble, match="no public address"):
        public_of(inside)


def test_local_mode_reaches_this_machine_and_no_other_inside() -> None:
    """Loopback is for the servers of local mode."""
    assert public_of("127.0.0.2", "::1", "10.0.0.1", allow_loopback=True) == ("127.0.0.2", "::1")


def test_a_domain_that_points_inside_is_deferred() -> None:
    """Without an MX record, too: the sentence says why."""
    domain = asyncio.run(Direct(PublicOnly(Zone((), ("10.0.0.1",))), Seeded(1)).next_hops("example.org"))

    assert isinstance(domain, Deferred)
    assert domain.reason == "the mail server example.org cannot be used: it has no public address in the DNS"


def test_a_fixed_next_hop_takes_everything() -> None:
    """A smarthost by name is looked up each time, one by address never."""

    async def run(host: Host) -> tuple[str, ...]:
        router = Fixed(host, Zone(DnsTrouble("must not be asked"), ("192.0.2.9",)))
        found = await router.next_hops("example.org")
        assert isinstance(found, Hops)
        return (await router.addresses(found.hosts[0])).records

    assert asyncio.run(run(Host("smarthost.example", 587))) == ("192.0.2.9",)
    assert asyncio.run(run(Host("127.0.0.1", 1025))) == ("127.0.0.1",)
