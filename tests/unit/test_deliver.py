"""deliver claims what can be tried, and never lets an attempt be made twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from egret.contracts.handoff import VERSION, Earlier, Handoff, HandoffAnswer, Transaction
from egret.contracts.queues import Hint
from egret.contracts.records import UNIT_GONE_AFTER, Acceptance, HandoffRefused, Suspension, Unit
from egret.contracts.settings import Direct, Fail, HoldRule, RetryPolicy, Smarthost, Suppression, Transport
from egret.core.delivery import Delivery, Lease, State
from egret.core.errors import Unavailable
from egret.core.ids import delivery_id
from egret.core.lifecycle import Refusal
from egret.core.messageid import mint
from egret.core.outcome import Deferred, Unknown
from egret.core.routing import Route
from egret.memory.clock import FakeClock
from egret.memory.settings import MemorySettings
from egret.memory.store import MemoryMailStore
from egret.memory.suppressions import MemorySuppressions
from egret.memory.units import MemoryEgress, MemoryUnits
from egret.usecases.deliver import DeliverPorts, deliver
from egret.usecases.handover import MAX_LEGS
from egret.usecases.record_outcome import look_again_at, record_outcome, record_unknown, release
from tests.unit.builders import ACCOUNT, HOUR, LATER, MESSAGE_ID, NOW, OK, a_delivery, a_message, a_unit, an_attempt

MINUTE = timedelta(minutes=1)


def take_all(_: Unit, handoff: Handoff) -> HandoffAnswer:
    """Take everything, as a unit with room does."""
    return HandoffAnswer([True] * len(handoff.transactions), 100)


@dataclass
class World:
    """The ports of deliver in memory, one unit, and every handoff that was made."""

    store: MemoryMailStore = field(default_factory=MemoryMailStore)
    suppressions: MemorySuppressions = field(default_factory=MemorySuppressions)
    settings: MemorySettings = field(default_factory=MemorySettings)
    units: MemoryUnits = field(default_factory=MemoryUnits)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    answer: Callable[[Unit, Handoff], HandoffAnswer] = take_all
    handoffs: list[Handoff] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Announce one unit."""
        self.units.put(a_unit())

    def accept(self, *deliveries: Delivery, **message: Any) -> list[Hint]:
        """Store one message with its deliveries and return the hint."""
        self.store.put_message(a_message(**message), b"content")
        self.store.accept(Acceptance(a_message(**message), deliveries))
        return [Hint(ACCOUNT, [delivery.id for delivery in deliveries])]

    def deliver(self, hints: list[Hint]) -> dict[str, int]:
        """Run deliver, keep the handoffs, return the tally."""

        def hand(unit: Unit, handoff: Handoff) -> HandoffAnswer:
            self.handoffs.append(handoff)
            return self.answer(unit, handoff)

        return dict(deliver(self.ports(MemoryEgress(hand)), hints).counts)

    def ports(self, egress: MemoryEgress) -> DeliverPorts:
        """Return the bundle."""
        return DeliverPorts(self.store, self.suppressions, self.settings, self.units, egress, self.clock, RetryPolicy())

    def get(self, id_: int = MESSAGE_ID) -> Delivery:
        """Return a delivery as stored."""
        delivery = self.store.get(ACCOUNT, id_, self.clock.now())
        assert delivery is not None
        return delivery


def several(count: int, **changes: Any) -> list[Delivery]:
    """Return deliveries of one submission."""
    return [a_delivery(id=delivery_id(MESSAGE_ID, i), recipient=f"r{i}@example.net", **changes) for i in range(count)]


def test_a_due_delivery_is_claimed_and_handed_over() -> None:
    """The lease names unit and attempt, and the handoff carries all that the unit needs."""
    world = World()
    world.deliver(world.accept(a_delivery()))
    transaction = world.handoffs[0].transactions[0]

    assert world.get().state == State.ATTEMPTING
    assert (
        world.handoffs[0].unit,
        transaction.legs[0].attempt,
        transaction.content.inline,
        transaction.domain,
    ) == ("unit-1", 1, b"content", "example.net")


