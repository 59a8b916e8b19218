"""The mail store in memory against a model, and what only it can do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from egret.contracts.records import DeliveryFilter, DueEntry, DueKind, IdempotencyState, PostAnswer
from egret.contracts.stream import StreamRecord
from egret.core.delivery import Delivery
from egret.memory.calls import MemoryPoster
from egret.memory.store import MemoryMailStore
from tests.samples import (
    CONTENT,
    DAY,
    MINUTE,
    NOON,
    acceptance,
    delivery,
    ended,
    message,
    reservation,
)

ACCOUNTS = st.sampled_from(["aaaaaaaa", "bbbbbbbb"])
NUMBERS = st.integers(0, 4)
INDEXES = st.integers(0, 2)


class StoreMachine(RuleBasedStateMachine):
    """Any order of writes: the store is what a plain dict of deliveries would be, and the stream replays to it."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryMailStore()
        self.model: dict[tuple[str, int], Delivery] = {}
        self.read: dict[tuple[str, int], Delivery] = {}
        self.now = NOON

    @rule(account=ACCOUNTS, number=NUMBERS, index=INDEXES)
    def expand(self, account: str, number: int, index: int) -> None:
        """Put a delivery unless it is there."""
        new = delivery(account, number, index)
        self.store.expand([new])
        self.model.setdefault((account, new.id), new)

    @rule(account=ACCOUNTS, number=NUMBERS, index=INDEXES)
    def remember(self, account: str, number: int, index: int) -> None:
        """Read a delivery for a later replace, which may be stale by then."""
        found = self.store.get(account, delivery(account, number, index).id, self.now)
        if found is not None:
            self.read[account, found.id] = found

    @rule(data=st.data(), minutes=st.one_of(st.none(), st.integers(0, 600)), ends=st.booleans())
    def replace(self, data: st.DataObject, minutes: int | None, ends: bool) -> None:
        """Replace on condition of what was read."""
        if not self.read:
            return
        old = self.read[data.draw(st.sampled_from(sorted(self.read)))]
        due_at = None if minutes is None or ends else NOON + minutes * MINUTE
        new = msgspec.structs.replace(old, rev=old.rev + 1, due_at=due_at, ended_at=self.now if ends else None)
        stored = self.model.get((old.account, old.id))
        expected = stored is not None and stored.rev == old.rev

        assert expected == self.store.replace(old, new)
        if expected:
            self.model[old.account, old.id] = new

    @rule(days=st.integers(1, 40), drops=st.booleans())
    def pass_time(self, days: int, drops: bool) -> None:
        """Let days go by; storage drops what is forgotten, or does not."""
        self.now += days * DAY
        if drops:
            gone = {key for key, kept in self.model.items() if kept.is_forgotten(self.now)}
            assert len(gone) == self.store.drop_forgotten(self.now)
            self.model = {key: kept for key, kept in self.model.items() if key not in gone}

    @invariant()
    def reads_agree(self) -> None:
        """By id, by listing, by due time: what the model has and what is not forgotten."""
        alive = {key: kept for key, kept in self.model.items() if not kept.is_forgotten(self.now)}
        assert alive == self.store.get_many(list(self.model), self.now)
        for account in ("aaaaaaaa", "bbbbbbbb"):
            own = sorted((d for (owner, _), d in alive.items() if owner == account), key=lambda d: -d.id)
            assert own == list(self.store.list(account, DeliveryFilter(), "", 1000, self.now).items)
        due = {
            DueEntry(DueKind.DELIVERY, d.account, d.id, d.due_at)
            for d in self.model.values()
            if d.due_at is not None and d.due_at <= self.now
        }
        assert due == set(self.store.due(DueKind.DELIVERY, self.now, 1000))

    @invariant()
    def stream_replays(self) -> None:
        """Every record continues where the last one of its delivery ended; the ends are what is stored."""
        replayed: dict[tuple[str, int], Delivery] = {}
        for record in self.store.stream:
            key = (record.delivery.account, record.delivery.id)
            assert record.old == replayed.pop(key, None)
            if record.new is not None:
                replayed[key] = record.new
        assert replayed == self.model


TestStore = StoreMachine.TestCase


def test_dropping_streams_removals() -> None:
    """The time to live takes forgotten deliveries, and each goes into the stream with its last image."""
    store = MemoryMailStore()
    store.expand([ended("abcdefgh", 1), delivery("abcdefgh", 2)])

    assert store.drop_forgotten(NOON + 29 * DAY) == 0
    assert store.drop_forgotten(NOON + 30 * DAY) == 1
    assert store.stream[2:] == [StreamRecord(ended("abcdefgh", 1), None)]
    assert store.get("abcdefgh", delivery("abcdefgh", 2).id, NOON) == delivery("abcdefgh", 2)


def test_dropping_takes_expired_reservations() -> None:
    """The acceptance that comes after finds its reservation lost."""
    store = MemoryMailStore()
    store.reserve(reservation("abcdefgh"), NOON)
    store.put_message(message("abcdefgh"), CONTENT)
    store.drop_forgotten(NOON + MINUTE)
    late = replace(acceptance("abcdefgh"), idempotency=reservation("abcdefgh"))

    assert store.accept(late) is False
    assert store.reserve(reservation("abcdefgh", "token-2"), NOON) == (IdempotencyState.NEW, "")


def _big_answer(_: object) -> PostAnswer:
    return PostAnswer(200, {"Retry-After": "7"}, b"x" * 1000)


def test_poster_reads_the_first_octets_of_an_answer() -> None:
    """And keeps what it was asked to send."""
    poster = MemoryPoster(_big_answer)
    answer = poster.post("https://a.example/", {"A": "b"}, b"{}", timedelta(seconds=30))

    assert (answer.status, answer.headers, answer.body) == (200, {"Retry-After": "7"}, b"x" * 512)
    assert [(posted.url, posted.headers, posted.body) for posted in poster.posted] == [
        ("https://a.example/", {"A": "b"}, b"{}")
    ]
