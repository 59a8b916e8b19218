"""The contract of `Calls`: records of webhook calls, breakers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from egret.contracts.queues import Call
from egret.contracts.records import Breaker, CallRecord, CallResult
from tests.integration.contract.backends import Backend
from tests.samples import DAY, EXACT, HOUR, NOON, message_number

URL = "https://hooks.example.com/egret?a=1#x"


def _record(account: str, number: int = 1, seq: int = 1) -> CallRecord:
    call = Call(account, message_number(number), seq, "2031-03-01T12:00:00.000001Z", suppressing=True, attempts=2)
    results = (
        CallResult(NOON + EXACT, timedelta(milliseconds=250, microseconds=3), 0, "connection refused"),
        CallResult(NOON + HOUR, timedelta(seconds=30), 503, "", "Überlastet\x00" * 20),
    )
    return CallRecord(call, URL, "failed", "waiting", results, NOON + 7 * DAY, NOON + 2 * HOUR)


def test_record_comes_back_as_it_was(backend: Backend, account: str) -> None:
    """Every result, to the microsecond, and what the server said."""
    backend.calls.put(_record(account))

    assert _record(account) == backend.calls.get(account, message_number(1), 1, NOON)


def test_newer_record_replaces(backend: Backend, account: str) -> None:
    """One record for an event: that of its latest try."""
    newer = replace(_record(account), state="delivered", due_at=None, results=())
    backend.calls.put(_record(account))
    backend.calls.put(newer)

    assert newer == backend.calls.get(account, message_number(1), 1, NOON)


def test_events_and_deliveries_have_their_own_records(backend: Backend, account: str) -> None:
    """Neither another seq nor another delivery is found."""
    backend.calls.put(_record(account, 1, 1))
    backend.calls.put(_record(account, 1, 12))

    assert _record(account, 1, 12) == backend.calls.get(account, message_number(1), 12, NOON)
    assert backend.calls.get(account, message_number(1), 2, NOON) is None
    assert backend.calls.get(account, message_number(2), 1, NOON) is None


def test_record_past_its_retention_is_absent(backend: Backend, account: str) -> None:
    """Dropped by storage or not."""
    backend.calls.put(_record(account))

    assert backend.calls.get(account, message_number(1), 1, NOON + 7 * DAY - HOUR) == _record(account)
    assert backend.calls.get(account, message_number(1), 1, NOON + 7 * DAY) is None


def test_breaker_is_closed_at_first(backend: Backend, account: str) -> None:
    """No failures, not open."""
    assert Breaker() == backend.calls.breaker(account, URL)


def test_breaker_comes_back_as_it_was(backend: Backend, account: str) -> None:
    """Counting failures, then open; one for each URL."""
    for breaker in (Breaker(3), Breaker(10, NOON + EXACT)):
        backend.calls.put_breaker(account, URL, breaker)
        assert breaker == backend.calls.breaker(account, URL)
    assert Breaker() == backend.calls.breaker(account, URL + "y")


def test_closed_breaker_is_forgotten(backend: Backend, account: str) -> None:
    """Storing a closed one without failures leaves nothing, also when nothing was there."""
    backend.calls.put_breaker(account, URL, Breaker(10, NOON))
    for _ in range(2):
        backend.calls.put_breaker(account, URL, Breaker())

    assert Breaker() == backend.calls.breaker(account, URL)


def test_accounts_know_nothing_of_each_other(backend: Backend, account: str, other: str) -> None:
    """The same delivery number and the same URL of another account."""
    backend.calls.put(_record(account))
    backend.calls.put_breaker(account, URL, Breaker(10, NOON))

    assert backend.calls.get(other, message_number(1), 1, NOON) is None
    assert Breaker() == backend.calls.breaker(other, URL)
    backend.calls.put_breaker(other, URL, Breaker())
    assert Breaker(10, NOON) == backend.calls.breaker(account, URL)
