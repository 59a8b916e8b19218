"""Walk messages all the way through the functions, as their event sources would, and note what each step asked of AWS.

The handlers, the adapters and the tables are the real ones; the egress is played by taking every handoff and recording
`250`, the receiver of webhooks by answering 204, Lambda by batches of a given size.
"""

from __future__ import annotations

import io
import json
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from urllib.parse import quote_plus

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers

from bench.installation import KEY, Installation
from bench.meter import Entry
from bench.units import item_bytes
from egret.aws.keys import delivery_key
from egret.aws.webapi import webapi
from egret.contracts.handoff import Handoff, HandoffAnswer, Transaction
from egret.contracts.records import PostAnswer, Unit
from egret.core.delivery import Attempt
from egret.core.outcome import Delivered, Remote
from egret.core.reply import Reply
from egret.usecases.record_outcome import RecordPorts, record_outcome
from egret_egress.logs import JsonFormatter
from egret_local import resources as local_resources
from egret_local.sources import matches
from functions.deliver import handler as deliver_handler
from functions.send import handler as send_handler
from functions.webhook import handler as webhook_handler

T = TypeVar("T")
SMTP_TIME: Final = timedelta(seconds=1.5)
REPLY: Final = Reply(250, ("2.0.0 OK  1795346822 4fb4d7f45d1cf-63b5a1f2c9bsi4017235a12.318 - gsmtp",))
REMOTE: Final = Remote("gmail-smtp-in.l.google.com", "2a00:1450:4025:401::1a")
"""A long answer, as large providers give it: it is stored with the attempt."""
SEND, DELIVER, EGRESS, PUBLISH, WEBHOOK, REAP = "send", "deliver", "egress", "publish", "webhook", "reap"
STAGES: Final = (SEND, DELIVER, EGRESS, PUBLISH, WEBHOOK, REAP)
EVENT_OVERHEAD_BYTES: Final = 26
"""What CloudWatch Logs adds to each line in its bill."""


