"""A DynamoDB table as the stores use it: items in wire form, conditions as values, answers as values.

A conditional write whose answer was lost is repeated, and the repetition fails on what the first one
wrote. So every conditional put carries a random mark (`w`): when the item that stands in the way bears it, we won.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from egret.aws.clients import Clients, calling, code_of
from egret.aws.jsonapi import JsonApi
from egret.core.errors import Unavailable

Value = dict[str, Any]
Item = dict[str, Value]
Key = tuple[str, str]
"""Partition key and sort key."""
T = TypeVar("T")
R = TypeVar("R")

BATCH = 100
"""Keys of one BatchGetItem."""
WRITE_BATCH = 25
"""Items of one BatchWriteItem."""
BATCH_ROUNDS = 6
"""Rounds for what a throttled table left over; the pause doubles from 50 ms."""
MARK = "w"
MARK_BYTES = 6
WORKERS = 8
"""Writes that go side by side: enough to hide the latency, few enough for the connections of one process."""


def s(text: str) -> Value:
    """Return a string value."""
    return {"S": text}


def n(number: int) -> Value:
    """Return a number value."""
    return {"N": str(number)}


def b(raw: bytes) -> Value:
    """Return a binary value."""
    return {"B": raw}


def key_of(item: Mapping[str, Value]) -> Key:
    """Return the key of an item."""
    return item["pk"]["S"], item["sk"]["S"]


def number(item: Mapping[str, Value], name: str) -> int:
    """Return a number attribute, 0 when the item has none."""
    value = item.get(name)
    return int(value["N"]) if value else 0


def text(item: Mapping[str, Value], name: str) -> str:
    """Return a string attribute, "" when the item has none."""
    value = item.get(name)
    return str(value["S"]) if value else ""


def _wire_key(key: Key) -> Item:
    return {"pk": s(key[0]), "sk": s(key[1])}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition expression and the values it names (`:x`); attribute names are never reserved words."""

    expression: str
    values: Item = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """Return it as arguments of a request."""
        if not self.values:
            return {"ConditionExpression": self.expression}
        return {"ConditionExpression": self.expression, "ExpressionAttributeValues": self.values}


ABSENT = Condition("attribute_not_exists(pk)")