def test_a_repeated_hint_hands_nothing_over_again() -> None:
    """While the lease holds, nobody else may try."""
    world = World()
    hints = world.accept(a_delivery())
    world.deliver(hints)

    assert world.deliver(hints) == {"waiting": 1}
    assert len(world.handoffs) == 1


def test_recipients_that_share_a_reverse_path_share_a_transaction() -> None:
    """One message, one domain, one reverse-path: one transaction, at most 100 recipients in it."""
    world = World()
    world.units.put(a_unit(room=1000))
    world.deliver(world.accept(*several(MAX_LEGS + 1)))

    assert [len(t.legs) for h in world.handoffs for t in h.transactions] == [MAX_LEGS, 1]


def test_each_fromid_has_its_own_transaction() -> None:
    """Different reverse-paths cannot share a transaction."""
    world = World()
    first, second = several(2)
    world.deliver(world.accept(first, msgspec.structs.replace(second, reverse_path="y@bounces.example.com")))

    assert [len(t.legs) for h in world.handoffs for t in h.transactions] == [1, 1]


def test_nothing_is_claimed_without_a_usable_unit() -> None:
    """Mail waits and uses no attempt while port 25 is closed, the unit is silent, full or suspended."""
    unusable = [
        a_unit(port25=False),
        a_unit(valid_until=NOW),
        a_unit(room=0),
        a_unit(suspensions=(Suspension("example.net", NOW + MINUTE, "slow down"),)),
        a_unit(suspensions=(Suspension("*", NOW + MINUTE, "slow down"),)),
        a_unit(suspensions=(Suspension("*", NOW + MINUTE, "its share is under way", ACCOUNT),)),
    ]
    for unit in unusable:
        world = World()
        hints = world.accept(a_delivery())
        world.units.put(unit)

        assert {k: v for k, v in world.deliver(hints).items() if v} == {"no room": 1}
        assert world.get().state == State.QUEUED


def test_what_is_suspended_for_long_is_put_off() -> None:
    """It says why, is not looked at every minute, uses no attempt, and is looked at before a long suspension ends."""
    world = World()
    hints = world.accept(a_delivery())
    world.units.put(a_unit(suspensions=(Suspension("example.net", NOW + 2 * HOUR, "slow down"),)))

    assert world.deliver(hints)["postpone"] == 1
    assert (world.get().state, world.get().waiting, world.get().attempts) == (State.QUEUED, "slow down", ())
    assert NOW + 15 * MINUTE <= world.get().not_before <= NOW + 30 * MINUTE
    assert world.get().due_at == world.get().not_before
    assert world.deliver(hints) == {"waiting": 1}


def test_what_one_unit_takes_is_not_put_off() -> None:
    """Another unit suspends it."""
    world = World()
    hints = world.accept(a_delivery())
    world.units.put(a_unit(suspensions=(Suspension("example.net", NOW + 2 * HOUR, "slow down"),)))
    world.units.put(a_unit(id="unit-2", room=1))
    world.deliver(hints)

    assert world.handoffs[0].unit == "unit-2"


def test_waiting_ends_at_the_maximum_age() -> None:
    """However long it is suspended for."""
    world = World()
    hints = world.accept(a_delivery(expires_at=NOW + 5 * MINUTE))
    world.units.put(a_unit(suspensions=(Suspension("example.net", NOW + 2 * HOUR, "slow down"),)))
    world.deliver(hints)
    at = world.get().not_before
    world.clock.advance(5 * MINUTE)
    world.deliver(hints)

    assert (at, world.get().state) == (NOW + 5 * MINUTE, State.FAILED)


