"""The suppression methods, as the reference's own tests go through them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from egret.contracts.webapi import ErrorCode, SuppressionAddRequest, SuppressionListRequest
from egret.core.errors import InvalidRequest
from egret.core.suppression import Strike, Strikes
from egret.usecases.suppressions import (
    MAX_REASON_CHARACTERS,
    suppression_add,
    suppression_list,
    suppression_page,
    suppression_present,
    suppression_remove,
)
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT
from tests.unit.sending import Service


def add(
    service: Service, address: str, account: str = ACCOUNT, reason: str = "", expires: datetime | None = None
) -> None:
    """Add as a person does."""
    request = SuppressionAddRequest(email_address=address, manual=True, reason=reason, expires=expires)
    suppression_add(service.suppressing, account, request)


def code_of(call: Any, *args: Any, **kwargs: Any) -> str:
    """Call, be refused, return the code."""
    with pytest.raises(InvalidRequest) as caught:
        call(*args, **kwargs)
    return caught.value.code


def test_the_list_begins_empty() -> None:
    """Nobody is suppressed unasked."""
    assert suppression_list(Service().suppressing, ACCOUNT) == []


def test_the_list_shows_both_addresses_for_people() -> None:
    """Base and original address, domains in Unicode."""
    service = Service()
    add(service, "Remote.Last+catchall@xn--bcher-kva.example", reason="asked to")

    (entry,) = suppression_list(service.suppressing, ACCOUNT)

    assert entry.base_address == "remote.last@bücher.example"
    assert entry.original_address == "Remote.Last+catchall@bücher.example"
    assert (entry.manual, entry.reason, entry.created_at, entry.id < 1 << 53) == (True, "asked to", NOW, True)


@pytest.mark.parametrize("limit", [1, 2, 5, 0])
def test_a_long_list_is_given_in_pages(limit: int) -> None:
    """Nothing twice, nothing left out, whatever is removed meanwhile; without a limit all at once."""
    service = Service()
    for name in "edcba":
        add(service, f"{name}@example.net")
    pages: list[list[str]] = []
    at, more = "", True
    while more:
        found, at = suppression_page(service.suppressing, ACCOUNT, SuppressionListRequest(limit=limit, cursor=at))
        pages.append([entry.base_address for entry in found])
        more = bool(at)
        if more and len(pages) == 1:
            suppression_remove(service.suppressing, ACCOUNT, pages[0][-1])

    assert sorted(one for page in pages for one in page) == [f"{name}@example.net" for name in "abcde"]
    assert [len(page) for page in pages] == {1: [1] * 5, 2: [2, 2, 1]}.get(limit, [5])


def test_a_page_of_another_list_is_refused() -> None:
    """A cursor belongs to its account; a limit is no less than nothing."""
    service = Service()
    for name in "ab":
        add(service, f"{name}@example.net")
    _, at = suppression_page(service.suppressing, ACCOUNT, SuppressionListRequest(limit=1))

    for account, request in (
        (OTHER_ACCOUNT, SuppressionListRequest(cursor=at)),
        (ACCOUNT, SuppressionListRequest(cursor="x")),
        (ACCOUNT, SuppressionListRequest(limit=-1)),
    ):
        assert code_of(suppression_page, service.suppressing, account, request) == "user"


def test_the_list_is_oldest_first() -> None:
    """As it grew."""
    service = Service()
    for name in ("b", "a", "c"):
        add(service, f"{name}@example.net")
        service.clock.advance(timedelta(seconds=1))

    bases = [entry.base_address for entry in suppression_list(service.suppressing, ACCOUNT)]

    assert bases == ["b@example.net", "a@example.net", "c@example.net"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ann@example.net", "ann@example.net"),
        ("ann@example.net", "ANN+tag@Example.NET"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("a.nn@gmail.com", "ann+x@gmail.com"),
    ],
)
def test_variants_of_a_mailbox_are_one_entry(one: str, other: str) -> None:
    """Adding one variant makes every other present and a duplicate; removing one removes all."""
    service = Service()
    add(service, one)

    assert suppression_present(service.suppressing, ACCOUNT, other)
    assert code_of(add, service, other) == ErrorCode.ERROR

    suppression_remove(service.suppressing, ACCOUNT, other)
    assert not suppression_present(service.suppressing, ACCOUNT, one)


@pytest.mark.parametrize(
    ("one", "other"), [("jan-peter@x.example", "jan@x.example"), ("a.b@x.example", "ab@x.example")]
)
def test_different_people_are_not_folded(one: str, other: str) -> None:
    """Hyphens never, dots only where the provider ignores them."""
    service = Service()
    add(service, one)

    assert not suppression_present(service.suppressing, ACCOUNT, other)


def test_removing_what_is_not_there_is_an_error() -> None:
    """Also the second time."""
    service = Service()
    add(service, "ann@example.net")
    suppression_remove(service.suppressing, ACCOUNT, "ann@example.net")

    assert code_of(suppression_remove, service.suppressing, ACCOUNT, "ann@example.net") == ErrorCode.ERROR
    assert suppression_list(service.suppressing, ACCOUNT) == []


def test_what_was_removed_can_be_added_again() -> None:
    """By a person, at any time."""
    service = Service()
    add(service, "ann@example.net")
    suppression_remove(service.suppressing, ACCOUNT, "ann@example.net")
    service.clock.advance(timedelta(seconds=1))
    add(service, "ann@example.net")

    assert suppression_present(service.suppressing, ACCOUNT, "ann@example.net")


def test_removing_forgets_the_failures_in_a_row() -> None:
    """The next failure is the first again, and older ones never count."""
    service = Service()
    add(service, "ann@example.net")
    service.suppressions.put_strikes(ACCOUNT, "ann@example.net", Strikes(), Strikes((Strike(NOW, "evt_1"),)))

    suppression_remove(service.suppressing, ACCOUNT, "ann@example.net")

    key = (ACCOUNT, "ann@example.net")
    assert service.suppressions.find_strikes([key]).get(key) == Strikes((), NOW)


def test_lists_are_the_accounts_own() -> None:
    """No account sees, meets or removes another's entries."""
    service = Service()
    add(service, "ann@example.net")

    assert suppression_list(service.suppressing, OTHER_ACCOUNT) == []
    assert not suppression_present(service.suppressing, OTHER_ACCOUNT, "ann@example.net")
    assert code_of(suppression_remove, service.suppressing, OTHER_ACCOUNT, "ann@example.net") == ErrorCode.ERROR
    add(service, "ann@example.net", OTHER_ACCOUNT)
    assert suppression_present(service.suppressing, ACCOUNT, "ann@example.net")


