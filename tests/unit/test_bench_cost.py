"""The bill of a message, against one computed by hand, and what makes the benchmark fail."""

from __future__ import annotations

import pytest

from bench import assumptions as given
from bench.__main__ import verdict
from bench.cost import bill, duration_s, out_bytes, sqs_requests
from bench.meter import Entry
from bench.report import Bar
from bench.walk import DELIVER, SEND, WEBHOOK, Footprint


def _two_messages() -> Footprint:
    """Return what two messages to one recipient each could leave behind, in batches of two."""
    entries = [
        *[Entry(SEND, "dynamodb", "PutItem", 2), Entry(SEND, "sqs", "SendMessageBatch")] * 2,
        Entry(DELIVER, "dynamodb", "BatchGetItem", 0, 2, 2),
        Entry(WEBHOOK, "s3", "GetObject"),
    ]
    return Footprint(
        messages=2,
        recipients=2,
        entries=entries,
        invocations={SEND: 2, DELIVER: 1, WEBHOOK: 1},
        log_bytes={SEND: 1500, DELIVER: 500},
        wire_bytes=4000,
        webhook_bytes=2000,
        answer_bytes=1000,
        table_bytes=4000,
        object_bytes=2000,
    )


def test_queues_are_asked_by_us_and_by_lambda() -> None:
    """Two of ours; Lambda receives and deletes once for each of two invocations."""
    assert sqs_requests(_two_messages()) == 2 + 2 * 2


def test_time_of_a_function_is_waiting_computing_and_starting() -> None:
    """Send: two writes and two messages for two invocations."""
    waited = 2 * 0.005 + 2 * 0.010
    computed = 2 * given.CPU_S[SEND] / given.CPU_SHARE
    assert duration_s(_two_messages(), SEND) == pytest.approx(
        waited + computed + 2 * given.COLD_STARTS * given.COLD_START_S
    )


def test_calls_of_a_batch_wait_one_after_the_other() -> None:
    """Two recipients, two answers of a webhook."""
    without = 0.030 + 2 * given.CPU_S[WEBHOOK] / given.CPU_SHARE + given.COLD_STARTS * given.COLD_START_S
    assert duration_s(_two_messages(), WEBHOOK) == pytest.approx(without + 2 * given.WEBHOOK_S)


def test_bytes_that_leave_have_their_overhead() -> None:
    """Mail, calls and answers, and a conversation of each kind for each recipient."""
    expected = 7000 * given.WIRE_OVERHEAD + 2 * (given.TRANSACTION_BYTES + given.CALL_BYTES)
    assert out_bytes(_two_messages()) == pytest.approx(expected)


def test_bill_is_the_list_price_of_a_million() -> None:
    """Each line for one message, times a million."""
    lines = bill(_two_messages()).lines
    assert lines["DynamoDB writes"] == pytest.approx(2 * 0.625)
    assert lines["DynamoDB reads"] == pytest.approx(1 * 0.125)
    assert lines["Lambda requests"] == pytest.approx(2 * 0.20)
    assert lines["SQS"] == pytest.approx(3 * 0.50)
    assert lines["HTTP API"] == pytest.approx(1.00)
    assert lines["S3"] == pytest.approx(0.5 * 0.40)
    assert lines["logs"] == pytest.approx(1000e6 / 1e9 * 0.53)
    assert lines["storage"] == pytest.approx(2000e6 / 1e9 * 0.45 + 1000e6 / 1e9 * 0.023)
    assert bill(_two_messages()).total == pytest.approx(sum(lines.values()))


@pytest.mark.parametrize(
    ("bar", "code"),
    [
        (Bar("units", 12, 12), 0),
        (Bar("units", 12.01, 12), 1),
        (Bar("ms", 99, 10, is_counted=False), 0),
    ],
)
def test_only_a_counted_bar_that_is_missed_is_a_failure(bar: Bar, code: int) -> None:
    """Times depend on what else the machine does."""
    assert verdict([Bar("growth", 1, 1.05), bar]) == code
