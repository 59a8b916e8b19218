"""The sweep brings back whatever was lost between two parts, and lets nobody crowd out the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from egret.contracts.queues import Call, Hint
from egret.contracts.records import UNIT_GONE_AFTER, Acceptance, CallRecord, DueEntry, DueKind, Suspension
from egret.core.delivery import Delivery, Lease, State
from egret.core.errors import ContractError, Unavailable
from egret.core.ids import delivery_id
from egret.memory.calls import MemoryCalls
from egret.memory.clock import FakeClock
from egret.memory.due import MemoryDueIndex
from egret.memory.queue import MemoryQueue
from egret.memory.store import MemoryMailStore
from egret.memory.units import MemoryUnits
from egret.usecases.sweep import CALL_PATIENCE, MAX_ENTRIES, UNIT_SHOWN, SweepPorts, Swept, sweep
from tests.unit.builders import ACCOUNT, HOUR, MESSAGE_ID, NOW, OTHER_ACCOUNT, a_delivery, a_message, a_unit

MINUTE = timedelta(minutes=1)


@dataclass
class World:
    """The ports of the sweep in memory, and a unit with room."""

    store: MemoryMailStore = field(default_factory=MemoryMailStore)
    call_queue: MemoryQueue[Call] = field(default_factory=MemoryQueue)
    hint_queue: MemoryQueue[Hint] = field(default_factory=MemoryQueue)
    units: MemoryUnits = field(default_factory=MemoryUnits)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))

    def __post_init__(self) -> None:
        """Announce the unit."""
        self.calls = MemoryCalls(self.store.table)
        self.due = MemoryDueIndex(self.store.table)
        self.room(1000)

    def room(self, room: int) -> None:
        """Change the unit's room."""
        self.units.put(a_unit(room=room, valid_until=NOW + 1000 * HOUR))

    def accept(self, number: int = 0, **changes: Any) -> int:
        """Store a delivery that is due, the only one of its message; return its id."""
        id_ = MESSAGE_ID + (number << 10)
        delivery = a_delivery(**{"id": id_, "due_at": NOW, **changes})
        self.store.put_message(a_message(id=id_, account=delivery.account), b"content")
        self.store.accept(Acceptance(a_message(id=id_, account=delivery.account), (delivery,)))
        return id_

    def submit(self, count: int, number: int = 0) -> list[int]:
        """Commit a submission whose deliveries are not expanded; return their ids."""
        id_ = MESSAGE_ID + (number << 10)
        deliveries = tuple(a_delivery(id=delivery_id(id_, i), due_at=NOW + HOUR) for i in range(count))
        self.store.accept_several(Acceptance(a_message(id=id_), deliveries), b"content", NOW)
        return [delivery.id for delivery in deliveries]

    def wait(self, number: int = 0, **changes: Any) -> CallRecord:
        """Store the record of a webhook call that waits until now."""
        call = Call(changes.pop("account", ACCOUNT), MESSAGE_ID + (number << 10), 1, NOW.isoformat(), attempts=1)
        values: dict[str, Any] = {"state": "waiting", "results": (), "forget_at": NOW + 99 * HOUR, "due_at": NOW}
        record = CallRecord(call, "https://hooks.example.com/", "failed", **(values | changes))
        self.calls.put(record)
        return record

    def sweep(self) -> Swept:
        """Run once."""
        return sweep(self.ports())

    def ports(self) -> SweepPorts:
        """Return the bundle."""
        return SweepPorts(self.store, self.due, self.calls, self.call_queue, self.hint_queue, self.units, self.clock)

    def hinted(self) -> list[int]:
        """Return the ids in the hint queue."""
        return [id_ for hint in self.hint_queue.waiting for id_ in hint.ids]


@pytest.fixture
def world() -> World:
    """One unit with room for 1,000."""
    return World()


# --- deliveries


def test_what_is_due_is_hinted_at(world: World) -> None:
    """One hint per submission; what is not due yet is left alone."""
    ids = world.submit(3)
    world.sweep()
    world.clock.advance(HOUR)
    other = world.accept(1, due_at=NOW + HOUR)
    world.accept(2, due_at=NOW + 2 * HOUR)

    assert world.sweep() == Swept(hinted=4, repaired=0, called=0, due=4)
    assert [(hint.account, hint.ids) for hint in world.hint_queue.waiting] == [(ACCOUNT, ids), (ACCOUNT, [other])]


def test_the_queue_is_measured_by_what_is_due_and_by_the_oldest_of_it(world: World) -> None:
    """Also of what finds no room; nothing is late when nothing is due."""
    assert (world.sweep().due, world.sweep().late_by) == (0, timedelta(0))
    world.room(1)
    for number, late_by in enumerate((MINUTE, 7 * MINUTE, 2 * MINUTE, -MINUTE)):
        world.accept(number, due_at=NOW - late_by)
    swept = world.sweep()

    assert (swept.hinted, swept.due, swept.late_by) == (1, 3, 7 * MINUTE)