def test_recipients_of_one_message_are_put_off_together_and_messages_are_spread() -> None:
    """They travel in one transaction again; a suspension does not end in a rush."""
    together = {look_again_at(one, NOW + HOUR, NOW) for one in several(3)}
    spread = {look_again_at(a_delivery(id=MESSAGE_ID + (n << 10)), NOW + HOUR, NOW) for n in range(20)}

    assert (len(together), len(spread)) == (1, 20)


def test_a_unit_gives_back_what_has_to_wait() -> None:
    """The delivery keeps the unit's sentence, and is not claimed before it makes sense."""
    world = World()
    hints = world.accept(a_delivery())
    world.deliver(hints)
    lease = world.get().lease
    assert lease is not None
    ports = world.ports(MemoryEgress(take_all)).recording
    release(ports, ACCOUNT, MESSAGE_ID, lease, NOW + 10 * MINUTE, "slow down")
    given_back = world.get()

    assert (given_back.state, given_back.waiting) == (State.QUEUED, "slow down")
    assert NOW + 10 * MINUTE <= given_back.not_before <= NOW + 15 * MINUTE
    assert world.deliver(hints) == {"waiting": 1}


def test_room_limits_what_is_claimed() -> None:
    """A unit gets no more than it asked for; the rest stays queued."""
    world = World()
    world.units.put(a_unit(room=2))
    tally = world.deliver(world.accept(*several(5)))

    assert (tally["claim"], tally["no room"]) == (2, 3)


def test_a_suppressed_recipient_fails_at_once() -> None:
    """Every recipient of a shared transaction is checked, under its base address."""
    world = World()
    entry = Suppression(ACCOUNT, 1, "r1@example.net", "r1@example.net", NOW, reason="dead")
    world.suppressions.put_new(entry)
    world.deliver(world.accept(*several(2)))

    assert [world.get(delivery_id(MESSAGE_ID, i)).state for i in range(2)] == [State.ATTEMPTING, State.SUPPRESSED]
    assert "suppression list: dead" in world.get(delivery_id(MESSAGE_ID, 1)).events[0].error


def test_a_suppression_that_has_expired_lets_mail_through() -> None:
    """From the instant itself on."""
    world = World()
    expired = Suppression(ACCOUNT, 1, "r0@example.net", "r0@example.net", NOW, expires_at=world.clock.now())
    lasting = replace(expired, base_address="r1@example.net", expires_at=world.clock.now() + timedelta(seconds=1))
    for entry in (expired, lasting):
        world.suppressions.put_new(entry)
    world.deliver(world.accept(*several(2)))

    assert [world.get(delivery_id(MESSAGE_ID, i)).state for i in range(2)] == [State.ATTEMPTING, State.SUPPRESSED]


def test_a_hold_rule_stops_it_before_the_claim() -> None:
    """A rule that came after the submission holds it too."""
    world = World()
    hints = world.accept(a_delivery())
    world.settings.put_hold_rule(HoldRule("1", sender="example.com"))
    world.deliver(hints)

    assert world.get().state == State.HELD
    assert not world.handoffs


def test_what_a_person_released_goes_although_the_rule_stands() -> None:
    """Release lets single deliveries go, also within the minute in which a removed rule is still remembered."""
    world = World()
    hints = world.accept(a_delivery(is_released=True))
    world.settings.put_hold_rule(HoldRule("1", sender="example.com"))
    world.deliver(hints)

    assert world.get().state == State.ATTEMPTING


def test_what_has_become_too_old_fails() -> None:
    """The maximum age ends a delivery even while no unit is alive."""
    world = World()
    hints = world.accept(a_delivery())
    world.clock.advance(72 * HOUR)
    world.deliver(hints)

    assert world.get().state == State.FAILED


