"""record_outcome lets the result of an attempt into the queue once, and only while it is the one under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from msgspec.structs import replace

from egret.contracts.records import Acceptance
from egret.contracts.settings import RetryPolicy
from egret.core.delivery import Delivery, Lease, State
from egret.core.errors import Unavailable
from egret.core.ids import delivery_id
from egret.core.lifecycle import Refusal
from egret.core.outcome import Outcome, Unknown
from egret.memory.clock import FakeClock
from egret.memory.store import MemoryMailStore
from egret.usecases.record_outcome import (
    RecordPorts,
    record_outcome,
    record_outcomes,
    record_unknown,
    release,
    shared_dice,
)
from tests.unit.builders import (
    ACCOUNT,
    HOUR,
    LATER,
    MESSAGE_ID,
    NEVER,
    NOBODY_KNOWS,
    NOW,
    OK,
    a_delivery,
    a_message,
    an_attempt,
)

LEASE = Lease(1, "unit-1", NOW + HOUR)


@dataclass
class World:
    """A store with one delivery whose first attempt is under way."""

    store: MemoryMailStore = field(default_factory=MemoryMailStore)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))

    def __post_init__(self) -> None:
        """Accept the delivery."""
        self.store.put_message(a_message(), b"content")
        self.store.accept(Acceptance(a_message(), (a_delivery(state=State.ATTEMPTING, lease=LEASE),)))

    @property
    def ports(self) -> RecordPorts:
        """Return the bundle."""
        return RecordPorts(self.store, self.clock, RetryPolicy())

    def record(self, number: int, outcome: Outcome) -> Delivery | Refusal | None:
        """Record an attempt of the delivery."""
        return record_outcome(self.ports, ACCOUNT, MESSAGE_ID, an_attempt(number, outcome))

    def get(self) -> Delivery:
        """Return the delivery as stored."""
        found = self.store.get(ACCOUNT, MESSAGE_ID, self.clock.now())
        assert found is not None
        return found


@pytest.fixture
def world() -> World:
    """Attempt 1 is under way."""
    return World()


@pytest.mark.parametrize(
    ("outcome", "state", "event"),
    [
        (OK, State.DELIVERED, "delivered"),
        (LATER, State.QUEUED, "delayed"),
        (NEVER, State.FAILED, "failed"),
        (NOBODY_KNOWS, State.QUEUED, "delayed"),
    ],
)
def test_an_outcome_and_its_event_are_one_write(world: World, outcome: Outcome, state: State, event: str) -> None:
    """Neither can be seen without the other: the stream has one record with both."""
    changes = len(world.store.table.stream)
    recorded = world.record(1, outcome)

    assert recorded == world.get()
    assert (world.get().state, [e.kind for e in world.get().events]) == (state, [event])
    assert len(world.store.table.stream) == changes + 1


def test_the_same_attempt_again_changes_nothing(world: World) -> None:
    """A journal that repeats itself, even with another outcome."""
    world.record(1, LATER)
    before = world.get()

    assert (world.record(1, LATER), world.record(1, OK)) == (Refusal.REPEATED, Refusal.REPEATED)
    assert world.get() == before


def test_an_attempt_that_is_not_under_way_is_refused(world: World) -> None:
    """Neither one from the future, nor one of a delivery that is gone."""
    assert world.record(2, OK) == Refusal.STALE
    assert record_outcome(world.ports, ACCOUNT, MESSAGE_ID + 7, an_attempt(1, OK)) is None
    assert world.get().state == State.ATTEMPTING


def test_the_next_attempt_is_counted_from_the_end_of_this_one(world: World) -> None:
    """The base, within its jitter, after start and duration."""
    world.record(1, LATER)
    wait = world.get().not_before - (NOW + timedelta(seconds=1))

    assert timedelta(minutes=7.5, seconds=-5) <= wait <= timedelta(minutes=7.5, seconds=4)


def test_recipients_of_one_submission_and_domain_share_their_dice() -> None:
    """So that they come due together; others do not."""
    one = a_delivery()
    sibling = replace(one, id=delivery_id(MESSAGE_ID, 1), recipient="bob@example.net")
    elsewhere = replace(one, domain="example.org")
    dice = [shared_dice(delivery, 1) for delivery in (one, sibling, elsewhere)]

    assert dice[0] == dice[1] != dice[2]
    assert all(0 <= number < 1 for number in dice)
    assert shared_dice(one, 2) != dice[0]


def test_an_attempt_whose_unit_is_gone_is_unknown(world: World) -> None:
    """It uses the attempt up; the same conclusion drawn twice is one."""
    delivery = world.get()
    record_unknown(world.ports, delivery, "the unit is gone")

    assert [attempt.outcome for attempt in world.get().attempts] == [Unknown("the unit is gone")]
    assert record_unknown(world.ports, delivery, "the unit is gone") == Refusal.STALE
    assert record_unknown(world.ports, world.get(), "the unit is gone") == Refusal.STALE


def test_a_late_conclusion_does_not_end_another_lease(world: World) -> None:
    """The delivery was claimed again since it was read."""
    delivery = world.get()
    again = replace(delivery, lease=replace(LEASE, unit="unit-2"), rev=delivery.rev + 1)
    world.store.replace(delivery, again)

    assert record_unknown(world.ports, delivery, "the unit is gone") == Refusal.STALE
    assert release(world.ports, ACCOUNT, MESSAGE_ID, LEASE) == Refusal.STALE
    assert world.get() == again


def test_a_released_claim_was_no_attempt(world: World) -> None:
    """It may be claimed at once, under the same number; releasing twice is harmless."""
    release(world.ports, ACCOUNT, MESSAGE_ID, LEASE)

    assert (world.get().state, world.get().attempts, world.get().events, world.get().not_before) == (
        State.QUEUED,
        (),
        (),
        NOW,
    )
    assert release(world.ports, ACCOUNT, MESSAGE_ID, LEASE) == Refusal.STALE


def test_a_race_that_is_lost_is_run_again(world: World) -> None:
    """A report came between reading and writing: both are kept."""

    class Racing(MemoryMailStore):
        lost = 0

        def replace(self, old: Delivery, new: Delivery) -> bool:
            self.lost += 1
            if self.lost == 1:
                super().replace(old, replace(old, held_at=NOW, rev=old.rev + 1))
            return super().replace(old, new)

    world.store = store = Racing(world.store.table)
    world.record(1, OK)

    assert (store.lost, world.get().state, world.get().rev) == (2, State.DELIVERED, 3)


def test_a_race_that_is_always_lost_is_unavailable(world: World) -> None:
    """Storage is ill; nothing is claimed to be recorded."""

    class Losing(MemoryMailStore):
        def replace(self, old: Delivery, new: Delivery) -> bool:
            return False

    world.store = Losing(world.store.table)
    with pytest.raises(Unavailable):
        world.record(1, OK)
    assert world.get().attempts == ()


def second(world: World) -> int:
    """Accept another delivery of the account, under way too; return its id."""
    message = replace(a_message(), id=MESSAGE_ID + 1024)
    world.store.put_message(message, b"content")
    delivery = a_delivery(id=message.id, state=State.ATTEMPTING, lease=LEASE)
    world.store.accept(Acceptance(message, (delivery,)))
    return message.id


def test_many_outcomes_are_recorded_as_each_by_itself(world: World) -> None:
    """What is absent or was recorded before is left alone."""
    other = second(world)
    world.record(1, LATER)

    ended = [(ACCOUNT, id_, an_attempt(1, OK)) for id_ in (MESSAGE_ID, other, other + 1024)]
    record_outcomes(world.ports, ended)

    states = world.store.get_many([(ACCOUNT, MESSAGE_ID), (ACCOUNT, other)], NOW)
    assert [one.state for one in states.values()] == [State.QUEUED, State.DELIVERED]


def test_a_race_lost_among_many_is_run_again(world: World) -> None:
    """The loser is recorded on what the winner wrote; the others are not touched a second time."""
    other = second(world)

    class Faster(MemoryMailStore):
        raced = False

        def replace_many(self, pairs: Sequence[tuple[Delivery, Delivery]]) -> Sequence[bool]:
            old = pairs[0][0]
            if not self.raced:
                self.raced = True
                assert super().replace(old, replace(old, rev=old.rev + 1))
            return super().replace_many(pairs)

    world.store = Faster(world.store.table)
    record_outcomes(world.ports, [(ACCOUNT, id_, an_attempt(1, OK)) for id_ in (MESSAGE_ID, other)])

    found = world.store.get_many([(ACCOUNT, MESSAGE_ID), (ACCOUNT, other)], NOW).values()
    assert [(one.state, len(one.attempts)) for one in found] == [(State.DELIVERED, 1)] * 2
