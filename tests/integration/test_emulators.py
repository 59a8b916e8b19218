"""What the other tests rely on in the emulators."""

from __future__ import annotations

import socket
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.emulators import client_arguments

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import ConditionCheckTypeDef, PutTypeDef

pytestmark = pytest.mark.emulator
PUTS = 120


@pytest.fixture(params=["moto_endpoint", "ministack_endpoint"])
def endpoint(request: pytest.FixtureRequest) -> str:
    """The URL of each emulator in turn."""
    url: str = request.getfixturevalue(request.param)
    return url


def _table(client: DynamoDBClient, name: str) -> None:
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


def _fail_a_transaction(client: DynamoDBClient, name: str, key: str) -> str:
    """Write two items of which the second one's condition does not hold; returns the error's code."""
    put: PutTypeDef = {"TableName": name, "Item": {"pk": {"S": key}}}
    check: ConditionCheckTypeDef = {
        "TableName": name,
        "Key": {"pk": {"S": "never"}},
        "ConditionExpression": "attribute_exists(pk)",
    }
    try:
        client.transact_write_items(TransactItems=[{"Put": put}, {"ConditionCheck": check}])
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "accepted"


def test_no_acknowledged_write_is_lost_beside_failing_transactions(endpoint: str) -> None:
    """Every put that was answered is there afterwards, and nothing of a transaction that was refused."""
    client = boto3.client("dynamodb", **client_arguments(endpoint))
    _table(client, "kept-writes")

    def write(number: int) -> str:
        if number % 3 == 0:
            return _fail_a_transaction(client, "kept-writes", f"refused-{number}")
        client.put_item(TableName="kept-writes", Item={"pk": {"S": f"put-{number}"}})
        return "put"

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(write, range(PUTS)))
    items = client.scan(TableName="kept-writes", ConsistentRead=True)["Items"]
    client.close()
    assert answers == ["put" if number % 3 else "TransactionCanceledException" for number in range(PUTS)]
    assert sorted(item["pk"]["S"] for item in items) == sorted(f"put-{n}" for n in range(PUTS) if n % 3)


def test_an_emulator_listens_on_loopback_only(endpoint: str) -> None:
    """Nobody else on the network reaches an emulator: its port is closed on every other address of this machine."""
    port = urllib.parse.urlsplit(endpoint).port
    assert port is not None
    with socket.socket() as probe:
        probe.settimeout(5)
        assert probe.connect_ex(("127.0.0.2", port)) != 0
