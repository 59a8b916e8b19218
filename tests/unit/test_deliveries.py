"""The delivery methods: get, list, cancel, hold, release."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from egret.contracts.queues import Hint
from egret.contracts.settings import HoldRule, Smarthost, Transport
from egret.contracts.webapi import DeliveryInfo, DeliveryListRequest, ErrorCode
from egret.core.changes import Claim, Record
from egret.core.delivery import Delivery, State
from egret.core.errors import InvalidRequest
from egret.core.events import EventKind
from egret.core.lifecycle import apply
from egret.core.outcome import Outcome
from egret.core.routing import Route
from egret.usecases.change import change
from egret.usecases.deliveries import (
    MAX_STORE_PAGES,
    delivery_cancel,
    delivery_get,
    delivery_hold,
    delivery_list,
    delivery_release,
)
from egret.usecases.waiting import DUE, NO_UNIT, PORT25_CLOSED
from tests.unit.builders import ACCOUNT, LATER, NEVER, NOW, OK, OTHER_ACCOUNT, a_unit, an_attempt
from tests.unit.sending import LOGIN, Service, people

RETRY = timedelta(minutes=7)


def one(service: Service, **changes: Any) -> int:
    """Send to one recipient; return the delivery's id."""
    return service.send(**changes).submissions[0].queue_msg_id


def claim(service: Service, delivery_id: int) -> None:
    """Let a unit have it."""
    now = service.clock.now()
    change(service.store, ACCOUNT, delivery_id, lambda _: Claim("unit-1", now, now + timedelta(minutes=40)), now)


def attempt(service: Service, delivery_id: int, outcome: Outcome, *, is_last: bool = False) -> None:
    """Make one attempt with this outcome. is_last: no other is to follow."""
    claim(service, delivery_id)
    now = service.clock.now()
    number = len(service.delivery(delivery_id).attempts) + 1
    record = Record(an_attempt(number, outcome, now), None if is_last else now + RETRY, now)
    assert isinstance(change(service.store, ACCOUNT, delivery_id, lambda _: record, now), Delivery)


def code_of(call: Any, *args: Any) -> str:
    """Call, be refused, return the code."""
    with pytest.raises(InvalidRequest) as caught:
        call(*args)
    return caught.value.code


def ids(result: Any) -> list[int]:
    """Return the ids of a listing."""
    return [delivery.queue_msg_id for delivery in result.deliveries]


# --- get -------------------------------------------------------------------------------------------------------------


def test_get_shows_a_waiting_delivery() -> None:
    """With the facts of its message."""
    service = Service()
    result = service.send(subject="Order", extra={"order": "17"})
    (submission,) = result.submissions

    info = delivery_get(service.delivering, ACCOUNT, submission.queue_msg_id)

    assert info == DeliveryInfo(
        queue_msg_id=submission.queue_msg_id,
        from_id=submission.from_id,
        message_id=result.message_id,
        subject="Order",
        from_=LOGIN,
        recipient="ann@example.net",
        state="queued",
        waiting=NO_UNIT,
        due=NOW,
        queued=NOW,
        expires=NOW + timedelta(hours=72),
        extra={"order": "17"},
    )


def test_get_says_what_a_delivery_on_a_route_waits_for() -> None:
    """A closed port 25 does not matter to what goes over a smarthost."""
    service = Service()
    service.units.put(a_unit(port25=False, handoff_version=2))
    delivery_id = one(service)
    before = delivery_get(service.delivering, ACCOUNT, delivery_id).waiting
    service.settings.put_transport(Transport("relay", Smarthost("relay.example.com")))
    service.settings.put_route(Route("r", "relay", from_domains=("example.com",)))

    assert before == PORT25_CLOSED
    assert delivery_get(service.delivering, ACCOUNT, delivery_id).waiting == DUE


