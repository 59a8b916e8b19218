"""What `Table` makes of DynamoDB's answers, and of answers that never arrive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from egret.aws.mail_store import DynamoMailStore
from egret.aws.s3 import S3Blobs
from egret.aws.table import ABSENT, BATCH_ROUNDS, Condition, Range, Table, b, n, s
from egret.contracts.records import Acceptance
from egret.core.delivery import Delivery, Message
from egret.core.errors import ContractError, Unavailable
from tests.aws_resources import create_mail_table, emulator_clients, new_mail_table
from tests.spoiling_proxy import Proxy, losing_first, serving
from tests.unit.builders import ACCOUNT, NOW

pytestmark = pytest.mark.emulator


@pytest.fixture
def proxy(moto_endpoint: str) -> Proxy:
    """A proxy to moto that passes everything on."""
    return Proxy(moto_endpoint)


@pytest.fixture
def table(proxy: Proxy) -> Iterator[Table]:
    """A new table behind the proxy."""
    made = new_mail_table(proxy.target)
    with serving(proxy) as url:
        yield Table(emulator_clients(url), made.name)


def _item(key: str, **values: int) -> dict[str, dict[str, Any]]:
    return {"pk": s("p"), "sk": s(key), **{name: n(value) for name, value in values.items()}}


def test_won_write_stays_won_when_its_answer_is_lost(table: Table, proxy: Proxy) -> None:
    """The client repeats the put, which fails on the first one's item: that is no lost race."""
    proxy.spoil = losing_first("PutItem")

    assert table.put_if(_item("a"), ABSENT) is None
    assert [operation for operation, _ in proxy.seen] == ["PutItem", "PutItem"]


def test_lost_race_is_lost_though_the_items_are_alike(table: Table) -> None:
    """Two writers of the very same item: one wins."""
    assert table.put_if(_item("a", rev=1), ABSENT) is None
    assert table.put_if(_item("a", rev=1), ABSENT) is not None


def test_failed_condition_shows_what_stands_there(table: Table) -> None:
    """The loser needs no second read; where nothing stands it is told so."""
    table.put(_item("a", rev=7))
    unchanged = Condition("rev = :rev", {":rev": n(1)})

    in_the_way = table.put_if(_item("a"), unchanged)

    assert in_the_way == _item("a", rev=7)
    assert table.put_if(_item("b"), unchanged) == {}


def test_batch_of_more_than_a_hundred_keys_is_read_whole(table: Table, proxy: Proxy) -> None:
    """Keys go in hundreds; repeated ones are asked for once; absent ones are left out."""
    for number in range(130):
        table.put(_item(f"{number:03d}"))
    proxy.seen.clear()

    found = table.get_many([("p", f"{number:03d}") for number in (*range(150), *range(10))])

    assert sorted(found) == [("p", f"{number:03d}") for number in range(130)]
    assert [len(request["RequestItems"][table.name]["Keys"]) for _, request in proxy.seen] == [100, 50]


def test_keys_left_over_by_a_throttled_table_are_asked_for_again(table: Table, proxy: Proxy) -> None:
    """UnprocessedKeys are no absent items."""
    for number in range(3):
        table.put(_item(str(number)))
    rounds: list[int] = []

    def leave_two_over(operation: str, body: bytes) -> bytes:
        if operation != "BatchGetItem" or rounds:
            return body
        rounds.append(1)
        answer = json.loads(body)
        rest = answer["Responses"][table.name][1:]
        answer["Responses"][table.name] = answer["Responses"][table.name][:1]
        keys = [{"pk": item["pk"], "sk": item["sk"]} for item in rest]
        answer["UnprocessedKeys"] = {table.name: {"Keys": keys, "ConsistentRead": True}}
        return json.dumps(answer).encode()

    proxy.spoil = leave_two_over

    assert sorted(table.get_many([("p", str(number)) for number in range(3)])) == [("p", "0"), ("p", "1"), ("p", "2")]


def test_items_left_over_by_a_throttled_table_are_written_again(table: Table, proxy: Proxy) -> None:
    """Exactly those, their bytes as they were; a batch has 25."""

    def leave_two_over(operation: str, body: bytes) -> bytes:
        if operation != "BatchWriteItem" or len(proxy.seen) > 1:
            return body
        puts = proxy.seen[0][1]["RequestItems"][table.name]
        return json.dumps({"UnprocessedItems": {table.name: puts[:2]}}).encode()

    proxy.spoil = leave_two_over

    table.put_many(_item(f"{number:02d}") | {"d": b(bytes([number]))} for number in range(30))

    counts = [len(request["RequestItems"][table.name]) for _, request in proxy.seen]
    found = table.get_many([("p", f"{number:02d}") for number in range(40)])
    assert counts == [25, 2, 5]
    assert [item["d"]["B"] for _, item in sorted(found.items())] == [bytes([number]) for number in range(30)]


