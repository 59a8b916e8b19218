"""The meter of AWS requests, on the events that botocore would emit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from botocore.hooks import HierarchicalEmitter

from bench.meter import Entry, Meter, Sum, by_operation, total
from bench.units import Index

TABLE = "mail"
DUE = Index(("due_shard", "due_at"))
Item = dict[str, dict[str, Any]]


@dataclass
class Rig:
    """A table in a dictionary, and a botocore client reduced to its events."""

    items: dict[tuple[str, str], Item] = field(default_factory=dict)
    events: HierarchicalEmitter = field(default_factory=HierarchicalEmitter)

    def meter(self) -> Meter:
        """Return a meter that listens."""
        meter = Meter(lambda _, key: self.items.get((key["pk"]["S"], key["sk"]["S"])), {TABLE: (DUE,)})
        meter.listen(self.events)
        return meter

    def call(
        self,
        operation: str,
        params: Mapping[str, Any],
        answer: Mapping[str, Any] | None = None,
        *,
        writes: tuple[Item, ...] = (),
    ) -> None:
        """Emit what botocore emits for a call; writes: items that it puts."""
        service = "sqs" if operation.startswith("Send") else "dynamodb"
        model = SimpleNamespace(name=operation, service_model=SimpleNamespace(service_name=service))
        context: dict[str, Any] = {}
        self.events.emit(f"before-parameter-build.{service}.{operation}", params=params, model=model, context=context)
        for item in writes:
            self.items[item["pk"]["S"], item["sk"]["S"]] = item
        self.events.emit(
            f"after-call.{service}.{operation}", http_response=None, parsed=answer or {}, model=model, context=context
        )


def _item(sk: str, size_bytes: int, due_at: str = "") -> Item:
    due: Item = {"due_shard": {"S": "delivery#0"}, "due_at": {"N": due_at}} if due_at else {}
    return {"pk": {"S": "p"}, "sk": {"S": sk}, "d": {"B": bytes(size_bytes)}, **due}


def _put(item: Item) -> dict[str, Any]:
    return {"TableName": TABLE, "Item": item}


def test_a_put_is_charged_by_its_size_and_its_entry_in_the_index() -> None:
    """1.5 KB and one new entry: 3 units."""
    rig = Rig()
    meter = rig.meter()
    item = _item("D#1", 1500, "5")
    with meter.stage("send"):
        rig.call("PutItem", _put(item), writes=(item,))
    assert meter.take() == [Entry("send", "dynamodb", "PutItem", 3)]


def test_a_put_that_leaves_the_index_alone_is_charged_for_the_item_only() -> None:
    """The lease of a claim is not indexed."""
    rig = Rig({("p", "D#1"): _item("D#1", 300, "5")})
    meter = rig.meter()
    item = _item("D#1", 400, "5")
    with meter.stage("deliver"):
        rig.call("PutItem", _put(item), writes=(item,))
    assert meter.take() == [Entry("deliver", "dynamodb", "PutItem", 1)]


def test_a_failed_condition_is_charged_by_what_stands_there() -> None:
    """The old item has 2.5 KB."""
    rig = Rig({("p", "M#1"): _item("M#1", 2500)})
    meter = rig.meter()
    with meter.stage("send"):
        rig.call("PutItem", _put(_item("M#1", 10)), {"Error": {"Code": "ConditionalCheckFailedException"}})
    assert meter.take() == [Entry("send", "dynamodb", "PutItem", 3)]


def test_a_removal_is_charged_by_what_goes() -> None:
    """1.5 KB that were in the index: 2 units and the entry."""
    item = _item("D#1", 1500, "5")
    rig = Rig({("p", "D#1"): item})
    meter = rig.meter()
    with meter.stage("reap"):
        context_key = {"pk": item["pk"], "sk": item["sk"]}
        model = SimpleNamespace(name="DeleteItem", service_model=SimpleNamespace(service_name="dynamodb"))
        context: dict[str, Any] = {}
        params = {"TableName": TABLE, "Key": context_key}
        rig.events.emit("before-parameter-build.dynamodb.DeleteItem", params=params, model=model, context=context)
        rig.items.clear()
        rig.events.emit("after-call.dynamodb.DeleteItem", http_response=None, parsed={}, model=model, context=context)
    assert meter.take() == [Entry("reap", "dynamodb", "DeleteItem", 3)]


def test_a_transaction_is_charged_twice_for_each_item() -> None:
    """Two small items, one of them indexed: 2 + 2 + 1."""
    rig = Rig()
    meter = rig.meter()
    first, second = _item("D#1", 10, "5"), _item("I#1", 10)
    parts = [{"Put": _put(first)}, {"Put": _put(second)}]
    with meter.stage("send"):
        rig.call("TransactWriteItems", {"TransactItems": parts}, writes=(first, second))
    assert meter.take() == [Entry("send", "dynamodb", "TransactWriteItems", 5)]


def test_an_absent_item_is_a_read_unit() -> None:
    """DynamoDB looked."""
    rig = Rig()
    meter = rig.meter()
    with meter.stage("send"):
        rig.call("GetItem", {"TableName": TABLE, "Key": {}, "ConsistentRead": True})
    assert meter.take() == [Entry("send", "dynamodb", "GetItem", 0, 1, 0)]


def test_each_item_of_a_batch_is_rounded_up_by_itself() -> None:
    """5 KB, 10 bytes and an absent one: 2 + 1 + 1; what was left over is not charged."""
    rig = Rig()
    meter = rig.meter()
    keys = [{"pk": {"S": "p"}, "sk": {"S": name}} for name in "abcd"]
    answer = {
        "Responses": {TABLE: [_item("a", 5000), _item("b", 10)]},
        "UnprocessedKeys": {TABLE: {"Keys": keys[3:]}},
    }
    with meter.stage("deliver"):
        rig.call("BatchGetItem", {"RequestItems": {TABLE: {"Keys": keys, "ConsistentRead": True}}}, answer)
    assert meter.take() == [Entry("deliver", "dynamodb", "BatchGetItem", 0, 4, 2)]


def test_a_query_pays_for_all_that_it_looked_at_together() -> None:
    """Three items of 3,000 bytes and a little: 9 KB are 3 units."""
    rig = Rig()
    meter = rig.meter()
    items = [_item(str(number), 3000) for number in range(3)]
    with meter.stage("reap"):
        rig.call("Query", {"TableName": TABLE, "ConsistentRead": True}, {"Items": items, "ScannedCount": 3})
    assert meter.take() == [Entry("reap", "dynamodb", "Query", 0, 3, 3)]


def test_a_query_of_the_index_pays_for_its_entries() -> None:
    """The items are large, their keys are not; the index is eventually consistent."""
    rig = Rig()
    meter = rig.meter()
    items = [_item(str(number), 3000, "5") for number in range(3)]
    with meter.stage("sweep"):
        rig.call("Query", {"TableName": TABLE, "IndexName": "due"}, {"Items": items, "ScannedCount": 3})
    assert meter.take() == [Entry("sweep", "dynamodb", "Query", 0, 0.5, 3)]


def test_requests_to_other_services_are_counted_as_they_are() -> None:
    """They have no units."""
    rig = Rig()
    meter = rig.meter()
    with meter.stage("send"):
        rig.call("SendMessageBatch", {})
    assert meter.take() == [Entry("send", "sqs", "SendMessageBatch")]


def test_nothing_is_counted_outside_of_a_stage() -> None:
    """What prepares a measurement is no part of it."""
    rig = Rig()
    meter = rig.meter()
    rig.call("SendMessageBatch", {})
    with meter.stage("send"):
        pass
    rig.call("SendMessageBatch", {})
    assert meter.take() == []


def test_sums_are_made_by_stage_service_and_operation() -> None:
    """In the order in which they first came."""
    put, get = Entry("send", "dynamodb", "PutItem", 2), Entry("send", "dynamodb", "GetItem", 0, 1, 1)
    assert total([put, get, put]) == Sum(3, 4, 1, 1)
    assert by_operation([put, get, put]) == {
        ("send", "dynamodb", "PutItem"): Sum(2, 4, 0, 0),
        ("send", "dynamodb", "GetItem"): Sum(1, 0, 1, 1),
    }
