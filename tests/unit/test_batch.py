"""What fails alone, what comes again together, and where a stream goes on."""

from __future__ import annotations

import pytest

from egret.aws.batch import Batch, read_messages, work_in_order, work_through
from egret.contracts.queues import decode_hint
from egret.core.errors import ContractError, Unavailable
from tests.aws_events import failed, sqs_event

HINT = '{"account":"abcdefgh","ids":[1]}'


class Work:
    """Adds up what it is given; refuses what it is told to."""

    def __init__(self, poison: int | None = None, error: Exception | None = None) -> None:
        self.poison = poison
        self.error = error or ContractError(detail="poison")
        self.done: list[int] = []

    def __call__(self, values: list[int]) -> int:
        if self.poison in values:
            raise self.error
        self.done += values
        return sum(values)


def numbers(*values: int) -> list[tuple[str, int]]:
    """Return items whose id is their value."""
    return [(str(value), value) for value in values]


@pytest.mark.parametrize("body", ["", "{", "[]", '{"account":1,"ids":[1]}', '{"account":"abcdefgh"}'])
def test_a_message_that_cannot_be_read_fails_alone(body: str) -> None:
    """Its neighbours are read."""
    batch = read_messages(sqs_event(HINT, body, HINT), decode_hint)

    assert [each for each, _ in batch.items] == ["m0", "m2"]
    assert failed(batch.answer()) == ["m1"]


def test_a_whole_batch_is_done_at_once() -> None:
    """One call, one result."""
    batch, work = Batch(numbers(1, 2, 3)), Work()

    assert (work_through(batch, work), batch.failed) == ([6], [])


@pytest.mark.parametrize("error", [ContractError(detail="corrupt item"), ValueError("a bug")])
def test_what_cannot_be_processed_fails_alone(error: Exception) -> None:
    """Whether we foresaw the reason or not."""
    batch, work = Batch(numbers(1, 2, 3)), Work(2, error)

    assert (work_through(batch, work), batch.failed) == ([1, 3], ["2"])


def test_everything_comes_again_when_storage_does_not_answer() -> None:
    """Nothing is tried one by one then."""
    batch, work = Batch(numbers(1, 2, 3), ["0"]), Work(2, Unavailable(detail="down"))

    assert (work_through(batch, work), work.done, batch.failed) == ([], [], ["0", "1", "2", "3"])


def test_nothing_to_do_is_no_call() -> None:
    """Of a batch in which nothing could be read."""
    batch: Batch[int] = Batch([], ["0"])

    assert (work_through(batch, Work()), batch.failed) == ([], ["0"])


@pytest.mark.parametrize(
    ("poison", "error", "first", "done"),
    [
        (None, None, "", [1, 2, 3]),
        (1, ContractError(), "1", []),
        (2, ValueError("a bug"), "2", [1]),
        (3, ContractError(), "3", [1, 2]),
        (3, Unavailable(), "1", []),
    ],
)
def test_a_stream_goes_on_from_the_first_failure(
    poison: int | None, error: Exception | None, first: str, done: list[int]
) -> None:
    """Everything before it is done, nothing behind it is; when storage is down, all of it comes again."""
    work = Work(poison, error)

    assert (work_in_order(numbers(1, 2, 3), work), work.done) == (first, done)


def test_an_empty_stream_batch_is_done() -> None:
    """The filter lets through what no delivery is."""
    assert work_in_order([], Work(1)) == ""