def test_get_shows_every_attempt_with_its_reply() -> None:
    """And every event with its id."""
    service = Service()
    delivery_id = one(service)
    attempt(service, delivery_id, LATER)
    service.clock.advance(RETRY)
    attempt(service, delivery_id, NEVER)

    info = delivery_get(service.delivering, ACCOUNT, delivery_id)

    assert (info.state, info.due, info.waiting, info.ended) == ("failed", None, "", NOW + RETRY)
    first, second = info.attempts
    assert (first.outcome, first.code, first.reply) == ("deferred", 451, ("4.3.0 try later",))
    assert (second.outcome, second.code, second.enhanced_code) == ("bounced", 550, "5.1.1")
    assert (second.remote, second.duration) == ("mx.example.net [192.0.2.1]", 1.0)
    assert [(event.event, event.attempt, event.smtp_code) for event in info.events] == [
        ("delayed", 1, 451),
        ("failed", 2, 550),
    ]
    assert [event.id for event in info.events] == [f"evt_{ACCOUNT}_{delivery_id:x}_{seq}" for seq in (1, 2)]


def test_get_says_of_the_last_attempt_that_egret_gave_up() -> None:
    """As its event does; earlier ones say what they came to."""
    service = Service()
    delivery_id = one(service)
    attempt(service, delivery_id, LATER)
    service.clock.advance(RETRY)
    attempt(service, delivery_id, LATER, is_last=True)

    info = delivery_get(service.delivering, ACCOUNT, delivery_id)

    said = "the server put the recipient off, transient: 451 4.3.0 try later"
    assert [attempt.error for attempt in info.attempts] == [said, f"given up after 2 attempts: {said}"]
    assert [event.error for event in info.events] == [said, f"given up after 2 attempts: {said}"]
    assert (info.attempts[1].outcome, info.events[1].smtp_code) == ("deferred", 451)


def test_get_shows_a_delivered_one() -> None:
    """Nothing is to come."""
    service = Service()
    delivery_id = one(service)
    attempt(service, delivery_id, OK)

    info = delivery_get(service.delivering, ACCOUNT, delivery_id)

    assert (info.state, info.due, info.expires, info.attempts[0].error) == ("delivered", None, None, "")


@pytest.mark.parametrize("delivery_id", [0, -1, 1, 1 << 53, (1 << 63) - 1, -(1 << 63)])
def test_what_is_not_there_is_not_found(delivery_id: int) -> None:
    """Any integer may be asked for."""
    service = Service()

    assert code_of(delivery_get, service.delivering, ACCOUNT, delivery_id) == ErrorCode.DELIVERY_NOT_FOUND
    assert code_of(delivery_cancel, service.delivering, ACCOUNT, delivery_id) == ErrorCode.DELIVERY_NOT_FOUND


def test_another_accounts_delivery_is_not_found() -> None:
    """As if it did not exist, for every method."""
    service = Service()
    delivery_id = one(service)

    for method in (delivery_get, delivery_cancel, delivery_hold, delivery_release):
        assert code_of(method, service.delivering, OTHER_ACCOUNT, delivery_id) == ErrorCode.DELIVERY_NOT_FOUND
    assert ids(delivery_list(service.delivering, OTHER_ACCOUNT, DeliveryListRequest())) == []


def test_after_the_retention_it_is_not_shown() -> None:
    """Although storage keeps it 7 days for late DSNs."""
    service = Service()
    service.change_account(keep_deliveries=timedelta(0))
    delivery_id = one(service)
    attempt(service, delivery_id, OK)

    assert code_of(delivery_get, service.delivering, ACCOUNT, delivery_id) == ErrorCode.DELIVERY_NOT_FOUND
    assert code_of(delivery_cancel, service.delivering, ACCOUNT, delivery_id) == ErrorCode.DELIVERY_NOT_FOUND
    assert ids(delivery_list(service.delivering, ACCOUNT, DeliveryListRequest())) == []
    assert service.delivery(delivery_id).state is State.DELIVERED


# --- list ------------------------------------------------------------------------------------------------------------


def a_service_with(count: int) -> tuple[Service, list[int]]:
    """Return a service with as many deliveries, one a minute, and their ids, newest first."""
    service = Service()
    made = []
    for number in range(count):
        made.append(one(service, to=people(f"r{number}@example.net")))
        service.clock.advance(timedelta(minutes=1))
    return service, made[::-1]