def test_a_refused_handoff_gives_the_claim_back() -> None:
    """No attempt was made: it can be claimed again at once, under the same number."""

    def refuse(_: Unit, __: Handoff) -> HandoffAnswer:
        raise HandoffRefused

    world = World(answer=refuse)
    hints = world.accept(a_delivery())
    world.deliver(hints)

    assert (world.get().state, world.get().attempts) == (State.QUEUED, ())
    world.answer = take_all
    world.deliver(hints)
    assert world.handoffs[1].transactions[0].legs[0].attempt == 1


def test_a_transaction_that_was_not_taken_is_given_back() -> None:
    """A unit may take a part; a flag that is missing means not taken."""
    world = World(answer=lambda _, __: HandoffAnswer([True], 0))
    first, second = several(2)
    world.deliver(world.accept(first, msgspec.structs.replace(second, reverse_path="y@bounces.example.com")))

    assert [world.get(d.id).state for d in (first, second)] == [State.ATTEMPTING, State.QUEUED]


def test_an_unanswered_handoff_keeps_the_lease_and_asks_the_same_unit_again() -> None:
    """The unit may have taken it, so nobody else may try; when the lease is lost it is asked under the same number."""

    def silence(_: Unit, __: Handoff) -> HandoffAnswer:
        raise Unavailable

    world = World(answer=silence)
    hints = world.accept(a_delivery())
    world.deliver(hints)
    assert world.get().state == State.ATTEMPTING

    world.clock.advance(HOUR)
    world.units.put(a_unit(valid_until=world.clock.now() + HOUR))
    world.units.put(a_unit(id="unit-2", room=500, valid_until=world.clock.now() + HOUR))
    world.deliver(hints)
    assert [(h.unit, h.transactions[0].legs[0].attempt) for h in world.handoffs] == [("unit-1", 1), ("unit-1", 1)]


def test_a_unit_that_drains_keeps_what_it_was_given_before() -> None:
    """A refusal to an attempt that is asked for again proves nothing: the lease stays."""
    world = World()
    hints = world.accept(a_delivery())
    world.deliver(hints)
    world.clock.advance(HOUR)
    world.units.put(a_unit(valid_until=world.clock.now() + HOUR))

    def refuse(_: Unit, __: Handoff) -> HandoffAnswer:
        raise HandoffRefused

    world.answer = refuse
    world.deliver(hints)

    assert world.get().state == State.ATTEMPTING


def test_an_attempt_of_a_unit_that_is_gone_becomes_unknown() -> None:
    """Only when the unit can no longer be speaking to anybody; then the next attempt is planned."""
    world = World()
    hints = world.accept(a_delivery())
    world.deliver(hints)
    world.clock.set(NOW + timedelta(seconds=60) + UNIT_GONE_AFTER - timedelta(seconds=1))
    world.deliver(hints)
    assert world.get().state == State.ATTEMPTING

    world.clock.advance(timedelta(seconds=1))
    world.deliver(hints)
    assert (State.QUEUED, Unknown) == (world.get().state, type(world.get().attempts[0].outcome))


def test_a_unit_that_cannot_be_asked_does_not_keep_mail_for_ever() -> None:
    """Past its maximum age an attempt ends, once it can no longer be running, although its unit is alive and full."""
    world = World()
    hints = world.accept(a_delivery(expires_at=NOW + HOUR))
    world.deliver(hints)
    lease = world.get().lease
    assert lease is not None

    for at, state in ((-timedelta(seconds=1), State.ATTEMPTING), (timedelta(0), State.FAILED)):
        world.clock.set(lease.until + UNIT_GONE_AFTER + at)
        world.units.put(a_unit(room=0, valid_until=world.clock.now() + HOUR))
        world.deliver(hints)
        assert world.get().state == state


def test_recipients_deferred_together_come_due_together() -> None:
    """The retry of one submission in one domain has one time, so that it travels in one transaction again."""
    world = World()
    deliveries = several(3)
    world.deliver(world.accept(*deliveries))
    ports = world.ports(MemoryEgress(take_all)).recording
    for delivery in deliveries:
        record_outcome(ports, ACCOUNT, delivery.id, an_attempt(1, LATER))

    assert len({world.get(d.id).due_at for d in deliveries}) == 1


