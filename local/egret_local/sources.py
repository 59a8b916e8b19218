"""Play Lambda's event sources: poll a queue, follow a stream, tick a schedule, and call the handler with what comes.

Like Lambda: what a handler reports as failed, and everything when it raises, comes again; the rest is done with.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

log = logging.getLogger(__name__)

POLL_S = 1
"""How long a queue is asked to wait for messages: whoever ends this process waits as long, too."""
VISIBILITY_S = 20
"""After this long the messages of a process that was killed come again; while one has them, it asks for more time.
Lambda has a queue's own visibility timeout for this, which is much longer."""
STREAM_PAUSE_S = 0.1
RETRY_PAUSE_S = 1.0

Invoke = Callable[[Mapping[str, Any]], Any]
"""Calls the handler with an event; raises what it raises."""


def failed_ids(answer: Any) -> set[str]:
    """Return the item identifiers that a partial batch response reports as failed."""
    failures = answer.get("batchItemFailures", []) if isinstance(answer, dict) else []
    return {failure["itemIdentifier"] for failure in failures}


@dataclass(frozen=True, slots=True)
class QueueSource:
    """An SQS event source mapping."""

    sqs: Any
    url: str
    arn: str
    batch_size: int
    invoke: Invoke
    visibility_s: int = VISIBILITY_S

    def run(self, stop: threading.Event) -> None:
        """Poll until stopped."""
        while not stop.is_set():
            try:
                self.poll()
            except (BotoCoreError, ClientError):
                log.exception("the queue does not answer", extra={"queue": self.url})
                stop.wait(RETRY_PAUSE_S)

    def poll(self) -> None:
        """Receive one batch, call the handler, delete what it did not report as failed."""
        answer = self.sqs.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=min(self.batch_size, 10),
            WaitTimeSeconds=POLL_S,
            VisibilityTimeout=self.visibility_s,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages = answer.get("Messages", [])
        if not messages:
            return
        try:
            with self._kept(messages):
                failed = failed_ids(self.invoke({"Records": [self._record(message) for message in messages]}))
        except Exception:  # whatever a handler raises, Lambda gives its batch again
            log.exception("the handler failed", extra={"queue": self.url})
            return
        done = [message for message in messages if message["MessageId"] not in failed]
        entries = [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(done)]
        if entries:
            self.sqs.delete_message_batch(QueueUrl=self.url, Entries=entries)

    @contextlib.contextmanager
    def _kept(self, messages: Sequence[Mapping[str, Any]]) -> Iterator[None]:
        """Keep messages from being received again for as long as the handler has them."""
        done = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(messages, done), daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()

    def _keep(self, messages: Sequence[Mapping[str, Any]], done: threading.Event) -> None:
        entries = [
            {"Id": str(i), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": self.visibility_s}
            for i, message in enumerate(messages)
        ]
        while not done.wait(self.visibility_s / 4):
            try:
                self.sqs.change_message_visibility_batch(QueueUrl=self.url, Entries=entries)
            except (BotoCoreError, ClientError):
                log.exception("the queue does not answer", extra={"queue": self.url})

    def _record(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}),
            "messageAttributes": {},
            "md5OfBody": hashlib.md5(message["Body"].encode(), usedforsecurity=False).hexdigest(),
            "eventSource": "aws:sqs",
            "eventSourceARN": self.arn,
            "awsRegion": self.sqs.meta.region_name,
        }