def test_a_hint_that_was_lost_comes_again_with_the_next_run(world: World) -> None:
    """The index is the guarantee: a hint changes nothing in it."""
    id_ = world.accept()
    world.sweep()
    world.hint_queue.lose()
    world.clock.advance(MINUTE)
    world.sweep()

    assert world.hinted() == [id_]


def test_no_more_is_hinted_at_than_the_units_have_room_for(world: World) -> None:
    """The oldest first; a unit that is not usable counts for nothing."""
    ids = [world.accept(number, due_at=NOW - timedelta(seconds=number)) for number in range(6)]
    world.room(2)
    world.units.put(a_unit(id="closed", room=9, port25=False))
    world.sweep()

    assert world.hinted() == [ids[5], ids[4]]


def test_without_room_enough_is_hinted_at_to_end_what_is_too_old(world: World) -> None:
    """The function deliver expires, suppresses and holds without any unit."""
    world.room(0)
    for number in range(3):
        world.accept(number)

    assert world.sweep().hinted == 3


def test_what_is_being_attempted_does_not_take_the_places_of_others(world: World) -> None:
    """Slow attempts stay due and are the oldest: they must not hide what nobody is working on."""
    lease = Lease(1, "unit-1", NOW + HOUR)
    for number in range(20):
        world.accept(number, due_at=NOW - HOUR, state=State.ATTEMPTING, lease=lease)
    lost = world.accept(
        20, due_at=NOW - MINUTE, state=State.ATTEMPTING, lease=msgspec.structs.replace(lease, until=NOW)
    )
    waiting = world.accept(21)
    world.room(2)
    world.sweep()

    assert world.hinted() == [lost, waiting]


def test_one_account_fills_no_more_than_its_share_while_others_wait(world: World) -> None:
    """The other account's one delivery is younger than all of them, and is hinted at all the same."""
    crowd = [world.accept(number, due_at=NOW - HOUR) for number in range(9)]
    single = world.accept(9, account=OTHER_ACCOUNT)
    world.room(4)
    world.sweep()

    assert (len(world.hinted()), single in world.hinted()) == (4, True)
    assert len(set(world.hinted()) & set(crowd)) == 3


def due_of(world: World, count: int, first: int = 0, **changes: Any) -> list[int]:
    """Store deliveries that are due, straight into the table; return their ids."""
    ids = [MESSAGE_ID + (number << 10) for number in range(first, first + count)]
    for id_ in ids:
        delivery = a_delivery(**{"id": id_, "due_at": NOW, **changes})
        world.store.table.deliveries[delivery.account, id_] = delivery
    return ids


def test_what_every_unit_suspends_does_not_take_the_places_of_others(world: World) -> None:
    """A domain that takes nothing has more and older mail than a whole run looks at at first."""
    due_of(world, MAX_ENTRIES + 100, due_at=NOW - HOUR, domain="tarpit.example")
    other = due_of(world, 1, first=MAX_ENTRIES + 100)
    suspended = Suspension("tarpit.example", NOW + HOUR, "its share is under way")
    world.units.put(a_unit(room=1000, valid_until=NOW + HOUR, suspensions=(suspended,)))
    world.units.put(a_unit(id="closed", port25=False, valid_until=NOW + HOUR))
    world.sweep()

    assert world.hinted() == other


@pytest.mark.parametrize(
    ("changes", "suspended"),
    [
        ({"expires_at": NOW}, Suspension("example.net", NOW + HOUR, "x")),
        ({"state": State.ATTEMPTING, "lease": Lease(1, "unit-1", NOW)}, Suspension("example.net", NOW + HOUR, "x")),
        ({}, Suspension("*", NOW + HOUR, "x", OTHER_ACCOUNT)),
        ({}, Suspension("example.net", NOW, "x")),
    ],
    ids=["too old", "its lease is lost", "another account", "over"],
)
def test_what_can_be_done_in_spite_of_a_suspension_is_hinted_at(
    world: World, changes: dict[str, Any], suspended: Suspension
) -> None:
    """Deliver ends what is too old, and asks the unit for what it was given before."""
    due_of(world, 3, **changes)
    world.units.put(a_unit(room=2, valid_until=NOW + HOUR, suspensions=(suspended,)))

    assert world.sweep().hinted == 2


def test_a_domain_that_one_unit_takes_is_hinted_at(world: World) -> None:
    """Another unit suspends it."""
    due_of(world, 3)
    world.units.put(a_unit(room=1, valid_until=NOW + HOUR, suspensions=(Suspension("*", NOW + HOUR, "x"),)))
    world.units.put(a_unit(id="unit-2", room=1, valid_until=NOW + HOUR))

    assert world.sweep().hinted == 2


