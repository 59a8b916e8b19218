"""The contract of `DueIndex`: what is due over all accounts, oldest first, sparse."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from egret.contracts.queues import Call
from egret.contracts.records import CallRecord, DueEntry, DueKind
from egret.core.changes import Cancel, Change, Claim, Hold
from egret.core.delivery import Delivery, Lease, State
from egret.core.ids import SHARDS, shard_of
from egret.core.lifecycle import apply
from tests.integration.contract.backends import Backend
from tests.samples import (
    CONTENT,
    DAY,
    HOUR,
    MINUTE,
    NOON,
    acceptance,
    delivery,
    message,
    message_number,
)

LATER = NOON + DAY


def _due_in(account: str, number: int, due_at: datetime | None, index: int = 0) -> Delivery:
    return replace(delivery(account, number, index), due_at=due_at)


def _entry(wanted: Delivery) -> DueEntry:
    assert wanted.due_at is not None
    return DueEntry(DueKind.DELIVERY, wanted.account, wanted.id, wanted.due_at)


def _set(entries: list[DueEntry]) -> set[DueEntry]:
    assert len(entries) == len(set(entries))
    return set(entries)


def test_due_deliveries_of_all_accounts_are_listed(backend: Backend, account: str, other: str) -> None:
    """Due now or before, to the second; what is due later is not there yet."""
    due = [_due_in(account, 1, NOON), _due_in(account, 2, NOON - HOUR), _due_in(other, 1, NOON - MINUTE)]
    backend.store.expand([*due, _due_in(other, 3, NOON + timedelta(seconds=1))])

    assert {_entry(d) for d in due} == _set(backend.due.due(DueKind.DELIVERY, NOON, 100))
    assert backend.due.count(DueKind.DELIVERY, NOON) == 3
    assert backend.due.count(DueKind.DELIVERY, NOON + MINUTE) == 4


def test_nothing_is_due_in_an_empty_store(backend: Backend) -> None:
    """No kind has an entry."""
    assert [backend.due.due(kind, LATER, 10) for kind in DueKind] == [[], [], []]
    assert [backend.due.count(kind, LATER) for kind in DueKind] == [0, 0, 0]


def test_accepting_makes_due(backend: Backend, account: str) -> None:
    """The due entry of a single delivery comes with its commit, not with its message."""
    backend.store.put_message(message(account), CONTENT)
    before = backend.due.count(DueKind.DELIVERY, LATER)
    backend.store.accept(acceptance(account))

    assert before == 0
    assert [entry.id for entry in backend.due.due(DueKind.DELIVERY, LATER, 10)] == [delivery(account).id]


def test_index_is_sparse(backend: Backend, account: str) -> None:
    """What need never be looked at has no entry, and loses the one it had."""
    queued = [_due_in(account, number, NOON) for number in range(3)]
    backend.store.expand([*queued, _due_in(account, 9, None)])
    changes: tuple[Change, ...] = (Hold(NOON), Cancel(NOON))
    for old, change in zip(queued, changes, strict=False):
        new = apply(old, change)
        assert isinstance(new, Delivery)
        assert backend.store.replace(old, new)

    assert [_entry(queued[2])] == backend.due.due(DueKind.DELIVERY, LATER, 10)


def test_claim_does_not_change_the_index(backend: Backend, account: str) -> None:
    """The lease is no part of the index: a claimed delivery is listed as before."""
    old = _due_in(account, 1, NOON)
    backend.store.expand([old])
    new = apply(replace(old, not_before=NOON), Claim("unit-a", NOON, NOON + HOUR))
    assert isinstance(new, Delivery)
    assert new.state is State.ATTEMPTING
    assert new.lease == Lease(1, "unit-a", NOON + HOUR)
    assert backend.store.replace(old, new)

    assert [_entry(old)] == backend.due.due(DueKind.DELIVERY, NOON, 10)


def test_new_time_moves_the_entry(backend: Backend, account: str) -> None:
    """A delivery has one entry: the one of its newest due time."""
    old = _due_in(account, 1, NOON)
    backend.store.expand([old])
    backend.store.replace(old, replace(old, due_at=NOON + HOUR, rev=2))

    assert backend.due.due(DueKind.DELIVERY, NOON + MINUTE, 10) == []
    assert [_entry(replace(old, due_at=NOON + HOUR))] == backend.due.due(DueKind.DELIVERY, NOON + HOUR, 10)


def test_oldest_come_first_within_a_shard(backend: Backend, account: str, other: str) -> None:
    """By due time, whichever account and id they have."""
    minutes = [5, 3, 9, 1, 7, 2, 8, 4, 6, 0]
    stored = [
        _due_in((account, other)[place % 2], 3, NOON + minute * MINUTE, place) for place, minute in enumerate(minutes)
    ]
    backend.store.expand(stored)

    in_order = [_entry(d) for d in sorted(stored, key=lambda d: d.due_at or NOON)]
    assert in_order == backend.due.due(DueKind.DELIVERY, LATER, 100)
    assert in_order[:4] == backend.due.due(DueKind.DELIVERY, LATER, 100)[:4]
    assert [entry.due_at for entry in backend.due.due(DueKind.DELIVERY, LATER, 4)] == [
        NOON + m * MINUTE for m in range(4)
    ]


def test_limit_takes_shards_evenly(backend: Backend, account: str) -> None:
    """No shard is starved by another that has much older entries; the limit is kept."""
    crowd = [_due_in(account, SHARDS, NOON - DAY + index * MINUTE, index) for index in range(30)]
    few = [_due_in(account, number, NOON) for number in range(1, SHARDS)]
    backend.store.expand([*crowd, *few])

    taken = backend.due.due(DueKind.DELIVERY, NOON, 2 * SHARDS)
    assert {shard_of(entry.id) for entry in taken} == set(range(SHARDS))
    assert _set(taken) >= {_entry(d) for d in few}
    for limit in (1, 3, 8, 33, 100):
        assert len(_set(backend.due.due(DueKind.DELIVERY, NOON, limit))) == min(limit, 33)


def test_submission_is_due_for_repair_until_closed(backend: Backend, account: str) -> None:
    """Its own kind, by message id; an expanded one only until it is closed."""
    wanted = acceptance(account, 2, recipients=2)
    backend.store.accept_several(wanted, CONTENT, NOON)
    entry = DueEntry(DueKind.SUBMISSION, account, message_number(2), NOON)

    assert backend.due.due(DueKind.SUBMISSION, NOON - MINUTE, 10) == []
    assert backend.due.due(DueKind.SUBMISSION, NOON, 10) == [entry]
    assert backend.due.count(DueKind.DELIVERY, LATER) == 0
    backend.store.expand(wanted.deliveries)
    assert backend.due.due(DueKind.SUBMISSION, NOON, 10) == [entry]
    assert backend.due.count(DueKind.DELIVERY, LATER) == 2
    backend.store.close(account, wanted.message.id)
    assert backend.due.due(DueKind.SUBMISSION, LATER, 10) == []


def _call(account: str, number: int, seq: int, due_at: datetime | None) -> CallRecord:
    call = Call(account, message_number(number), seq, "2031-03-01T12:00:00Z")
    return CallRecord(call, "https://hook.example.com/", "delivered", "waiting", (), NOON + 7 * DAY, due_at)


def test_waiting_calls_are_due_with_their_event(backend: Backend, account: str) -> None:
    """Two events of one delivery are two entries; a call that waits for nothing has none."""
    backend.calls.put(_call(account, 1, 1, NOON))
    backend.calls.put(_call(account, 1, 2, NOON - MINUTE))
    backend.calls.put(_call(account, 1, 3, None))
    expected = [
        DueEntry(DueKind.CALL, account, message_number(1), NOON - MINUTE, 2),
        DueEntry(DueKind.CALL, account, message_number(1), NOON, 1),
    ]

    assert expected == backend.due.due(DueKind.CALL, NOON, 10)
    backend.calls.put(_call(account, 1, 2, None))
    assert expected[1:] == backend.due.due(DueKind.CALL, NOON, 10)
    assert backend.due.count(DueKind.CALL, NOON) == 1
    assert backend.due.count(DueKind.DELIVERY, NOON) == 0


def test_many_are_counted_exactly(backend: Backend, account: str) -> None:
    """Over several pages of the index."""
    backend.store.expand(_due_in(account, number, NOON, index) for number in range(4) for index in range(150))

    assert backend.due.count(DueKind.DELIVERY, NOON) == 600
    assert len(_set(backend.due.due(DueKind.DELIVERY, NOON, 1000))) == 600
