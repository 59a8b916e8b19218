"""Changing one delivery under concurrent writers."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from egret.contracts.records import Acceptance
from egret.core.changes import Cancel, Hold
from egret.core.delivery import Delivery, State
from egret.core.errors import Unavailable
from egret.core.lifecycle import Refusal
from egret.memory.store import MemoryMailStore
from egret.usecases.change import MAX_TRIES, change
from tests.unit.builders import ACCOUNT, MESSAGE_ID, NOW, OTHER_ACCOUNT, a_delivery, a_message


def a_store() -> MemoryMailStore:
    """Return a store with one delivery."""
    store = MemoryMailStore()
    store.put_message(a_message(), b"content")
    store.accept(Acceptance(a_message(), (a_delivery(),)))
    return store


def test_a_change_is_applied_and_stored() -> None:
    """The delivery that is returned is the one that is stored."""
    store = a_store()

    changed = change(store, ACCOUNT, MESSAGE_ID, lambda _: Cancel(NOW), NOW)

    assert isinstance(changed, Delivery)
    assert (changed.state, store.get(ACCOUNT, MESSAGE_ID, NOW)) == (State.CANCELED, changed)


def test_an_absent_delivery_is_none() -> None:
    """So is another account's."""
    assert change(a_store(), OTHER_ACCOUNT, MESSAGE_ID, lambda _: Cancel(NOW), NOW) is None


def test_a_refusal_of_the_life_cycle_is_returned() -> None:
    """Nothing is written then."""
    store = a_store()
    change(store, ACCOUNT, MESSAGE_ID, lambda _: Cancel(NOW), NOW)
    written = len(store.stream)

    assert change(store, ACCOUNT, MESSAGE_ID, lambda _: Hold(NOW), NOW) == Refusal.TERMINAL
    assert len(store.stream) == written


def test_the_same_delivery_means_leave_it_alone() -> None:
    """Deciding for nothing writes nothing."""
    store = a_store()
    written = len(store.stream)

    assert change(store, ACCOUNT, MESSAGE_ID, lambda delivery: delivery, NOW) == a_delivery()
    assert len(store.stream) == written


def test_a_lost_race_is_decided_again_on_what_the_winner_wrote() -> None:
    """The decision never stands on a delivery that is not there any more."""
    store = a_store()
    seen = []

    def decide(delivery: Delivery) -> Cancel:
        seen.append(delivery.rev)
        if len(seen) == 1:
            store.replace(delivery, replace(delivery, rev=delivery.rev + 1))
        return Cancel(NOW)

    changed = change(store, ACCOUNT, MESSAGE_ID, decide, NOW)

    assert isinstance(changed, Delivery)
    assert (seen, changed.rev) == ([1, 2], 3)


def test_endless_races_end() -> None:
    """A store that never takes the write is ill, and the caller hears so."""
    store = a_store()

    def decide(delivery: Delivery) -> Cancel:
        store.replace(delivery, replace(delivery, rev=delivery.rev + 1))
        return Cancel(NOW)

    with pytest.raises(Unavailable, match=f"{MAX_TRIES} times"):
        change(store, ACCOUNT, MESSAGE_ID, decide, NOW)