def test_a_table_that_takes_nothing_is_unavailable(table: Table, proxy: Proxy) -> None:
    """After some rounds, whose pauses grow."""

    def leave_all_over(operation: str, body: bytes) -> bytes:
        puts = proxy.seen[0][1]["RequestItems"][table.name]
        return json.dumps({"UnprocessedItems": {table.name: puts}}).encode()

    proxy.spoil = leave_all_over

    with pytest.raises(Unavailable) as caught:
        table.put_many([_item("a")])
    assert "1 items left over" in caught.value.detail
    assert len(proxy.seen) == BATCH_ROUNDS


def test_query_goes_on_to_the_last_page(table: Table, proxy: Proxy) -> None:
    """A page that is full is not the end."""
    for number in range(7):
        table.put(_item(str(number)))
    proxy.seen.clear()

    keys = [item["sk"]["S"] for item in table.query(Range("p", "1", "5", newest_first=True), page=2)]

    assert keys == ["5", "4", "3", "2", "1"]
    assert len(proxy.seen) >= 3


def test_missing_table_is_unavailable(moto_endpoint: str) -> None:
    """What the operator must mend is told to the log, not to the caller."""
    with pytest.raises(Unavailable) as caught:
        Table(emulator_clients(moto_endpoint), "no-such-table").put(_item("a"))

    assert "ResourceNotFoundException" in caught.value.detail
    assert "no-such-table" not in caught.value.public


@pytest.mark.parametrize("name", ["ValidationException", "SerializationException"])
def test_a_request_that_is_never_taken_is_a_fault_of_ours(table: Table, proxy: Proxy, name: str) -> None:
    """It is told apart from trouble that passes: who tries again for as long as it takes would never end."""
    proxy.refusal = json.dumps({"__type": f"com.amazon.coral#{name}", "message": "one value is empty"}).encode()

    with pytest.raises(ContractError, match="one value is empty"):
        table.put(_item("a"))


def test_a_transaction_with_a_malformed_part_is_a_fault_of_ours(table: Table, proxy: Proxy) -> None:
    """DynamoDB tells of it in the reasons; a part that lost a race is an answer, and a throttled one passes."""
    for code, expected in [("ValidationError", ContractError), ("ThrottlingError", Unavailable)]:
        reasons = [{"Code": "None"}, {"Code": code}]
        proxy.refusal = json.dumps(
            {"__type": "x#TransactionCanceledException", "CancellationReasons": reasons}
        ).encode()
        with pytest.raises(expected):
            table.transact([table.putting(_item("a")), table.putting(_item("b"))])


def test_no_endpoint_is_unavailable() -> None:
    """A connection that cannot be made is the same to the caller as a table that does not answer."""
    with pytest.raises(Unavailable, match="GetItem"):
        Table(emulator_clients("http://127.0.0.1:1"), "mail").get(("p", "a"))


# --- budgets


def test_message_with_one_recipient_takes_two_writes(moto_endpoint: str, proxy: Proxy) -> None:
    """put_message and accept are one request each: the budget of requests per message."""
    made = new_mail_table(moto_endpoint)
    with serving(proxy) as url:
        clients = emulator_clients(url)
        store = DynamoMailStore(Table(clients, made.name), S3Blobs(clients, "unused"))
        message, delivery = _message_and_delivery()
        store.put_message(message, b"Subject: hi\r\n\r\nhello\r\n")
        store.accept(Acceptance(message, (delivery,)))

    assert [operation for operation, _ in proxy.seen] == ["PutItem", "PutItem"]


def test_replacing_leaves_the_due_index_alone_while_due_stays(moto_endpoint: str, proxy: Proxy) -> None:
    """A claim changes no attribute of the index, so that it costs one write unit and not two."""
    made = new_mail_table(moto_endpoint)
    with serving(proxy) as url:
        clients = emulator_clients(url)
        store = DynamoMailStore(Table(clients, made.name), S3Blobs(clients, "unused"))
        _, delivery = _message_and_delivery()
        store.expand([delivery])
        store.replace(delivery, replace(delivery, rev=2, max_attempts=3))
    before, after = (request["Item"] for _, request in proxy.seen)

    assert [operation for operation, _ in proxy.seen] == ["PutItem", "PutItem"]
    assert [before[name] for name in ("due_shard", "due_at")] == [after[name] for name in ("due_shard", "due_at")]


def _message_and_delivery() -> tuple[Message, Delivery]:
    message = Message(ACCOUNT, 1 << 10, "<a@b>", "hi", "a@b", "a@b", ("c@d.example",), NOW, 23)
    later = NOW + timedelta(minutes=1)
    return message, Delivery(
        ACCOUNT, 1 << 10, "c@d.example", "d.example", "", "", NOW, NOW, later, timedelta(0), due_at=later
    )


def test_tables_are_made_as_the_template_describes_them(moto_endpoint: str) -> None:
    """The helper of these tests makes a sparse index of keys and a stream of both images."""
    client = emulator_clients(moto_endpoint).dynamodb
    create_mail_table(client, "as-described")

    described = client.describe_table(TableName="as-described")["Table"]

    assert described["GlobalSecondaryIndexes"][0]["Projection"] == {"ProjectionType": "KEYS_ONLY"}
    assert described["StreamSpecification"]["StreamViewType"] == "NEW_AND_OLD_IMAGES"