def test_units_long_gone_are_forgotten(world: World) -> None:
    """Not before a week, in which operators can see them: every deploy with a new volume would leave a row."""
    gone_at = NOW - UNIT_GONE_AFTER - UNIT_SHOWN
    world.units.put(a_unit(id="unit-8", valid_until=gone_at + timedelta(seconds=1)))
    world.units.put(a_unit(id="unit-9", valid_until=gone_at))
    world.sweep()

    assert [unit.id for unit in world.units.list()] == ["unit-1", "unit-8"]


# --- submissions


def test_a_submission_that_was_cut_short_is_completed(world: World) -> None:
    """Its sender died after the commit: every delivery is made, those that exist stay as they are."""
    ids = world.submit(3)
    begun = a_delivery(id=ids[1], state=State.HELD, held_at=NOW, due_at=None, rev=5)
    world.store.expand([begun])

    assert world.sweep().repaired == 1
    assert [found.state for id_ in ids if (found := world.store.get(ACCOUNT, id_, NOW))] == [
        State.QUEUED,
        State.HELD,
        State.QUEUED,
    ]
    assert world.sweep().repaired == 0


def test_a_submission_that_cannot_be_read_stops_neither_others_nor_the_mail(world: World) -> None:
    """The alarm rings at the end, when everything else is done."""

    class Damaged(MemoryMailStore):
        def planned(self, account: str, message_id: int) -> tuple[Delivery, ...]:
            if message_id == MESSAGE_ID:
                raise ContractError
            return super().planned(account, message_id)

    world.store = Damaged(world.store.table)
    world.submit(2)
    (good,) = world.submit(1, number=1)
    due = world.accept(2)
    world.wait()
    with pytest.raises(Unavailable):
        world.sweep()

    assert world.store.get(ACCOUNT, good, NOW) is not None
    assert (world.hinted(), len(world.call_queue)) == ([due], 1)


# --- calls


def test_a_call_whose_time_has_come_is_queued_and_moved_on(world: World) -> None:
    """If the queue loses it, it comes back; until then it is queued once."""
    record = world.wait()
    world.wait(1, due_at=NOW + HOUR)

    assert (world.sweep().called, world.sweep().called) == (1, 0)
    assert world.call_queue.waiting == [record.call]
    moved = world.calls.get(ACCOUNT, MESSAGE_ID, 1, NOW)
    assert moved == replace(record, due_at=NOW + CALL_PATIENCE)

    world.clock.advance(CALL_PATIENCE)
    assert world.sweep().called == 1


def test_a_queue_that_is_down_loses_no_call(world: World) -> None:
    """They come back when their patience is over; mail goes on meanwhile."""
    world.wait()
    due = world.accept()
    world.call_queue.is_down = True
    with pytest.raises(Unavailable):
        world.sweep()
    assert world.hinted() == [due]

    world.call_queue.is_down = False
    world.clock.advance(CALL_PATIENCE)
    assert world.sweep().called == 1


@pytest.mark.parametrize("now_says", [{"due_at": NOW + HOUR}, {"due_at": None, "state": "delivered"}])
def test_an_index_that_lags_behind_queues_nothing(world: World, now_says: dict[str, Any]) -> None:
    """The record decides: it has been moved on, or told, since."""
    record = world.wait(**now_says)

    class Lagging(MemoryDueIndex):
        def due(self, kind: DueKind, now: datetime, limit: int) -> list[DueEntry]:
            return [DueEntry(kind, ACCOUNT, MESSAGE_ID, NOW, 1)] if kind is DueKind.CALL else []

    world.due = Lagging(world.store.table)

    assert (world.sweep().called, world.call_queue.waiting) == (0, [])
    assert world.calls.get(ACCOUNT, MESSAGE_ID, 1, NOW) == record


def test_a_record_that_cannot_be_read_stops_no_other_call(world: World) -> None:
    """One damaged item costs one call."""

    class Damaged(MemoryCalls):
        def get(self, account: str, delivery_id: int, seq: int, now: datetime) -> CallRecord | None:
            if delivery_id == MESSAGE_ID:
                raise ContractError
            return super().get(account, delivery_id, seq, now)

    world.wait()
    good = world.wait(1)
    world.calls = Damaged(world.store.table)
    with pytest.raises(Unavailable):
        world.sweep()

    assert world.call_queue.waiting == [good.call]


def test_a_hint_queue_that_is_down_keeps_nothing_else_from_being_done(world: World) -> None:
    """Submissions are repaired and calls queued; the failure is told at the end."""

    class Down(MemoryQueue[Hint]):
        def put(self, bodies: Sequence[Hint], /) -> None:
            raise Unavailable

    world.hint_queue = Down()
    world.accept()
    (id_,) = world.submit(1, number=1)
    world.wait()
    with pytest.raises(Unavailable):
        world.sweep()

    assert (world.store.get(ACCOUNT, id_, NOW) is not None, len(world.call_queue)) == (True, 1)
