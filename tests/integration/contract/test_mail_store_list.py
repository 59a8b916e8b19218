"""The contract of `MailStore.list`: newest first over all shards, filters, pages."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from egret.contracts.records import DeliveryFilter
from egret.core.delivery import Delivery, State
from tests.integration.contract.backends import Backend
from tests.samples import DAY, EXACT, NOON, delivery, ended, message_number

EVERYTHING = DeliveryFilter()


def _pages(backend: Backend, account: str, wanted: DeliveryFilter, limit: int) -> list[tuple[Delivery, ...]]:
    """Return all pages; fails when the listing does not end."""
    pages, cursor = [], ""
    for _ in range(200):
        page = backend.store.list(account, wanted, cursor, limit, NOON)
        pages.append(page.items)
        cursor = page.cursor
        if not cursor:
            return pages
    pytest.fail("the listing does not end")


def _all(backend: Backend, account: str, wanted: DeliveryFilter = EVERYTHING, limit: int = 100) -> list[Delivery]:
    return [item for page in _pages(backend, account, wanted, limit) for item in page]


def _fill(backend: Backend, account: str) -> list[Delivery]:
    """Store 21 deliveries of seven messages over all shards; return them newest first."""
    stored = [delivery(account, number, index) for number in range(7) for index in range(3)]
    backend.store.expand(stored[::-1])
    return sorted(stored, key=lambda d: -d.id)


@pytest.mark.parametrize("limit", [1, 2, 5, 21, 100])
def test_pages_list_everything_newest_first(backend: Backend, account: str, limit: int) -> None:
    """Whatever the size of a page: each delivery once, highest id first, no page above the limit, an end."""
    stored = _fill(backend, account)
    pages = _pages(backend, account, EVERYTHING, limit)

    assert stored == [item for page in pages for item in page]
    assert max(len(page) for page in pages) <= limit


def test_empty_account_has_one_empty_page(backend: Backend, account: str) -> None:
    """Nothing there: no items, no cursor."""
    page = backend.store.list(account, EVERYTHING, "", 10, NOON)

    assert (page.items, page.cursor) == ((), "")


def test_listing_shows_one_account(backend: Backend, account: str, other: str) -> None:
    """With the same ids, filters and cursors, another account's deliveries never show."""
    stored = _fill(backend, account)
    backend.store.expand([delivery(other, 3)])

    assert _all(backend, account) == stored
    assert _all(backend, other) == [delivery(other, 3)]
    page = backend.store.list(account, EVERYTHING, "", 1, NOON)
    assert all(item.account == other for item in backend.store.list(other, EVERYTHING, page.cursor, 50, NOON).items)


def test_new_deliveries_do_not_disturb_the_pages_after(backend: Backend, account: str) -> None:
    """What comes in while somebody reads on is newer than where the cursor stands."""
    stored = _fill(backend, account)
    first = backend.store.list(account, EVERYTHING, "", 8, NOON)
    backend.store.expand([delivery(account, number) for number in range(7, 20)])

    rest, cursor = list(first.items), first.cursor
    while cursor:
        page = backend.store.list(account, EVERYTHING, cursor, 8, NOON)
        rest += page.items
        cursor = page.cursor
    assert stored == rest


def _with_states(backend: Backend, account: str) -> list[Delivery]:
    states = [State.QUEUED, State.HELD, State.CANCELED]
    stored = [
        msgspec.structs.replace(
            delivery(account, number),
            state=states[number % 3],
            ended_at=NOON if states[number % 3].is_terminal else None,
        )
        for number in range(12)
    ]
    backend.store.expand(stored)
    return stored[::-1]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_filter_by_states(backend: Backend, account: str, limit: int) -> None:
    """One state or several, over pages that contain few of them."""
    stored = _with_states(backend, account)
    wanted = frozenset({State.HELD, State.CANCELED})

    assert [d for d in stored if d.state in wanted] == _all(backend, account, DeliveryFilter(wanted), limit)
    assert _all(backend, account, DeliveryFilter(frozenset({State.DELIVERED})), limit) == []


def test_filter_by_recipient_is_exact(backend: Backend, account: str) -> None:
    """The whole address, neither a part of it nor in another case."""
    stored = _fill(backend, account)

    found = _all(backend, account, DeliveryFilter(recipient="rcpt1@example.net"), 2)
    assert [d for d in stored if d.index == 1] == found
    for address in ("rcpt1", "RCPT1@example.net", "example.net"):
        assert _all(backend, account, DeliveryFilter(recipient=address)) == []


def test_filter_by_message(backend: Backend, account: str) -> None:
    """The deliveries of one submission."""
    stored = _fill(backend, account)

    found = _all(backend, account, DeliveryFilter(message_id=message_number(4)), 2)
    assert [d for d in stored if d.message_id == message_number(4)] == found


def test_filter_by_time_of_queueing(backend: Backend, account: str) -> None:
    """Since is included, until is not, to the microsecond."""
    stored = _fill(backend, account)
    since, until = NOON + timedelta(seconds=2) + EXACT, NOON + timedelta(seconds=5) + EXACT

    def listed(wanted: DeliveryFilter) -> list[Delivery]:
        return _all(backend, account, wanted, 4)

    assert [d for d in stored if since <= d.queued_at < until] == listed(DeliveryFilter(since=since, until=until))
    assert [d for d in stored if d.queued_at >= since] == listed(DeliveryFilter(since=since))
    assert [d for d in stored if d.queued_at < until] == listed(DeliveryFilter(until=until))
    assert listed(DeliveryFilter(since=NOON + DAY)) == []
    assert listed(DeliveryFilter(until=NOON - DAY)) == []


def test_filters_apply_together(backend: Backend, account: str) -> None:
    """A delivery is listed if all fields match."""
    _fill(backend, account)
    wanted = DeliveryFilter(
        frozenset({State.QUEUED}), "rcpt2@example.net", message_number(5), NOON, NOON + timedelta(minutes=1)
    )

    assert _all(backend, account, wanted) == [delivery(account, 5, 2)]
    assert _all(backend, account, replace(wanted, states=frozenset({State.HELD}))) == []


def test_forgotten_deliveries_are_not_listed(backend: Backend, account: str) -> None:
    """Whether storage has dropped them or not; retention 0 still shows 7 days here, the use case hides it."""
    backend.store.expand([ended(account, 1, 0 * DAY), ended(account, 2, 30 * DAY), delivery(account, 3)])

    listed = {
        days: [d.message_id for d in backend.store.list(account, EVERYTHING, "", 10, NOON + days * DAY).items]
        for days in (0, 7, 30)
    }
    numbers = {n: message_number(n) for n in (1, 2, 3)}
    assert listed == {0: [numbers[3], numbers[2], numbers[1]], 7: [numbers[3], numbers[2]], 30: [numbers[3]]}


def test_listing_shows_a_replaced_delivery_once_as_it_is_now(backend: Backend, account: str) -> None:
    """The newest form, in its old place."""
    stored = _fill(backend, account)
    changed = msgspec.structs.replace(stored[5], rev=2, reverse_path="changed")
    backend.store.replace(stored[5], changed)

    assert [*stored[:5], changed, *stored[6:]] == _all(backend, account, limit=4)
