"""Tables, queues, bucket and key as template.yaml makes them, for tests against an emulator."""

from __future__ import annotations

import contextlib
import functools
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from egret.aws.clients import Clients, Target
from egret.aws.table import Table
from tests.emulators import ACCESS_KEY, REGION, SECRET_KEY

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Resources:
    """Names of the resources of one installation."""

    mail_table: str
    settings_table: str
    bucket: str
    hint_queue_url: str
    call_queue_url: str
    kms_key_id: str

    def environment(self, endpoint_url: str) -> dict[str, str]:
        """Return the environment of a function or an egress of this installation."""
        return {
            "AWS_ENDPOINT_URL": endpoint_url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "EGRET_MAIL_TABLE": self.mail_table,
            "EGRET_SETTINGS_TABLE": self.settings_table,
            "EGRET_BUCKET": self.bucket,
            "EGRET_HINT_QUEUE_URL": self.hint_queue_url,
            "EGRET_CALL_QUEUE_URL": self.call_queue_url,
            "EGRET_KMS_KEY_ID": self.kms_key_id,
            "EGRET_HOSTNAME": "mx.egret.test",
            "EGRET_SECRET": "a secret of sixteen characters or more",
            "EGRET_FROMID_SECRET": "another one of sixteen characters or more",
            "EGRET_HANDOFF_SECRET": "handoff secret",
            "EGRET_DMARC_REPORTS": "on",
            "EGRET_TLS_REPORTS": "all",
        }


@functools.cache
def emulator_clients(endpoint_url: str) -> Clients:
    """Return clients that speak to an emulator and read nothing from the environment."""
    return Clients(Target(REGION, endpoint_url, ACCESS_KEY, SECRET_KEY))


def create_resources(endpoint_url: str) -> Resources:
    """Make everything under names that nothing else in the emulator has."""
    clients = emulator_clients(endpoint_url)
    suffix = secrets.token_hex(4)
    mail_table, settings_table, bucket = f"mail-{suffix}", f"settings-{suffix}", f"egret-{suffix}"
    create_mail_table(clients.dynamodb, mail_table)
    create_settings_table(clients.dynamodb, settings_table)
    clients.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return Resources(
        mail_table,
        settings_table,
        bucket,
        clients.sqs.create_queue(QueueName=f"hints-{suffix}")["QueueUrl"],
        clients.sqs.create_queue(QueueName=f"calls-{suffix}")["QueueUrl"],
        clients.kms.create_key()["KeyMetadata"]["KeyId"],
    )


def create_mail_table(client: DynamoDBClient, name: str) -> None:
    """Make a mail table: stream of both images, sparse due index of keys, time to live."""
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
            {"AttributeName": "due_shard", "AttributeType": "S"},
            {"AttributeName": "due_at", "AttributeType": "N"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "due",
                "KeySchema": [
                    {"AttributeName": "due_shard", "KeyType": "HASH"},
                    {"AttributeName": "due_at", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        BillingMode="PAY_PER_REQUEST",
    )
    with contextlib.suppress(client.exceptions.ResourceNotFoundException):  # the table may still be being made
        client.update_time_to_live(TableName=name, TimeToLiveSpecification={"Enabled": True, "AttributeName": "ttl"})


def create_settings_table(client: DynamoDBClient, name: str) -> None:
    """Make a settings table."""
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )


def new_mail_table(endpoint_url: str) -> Table:
    """Make a mail table of its own and return it as the stores use it."""
    clients = emulator_clients(endpoint_url)
    name = f"mail-{secrets.token_hex(4)}"
    create_mail_table(clients.dynamodb, name)
    return Table(clients, name)