@dataclass(frozen=True, slots=True)
class StreamSource:
    """A DynamoDB stream's event source mapping; remembers in a file how far it has come."""

    streams: Any
    stream_arn: str
    batch_size: int
    pattern: str
    checkpoint: Path
    invoke: Invoke

    def run(self, stop: threading.Event) -> None:
        """Follow every shard until stopped; a batch whose handler fails comes again."""
        iterators: dict[str, str] = {}
        while not stop.is_set():
            try:
                moved = self._round(iterators)
            except (BotoCoreError, ClientError):
                log.exception("the stream does not answer")
                iterators.clear()
                stop.wait(RETRY_PAUSE_S)
                continue
            if not moved:
                stop.wait(STREAM_PAUSE_S)

    def _round(self, iterators: dict[str, str]) -> bool:
        if not iterators:
            iterators.update(self._open())
        moved = [self._follow(iterators, shard) for shard in list(iterators)]
        return any(moved)

    def _open(self) -> dict[str, str]:
        position = json.loads(self.checkpoint.read_text()) if self.checkpoint.exists() else {}
        shards = self.streams.describe_stream(StreamArn=self.stream_arn)["StreamDescription"]["Shards"]
        return {shard["ShardId"]: self._iterator(shard["ShardId"], position) for shard in shards}

    def _iterator(self, shard: str, position: Mapping[str, str]) -> str:
        where: dict[str, str] = {"ShardIteratorType": "TRIM_HORIZON"}
        if position.get("stream") == self.stream_arn and shard in position:
            where = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": position[shard]}
        try:
            answer = self.streams.get_shard_iterator(StreamArn=self.stream_arn, ShardId=shard, **where)
        except ClientError:
            answer = self.streams.get_shard_iterator(
                StreamArn=self.stream_arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
            )
        iterator: str = answer["ShardIterator"]
        return iterator

    def _follow(self, iterators: dict[str, str], shard: str) -> bool:
        answer = self.streams.get_records(ShardIterator=iterators[shard], Limit=self.batch_size)
        records = answer.get("Records", [])
        if records:
            self._deal_with(records)
            self._remember(shard, records[-1]["dynamodb"]["SequenceNumber"])
        following = answer.get("NextShardIterator")
        if following:
            iterators[shard] = following
        else:
            iterators.pop(shard)
        return bool(records)

    def _deal_with(self, records: list[Mapping[str, Any]]) -> None:
        """Call the handler until it has taken all; from the first failure on, records come again."""
        rest = [lambda_record(record) for record in records]
        rest = [record for record in rest if matches(self.pattern, record)]
        while rest:
            try:
                failed = failed_ids(self.invoke({"Records": rest}))
            except Exception:  # whatever a handler raises, Lambda gives its batch again
                log.exception("the stream handler failed")
                time.sleep(RETRY_PAUSE_S)
                continue
            positions = [i for i, record in enumerate(rest) if record["dynamodb"]["SequenceNumber"] in failed]
            rest = rest[min(positions) :] if positions else []
            if rest:
                time.sleep(RETRY_PAUSE_S)

    def _remember(self, shard: str, sequence: str) -> None:
        position = json.loads(self.checkpoint.read_text()) if self.checkpoint.exists() else {}
        if position.get("stream") != self.stream_arn:
            position = {"stream": self.stream_arn}
        position[shard] = sequence
        written = self.checkpoint.with_suffix(".new")
        written.write_text(json.dumps(position))
        written.replace(self.checkpoint)


def lambda_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of GetRecords as Lambda hands it over: binary values in base64, times as numbers."""
    converted = dict(record)
    change = {key: _plain(value) for key, value in record["dynamodb"].items()}
    converted["dynamodb"] = change
    return converted


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case list() | tuple() | set():
            return [_plain(item) for item in value]
        case bytes() | bytearray():
            return base64.b64encode(bytes(value)).decode("ascii")
        case str() | int() | float() | bool() | None:
            return value
        case _:
            return value.timestamp() if hasattr(value, "timestamp") else str(value)


def matches(pattern: str, record: Mapping[str, Any]) -> bool:
    """Tell whether a record passes the event filter: any of the patterns (JSON list; "" passes all).

    Knows what the template uses of EventBridge's patterns: values, `exists`, `anything-but`, `prefix` and `numeric`.
    """
    return not pattern or any(_fits(one, record) for one in json.loads(pattern))


def _fits(pattern: Any, value: Any) -> bool:
    if isinstance(pattern, dict):
        present = value if isinstance(value, dict) else {}
        return all(_fits(wanted, present.get(key)) for key, wanted in pattern.items())
    return any(_one_fits(wanted, value) for wanted in pattern)


def _one_fits(wanted: Any, value: Any) -> bool:
    if not isinstance(wanted, dict):
        return bool(wanted == value)
    if "exists" in wanted:
        return bool(wanted["exists"]) == (value is not None)
    if "anything-but" in wanted:
        excluded = wanted["anything-but"]
        return value not in (excluded if isinstance(excluded, list) else [excluded])
    if "prefix" in wanted:
        return isinstance(value, str) and value.startswith(wanted["prefix"])
    message = f"this event filter is not known in local mode: {wanted}"
    raise ValueError(message)


@dataclass(frozen=True, slots=True)
class ScheduleSource:
    """A schedule: calls the handler at a steady pace, one call at a time."""

    pause_s: float
    invoke: Invoke

    def run(self, stop: threading.Event) -> None:
        """Tick until stopped."""
        while not stop.wait(self.pause_s):
            try:
                self.invoke({"source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": {}})
            except Exception:  # whatever a handler raises, the next tick comes
                log.exception("the scheduled handler failed")
