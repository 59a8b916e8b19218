"""The event sources of local mode, against services that keep what they are told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from egret_local.sources import QueueSource, StreamSource, failed_ids

ARN = "arn:aws:dynamodb:eu-west-1:000000000000:table/mail/stream/1"
PATTERN = '[{"dynamodb": {"Keys": {"sk": {"S": [{"prefix": "D#"}]}}}}]'


class Queue:
    """The calls of SQS that a source makes."""

    def __init__(self, *bodies: str) -> None:
        self.waiting = [
            {"MessageId": body, "ReceiptHandle": body, "Body": body, "MD5OfBody": f"md5 of {body}"} for body in bodies
        ]
        self.deleted: list[str] = []
        self.extended: list[tuple[str, int]] = []
        self.was_extended = threading.Event()

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Hand out everything once; note what was deleted, and what was kept invisible for how long."""
        match operation:
            case "ReceiveMessage":
                waiting, self.waiting = self.waiting, []
                return {"Messages": waiting}
            case "DeleteMessageBatch":
                self.deleted += [entry["ReceiptHandle"] for entry in request["Entries"]]
            case "ChangeMessageVisibilityBatch":
                self.extended += [(entry["ReceiptHandle"], entry["VisibilityTimeout"]) for entry in request["Entries"]]
                self.was_extended.set()
        return {}


def test_a_message_reaches_the_handler_in_lambdas_form() -> None:
    """With the checksum that the queue gave it."""
    seen: list[Any] = []
    QueueSource(Queue("a"), "url", "arn", 10, seen.append).poll()

    (event,) = seen
    (record,) = event["Records"]
    assert (record["messageId"], record["body"], record["md5OfBody"]) == ("a", "a", "md5 of a")
    assert (record["eventSource"], record["eventSourceARN"], record["awsRegion"]) == ("aws:sqs", "arn", "eu-west-1")


def test_what_a_handler_reports_as_failed_stays_in_the_queue() -> None:
    """The rest of the batch is done with."""
    queue = Queue("a", "b", "c")
    QueueSource(queue, "url", "arn", 10, lambda _: {"batchItemFailures": [{"itemIdentifier": "b"}]}).poll()

    assert queue.deleted == ["a", "c"]


def test_a_batch_stays_invisible_while_its_handler_runs_and_no_longer() -> None:
    """A killed process's messages come again soon, since it is the running one that asks for more time."""
    queue, stop = Queue("a", "b"), threading.Event()

    def handle(_: object) -> None:
        queue.was_extended.wait(30)
        stop.set()

    QueueSource(queue, "url", "arn", 10, handle, visibility_s=1).run(stop)

    assert queue.extended[:2] == [("a", 1), ("b", 1)]
    assert queue.deleted == ["a", "b"]


def test_no_time_is_asked_for_when_no_handler_runs() -> None:
    """A batch that was done with, or failed, is not held any longer."""
    for handle in (lambda _: None, _fail):
        source = QueueSource(queue := Queue("a"), "url", "arn", 10, handle)
        source.poll()
        source.keep()

        assert queue.extended == []


def test_a_handler_that_raises_keeps_its_batch() -> None:
    """Nothing is deleted, and the poller lives."""
    queue = Queue("a")
    QueueSource(queue, "url", "arn", 10, _fail).poll()

    assert queue.deleted == []
    assert set() == failed_ids(None)


def _fail(_: object) -> None:
    raise RuntimeError


def change(number: int, sort_key: str = "D#1") -> dict[str, Any]:
    """Return a record as GetRecords has it."""
    return {"dynamodb": {"Keys": {"sk": {"S": sort_key}}, "SequenceNumber": str(number)}}


@dataclass
class Streams:
    """A stream of one shard. An iterator is the position of the next record; at_end: called when all was read."""

    records: list[dict[str, Any]]
    at_end: Callable[[], None]
    is_trimmed: bool = False
    asked: list[str] = field(default_factory=list)

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer the three calls of a source."""
        self.asked.append(operation)
        match operation:
            case "DescribeStream":
                return {"StreamDescription": {"Shards": [{"ShardId": "s"}]}}
            case "GetShardIterator":
                return {"ShardIterator": str(self._start(request))}
        start = int(request["ShardIterator"])
        found = self.records[start : start + request["Limit"]]
        if start + len(found) == len(self.records):
            self.at_end()
        return {"Records": found, "NextShardIterator": str(start + len(found))}

    def _start(self, request: Mapping[str, Any]) -> int:
        if request["ShardIteratorType"] == "TRIM_HORIZON":
            return 0
        if self.is_trimmed:
            raise ClientError({"Error": {"Code": "TrimmedDataAccessException"}}, "GetShardIterator")
        numbers = [record["dynamodb"]["SequenceNumber"] for record in self.records]
        return numbers.index(request["SequenceNumber"]) + 1


@dataclass
class Follower:
    """Follows a stream to its end, as one process of local mode does."""

    checkpoint: Path
    batches: list[list[str]] = field(default_factory=list)

    def run(self, records: list[dict[str, Any]], arn: str = ARN, *, is_trimmed: bool = False) -> Streams:
        """Return the service as it was asked."""
        stop = threading.Event()
        streams = Streams(records, stop.set, is_trimmed)
        StreamSource(streams, arn, 2, PATTERN, self.checkpoint, self._note).run(stop)
        return streams

    def _note(self, event: Mapping[str, Any]) -> None:
        self.batches.append([record["dynamodb"]["SequenceNumber"] for record in event["Records"]])


def test_a_stream_is_read_in_batches_of_what_passes_the_filter(tmp_path: Path) -> None:
    """What does not pass is neither handed over nor read again."""
    follower = Follower(tmp_path / "at.json")
    streams = follower.run([change(1), change(2), change(3, "M#1"), change(4), change(5, "M#1")])

    assert follower.batches == [["1", "2"], ["4"]]
    assert streams.asked == ["DescribeStream", "GetShardIterator", "GetRecords", "GetRecords", "GetRecords"]
    assert json.loads(follower.checkpoint.read_text()) == {"stream": ARN, "s": "5"}


def test_the_next_process_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    """It finds the place in the file."""
    follower = Follower(tmp_path / "at.json")
    follower.run([change(1)])
    follower.run([change(1), change(2)])

    assert follower.batches == [["1"], ["2"]]


def test_another_stream_or_a_place_that_is_gone_is_read_from_its_beginning(tmp_path: Path) -> None:
    """Rather twice than not at all."""
    follower = Follower(tmp_path / "at.json")
    follower.run([change(1)])
    follower.run([change(1)], f"{ARN}0")
    follower.run([change(1)], f"{ARN}0", is_trimmed=True)

    assert follower.batches == [["1"], ["1"], ["1"]]


def test_records_come_again_from_the_first_that_failed(tmp_path: Path) -> None:
    """Those before it are done with."""
    seen: list[list[str]] = []

    def handle(event: Mapping[str, Any]) -> dict[str, Any]:
        seen.append([record["dynamodb"]["SequenceNumber"] for record in event["Records"]])
        return {"batchItemFailures": [{"itemIdentifier": "2"}] if len(seen) == 1 else []}

    stop = threading.Event()
    streams = Streams([change(1), change(2)], stop.set)
    StreamSource(streams, ARN, 2, PATTERN, tmp_path / "at.json", handle, retry_pause_s=0).run(stop)

    assert seen == [["1", "2"], ["2"]]
