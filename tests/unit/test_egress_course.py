"""Courses: found once, kept for a while, shared by those that go to the same host with the same protection."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import pytest

from egret.contracts.handoff import Transaction
from egret.core.outcome import Bounced, Deferred
from egret_egress.course import KEPT_S, Courses, Stop
from egret_egress.destinations import Answer, Direct, Hops, Host, MxRecord, NextHops
from egret_egress.security import Security
from tests.conformance.scripted import NoDns
from tests.integration.egress_rig import transaction


class Zone(NoDns):
    """MX records by domain; the questions are counted."""

    def __init__(self, records: dict[str, tuple[MxRecord, ...]]) -> None:
        self.records = records
        self.asked: list[str] = []

    async def mx(self, domain: str) -> Answer[MxRecord]:
        """Return them."""
        self.asked.append(domain)
        return Answer(self.records.get(domain, ()), domain, exists=domain in self.records)


class Dice:
    """Always the same."""

    def number(self) -> float:
        """Return it."""
        return 0.5


ZONE = {
    "a.example": (MxRecord(10, "mx.example"), MxRecord(20, "late.example")),
    "b.example": (MxRecord(10, "mx.example"),),
    "c.example": (MxRecord(10, "other.example"),),
    "tied.example": (MxRecord(10, "mx.example"), MxRecord(10, "other.example")),
}


def to(
    domain: str, *, require_tls: bool | None = None, transport: str = "", reverse_path: str = "s@example.com"
) -> Transaction:
    """Return a transaction to a domain."""
    one = transaction(1024, domain=domain)
    content = msgspec.structs.replace(one.content, require_tls=require_tls)
    return msgspec.structs.replace(one, content=content, transport=transport, reverse_path=reverse_path)


def places(*transactions: Transaction) -> tuple[list[str], list[str]]:
    """Return the place of each once its course was found, and what the DNS was asked for."""

    async def run() -> list[str]:
        courses = Courses(Direct(zone, Dice()), Security())
        for one in transactions:
            await courses.find(one)
        return [courses.place(one, asyncio.get_running_loop().time()) for one in transactions]

    zone = Zone(ZONE)
    return asyncio.run(run()), zone.asked


def test_domains_with_the_same_first_host_share_a_place() -> None:
    """Whatever their other hosts are; others do not."""
    (a, b, c), _ = places(to("a.example"), to("b.example"), to("c.example"))

    assert a == b
    assert c not in (a, "c.example")


def test_a_course_is_found_once() -> None:
    """For all messages of the domain that ask for the same."""
    _, asked = places(to("a.example"), to("a.example"), to("a.example", require_tls=False))

    assert asked == ["a.example"] * 2


@pytest.mark.parametrize(
    ("domain", "require_tls"), [("tied.example", None), ("nowhere.example", None), ("a.example", True)]
)
def test_what_is_no_single_host_has_a_place_of_its_own_and_is_found_anew(domain: str, *, require_tls: bool) -> None:
    """Equal hosts, of which the dice choose for each message; a domain that does not exist; a host passed by."""
    (one, two), asked = places(to(domain, require_tls=require_tls), to(domain, require_tls=require_tls))

    assert (one, two) == (domain, domain)
    assert asked == [domain] * 2


@pytest.mark.rfc("8689", "5")
def test_a_bounce_that_asks_for_requiretls_goes_as_others_do() -> None:
    """A domain that publishes nothing takes no mail with REQUIRETLS, but bounces."""
    (plain, bounce, strict), asked = places(
        to("a.example"), to("a.example", require_tls=True, reverse_path=""), to("a.example", require_tls=True)
    )

    assert (bounce, strict, len(asked)) == (plain, "a.example", 2)


def test_a_course_is_forgotten_after_a_while() -> None:
    """The DNS may say something else by then; until it is asked the domain waits by itself."""

    async def run() -> tuple[bool, bool, str]:
        courses = Courses(Direct(Zone(ZONE), Dice()), Security())
        course = await courses.find(to("a.example"))
        now = course.until - KEPT_S
        early, late = now + KEPT_S - 0.1, now + KEPT_S
        known = courses.known(to("a.example"), early) is course, courses.known(to("a.example"), late) is None
        return *known, courses.place(to("a.example"), late)

    assert asyncio.run(run()) == (True, True, "a.example")


class Outcome:
    """A router that knows no hosts."""

    def __init__(self, hops: NextHops) -> None:
        self._hops = hops

    async def next_hops(self, domain: str) -> NextHops:
        """Return what was given."""
        return self._hops

    async def addresses(self, host: Host) -> Answer[str]:
        """There are none."""
        return Answer()


@pytest.mark.parametrize("hops", [Deferred("the DNS is silent"), Bounced("null MX")])
def test_without_hosts_the_reason_is_the_course(hops: NextHops) -> None:
    """It is not kept: the next message asks again."""
    course = asyncio.run(Courses(Outcome(hops), Security()).find(to("a.example")))

    assert (course.hops, course.first, course.until) == (hops, None, 0.0)


def test_other_transports_and_policies_share_nothing() -> None:
    """A connection has its login and its protection."""
    host = Host("mx.example")
    from_routes = Outcome(Hops("a.example", "a.example", is_authentic=False, hosts=(host,)))

    class Routes:
        async def router(self, transaction: Transaction) -> Outcome:
            return from_routes

    async def run() -> set[str]:
        courses = Courses(from_routes, Security(), Routes())
        found = [await courses.find(to("a.example", transport=name)) for name in ("", "one", "two")]
        return {course.first.key for course in found if isinstance(course.first, Stop)}

    assert len(asyncio.run(run())) == 3
    assert replace(host, port=26) != host
