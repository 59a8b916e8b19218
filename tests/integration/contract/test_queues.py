"""The contracts of `HintQueue` and `CallQueue`: what is put arrives, whole."""

from __future__ import annotations

import pytest

from egret.contracts.queues import Call, Hint
from egret.core.ids import MAX_ID
from tests.integration.contract.backends import Backend
from tests.samples import message_number


def _call(account: str, seq: int) -> Call:
    return Call(account, message_number(seq), seq, "2031-03-01T12:00:00Z", suppressing=seq % 2 == 0, attempts=seq)


@pytest.mark.parametrize("count", [0, 1, 10, 11, 25])
def test_hints_arrive(backend: Backend, account: str, count: int) -> None:
    """Any number of them, also more than one batch of the queue."""
    hints = [Hint(account, [message_number(number), MAX_ID]) for number in range(count)]
    backend.hints.put(hints)

    assert sorted(hints, key=lambda hint: hint.ids) == sorted(backend.take_hints(), key=lambda hint: hint.ids)


def test_hint_with_a_thousand_deliveries_arrives(backend: Backend, account: str) -> None:
    """All recipients of the largest submission, in one domain."""
    hint = Hint(account, [message_number(1) + index for index in range(1000)])
    backend.hints.put([hint] * 12)

    assert [hint] * 12 == backend.take_hints()


@pytest.mark.parametrize("count", [0, 1, 25])
def test_calls_arrive(backend: Backend, account: str, count: int) -> None:
    """With every field."""
    calls = [_call(account, seq) for seq in range(1, count + 1)]
    backend.call_queue.put(calls)

    assert calls == sorted(backend.take_calls(), key=lambda call: call.seq)


def test_accounts_share_a_queue(backend: Backend, account: str, other: str) -> None:
    """Each record says whose it is, and the queues do not mix."""
    backend.call_queue.put([_call(account, 1), _call(other, 1)])
    backend.hints.put([Hint(other, [7])])

    assert {account, other} == {call.account for call in backend.take_calls()}
    assert backend.take_hints() == [Hint(other, [7])]
    assert backend.take_calls() == []
