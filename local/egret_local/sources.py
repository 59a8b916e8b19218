"""Play Lambda's event sources: poll a queue, follow a stream, tick a schedule, and call the handler with what comes.

Like Lambda: what a handler reports as failed, and everything when it raises, comes again; the rest is done with.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from egret_local.settings import REGION

log = logging.getLogger(__name__)

POLL_S = 1
"""How long a queue is asked to wait for messages: whoever ends this process waits as long, too."""
VISIBILITY_S = 20
"""After this long the messages of a process that was killed come again; while one has them, it asks for more time.
Lambda has a queue's own visibility timeout for this, which is much longer."""
STREAM_PAUSE_S = 0.25
"""Lambda, too, asks a shard four times a second."""
RETRY_PAUSE_S = 1.0

Invoke = Callable[[Mapping[str, Any]], Any]
"""Calls the handler with an event; raises what it raises."""


class Api(Protocol):
    """A JSON service of AWS, such as `egret.aws.jsonapi.JsonApi`."""

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the decoded answer. Raises ClientError, BotoCoreError."""


def failed_ids(answer: Any) -> set[str]:
    """Return the item identifiers that a partial batch response reports as failed."""
    failures = answer.get("batchItemFailures", []) if isinstance(answer, dict) else []
    return {failure["itemIdentifier"] for failure in failures}


@dataclass(slots=True)
class QueueSource:
    """An SQS event source mapping."""

    sqs: Api
    url: str
    arn: str
    batch_size: int
    invoke: Invoke
    visibility_s: int = VISIBILITY_S
    _held: Sequence[Mapping[str, Any]] = field(default=(), init=False)
    """The messages that the handler has now."""

    def run(self, stop: threading.Event) -> None:
        """Poll until stopped."""
        keeper = threading.Thread(target=self._keep, args=(stop,), daemon=True)
        keeper.start()
        while not stop.is_set():
            try:
                self.poll()
            except (BotoCoreError, ClientError):
                log.exception("the queue does not answer", extra={"queue": self.url})
                stop.wait(RETRY_PAUSE_S)
        keeper.join()

    def poll(self) -> None:
        """Receive one batch, call the handler, delete what it did not report as failed."""
        request = {
            "QueueUrl": self.url,
            "MaxNumberOfMessages": min(self.batch_size, 10),
            "WaitTimeSeconds": POLL_S,
            "VisibilityTimeout": self.visibility_s,
            "AttributeNames": ["All"],
        }
        messages = self.sqs.call("ReceiveMessage", request).get("Messages", [])
        if not messages:
            return
        self._held = messages
        try:
            failed = failed_ids(self.invoke({"Records": [self._record(message) for message in messages]}))
        except Exception:  # whatever a handler raises, Lambda gives its batch again
            log.exception("the handler failed", extra={"queue": self.url})
            return
        finally:
            self._held = ()
        done = [message for message in messages if message["MessageId"] not in failed]
        if done:
            self.sqs.call("DeleteMessageBatch", {"QueueUrl": self.url, "Entries": _entries(done)})

    def keep(self) -> None:
        """Ask for more time for the messages that the handler has now."""
        entries = _entries(self._held, VisibilityTimeout=self.visibility_s)
        if entries:
            self.sqs.call("ChangeMessageVisibilityBatch", {"QueueUrl": self.url, "Entries": entries})

    def _keep(self, stop: threading.Event) -> None:
        while not stop.wait(self.visibility_s / 4):
            try:
                self.keep()
            except (BotoCoreError, ClientError):
                log.exception("the queue does not answer", extra={"queue": self.url})

    def _record(self, message: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": message.get("Attributes", {}),
            "messageAttributes": {},
            "md5OfBody": message["MD5OfBody"],
            "eventSource": "aws:sqs",
            "eventSourceARN": self.arn,
            "awsRegion": REGION,
        }


def _entries(messages: Sequence[Mapping[str, Any]], **each: Any) -> list[dict[str, Any]]:
    """Return the entries of a batch operation on messages; each: what every entry has besides."""
    return [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"], **each} for i, message in enumerate(messages)]


@dataclass(slots=True)
class StreamSource:
    """A DynamoDB stream's event source mapping; remembers in a file how far it has come."""

    streams: Api
    stream_arn: str
    batch_size: int
    pattern: str
    checkpoint: Path
    invoke: Invoke
    retry_pause_s: float = RETRY_PAUSE_S
    _position: dict[str, str] = field(init=False)
    """The last sequence number of each shard that was dealt with; "stream" tells whose shards they are."""

    def __post_init__(self) -> None:
        """Go on from where an earlier process stopped, if it followed the same stream."""
        position = json.loads(self.checkpoint.read_text()) if self.checkpoint.exists() else {}
        is_same = position.get("stream") == self.stream_arn
        self._position = position if is_same else {"stream": self.stream_arn}

    def run(self, stop: threading.Event) -> None:
        """Follow every shard until stopped; a batch whose handler fails comes again."""
        iterators: dict[str, str] = {}
        while not stop.is_set():
            try:
                has_more = self._round(iterators)
            except (BotoCoreError, ClientError):
                log.exception("the stream does not answer")
                iterators.clear()
                stop.wait(self.retry_pause_s)
                continue
            if not has_more:
                stop.wait(STREAM_PAUSE_S)

    def _round(self, iterators: dict[str, str]) -> bool:
        """Take a batch of each shard; tell whether one of them was full."""
        if not iterators:
            iterators.update(self._open())
        full = [self._follow(iterators, shard) for shard in list(iterators)]
        return any(full)

    def _open(self) -> dict[str, str]:
        stream = self.streams.call("DescribeStream", {"StreamArn": self.stream_arn})["StreamDescription"]
        return {shard["ShardId"]: self._iterator(shard["ShardId"]) for shard in stream["Shards"]}

    def _iterator(self, shard: str) -> str:
        oldest = {"StreamArn": self.stream_arn, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
        where = oldest
        if shard in self._position:
            after = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": self._position[shard]}
            where = {**oldest, **after}
        try:
            answer = self.streams.call("GetShardIterator", where)
        except ClientError:
            answer = self.streams.call("GetShardIterator", oldest)
        iterator: str = answer["ShardIterator"]
        return iterator

    def _follow(self, iterators: dict[str, str], shard: str) -> bool:
        answer = self.streams.call("GetRecords", {"ShardIterator": iterators[shard], "Limit": self.batch_size})
        records = answer.get("Records", [])
        if records:
            self._deal_with(records)
            self._remember(shard, records[-1]["dynamodb"]["SequenceNumber"])
        following = answer.get("NextShardIterator")
        if following:
            iterators[shard] = following
        else:
            iterators.pop(shard)
        return len(records) == self.batch_size

    def _deal_with(self, records: list[Mapping[str, Any]]) -> None:
        """Call the handler until it has taken all; from the first failure on, records come again."""
        rest = [record for record in records if matches(self.pattern, record)]
        while rest:
            try:
                failed = failed_ids(self.invoke({"Records": rest}))
            except Exception:  # whatever a handler raises, Lambda gives its batch again
                log.exception("the stream handler failed")
                time.sleep(self.retry_pause_s)
                continue
            positions = [i for i, record in enumerate(rest) if record["dynamodb"]["SequenceNumber"] in failed]
            rest = rest[min(positions) :] if positions else []
            if rest:
                time.sleep(self.retry_pause_s)

    def _remember(self, shard: str, sequence: str) -> None:
        self._position[shard] = sequence
        written = self.checkpoint.with_suffix(".new")
        written.write_text(json.dumps(self._position))
        written.replace(self.checkpoint)


def matches(pattern: str, record: Mapping[str, Any]) -> bool:
    """Tell whether a record passes the event filter: any of the patterns (JSON list; "" passes all).

    Knows what the template uses of EventBridge's patterns: values, `exists`, `anything-but`, `prefix` and `numeric`.
    """
    return not pattern or any(_fits(one, record) for one in _patterns(pattern))


@lru_cache
def _patterns(pattern: str) -> tuple[Any, ...]:
    return tuple(json.loads(pattern))


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
