"""Batches of the queues, and what a queue does not take."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from egret.aws.sqs import BATCH, ROUNDS, SqsHintQueue
from egret.contracts.queues import Hint, decode_hint
from egret.core.errors import Unavailable
from tests.aws_resources import create_resources, emulator_clients
from tests.spoiling_proxy import Proxy, serving
from tests.unit.builders import ACCOUNT, OTHER_ACCOUNT

pytestmark = pytest.mark.emulator


def _put(endpoint_url: str, hints: list[Hint], spoil: Callable[[str, bytes], bytes | None]) -> tuple[Proxy, list[Hint]]:
    """Put hints through a proxy; returns it, and what is in the queue then."""
    url = create_resources(endpoint_url).hint_queue_url
    proxy = Proxy(endpoint_url, spoil)
    with serving(proxy) as proxy_url:
        SqsHintQueue(emulator_clients(proxy_url), url).put(hints)
    sqs = emulator_clients(endpoint_url).sqs
    taken: list[Hint] = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        taken += [decode_hint(message["Body"]) for message in messages]
    return proxy, taken


def _refusing(times: int) -> Callable[[str, bytes], bytes | None]:
    """Return a spoiler that says of the first message of a batch, so many times, that the queue did not take it."""
    left = [times]

    def spoil(_: str, body: bytes) -> bytes:
        answer = json.loads(body)
        if left[0]:
            left[0] -= 1
            failed = answer["Successful"].pop(0)
            answer["Failed"] = [{"Id": failed["Id"], "Code": "InternalError", "SenderFault": False}]
        return json.dumps(answer).encode()

    return spoil


def _unspoilt(_: str, body: bytes) -> bytes:
    return body


def test_hints_go_in_tens(moto_endpoint: str) -> None:
    """A request takes ten messages at most; none is left behind."""
    hints = [Hint(ACCOUNT, [number]) for number in range(2 * BATCH + 1)]
    proxy, taken = _put(moto_endpoint, hints, _unspoilt)

    assert [len(request["Entries"]) for _, request in proxy.seen] == [BATCH, BATCH, 1]
    assert sorted(hint.ids for hint in taken) == [hint.ids for hint in hints]


def test_batch_stays_below_the_limit_of_bytes(moto_endpoint: str) -> None:
    """Hints of a thousand recipients each do not fit ten to a request."""
    hints = [Hint(ACCOUNT, [(1 << 52) + index for index in range(5000)]) for _ in range(5)]
    proxy, taken = _put(moto_endpoint, hints, _unspoilt)

    assert max(sum(len(entry["MessageBody"]) for entry in request["Entries"]) for _, request in proxy.seen) < 256 * 1024
    assert len(taken) == 5


def test_account_is_the_fair_queues_group(moto_endpoint: str) -> None:
    """One tenant's backlog does not hold up another's hint."""
    proxy, _ = _put(moto_endpoint, [Hint(ACCOUNT, [1]), Hint(OTHER_ACCOUNT, [2])], _unspoilt)

    assert [entry["MessageGroupId"] for entry in proxy.seen[0][1]["Entries"]] == [ACCOUNT, OTHER_ACCOUNT]


def test_message_that_was_not_taken_is_sent_again_alone(moto_endpoint: str) -> None:
    """The others of its batch are not repeated."""
    proxy, _ = _put(moto_endpoint, [Hint(ACCOUNT, [number]) for number in range(3)], _refusing(1))

    assert [len(request["Entries"]) for _, request in proxy.seen] == [3, 1]


def test_queue_that_takes_nothing_is_unavailable(moto_endpoint: str) -> None:
    """After a few rounds the caller hears of it."""
    with pytest.raises(Unavailable, match="InternalError"):
        _put(moto_endpoint, [Hint(ACCOUNT, [1])], _refusing(ROUNDS))


def test_nothing_to_put_calls_nobody(moto_endpoint: str) -> None:
    """No hints, no request."""
    proxy, taken = _put(moto_endpoint, [], _unspoilt)

    assert (proxy.seen, taken) == ([], [])
