"""The ports on an emulator of AWS: tables, queues, bucket and key of their own for each test."""

from __future__ import annotations

import functools
import secrets
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from egret.aws.calls import DynamoCalls
from egret.aws.clients import Clients, Target
from egret.aws.clock import SystemClock, SystemDice
from egret.aws.counters import DynamoAuthFailures, DynamoCounters
from egret.aws.domain_tls import DynamoDomainTls
from egret.aws.due import DynamoDueIndex
from egret.aws.idempotency import DynamoIdempotency
from egret.aws.kms import KmsKeyWrapper
from egret.aws.mail_store import DynamoMailStore
from egret.aws.mailboxes import DynamoMailboxes
from egret.aws.own_fromids import DynamoOwnFromIds
from egret.aws.reports import DynamoDmarcEvaluations, DynamoReceivedReports, DynamoReportSuppressions
from egret.aws.s3 import S3Blobs
from egret.aws.settings_reader import CachedSettings
from egret.aws.settings_store import DynamoSettings
from egret.aws.sqs import SqsCallQueue, SqsHintQueue
from egret.aws.stream import decode_record
from egret.aws.sts_policies import DynamoStsPolicies
from egret.aws.suppressions import DynamoSuppressions
from egret.aws.table import Table
from egret.aws.tls_results import DynamoTlsResults
from egret.aws.units import DynamoUnits
from egret.contracts.queues import decode_call, decode_hint
from egret.contracts.stream import MailRecord, StreamRecord, TableChange
from tests import aws_resources
from tests.emulators import ACCESS_KEY, REGION, SECRET_KEY, client_arguments
from tests.integration.contract.backends import Backend
from tests.samples import NOON

T = TypeVar("T")


class _HastyClock:
    """A clock by which two minutes pass between any two questions, so that a cache of settings is always stale."""

    def __init__(self) -> None:
        self._now = NOON

    def now(self) -> datetime:
        self._now += timedelta(minutes=2)
        return self._now


@dataclass(frozen=True, slots=True)
class Names:
    """What the resources of one backend are called."""

    mail_table: str
    settings_table: str
    bucket: str
    hint_queue_url: str
    call_queue_url: str
    kms_key_id: str


def names() -> Names:
    """Return names of resources that do not exist."""
    suffix = secrets.token_hex(4)
    queues = f"http://127.0.0.1/000000000000/{suffix}"
    return Names(
        mail_table=f"mail-{suffix}",
        settings_table=f"settings-{suffix}",
        bucket=f"egret-{suffix}",
        hint_queue_url=f"{queues}-hints",
        call_queue_url=f"{queues}-calls",
        kms_key_id=str(uuid.uuid4()),
    )


def aws_backend(name: str, endpoint_url: str) -> Backend:
    """Return the ports on new resources of an emulator."""
    clients, wanted = _clients(endpoint_url), names()
    aws_resources.create_mail_table(clients.dynamodb, wanted.mail_table)
    aws_resources.create_settings_table(clients.dynamodb, wanted.settings_table)
    place: Any = {"LocationConstraint": REGION}  # the stubs want a literal
    clients.s3.create_bucket(Bucket=wanted.bucket, CreateBucketConfiguration=place)
    made = replace(
        wanted,
        hint_queue_url=_new_queue(clients, wanted.hint_queue_url),
        call_queue_url=_new_queue(clients, wanted.call_queue_url),
        kms_key_id=_kms_key(endpoint_url),
    )
    return adapters(name, endpoint_url, made)


def _new_queue(clients: Clients, url: str) -> str:
    return clients.sqs.create_queue(QueueName=url.rpartition("/")[2])["QueueUrl"]


def adapters(name: str, endpoint_url: str, on: Names) -> Backend:
    """Return the ports on resources of an emulator, whether they exist or not."""
    clients = _clients(endpoint_url)
    table, blobs = Table(clients, on.mail_table), S3Blobs(clients, on.bucket)
    settings = DynamoSettings(clients, on.settings_table)
    return Backend(
        name=name,
        store=DynamoMailStore(table, blobs),
        due=DynamoDueIndex(table),
        idempotency=DynamoIdempotency(table),
        own_fromids=DynamoOwnFromIds(table),
        calls=DynamoCalls(table),
        counters=DynamoCounters(table),
        suppressions=DynamoSuppressions(table),
        hints=SqsHintQueue(clients, on.hint_queue_url),
        call_queue=SqsCallQueue(clients, on.call_queue_url),
        units=DynamoUnits(table),
        blobs=blobs,
        mailboxes=DynamoMailboxes(table),
        sts_policies=DynamoStsPolicies(table),
        domain_tls=DynamoDomainTls(table),
        tls_results=DynamoTlsResults(table),
        dmarc_evaluations=DynamoDmarcEvaluations(table),
        report_suppressions=DynamoReportSuppressions(table),
        received_reports=DynamoReceivedReports(table),
        reader=CachedSettings(settings, _HastyClock()),
        writer=settings,
        wrapper=KmsKeyWrapper(clients, on.kms_key_id),
        auth_failures=DynamoAuthFailures(table),
        clock=SystemClock(),
        dice=SystemDice(),
        take_hints=lambda: _receive(clients, on.hint_queue_url, decode_hint),
        take_calls=lambda: _receive(clients, on.call_queue_url, decode_call),
        stream=lambda: [one for one in _stream(endpoint_url, on.mail_table) if isinstance(one, StreamRecord)],
        mail_stream=lambda: [one for one in _stream(endpoint_url, on.mail_table) if isinstance(one, MailRecord)],
        upload=_upload,
        download=_download,
    )


@functools.cache
def _clients(endpoint_url: str) -> Clients:
    return Clients(Target(REGION, endpoint_url, ACCESS_KEY, SECRET_KEY))


@functools.cache
def _kms_key(endpoint_url: str) -> str:
    return _clients(endpoint_url).kms.create_key()["KeyMetadata"]["KeyId"]


def _receive(clients: Clients, url: str, decode: Callable[[str], T]) -> list[T]:
    """Return what a queue holds and delete it there."""
    bodies: list[T] = []
    while messages := clients.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            bodies.append(decode(message["Body"]))
            clients.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return bodies


@functools.cache
def _streams(endpoint_url: str) -> Any:
    session = _clients(endpoint_url).session
    return session.create_client("dynamodbstreams", **client_arguments(endpoint_url))


def _stream(endpoint_url: str, table: str) -> list[TableChange]:
    """Return every change of a delivery or a mail that the table's stream has."""
    streams = _streams(endpoint_url)
    arn = streams.list_streams(TableName=table)["Streams"][0]["StreamArn"]
    found: list[TableChange] = []
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        place = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        found += _records(streams, streams.get_shard_iterator(**place)["ShardIterator"])
    return found


def _records(streams: Any, iterator: str) -> list[TableChange]:
    found: list[Mapping[str, Any]] = []
    while iterator:
        answer = streams.get_records(ShardIterator=iterator)
        if not answer["Records"]:
            break
        found += answer["Records"]
        iterator = answer.get("NextShardIterator", "")
    decoded = map(decode_record, found)
    return [record for record in decoded if record is not None]


def _upload(url: str, body: bytes) -> bool:
    request = urllib.request.Request(url, body, {"Content-Type": ""}, method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        error.close()
        return False


def _download(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            body: bytes = answer.read()
            return body
    except urllib.error.HTTPError as error:
        error.close()
        return None
