"""Idempotency-Keys of Send, and what crashes leave behind."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.contracts.ports import Idempotency, MailStore
from egret.contracts.records import MailFilter
from egret.contracts.webapi import ErrorCode, SendResult
from egret.core.errors import InvalidRequest, Unavailable
from egret.core.ids import message_of
from egret.memory.dice import SeededDice
from egret.usecases.idempotency import IN_FLIGHT
from egret.usecases.send import send
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT
from tests.unit.sending import LOGIN, Service, a_request, people

KEY = "order-17"
HOUR = timedelta(hours=1)


def refused(service: Service, **changes: Any) -> str:
    """Send with the key, be refused, return the code."""
    with pytest.raises(InvalidRequest) as caught:
        service.send(KEY, **changes)
    return caught.value.code


@pytest.mark.parametrize("to", [people("a@example.net"), people("a@example.net", "b@example.net")])
def test_the_same_request_gets_the_same_answer(to: Any) -> None:
    """Nothing is sent, counted or hinted a second time."""
    service = Service()
    first = service.send(KEY, to=to)
    service.clock.advance(HOUR)

    assert service.send(KEY, to=to) == first
    assert (service.stored_count, service.counters.used(ACCOUNT, "2026-03-04")) == (len(to), len(to))


def test_another_request_with_the_key_is_a_conflict() -> None:
    """A key stands for one message."""
    service = Service()
    service.send(KEY)

    assert refused(service, text="Something else.") == ErrorCode.IDEMPOTENCY_CONFLICT


def test_the_order_of_extra_does_not_make_another_request() -> None:
    """The canonical request is compared, not its text."""
    service = Service()
    first = service.send(KEY, extra={"a": "1", "b": "2"})

    assert service.send(KEY, extra={"b": "2", "a": "1"}) == first


def test_only_the_request_that_was_accepted_tells_its_facts() -> None:
    """A repetition sends nothing, so its line of log does not say that it did."""
    service = Service()
    first: dict[str, object] = {}
    again: dict[str, object] = {}

    result = send(service.sending, service.caller(), a_request(), KEY, first)
    send(service.sending, service.caller(), a_request(), KEY, again)

    stored = service.store.content(ACCOUNT, result.submissions[0].queue_msg_id)
    assert stored is not None
    expected = {
        "submission": message_of(result.submissions[0].queue_msg_id),
        "size_bytes": len(stored),
        "states": {"queued": 1},
    }
    assert (first, again) == (expected, {})


def test_another_login_is_another_request() -> None:
    """The login decides the From address."""
    service = Service()
    service.change_account(addresses=(LOGIN, "billing@example.com"))
    service.send(KEY)
    other_login = service.caller()

    with pytest.raises(InvalidRequest) as caught:
        send(
            service.sending,
            type(other_login)(other_login.account, "billing@example.com", other_login.scope),
            a_request(),
            KEY,
        )

    assert caught.value.code == ErrorCode.IDEMPOTENCY_CONFLICT


def test_a_key_is_forgotten_after_the_window() -> None:
    """24 hours unless the account says otherwise."""
    service = Service()
    first = service.send(KEY)
    service.clock.advance(timedelta(hours=24))

    assert service.send(KEY) != first


def test_the_window_is_the_accounts() -> None:
    """Up to 7 days."""
    service = Service()
    service.change_account(idempotency_window=timedelta(days=7))
    first = service.send(KEY)
    service.clock.advance(timedelta(days=6))

    assert service.send(KEY) == first


def test_keys_are_the_accounts_own() -> None:
    """The same key of another account is another key."""
    service = Service()
    mine = service.send(KEY)

    theirs = send(service.sending, service.caller(OTHER_ACCOUNT), a_request(), KEY)

    assert theirs.message_id != mine.message_id


def test_a_refused_request_frees_its_key() -> None:
    """The caller corrects the request and uses the key again."""
    service = Service()
    assert refused(service, to=()) == ErrorCode.NO_RECIPIENTS

    assert len(service.send(KEY).submissions) == 1


@pytest.mark.parametrize("key", ["x" * 256, "a b", "ä", "a\n"])
def test_a_malformed_key_is_refused(key: str) -> None:
    """Printable ASCII, at most 255 characters."""
    with pytest.raises(InvalidRequest) as caught:
        Service().send(key)
    assert caught.value.code == ErrorCode.USER


# --- crashes ---------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """The process dies; nothing catches it."""


class Failing:
    """A port whose n-th call fails, before or after it took effect; `calls` has the names of all."""

    def __init__(self, port: Any, at: int, error: BaseException, *, after: bool) -> None:
        self._port, self._at, self._error, self._after = port, at, error, after
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            hit = len(self.calls) == self._at
            if hit and not self._after:
                raise self._error
            result = method(*args, **kwargs)
            if hit:
                raise self._error
            return result

        return call


def run(service: Service, failing: Failing, to: Any) -> None:
    """Send once with the failing store, whatever comes of it."""
    store: MailStore = failing
    idempotency: Idempotency = failing
    ports = service.sending
    broken = replace(ports, store=store, idempotency=idempotency)
    with contextlib.suppress(Unavailable, Crash):
        send(broken, service.caller(), a_request(to=to, save_sent=True), KEY)


@given(
    at=st.integers(1, 6),
    count=st.sampled_from([1, 3]),
    after=st.booleans(),
    crash=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_failure_at_any_call_leaves_all_or_nothing(at: int, count: int, after: bool, crash: bool, seed: int) -> None:
    """Whatever call fails or dies, before or after it took effect, the same request later is accepted exactly once.

    Either every recipient has a delivery (or a plan that the sweep expands) and the mailbox its copy, or none has and
    the mailbox is empty.
    """
    service = Service(dice=SeededDice(seed))
    to = people("a@example.net", "b@example.net", "c@example.org")[:count]
    failing = Failing(service.store, at, Crash() if crash else Unavailable(), after=after)

    run(service, failing, to)

    accepted = len(service.store.table.deliveries) > 0 or len(service.store.table.submissions) > 0
    assert (
        len(service.mailboxes.list(ACCOUNT, MailFilter(mailbox="Sent"), "", 10, service.clock.now()).items) == accepted
    )
    service.clock.advance(IN_FLIGHT)
    result = service.send(KEY, to=to, save_sent=True)
    repair(service)
    assert [service.delivery(s.queue_msg_id).recipient for s in result.submissions] == [p.address for p in to]
    assert len(service.store.table.deliveries) == count
    assert len(service.mailboxes.list(ACCOUNT, MailFilter(mailbox="Sent"), "", 10, service.clock.now()).items) == 1


def repair(service: Service) -> None:
    """Do for unfinished submissions what the sweep does."""
    for account, number in list(service.store.table.submissions):
        service.store.expand(service.store.planned(account, number))
        service.store.close(account, number)


def test_a_refusal_is_told_even_if_its_key_cannot_be_freed() -> None:
    """The key frees itself after two minutes."""
    service = Service()
    ports = service.sending
    store: Any = Failing(service.store, 2, Unavailable(), after=False)
    broken = replace(ports, idempotency=store)

    with pytest.raises(InvalidRequest) as caught:
        send(broken, service.caller(), a_request(to=()), KEY)

    assert (caught.value.code, store.calls) == (ErrorCode.NO_RECIPIENTS, ["reserve", "release"])


def test_a_crash_in_flight_blocks_the_key_for_two_minutes_only() -> None:
    """The caller's retries get through soon, not after the whole window."""
    service = Service()
    run(service, Failing(service.store, 2, Crash(), after=False), people("ann@example.net"))

    assert refused(service, save_sent=True) == ErrorCode.IDEMPOTENCY_IN_FLIGHT

    service.clock.set(NOW + IN_FLIGHT)
    assert len(service.send(KEY, save_sent=True).submissions) == 1