class _Lines(io.StringIO):
    """Counts what a logger writes."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = 0

    def write(self, text: str) -> int:
        if text.strip():
            self.counted += len(text.encode()) + EVENT_OVERHEAD_BYTES
        return len(text)


@dataclass
class Footprint:
    """What some messages left behind. Bytes are sums over all of them.

    table_bytes, call_bytes, object_bytes: what is stored once all is told: messages and deliveries, records of calls,
    and objects.
    """

    messages: int
    recipients: int
    entries: list[Entry] = field(default_factory=list)
    invocations: dict[str, int] = field(default_factory=dict)
    log_bytes: dict[str, int] = field(default_factory=dict)
    wire_bytes: int = 0
    """Of the message, once for each transaction."""
    message_bytes: int = 0
    webhook_bytes: int = 0
    answer_bytes: int = 0
    table_bytes: int = 0
    call_bytes: int = 0
    object_bytes: int = 0

    def of_stage(self, stage: str) -> list[Entry]:
        """Return the requests of one stage."""
        return [entry for entry in self.entries if entry.stage == stage]


@dataclass
class _TakingEgress:
    """Takes every handoff."""

    taken: list[Transaction] = field(default_factory=list)

    def hand(self, unit: Unit, handoff: Handoff) -> HandoffAnswer:
        self.taken += handoff.transactions
        return HandoffAnswer([True] * len(handoff.transactions), unit.room)


@dataclass
class _AnsweringReceiver:
    """Answers every call with 204."""

    received_bytes: int = 0

    def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: timedelta) -> PostAnswer:
        self.received_bytes += len(body) + sum(len(name) + len(value) + 4 for name, value in headers.items())
        return PostAnswer(204)


@dataclass(frozen=True, slots=True)
class _LaterClock:
    """A clock that is ahead."""

    at: datetime

    def now(self) -> datetime:
        return self.at


class Walker:
    """Walks messages through one installation.

    pattern: the event filter of the stream, from the template. weighs: look at what is stored (reads the whole table).
    """

    def __init__(self, installation: Installation, pattern: str, *, weighs: bool = False) -> None:
        app = installation.app
        self._weighs = weighs
        self._installation = installation
        self._api = webapi(app)
        self._egress = _TakingEgress()
        self._receiver = _AnsweringReceiver()
        self._deliver_ports = replace(deliver_handler.ports_of(app), egress=self._egress)
        self._publish_ports = webhook_handler.publish_ports_of(app)
        self._post_ports = replace(webhook_handler.post_ports_of(app), poster=self._receiver)
        self._record_ports = RecordPorts(app.store, app.clock, app.installation.retry)
        self._stream = _Stream(installation, pattern)

    def walk(self, requests: Sequence[str], batch: int) -> Footprint:
        """Walk messages (JSON of Send) from the API to the end of their retention, in batches of so many."""
        self._egress.taken.clear()
        self._receiver.received_bytes = 0
        made = Footprint(len(requests), 0)
        with self._at(made, SEND):
            ids = [id_ for request in requests for id_ in self._send(made, request)]
        made.recipients = len(ids)
        self._deliver(made, batch)
        self._record(made)
        self._stage(made, PUBLISH, self._stream.records(), batch, self._publish)
        calls = self._messages(self._installation.resources.call_queue_url)
        self._stage(made, WEBHOOK, calls, batch, self._post)
        made.webhook_bytes = self._receiver.received_bytes
        if self._weighs:
            self._weigh(made, ids)
        self._expire(made, ids, batch)
        made.entries = self._installation.meter.take()
        return made

    def _send(self, made: Footprint, request: str) -> list[int]:
        made.invocations[SEND] = made.invocations.get(SEND, 0) + 1
        answer = send_handler.answer(self._api, send_event(request))
        if answer["statusCode"] != 200:
            raise RuntimeError(f"Send answered {answer}")
        made.answer_bytes += len(answer["body"])
        return [submission["QueueMsgID"] for submission in json.loads(answer["body"])["Submissions"]]

    def _deliver(self, made: Footprint, batch: int) -> None:
        hints = self._messages(self._installation.resources.hint_queue_url)
        self._stage(made, DELIVER, hints, batch, lambda event: deliver_handler.run(self._deliver_ports, event))
        made.wire_bytes = sum(one.content.size_bytes for one in self._egress.taken)
        made.message_bytes = sum({one.message_id: one.content.size_bytes for one in self._egress.taken}.values())

    def _record(self, made: Footprint) -> None:
        """Play the egress: fetch what is not inline, record an outcome for each recipient."""
        app = self._installation.app
        with self._at(made, EGRESS):
            for key in dict.fromkeys(one.content.key for one in self._egress.taken if one.content.key):
                app.blobs.get(key)
            for one in self._egress.taken:
                for leg in one.legs:
                    attempt = Attempt(leg.attempt, app.clock.now(), SMTP_TIME, Delivered(REPLY, REMOTE))
                    record_outcome(self._record_ports, one.account, leg.delivery_id, attempt)
                    _log_attempt(one, leg.delivery_id, attempt)

    def _publish(self, event: dict[str, Any]) -> object:
        return webhook_handler.run_stream(self._publish_ports, event)

    def _post(self, event: dict[str, Any]) -> object:
        return webhook_handler.run_calls(self._post_ports, event)

    def _expire(self, made: Footprint, ids: Sequence[int], batch: int) -> None:
        """Let time to live remove the deliveries (which is free), and the stream tell of it."""
        installation = self._installation
        for id_ in ids:
            pk, sk = delivery_key(installation.account, id_)
            key = {"pk": {"S": pk}, "sk": {"S": sk}}
            installation.aws.dynamodb.delete_item(TableName=installation.resources.mail_table, Key=key)
        later = _LaterClock(installation.app.clock.now() + timedelta(days=31))
        ports = replace(self._publish_ports, clock=later)
        self._stage(made, REAP, self._stream.records(), batch, lambda event: webhook_handler.run_stream(ports, event))

    def _weigh(self, made: Footprint, ids: Sequence[int]) -> None:
        """Note what the table and the bucket hold of the messages now."""
        installation = self._installation
        wanted = {f"{id_:016d}" for id_ in ids} | {f"{id_ >> 10 << 10:016d}" for id_ in ids}
        for page in installation.aws.dynamodb.get_paginator("scan").paginate(
            TableName=installation.resources.mail_table
        ):
            kept = [item for item in page["Items"] if item["sk"]["S"][2:18] in wanted]
            calls = [item for item in kept if item["sk"]["S"].startswith("W#")]
            made.call_bytes += sum(map(item_bytes, calls))
            made.table_bytes += sum(item_bytes(item) for item in kept if item not in calls)
            made.object_bytes += sum(self._object_bytes(item["k"]["S"]) for item in kept if "k" in item)

    def _object_bytes(self, key: str) -> int:
        head = self._installation.aws.s3.head_object(Bucket=self._installation.resources.bucket, Key=key)
        size: int = head["ContentLength"]
        return size

    # --- what Lambda does

    def _stage(
        self,
        made: Footprint,
        stage: str,
        records: list[dict[str, Any]],
        batch: int,
        invoke: Callable[[dict[str, Any]], object],
    ) -> None:
        for part in _chunks(records, batch):
            made.invocations[stage] = made.invocations.get(stage, 0) + 1
            with self._at(made, stage):
                answer: Any = invoke({"Records": part})
            if answer and answer["batchItemFailures"]:
                raise RuntimeError(f"{stage} failed: {answer}")

    @contextmanager
    def _at(self, made: Footprint, stage: str) -> Iterator[None]:
        lines = _Lines()
        with _logging(stage, lines), self._installation.meter.stage(stage):
            yield
        made.log_bytes[stage] = made.log_bytes.get(stage, 0) + lines.counted

    def _messages(self, url: str) -> list[dict[str, Any]]:
        """Return everything in a queue as Lambda hands it over, and delete it."""
        sqs = self._installation.aws.sqs
        found: list[dict[str, Any]] = []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                found.append({"messageId": str(uuid.uuid4()), "body": message["Body"]})
        return found


class _Stream:
    """Follows the stream of the mail table as the event source mapping does."""

    def __init__(self, installation: Installation, pattern: str) -> None:
        self._streams = local_resources.api(local_resources.STREAMS, installation.endpoint_url)
        self._pattern = pattern
        table = installation.aws.dynamodb.describe_table(TableName=installation.resources.mail_table)["Table"]
        arn = table["LatestStreamArn"]
        shards = self._streams.call("DescribeStream", {"StreamArn": arn})["StreamDescription"]["Shards"]
        self._iterators = [self._newest(arn, shard["ShardId"]) for shard in shards]

    def _newest(self, arn: str, shard: str) -> str:
        wanted = {"StreamArn": arn, "ShardId": shard, "ShardIteratorType": "LATEST"}
        iterator: str = self._streams.call("GetShardIterator", wanted)["ShardIterator"]
        return iterator

    def records(self) -> list[dict[str, Any]]:
        """Return what came since the last time and passes the filter."""
        found: list[dict[str, Any]] = []
        for position in range(len(self._iterators)):
            while records := self._next(position):
                found += records
        return [record for record in found if matches(self._pattern, record)]

    def _next(self, position: int) -> list[dict[str, Any]]:
        answer = self._streams.call("GetRecords", {"ShardIterator": self._iterators[position], "Limit": 1000})
        self._iterators[position] = answer["NextShardIterator"]
        records: list[dict[str, Any]] = answer["Records"]
        return records


def send_event(request: str) -> dict[str, Any]:
    """Return a call of Send as API Gateway (HTTP API, payload format 2.0) hands it over."""
    path = "/webapi/v0/Send"
    http = {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "bench"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "host": "api.example.com",
            "authorization": f"Bearer {KEY}",
            "content-type": "application/x-www-form-urlencoded",
        },
        "requestContext": {"http": http, "requestId": "JKJaXmPLvHcESHA=", "domainName": "api.example.com"},
        "body": "request=" + quote_plus(request),
        "isBase64Encoded": False,
    }


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    return (list(items[start : start + size]) for start in range(0, len(items), size))


# --- logs

_LOGGERS: Final[Mapping[str, Logger]] = {
    SEND: send_handler._logger,  # noqa: SLF001 (what it writes is to be counted)
    DELIVER: deliver_handler._logger,  # noqa: SLF001
    PUBLISH: webhook_handler._logger,  # noqa: SLF001
    WEBHOOK: webhook_handler._logger,  # noqa: SLF001
    REAP: webhook_handler._logger,  # noqa: SLF001
}


@contextmanager
def _logging(stage: str, lines: _Lines) -> Iterator[None]:
    """Let everything that the stage's process logs go to `lines`, in the form in which it logs."""
    roots = [logging.getLogger(name) for name in ("egret", "egret_egress")]
    for root in roots:
        root.handlers.clear()
        root.setLevel(logging.INFO)
    if stage in _LOGGERS:
        logger = _LOGGERS[stage]
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(lines)
        copy_config_to_registered_loggers(logger, include={"egret"})
    else:
        handler = logging.StreamHandler(lines)
        handler.setFormatter(JsonFormatter())
        for root in roots:
            root.addHandler(handler)
    yield


def _log_attempt(one: Transaction, delivery_id: int, attempt: Attempt) -> None:
    """Write the engine's line of an attempt."""
    logging.getLogger("egret_egress.attempt").info(
        "attempt",
        extra={
            "account": one.account,
            "submission": one.message_id,
            "delivery": delivery_id,
            "attempt": attempt.number,
            "domain": one.domain,
            "outcome": "delivered",
            "remote": str(REMOTE),
            "code": REPLY.code,
            "enhanced_code": REPLY.enhanced_code,
            "error": "",
            "duration_s": attempt.duration.total_seconds(),
        },
    )