def test_the_same_outcome_is_recorded_once() -> None:
    """A journal that repeats itself makes one attempt and one event."""
    world = World()
    world.deliver(world.accept(a_delivery()))
    ports = world.ports(MemoryEgress(take_all)).recording
    for _ in range(3):
        record_outcome(ports, ACCOUNT, MESSAGE_ID, an_attempt(1, OK))

    assert (world.get().state, len(world.get().attempts), len(world.get().events)) == (State.DELIVERED, 1, 1)


def test_a_release_that_comes_late_leaves_a_later_lease_alone() -> None:
    """The same attempt may be another unit's by then; taking it away would let a third one begin it."""
    world = World()
    hints = world.accept(a_delivery())
    world.deliver(hints)
    first = world.get().lease
    assert first is not None
    ports = world.ports(MemoryEgress(take_all)).recording
    release(ports, ACCOUNT, MESSAGE_ID, first)
    world.clock.advance(timedelta(seconds=1))
    world.deliver(hints)

    assert release(ports, ACCOUNT, MESSAGE_ID, first) is Refusal.STALE
    assert world.get().state == State.ATTEMPTING


def test_an_attempt_that_was_leased_anew_does_not_become_unknown() -> None:
    """A run of deliver may still see the lease of a unit that is gone while another one has the attempt."""
    world = World()
    hints = world.accept(a_delivery())
    world.deliver(hints)
    seen = world.get()
    assert seen.lease is not None
    ports = world.ports(MemoryEgress(take_all)).recording
    release(ports, ACCOUNT, MESSAGE_ID, seen.lease)
    world.clock.advance(timedelta(seconds=1))
    world.deliver(hints)

    assert record_unknown(ports, seen, "gone") is Refusal.STALE


def test_a_lost_lease_is_asked_for_in_spite_of_a_suspension() -> None:
    """The unit that suspends knows whether it was begun; nothing else could ever end it but age."""
    world = World()
    lost = a_delivery(state=State.ATTEMPTING, lease=Lease(1, "unit-1", NOW), due_at=NOW)
    hints = world.accept(lost)
    world.units.put(a_unit(suspensions=(Suspension("example.net", NOW + HOUR, "its share is under way"),)))
    world.deliver(hints)

    assert [leg.delivery_id for h in world.handoffs for t in h.transactions for leg in t.legs] == [lost.id]


def test_what_is_asked_for_again_goes_recipient_by_recipient() -> None:
    """The unit may know one and not the other, and it answers for a whole transaction."""
    world = World()
    hints = world.accept(*several(2))
    world.deliver(hints)
    world.clock.advance(HOUR)
    world.units.put(a_unit(valid_until=world.clock.now() + HOUR))
    world.deliver(hints)

    assert [[len(t.legs) for t in h.transactions] for h in world.handoffs] == [[2], [1, 1]]


# --- routes and versions of the handoff

NEW_UNIT = a_unit(handoff_version=VERSION)
ROUTE = Route("r1", "relay", to_domains=(".example.net",))


def transactions_of(world: World) -> list[Transaction]:
    """Return all that was handed over."""
    return [transaction for handoff in world.handoffs for transaction in handoff.transactions]


def routed(unit: Unit, *routes: Route) -> World:
    """Return a world with one unit, a smarthost named relay, and routes."""
    world = World()
    world.units.put(unit)
    world.settings.put_transport(Transport("relay", Smarthost("relay.example.com")))
    world.settings.put_transport(Transport("mx", Direct()))
    for route in routes:
        world.settings.put_route(route)
    return world