def test_a_listing_is_newest_first_and_goes_on() -> None:
    """Pages join without a gap or a repeat."""
    service, made = a_service_with(5)
    found: list[int] = []
    cursor = ""
    for _ in range(3):
        page = delivery_list(service.delivering, ACCOUNT, DeliveryListRequest(limit=2, cursor=cursor))
        found += ids(page)
        cursor = page.cursor

    assert (found, cursor) == (made, "")


@pytest.mark.parametrize(
    ("request_", "positions"),
    [
        (DeliveryListRequest(), [0, 1, 2]),
        (DeliveryListRequest(states=("canceled",)), [1]),
        (DeliveryListRequest(states=("queued", "canceled")), [0, 1, 2]),
        (DeliveryListRequest(states=("failed",)), []),
        (DeliveryListRequest(recipient="r2@EXAMPLE.net"), [0]),
        (DeliveryListRequest(since=NOW + timedelta(minutes=1)), [0, 1]),
        (DeliveryListRequest(until=NOW + timedelta(minutes=1)), [2]),
        (DeliveryListRequest(limit=1), [0]),
    ],
)
def test_filters_restrict(request_: DeliveryListRequest, positions: list[int]) -> None:
    """Each by itself; what is empty does not restrict."""
    service, made = a_service_with(3)
    delivery_cancel(service.delivering, ACCOUNT, made[1])

    assert ids(delivery_list(service.delivering, ACCOUNT, request_)) == [made[position] for position in positions]


def test_a_page_may_be_short_while_the_retention_hides_what_is_there() -> None:
    """The work for one answer is bounded; the cursor goes on."""
    service, made = a_service_with(1)
    service.change_account(keep_deliveries=timedelta(0))
    for _ in range(MAX_STORE_PAGES):
        delivery_cancel(service.delivering, ACCOUNT, one(service))
        service.clock.advance(timedelta(minutes=1))

    first = delivery_list(service.delivering, ACCOUNT, DeliveryListRequest(limit=1))
    second = delivery_list(service.delivering, ACCOUNT, DeliveryListRequest(limit=1, cursor=first.cursor))

    assert (ids(first), ids(second), second.cursor) == ([], made, "")


def test_a_delivery_without_its_message_is_shown_all_the_same() -> None:
    """What is known of it is told."""
    service, made = a_service_with(1)
    service.store.table.messages.clear()

    info = delivery_get(service.delivering, ACCOUNT, made[0])

    assert (info.recipient, info.message_id, info.subject, info.extra) == ("r0@example.net", "", "", {})


def test_a_submission_can_be_listed_by_any_of_its_deliveries() -> None:
    """All recipients of one Send."""
    service, _ = a_service_with(1)
    result = service.send(to=people("a@example.net", "b@example.net"))
    a, b = (submission.queue_msg_id for submission in result.submissions)

    assert ids(delivery_list(service.delivering, ACCOUNT, DeliveryListRequest(queue_msg_id=b))) == [b, a]


@pytest.mark.parametrize(
    ("code", "request_"),
    [
        (ErrorCode.USER, DeliveryListRequest(states=("bogus",))),
        (ErrorCode.USER, DeliveryListRequest(limit=-1)),
        (ErrorCode.USER, DeliveryListRequest(limit=1001)),
        (ErrorCode.USER, DeliveryListRequest(cursor="bogus")),
        (ErrorCode.USER, DeliveryListRequest(queue_msg_id=-1)),
        (ErrorCode.USER, DeliveryListRequest(queue_msg_id=1 << 60)),
        (ErrorCode.BAD_ADDRESS, DeliveryListRequest(recipient="bogus")),
    ],
)
def test_a_listing_that_makes_no_sense_is_refused(code: str, request_: DeliveryListRequest) -> None:
    """With a code of the API."""
    assert code_of(delivery_list, Service().delivering, ACCOUNT, request_) == code