@dataclass(frozen=True, slots=True)
class Range:
    """Items of one partition: sort keys from `first` to `last`, both included, or all. newest_first: descending."""

    pk: str
    first: str = ""
    last: str = ""
    newest_first: bool = False

    @classmethod
    def prefix(cls, pk: str, prefix: str) -> Range:
        """Return the range of the sort keys that begin with `prefix`."""
        return cls(pk, prefix, prefix + "\U0010ffff")

    def arguments(self) -> dict[str, Any]:
        """Return it as arguments of a query."""
        values = {":pk": s(self.pk)}
        if not self.last:
            return {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": values}
        return {
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
            "ExpressionAttributeValues": values | {":first": s(self.first), ":last": s(self.last)},
        }


def _names(expression: str) -> dict[str, Any]:
    """Return what an update expression needs to name `ttl`, a reserved word."""
    return {"ExpressionAttributeNames": {"#ttl": "ttl"}} if "#ttl" in expression else {}


def work_off(function: Callable[[T], R], waiting: deque[tuple[int, T]], results: dict[int, R]) -> None:
    """Call the function with what waits until nothing does; after a failure nothing does."""
    while waiting:
        try:
            index, argument = waiting.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            results[index] = function(argument)
        except BaseException:
            waiting.clear()
            raise


class Table:
    """One table with string keys `pk` and `sk`. What goes wrong is Unavailable; ContractError is a fault of ours."""

    def __init__(self, clients: Clients, name: str) -> None:
        self._clients = clients
        self.name = name

    @property
    def _api(self) -> JsonApi:
        return self._clients.dynamodb_api

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(WORKERS, thread_name_prefix=f"table-{self.name}")

    def side_by_side(self, function: Callable[[T], R], arguments: Sequence[T]) -> list[R]:
        """Call the function with each argument, several at a time; the results stand in order.

        The threads at it, the caller's among them, each take the next argument when they are done with one: to hand
        every argument over by itself takes almost as long as a write. When one fails, what waits is not begun.
        """
        waiting = deque(enumerate(arguments))
        results: dict[int, R] = {}
        helpers = [self._pool.submit(work_off, function, waiting, results) for _ in arguments[1 : WORKERS + 1]]
        work_off(function, waiting, results)
        for helper in helpers:
            if not helper.cancel():  # those that were not begun have nothing left to do
                helper.result()
        return [results[index] for index in range(len(arguments))]

    def get(self, key: Key) -> Item | None:
        """Return an item, strongly consistent."""
        with calling("dynamodb GetItem"):
            answer = self._api.call("GetItem", {"TableName": self.name, "Key": _wire_key(key), "ConsistentRead": True})
        item: Item | None = answer.get("Item")
        return item

    def get_many(self, keys: Iterable[Key]) -> dict[Key, Item]:
        """Return the items that exist, strongly consistent."""
        wanted = list(dict.fromkeys(keys))
        if len(wanted) == 1:  # a third less work than a batch of one
            item = self.get(wanted[0])
            return {wanted[0]: item} if item else {}
        found: dict[Key, Item] = {}
        for start in range(0, len(wanted), BATCH):
            self._get_batch([_wire_key(key) for key in wanted[start : start + BATCH]], found)
        return found

    def _get_batch(self, keys: list[Item], found: dict[Key, Item]) -> None:
        pause_s = 0.05
        for _ in range(BATCH_ROUNDS):
            request: Any = {self.name: {"Keys": keys, "ConsistentRead": True}}
            with calling("dynamodb BatchGetItem"):
                answer = self._api.call("BatchGetItem", {"RequestItems": request})
            found.update((key_of(item), item) for item in answer.get("Responses", {}).get(self.name, ()))
            keys = answer.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
            if not keys:
                return
            time.sleep(pause_s)
            pause_s *= 2
        raise Unavailable(detail=f"dynamodb BatchGetItem: {len(keys)} keys left over")

    def put(self, item: Item) -> None:
        """Write an item, whatever stands there."""
        with calling("dynamodb PutItem"):
            self._api.call("PutItem", {"TableName": self.name, "Item": item})

    def put_many(self, items: Iterable[Item]) -> None:
        """Write items of different keys, whatever stands there; when it fails, some may have been written."""
        wanted = list(items)
        for start in range(0, len(wanted), WRITE_BATCH):
            self._put_batch([{"PutRequest": {"Item": item}} for item in wanted[start : start + WRITE_BATCH]])

    def _put_batch(self, puts: list[dict[str, Any]]) -> None:
        pause_s = 0.05
        for _ in range(BATCH_ROUNDS):
            with calling("dynamodb BatchWriteItem"):
                answer = self._api.call("BatchWriteItem", {"RequestItems": {self.name: puts}})
            puts = answer.get("UnprocessedItems", {}).get(self.name, [])
            if not puts:
                return
            time.sleep(pause_s)
            pause_s *= 2
        raise Unavailable(detail=f"dynamodb BatchWriteItem: {len(puts)} items left over")

    def put_if(self, item: Item, condition: Condition) -> Item | None:
        """Write an item if the condition holds.

        Returns None when it was written, else the item that stands there ({} when none does).
        """
        mark = secrets.token_bytes(MARK_BYTES)
        request: Any = {
            "TableName": self.name,
            "Item": {**item, MARK: b(mark)},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **condition.arguments(),
        }
        with calling("dynamodb PutItem"):
            old = self._old_of_failure("PutItem", request)
        return None if old and old.get(MARK, {}).get("B") == mark else old

    def update_if(self, key: Key, change: str, values: Item, condition: Condition) -> Item | None:
        """Change an item if the condition holds. change: an update expression. Answers as `put_if` does."""
        request: Any = {
            "TableName": self.name,
            "Key": _wire_key(key),
            "UpdateExpression": change,
            "ConditionExpression": condition.expression,
            "ExpressionAttributeValues": {**values, **condition.values},
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **_names(change),
        }
        with calling("dynamodb UpdateItem"):
            return self._old_of_failure("UpdateItem", request)

    def update(self, key: Key, change: str, values: Item) -> None:
        """Change an item, creating it when absent."""
        request: Any = {
            "TableName": self.name,
            "Key": _wire_key(key),
            "UpdateExpression": change,
            "ExpressionAttributeValues": values,
            **_names(change),
        }
        with calling("dynamodb UpdateItem"):
            self._api.call("UpdateItem", request)

    def delete(self, key: Key) -> None:
        """Remove an item, if it is there."""
        with calling("dynamodb DeleteItem"):
            self._api.call("DeleteItem", {"TableName": self.name, "Key": _wire_key(key)})

    def delete_if(self, key: Key, condition: Condition) -> bool:
        """Remove an item if the condition holds; False when it does not."""
        request: Any = {"TableName": self.name, "Key": _wire_key(key), **condition.arguments()}
        with calling("dynamodb DeleteItem"):
            return self._old_of_failure("DeleteItem", request) is None

    def query(self, wanted: Range, page: int = 0) -> Iterator[Item]:
        """Yield the items of a range in order, strongly consistent. page: items asked for at a time, 0 = a megabyte."""
        request: dict[str, Any] = {
            "TableName": self.name,
            **wanted.arguments(),
            "ScanIndexForward": not wanted.newest_first,
            "ConsistentRead": True,
        }
        for answer in self._pages(request | ({"Limit": page} if page else {})):
            yield from answer["Items"]

    def due(self, index: str, shard: str, until: int, limit: int) -> list[Item]:
        """Return the keys of up to `limit` entries of the due index, oldest first."""
        entries: list[Item] = []
        for answer in self._pages(self._due_request(index, shard, until) | {"Limit": limit}):
            entries += answer["Items"]
            if len(entries) >= limit:
                break
        return entries[:limit]

    def count_due(self, index: str, shard: str, until: int, most: int) -> int:
        """Return how many entries of the due index there are, counting no further than about `most`."""
        count = 0
        for answer in self._pages(self._due_request(index, shard, until) | {"Select": "COUNT"}):
            count += answer["Count"]
            if count >= most:
                break
        return count

    def _due_request(self, index: str, shard: str, until: int) -> dict[str, Any]:
        return {
            "TableName": self.name,
            "IndexName": index,
            "KeyConditionExpression": "due_shard = :shard AND due_at <= :until",
            "ExpressionAttributeValues": {":shard": s(shard), ":until": n(until)},
        }

    def _pages(self, request: dict[str, Any]) -> Iterator[Any]:
        start: dict[str, Any] = {}
        while True:
            with calling("dynamodb Query"):
                answer = self._api.call("Query", {**request, **start})
            yield answer
            if not answer.get("LastEvaluatedKey"):
                return
            start = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def putting(self, item: Item, condition: Condition | None = None) -> dict[str, Any]:
        """Return a put as a part of a transaction."""
        return {"Put": {"TableName": self.name, "Item": item, **(condition.arguments() if condition else {})}}

    def deleting(self, key: Key, condition: Condition | None = None) -> dict[str, Any]:
        """Return a removal as a part of a transaction."""
        return {
            "Delete": {"TableName": self.name, "Key": _wire_key(key), **(condition.arguments() if condition else {})}
        }

    def updating(self, key: Key, change: str, values: Item, condition: Condition | None = None) -> dict[str, Any]:
        """Return a change as a part of a transaction. change: an update expression; the condition names no values."""
        update = {
            "TableName": self.name,
            "Key": _wire_key(key),
            "UpdateExpression": change,
            "ExpressionAttributeValues": values,
            **_names(change),
        }
        return {"Update": update | ({"ConditionExpression": condition.expression} if condition else {})}

    def transact(self, parts: Sequence[dict[str, Any]]) -> list[bool]:
        """Do all parts or none; returns for each whether its condition failed: no True, everything was done.

        All repetitions of the call bear the same ClientRequestToken, so a lost answer does no harm.
        """
        with calling("dynamodb TransactWriteItems"):
            try:
                self._api.call("TransactWriteItems", {"TransactItems": list(parts)})
            except ClientError as error:
                reasons: Any = error.response.get("CancellationReasons", [])
                failed = [reason.get("Code") == "ConditionalCheckFailed" for reason in reasons]
                if code_of(error) != "TransactionCanceledException" or not any(failed):
                    raise
                return failed
        return [False] * len(parts)

    def _old_of_failure(self, operation: str, request: dict[str, Any]) -> Item | None:
        """Call; None when it was done, the item that failed the condition otherwise ({} when there is none)."""
        try:
            self._api.call(operation, request)
        except ClientError as error:
            if code_of(error) != "ConditionalCheckFailedException":
                raise
            response: Any = error.response
            old: Item = response.get("Item", {})
            return old
        return None