def test_a_route_gives_the_transaction_its_transport() -> None:
    """By recipient domain here; what no route matches goes the unit's own way."""
    world = routed(NEW_UNIT, ROUTE)
    world.deliver(world.accept(a_delivery(), a_delivery(id=MESSAGE_ID + 1, domain="example.org")))

    assert [(t.domain, t.transport) for t in transactions_of(world)] == [("example.net", "relay"), ("example.org", "")]


@pytest.mark.parametrize(
    ("transport", "only_direct", "handed"),
    [("relay", True, 1), ("relay", False, 0), ("mx", True, 0), ("mx", False, 0)],
)
def test_a_smarthost_takes_what_the_domains_own_servers_put_off(
    transport: str, *, only_direct: bool, handed: int
) -> None:
    """What a provider asks our address to wait for says nothing of a relay; a unit that is full takes neither."""
    suspended = Suspension("example.net", NOW + 2 * HOUR, "slow down", only_direct=only_direct)
    world = routed(replace(NEW_UNIT, suspensions=(suspended,)), replace(ROUTE, transport=transport))
    world.deliver(world.accept(a_delivery()))

    assert len(transactions_of(world)) == handed


@pytest.mark.parametrize(
    ("transport", "host", "handed"),
    [("relay", "relay.example.com", 0), ("relay", "old.example.com", 1), ("mx", "relay.example.com", 1)],
)
def test_a_smarthost_that_is_suspended_holds_up_only_what_goes_there(transport: str, host: str, handed: int) -> None:
    """Neither direct mail, nor a transport that has another host by now."""
    suspended = Suspension("", NOW + 2 * HOUR, "slow down", host=host)
    world = routed(replace(NEW_UNIT, suspensions=(suspended,)), replace(ROUTE, transport=transport))
    world.deliver(world.accept(a_delivery()))

    assert len(transactions_of(world)) == handed


def test_an_accounts_route_precedes_the_installations() -> None:
    """And another account's is not looked at; the sending domain is that of the From address."""
    own, foreign, of_domain = (
        Route("r2", "mx", ACCOUNT),
        Route("r0", "mx", "ijklmnop"),
        Route("r3", "of-domain", "", "x.example"),
    )
    world = routed(NEW_UNIT, ROUTE, foreign, of_domain)
    world.deliver(world.accept(a_delivery(), header_from="App@x.example"))
    world.settings.put_route(own)
    world.clock.advance(HOUR)
    world.units.put(replace(NEW_UNIT, valid_until=NOW + 2 * HOUR))
    world.deliver(world.accept(a_delivery(id=MESSAGE_ID + 1024), id=MESSAGE_ID + 1024, header_from="app@x.example"))

    assert [transaction.transport for transaction in transactions_of(world)] == ["of-domain", "mx"]


def test_recipients_with_different_transports_do_not_share_a_transaction() -> None:
    """One of two recipients of a domain has been tried before, and a route is for those."""
    world = routed(NEW_UNIT, replace(ROUTE, minimum_attempts=1))
    first, second = several(2)
    tried = msgspec.structs.replace(second, attempts=(an_attempt(1, LATER),))
    world.deliver(world.accept(first, tried))

    found = {
        transaction.transport: [leg.delivery_id for leg in transaction.legs] for transaction in transactions_of(world)
    }
    assert {"": [first.id], "relay": [second.id]} == found


def test_the_unit_hears_of_earlier_attempts() -> None:
    """Server, address and codes of each, oldest first, of the recipient that has most of them."""
    unreached = an_attempt(2, Deferred("no connection"))
    first, second = several(2)
    world = routed(NEW_UNIT)
    world.deliver(
        world.accept(
            msgspec.structs.replace(first, attempts=(an_attempt(1, LATER),)),
            msgspec.structs.replace(second, attempts=(an_attempt(1, LATER), unreached)),
        )
    )
    seen = [Earlier("mx.example.net", "192.0.2.1", 451, "4.3.0"), Earlier("", "", 0, "")]

    assert [seen] == [transaction.earlier for transaction in transactions_of(world)]