def test_a_cursor_is_good_for_its_account_and_filter_only() -> None:
    """It opens nothing of anybody else."""
    service, _ = a_service_with(3)
    cursor = delivery_list(service.delivering, ACCOUNT, DeliveryListRequest(limit=1)).cursor

    others = delivery_list, service.delivering, OTHER_ACCOUNT, DeliveryListRequest(cursor=cursor)
    refiltered = delivery_list, service.delivering, ACCOUNT, DeliveryListRequest(cursor=cursor, states=("queued",))
    resized = delivery_list(service.delivering, ACCOUNT, DeliveryListRequest(cursor=cursor, limit=2))

    assert (code_of(*others), code_of(*refiltered), len(resized.deliveries)) == (ErrorCode.USER, ErrorCode.USER, 2)


# --- cancel, hold, release -------------------------------------------------------------------------------------------


def test_cancel_ends_a_delivery_with_its_event() -> None:
    """And again is no mistake."""
    service = Service()
    delivery_id = one(service)

    delivery_cancel(service.delivering, ACCOUNT, delivery_id)
    canceled = delivery_cancel(service.delivering, ACCOUNT, delivery_id)

    assert (canceled.state, [event.kind for event in canceled.events]) == (State.CANCELED, [EventKind.CANCELED])


def test_a_held_delivery_can_be_canceled() -> None:
    """Nobody works on it."""
    service = Service()
    delivery_id = one(service)
    delivery_hold(service.delivering, ACCOUNT, delivery_id)

    assert delivery_cancel(service.delivering, ACCOUNT, delivery_id).state is State.CANCELED


def test_cancel_during_an_attempt_is_refused_with_a_sentence() -> None:
    """It may be arriving right now."""
    service = Service()
    delivery_id = one(service)
    claim(service, delivery_id)

    with pytest.raises(InvalidRequest) as caught:
        delivery_cancel(service.delivering, ACCOUNT, delivery_id)

    assert (caught.value.code, "An egress unit has it" in caught.value.public) == (ErrorCode.USER, True)


def test_cancel_of_a_delivered_one_is_refused() -> None:
    """Mail cannot be called back."""
    service = Service()
    delivery_id = one(service)
    attempt(service, delivery_id, OK)

    assert code_of(delivery_cancel, service.delivering, ACCOUNT, delivery_id) == ErrorCode.USER


def test_release_lifts_a_hold_and_hints() -> None:
    """It goes at once; the time on hold does not count towards its age."""
    service = Service()
    service.settings.put_hold_rule(HoldRule("r1"))
    delivery_id = one(service)
    service.clock.advance(timedelta(hours=5))

    released = delivery_release(service.delivering, ACCOUNT, delivery_id)

    assert (released.state, released.expires_at) == (State.QUEUED, NOW + timedelta(hours=77))
    assert service.hints.waiting == [Hint(ACCOUNT, [delivery_id])]


def test_release_of_what_is_for_later_does_not_hint() -> None:
    """FutureRelease still holds."""
    service = Service()
    delivery_id = one(service, future_release=NOW + timedelta(days=1))
    delivery_hold(service.delivering, ACCOUNT, delivery_id)

    released = delivery_release(service.delivering, ACCOUNT, delivery_id)

    assert (released.not_before, service.hints.waiting) == (NOW + timedelta(days=1), [])


def test_hold_and_release_twice_are_no_mistake() -> None:
    """They say what is to be, not what to do."""
    service = Service()
    delivery_id = one(service)

    states = [
        method(service.delivering, ACCOUNT, delivery_id).state
        for method in (delivery_hold, delivery_hold, delivery_release, delivery_release)
    ]

    assert states == [State.HELD, State.HELD, State.QUEUED, State.QUEUED]


def test_a_claim_of_a_held_delivery_is_refused() -> None:
    """A hold is a hold: the life cycle itself says so."""
    service = Service()
    delivery_id = one(service)
    held = delivery_hold(service.delivering, ACCOUNT, delivery_id)

    assert not isinstance(apply(held, Claim("unit-1", NOW, NOW + timedelta(minutes=40))), Delivery)
