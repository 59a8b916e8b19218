"""Make the resources of the stack on the emulator; what exists already stays as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from egret.aws.jsonapi import JsonApi, Limits, Service
from egret.aws.sigv4 import Credentials
from egret_local.settings import REGION
from egret_local.stack import Names, Stack

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What every process of local mode has in its environment: credentials that no account has."""

TABLE_KEYS = ("KeySchema", "AttributeDefinitions", "GlobalSecondaryIndexes", "StreamSpecification")
QUEUE_KEYS = ("VisibilityTimeout", "MessageRetentionPeriod", "ReceiveMessageWaitTimeSeconds", "DelaySeconds")

STREAMS = Service("dynamodb", "DynamoDBStreams_20120810.")
"""The streams of tables, as the emulator has them: at AWS they have an endpoint of their own."""


def api(service: Service, endpoint_url: str) -> JsonApi:
    """Return a JSON service of the emulator by the short way."""
    credentials = Credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
    limits = Limits(connect_s=1.5, read_s=30, attempts=3, pool=2)
    return JsonApi(service, (REGION, endpoint_url), lambda: credentials, limits)


def client(service: str, endpoint_url: str) -> Any:
    """Return a boto3 client of the emulator."""
    arguments = {
        "endpoint_url": endpoint_url,
        "region_name": REGION,
        "aws_access_key_id": CREDENTIALS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    }
    config = Config(read_timeout=65, retries={"mode": "standard", "max_attempts": 3})
    return boto3.client(service, config=config, **arguments)  # type: ignore[call-overload]


def make(stack: Stack, names: Names) -> None:
    """Create what is missing: tables, queues, buckets and their notifications."""
    dynamodb: DynamoDBClient = client("dynamodb", names.endpoint_url)
    sqs: SQSClient = client("sqs", names.endpoint_url)
    s3: S3Client = client("s3", names.endpoint_url)
    for logical_id, properties in stack.tables.items():
        _make_table(dynamodb, names.physical(logical_id), properties)
    # A queue with a redrive policy needs its dead-letter queue first.
    for logical_id, properties in sorted(stack.queues.items(), key=lambda item: "RedrivePolicy" in item[1]):
        _make_queue(sqs, names.physical(logical_id), properties)
    for logical_id, properties in stack.buckets.items():
        _make_bucket(s3, names.physical(logical_id), properties)


def make_keys(stack: Stack, endpoint_url: str, known: Mapping[str, str]) -> dict[str, str]:
    """Return the id of each KMS key by logical id; a key that the emulator no longer has is made anew."""
    kms = client("kms", endpoint_url)
    return {logical_id: _key(kms, known.get(logical_id, "")) for logical_id in stack.keys}


def _key(kms: Any, known: str) -> str:
    if known:
        try:
            kms.describe_key(KeyId=known)
        except ClientError:
            pass
        else:
            return known
    key_id: str = kms.create_key()["KeyMetadata"]["KeyId"]
    return key_id


def _make_table(dynamodb: DynamoDBClient, name: str, properties: Mapping[str, Any]) -> None:
    arguments = {key: properties[key] for key in TABLE_KEYS if key in properties}
    if "StreamSpecification" in arguments:
        arguments["StreamSpecification"] = {"StreamEnabled": True, **arguments["StreamSpecification"]}
    try:
        dynamodb.create_table(TableName=name, BillingMode="PAY_PER_REQUEST", **arguments)
    except dynamodb.exceptions.ResourceInUseException:
        return
    dynamodb.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})


def _make_queue(sqs: SQSClient, name: str, properties: Mapping[str, Any]) -> None:
    attributes = {key: str(properties[key]) for key in QUEUE_KEYS if key in properties}
    if "RedrivePolicy" in properties:
        attributes["RedrivePolicy"] = json.dumps(properties["RedrivePolicy"])
    try:
        sqs.get_queue_url(QueueName=name)
    except ClientError:
        sqs.create_queue(QueueName=name, Attributes=attributes)  # type: ignore[arg-type]


def _make_bucket(s3: S3Client, name: str, properties: Mapping[str, Any]) -> None:
    try:
        s3.head_bucket(Bucket=name)
    except ClientError:
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    configurations = properties.get("NotificationConfiguration", {}).get("QueueConfigurations", [])
    if configurations:
        queues: Any = [_notification(configuration) for configuration in configurations]
        s3.put_bucket_notification_configuration(Bucket=name, NotificationConfiguration={"QueueConfigurations": queues})


def _notification(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Turn CloudFormation's form of a notification into the API's."""
    rules = configuration.get("Filter", {}).get("S3Key", {}).get("Rules", [])
    return {
        "QueueArn": configuration["Queue"],
        "Events": [configuration["Event"]],
        "Filter": {"Key": {"FilterRules": [{"Name": rule["Name"], "Value": rule["Value"]} for rule in rules]}},
    }