@pytest.mark.parametrize("to", [people("a@example.net"), people("a@example.net", "b@example.net")])
def test_a_request_that_lost_its_reservation_is_not_accepted(to: Any) -> None:
    """One that slept for minutes finds its key in other hands: only one of the two is sent, or leaves anything."""
    service = Service()
    slow = Failing(service.store, 99, Crash(), after=False)
    answers: list[SendResult] = []

    class Sleeping:
        """Lets another request with the key through before the message is stored."""

        def __getattr__(self, name: str) -> Any:
            if name in ("put_message", "accept_several") and not answers:
                service.clock.advance(IN_FLIGHT)
                answers.append(service.send(KEY, to=to, save_sent=True))
            return getattr(slow, name)

    ports = service.sending
    store: Any = Sleeping()
    broken = replace(ports, store=store, idempotency=store)

    with pytest.raises(InvalidRequest) as caught:
        send(broken, service.caller(), a_request(to=to, save_sent=True), KEY)

    assert caught.value.code == ErrorCode.IDEMPOTENCY_IN_FLIGHT
    number = message_of(answers[0].submissions[0].queue_msg_id)
    assert {delivery.message_id for delivery in service.store.table.deliveries.values()} == {number}
    assert list(service.store.table.messages) == [(ACCOUNT, number)]
    assert len(service.blobs.objects) == 1


def test_a_storage_that_cannot_tidy_up_changes_no_answer() -> None:
    """The key is in other hands: that is the answer, and the log says what was left."""
    service = Service()
    ports = service.sending

    class Losing:
        """Loses the reservation, and removes nothing."""

        def __getattr__(self, name: str) -> Any:
            return getattr(service.store, name)

        def accept(self, _: object) -> bool:
            return False

        def reap(self, *_: object) -> bool:
            raise Unavailable

    store: Any = Losing()
    with pytest.raises(InvalidRequest) as caught:
        send(replace(ports, store=store), service.caller(), a_request(save_sent=True), KEY)

    assert (caught.value.code, service.blobs.objects) == (ErrorCode.IDEMPOTENCY_IN_FLIGHT, {})


def test_a_store_that_dies_after_the_commit_of_several_still_answers() -> None:
    """It is accepted; the sweep expands what is missing."""
    service = Service()
    ports = service.sending
    store: Any = Failing(service.store, 2, Unavailable(), after=False)
    broken = replace(ports, store=store)

    result = send(broken, service.caller(), a_request(to=people("a@example.net", "b@example.net")))

    assert store.calls == ["accept_several", "expand"]
    repair(service)
    assert [service.delivery(s.queue_msg_id).recipient for s in result.submissions] == [
        "a@example.net",
        "b@example.net",
    ]