@pytest.mark.parametrize(
    "address", ["", "ann", "ann@", "ann@[192.0.2.1]", "a\n@example.net", "x" * 65 + "@example.net"]
)
def test_a_bad_address_is_refused(address: str) -> None:
    """By every method that takes one."""
    service = Service()

    assert code_of(add, service, address) == ErrorCode.BAD_ADDRESS
    assert code_of(suppression_remove, service.suppressing, ACCOUNT, address) == ErrorCode.BAD_ADDRESS
    assert code_of(suppression_present, service.suppressing, ACCOUNT, address) == ErrorCode.BAD_ADDRESS


def test_an_entry_for_a_time_ends_by_itself() -> None:
    """From the instant on it is neither listed nor found nor removable, and the address can be added anew."""
    service = Service()
    add(service, "ann@example.net", expires=NOW + timedelta(days=1))
    service.clock.advance(timedelta(days=1) - timedelta(seconds=1))
    last = suppression_present(service.suppressing, ACCOUNT, "ann@example.net")
    (entry,) = suppression_list(service.suppressing, ACCOUNT)
    service.clock.advance(timedelta(seconds=1))

    assert (last, entry.expires_at) == (True, NOW + timedelta(days=1))
    assert not suppression_present(service.suppressing, ACCOUNT, "ann@example.net")
    assert suppression_list(service.suppressing, ACCOUNT) == []
    assert code_of(suppression_remove, service.suppressing, ACCOUNT, "ann@example.net") == ErrorCode.ERROR
    add(service, "ann@example.net")
    assert suppression_present(service.suppressing, ACCOUNT, "ann@example.net")


def test_a_longer_entry_takes_the_place_of_a_shorter_one() -> None:
    """And never the other way round."""
    service, day = Service(), timedelta(days=1)
    add(service, "ann@example.net", expires=NOW + day)

    assert code_of(add, service, "ann@example.net", expires=NOW + day) == ErrorCode.ERROR
    add(service, "ann@example.net", expires=NOW + 2 * day)
    add(service, "ann@example.net")
    assert code_of(add, service, "ann@example.net", expires=NOW + 3 * day) == ErrorCode.ERROR
    assert [entry.expires_at for entry in suppression_list(service.suppressing, ACCOUNT)] == [None]


@pytest.mark.parametrize("expires", [NOW, NOW - timedelta(days=1), datetime(9999, 12, 31, tzinfo=UTC)])
def test_an_entry_must_end_in_the_future(expires: datetime) -> None:
    """One that is over is a mistake, and so is the end of time."""
    assert code_of(add, Service(), "ann@example.net", expires=expires) == ErrorCode.USER


def test_a_reason_has_a_limit() -> None:
    """It is read with every message to the address."""
    service = Service()

    assert code_of(add, service, "a@example.net", reason="x" * (MAX_REASON_CHARACTERS + 1)) == ErrorCode.USER
