"""Which MTA-STS policy counts for a domain: record, fetch, cache, refresh."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from egret.contracts.records import StsPolicy
from egret.core.errors import Unavailable
from egret.core.mtasts import StsMode
from egret.core.tlsrpt import ResultType
from egret.memory.clock import FakeClock
from egret.memory.tls import MemoryStsPolicies
from egret_egress.certificates import TlsFailure
from egret_egress.destinations import Answer, DnsTrouble
from egret_egress.mta_sts import BACK_OFF, LOOK_AGAIN, TOUCH_AFTER, Found, MtaSts, NotFetched
from tests.conformance.scripted import NoDns

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = b"version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 864000\n"
FAILURE = TlsFailure(ResultType.STS_POLICY_FETCH_ERROR, "http-404")


class World(NoDns):
    """A `Resolver` and a `Fetch` of one domain. record: its TXT records, or trouble; body: what its host answers."""

    def __init__(self, store: MemoryStsPolicies | None = None) -> None:
        self.record: str | DnsTrouble = "v=STSv1; id=1"
        self.body: bytes | NotFetched = POLICY
        self.fetches = 0
        self.asked: list[str] = []
        self.clock = FakeClock(NOW)
        self.store = store or MemoryStsPolicies()
        self.policies = self.unit()

    def unit(self) -> MtaSts:
        """Return the policies as another unit sees them."""
        return MtaSts(self, self.fetch, self.store, self.clock)

    async def txt(self, name: str) -> Answer[str]:
        self.asked.append(name)
        if isinstance(self.record, DnsTrouble):
            raise self.record
        return Answer((self.record,) if self.record else (), name)

    async def fetch(self, domain: str) -> bytes | NotFetched:
        """Answer, and count."""
        assert domain == "example.org"
        self.fetches += 1
        await asyncio.sleep(0)
        return self.body

    async def found(self) -> Found:
        """Ask for the policy."""
        return await self.policies.of("example.org")

    async def mode(self) -> StsMode | None:
        """Ask for the mode of the policy."""
        found = await self.found()
        return found.policy.mode if found.policy else None


def run(scenario: Callable[[World], Awaitable[None]], store: MemoryStsPolicies | None = None) -> World:
    """Run a scenario and return its world."""

    async def inside() -> World:
        world = World(store)
        await scenario(world)
        return world

    return asyncio.run(inside())


@pytest.mark.rfc("8461", "3.1")
def test_a_policy_is_fetched_once_and_then_known() -> None:
    """Ten messages at a time, and ten more later, cost one fetch; it is stored for the other units."""

    async def scenario(world: World) -> None:
        first = await asyncio.gather(*(world.found() for _ in range(10)))
        world.clock.advance(TOUCH_AFTER / 2)
        policy = first[0].policy
        assert policy is not None
        assert [*first, await world.found()] == [Found(policy)] * 11
        expected = StsPolicy(
            "example.org", "1", StsMode.ENFORCE, ("mx.example.org",), 10 * DAY, NOW, NOW + 10 * DAY, NOW
        )
        assert policy == world.store.get("example.org", NOW) == expected
        assert (await world.unit().of("example.org")).policy == expected

    world = run(scenario)

    assert world.fetches == 1
    assert set(world.asked) == {"_mta-sts.example.org"}


@pytest.mark.rfc("8461", "3.1")
def test_a_new_id_brings_the_new_policy() -> None:
    """The record announces that the policy has changed."""

    async def scenario(world: World) -> None:
        assert await world.mode() is StsMode.ENFORCE
        world.body = POLICY.replace(b"enforce", b"testing")
        assert await world.mode() is StsMode.ENFORCE
        world.record = "v=STSv1; id=2"
        assert await world.mode() is StsMode.TESTING

    assert run(scenario).fetches == 2


@pytest.mark.rfc("8461", "5.1")
@pytest.mark.parametrize("record", ["", DnsTrouble("the name servers fail"), "v=STSv1; id=a-b"])
def test_a_policy_counts_to_its_end_even_if_its_record_is_gone(record: str | DnsTrouble) -> None:
    """Who can block the DNS must not switch the protection off; another unit knows the policy from the store."""

    async def scenario(world: World) -> None:
        await world.found()
        world.record = record
        world.clock.advance(10 * DAY - timedelta(seconds=1))
        assert await world.mode() is StsMode.ENFORCE
        assert (await world.unit().of("example.org")).policy is not None
        world.clock.advance(timedelta(seconds=1))
        if isinstance(record, DnsTrouble):
            with pytest.raises(DnsTrouble):
                await world.found()
        else:
            assert await world.mode() is None

    run(scenario)


@pytest.mark.rfc("8461", "5.1")
def test_a_policy_counts_even_if_its_host_is_gone() -> None:
    """The old one stays, and the failure is told."""

    async def scenario(world: World) -> None:
        await world.found()
        world.record, world.body = "v=STSv1; id=2", NotFetched(FAILURE, "gone")
        found = await world.found()
        assert found.policy is not None
        assert (found.policy.id, found.failure) == ("1", FAILURE)

    run(scenario)


@pytest.mark.rfc("8461", "3.3")
def test_a_failed_fetch_is_not_repeated_at_once() -> None:
    """For five minutes the domain counts as one without a policy."""

    async def scenario(world: World) -> None:
        world.body = NotFetched(FAILURE, "gone")
        for _ in range(3):
            assert await world.found() == Found(None, FAILURE)
        world.clock.advance(BACK_OFF)
        world.body = POLICY
        assert await world.mode() is StsMode.ENFORCE

    assert run(scenario).fetches == 2


def test_a_host_that_was_not_asked_for_want_of_a_slot_is_trouble_and_not_the_absence_of_a_policy() -> None:
    """The message waits, and the next one asks again; where a policy is known that one counts."""

    async def scenario(world: World) -> None:
        world.body = NotFetched(FAILURE, "too many", was_asked=False)
        with pytest.raises(DnsTrouble, match="too many"):
            await world.found()
        world.body = POLICY
        assert await world.mode() is StsMode.ENFORCE
        world.record, world.body = "v=STSv1; id=2", NotFetched(FAILURE, "too many", was_asked=False)
        assert await world.mode() is StsMode.ENFORCE
        world.clock.advance(DAY)
        await world.policies.refresh(0)
        assert (await world.found()).failure is None

    run(scenario)


@pytest.mark.rfc("8461", "3.2")
def test_a_policy_that_breaks_the_rules_is_reported() -> None:
    """It counts as none."""

    async def scenario(world: World) -> None:
        world.body = b"<html>"
        assert await world.found() == Found(None, TlsFailure(ResultType.STS_POLICY_INVALID))

    run(scenario)


@pytest.mark.rfc("8461", "3.1")
def test_without_a_record_nothing_is_fetched() -> None:
    """Most domains have no policy: they cost a look into a dictionary."""

    async def scenario(world: World) -> None:
        world.record = ""
        assert [await world.found() for _ in range(3)] == [Found()] * 3

    assert run(scenario).fetches == 0


def test_dns_trouble_without_a_policy_is_trouble() -> None:
    """Whether the domain asks for protection cannot be known."""

    async def scenario(world: World) -> None:
        world.record = DnsTrouble("the name servers fail")
        with pytest.raises(DnsTrouble):
            await world.found()

    run(scenario)


def test_a_short_lived_policy_is_not_fetched_for_each_message() -> None:
    """max_age 0 counts for as long as a failure would."""

    async def scenario(world: World) -> None:
        world.body = POLICY.replace(b"864000", b"0")
        for _ in range(3):
            assert await world.mode() is StsMode.ENFORCE
        world.clock.advance(BACK_OFF)
        world.record = ""
        assert await world.mode() is None

    assert run(scenario).fetches == 1


def test_what_another_unit_found_is_seen_within_an_hour() -> None:
    """Where there was nothing, the store is asked again."""

    async def scenario(world: World) -> None:
        world.record = ""
        assert await world.mode() is None
        other = NOW - timedelta(seconds=1)
        world.store.put(StsPolicy("example.org", "1", StsMode.TESTING, ("a.example",), DAY, other, NOW + DAY, other))
        assert await world.mode() is None
        world.clock.advance(LOOK_AGAIN)
        assert await world.mode() is StsMode.TESTING

    run(scenario)


def test_use_is_noted_once_a_day() -> None:
    """So that policies nobody needs are not refreshed for ever."""

    async def scenario(world: World) -> None:
        await world.found()
        for _ in range(3):
            world.clock.advance(TOUCH_AFTER / 2)
            await world.found()
        stored = world.store.get("example.org", world.clock.now())
        assert stored is not None
        assert stored.last_used_at == NOW + TOUCH_AFTER

    assert run(scenario).fetches == 1


@pytest.mark.rfc("8461", "10.2")
def test_policies_are_refreshed_in_the_background() -> None:
    """Half a day old, it is fetched again and counts from then; a day without use is still remembered."""

    async def scenario(world: World) -> None:
        await world.found()
        await world.policies.refresh(0)
        assert world.fetches == 1
        world.clock.advance(DAY)
        await world.policies.refresh(0)
        stored = world.store.get("example.org", world.clock.now())
        assert stored is not None
        assert (stored.fetched_at, stored.valid_until, stored.last_used_at) == (NOW + DAY, NOW + 11 * DAY, NOW)
        world.clock.advance(10 * DAY - timedelta(seconds=1))
        world.record = ""
        assert await world.mode() is StsMode.ENFORCE

    assert run(scenario).fetches == 2


def test_a_refresh_that_fails_changes_nothing() -> None:
    """Record gone, DNS down, host down: the policy counts as before."""

    async def scenario(world: World) -> None:
        await world.found()
        world.clock.advance(DAY)
        for record, body in (("", POLICY), (DnsTrouble("x"), POLICY), ("v=STSv1; id=2", NotFetched(FAILURE, "gone"))):
            world.record, world.body = record, body
            await world.policies.refresh(0)
            assert await world.mode() is StsMode.ENFORCE

    run(scenario)


class Broken(MemoryStsPolicies):
    """A store that cannot be reached."""

    def get(self, domain: str, now: datetime) -> StsPolicy | None:
        raise Unavailable("table")

    def put(self, policy: StsPolicy) -> None:
        raise Unavailable("table")

    def stale(self, now: datetime) -> list[StsPolicy]:
        raise Unavailable("table")


def test_without_the_store_policies_are_fetched_all_the_same() -> None:
    """It makes policies last over restarts; it is not needed to have one."""

    async def scenario(world: World) -> None:
        assert await world.mode() is StsMode.ENFORCE
        assert await world.mode() is StsMode.ENFORCE
        await world.policies.refresh(0)

    assert run(scenario, Broken()).fetches == 1