def test_a_unit_of_version_1_gets_what_it_understands() -> None:
    """Its handoff is of its version and without the fields that it does not know."""
    world = routed(a_unit())
    world.deliver(world.accept(a_delivery(attempts=(an_attempt(1, LATER),))))

    assert [(handoff.version, handoff.transactions[0].earlier) for handoff in world.handoffs] == [(1, [])]


def test_the_unit_hears_what_was_asked_about_dsns() -> None:
    """RET and ENVID of the message, NOTIFY and ORCPT of each recipient (RFC 3461 section 5.2); version 1 does not."""
    wanted = {"notify": "SUCCESS", "orcpt": "rfc822;list@example.org"}
    for unit, told in ((NEW_UNIT, ("HDRS", "order 17", "SUCCESS", "rfc822;list@example.org")), (a_unit(), ("",) * 4)):
        world = routed(unit)
        world.deliver(world.accept(a_delivery(**wanted), ret="HDRS", envid="order 17"))
        (transaction,) = transactions_of(world)
        leg = transaction.legs[0]

        assert (transaction.ret, transaction.envid, leg.notify, leg.orcpt) == told


def test_a_message_id_of_ours_serves_as_envid() -> None:
    """Unless the submitter gave one: a report that returns no header leads to the submission by it."""
    message_id = mint(b"k" * 32, ACCOUNT, MESSAGE_ID, "example.com")
    world = routed(NEW_UNIT)
    world.deliver(world.accept(a_delivery(), message_id=message_id))
    (transaction,) = transactions_of(world)

    assert transaction.envid == message_id[1:33]


def test_a_unit_of_version_1_never_gets_what_needs_a_transport() -> None:
    """It would send it directly: the delivery waits, or a newer unit takes it."""
    world = routed(a_unit(room=1000), ROUTE)
    hints = world.accept(a_delivery())

    assert world.deliver(hints) == {"no room": 1, "claim": 0, "raced": 0}
    assert world.get().state == State.QUEUED
    world.units.put(replace(NEW_UNIT, id="unit-2", room=1))
    world.deliver(hints)
    assert [(handoff.unit, handoff.version) for handoff in world.handoffs] == [("unit-2", VERSION)]


def test_a_unit_newer_than_deliver_gets_the_newest_version_that_deliver_knows() -> None:
    """While the unit is updated before the functions are."""
    world = routed(a_unit(handoff_version=VERSION + 1))
    world.deliver(world.accept(a_delivery()))

    assert [handoff.version for handoff in world.handoffs] == [VERSION]


@pytest.mark.parametrize(
    ("transport", "is_claimed"), [("relay", True), ("mx", False), ("fails", True), ("missing", True), ("", False)]
)
def test_closed_port_25_stops_only_what_goes_to_mx_hosts(transport: str, is_claimed: bool) -> None:
    """A smarthost listens on another port; a transport that fails, or does not exist, needs no port at all."""
    routes = [Route("r1", transport)] if transport else []
    world = routed(replace(NEW_UNIT, port25=False), *routes)
    world.settings.put_transport(Transport("fails", Fail()))
    world.deliver(world.accept(a_delivery()))

    assert [transport] * is_claimed == [transaction.transport for transaction in transactions_of(world)]


def test_a_lost_attempt_of_a_unit_with_closed_port_25_ends_as_unknown_when_it_is_too_old() -> None:
    """The unit has room for others, but nothing that ends at MX hosts can be asked of it."""
    world = routed(replace(NEW_UNIT, port25=False, valid_until=NOW + 99 * HOUR))
    lease = Lease(1, "unit-1", NOW)
    hints = world.accept(a_delivery(state=State.ATTEMPTING, lease=lease, expires_at=NOW))
    world.clock.advance(UNIT_GONE_AFTER)

    assert world.deliver(hints)["unknown"] == 1
