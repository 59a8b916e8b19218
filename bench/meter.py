"""A meter on the clients of AWS: every request that they make, with its capacity units.

It hangs on the clients themselves, so it sees what the adapters really ask for. What a write replaces it learns by
`peek`, a read of its own that it does not count.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.units import Index, Item, failed_write_units, item_bytes, read_units, write_units
from egret.aws.clients import Clients

Key = tuple[str, str]
Told = Callable[[Mapping[str, Any]], None]
Peek = Callable[[str, Item], Item | None]
"""Returns what a table holds under a key (wire form), None when absent."""
KEY_NAMES = ("pk", "sk")
COUNTED_BYTES = 100
"""Taken as the size of an entry that a query only counted."""
_NOTE = "bench.meter"


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. items: items that it read."""

    stage: str
    service: str
    operation: str
    write_units: float = 0
    read_units: float = 0
    items: int = 0


@dataclass(slots=True)
class Sum:
    """What several requests come to."""

    requests: int = 0
    write_units: float = 0
    read_units: float = 0
    items: int = 0

    def add(self, entry: Entry) -> None:
        """Count one more."""
        self.requests += 1
        self.write_units += entry.write_units
        self.read_units += entry.read_units
        self.items += entry.items


def total(entries: list[Entry]) -> Sum:
    """Return the sum of entries."""
    result = Sum()
    for entry in entries:
        result.add(entry)
    return result


def by_operation(entries: list[Entry]) -> dict[tuple[str, str, str], Sum]:
    """Return the sum for each (stage, service, operation), in the order in which they first came."""
    sums: dict[tuple[str, str, str], Sum] = {}
    for entry in entries:
        sums.setdefault((entry.stage, entry.service, entry.operation), Sum()).add(entry)
    return sums


@dataclass
class Meter:
    """Counts while a stage is open; safe for threads. indexes: of each table, by name."""

    peek: Peek
    indexes: Mapping[str, tuple[Index, ...]]
    entries: list[Entry] = field(default_factory=list)
    _stage: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def attach(self, clients: Clients) -> None:
        """Listen to all clients of a process; must come before they are made."""
        clients.observers.append(self.observe)
        self.listen(clients.session)

    def listen(self, events: Any) -> None:
        """Listen to a botocore session."""
        events.register("before-parameter-build", self._before)
        events.register("after-call", self._after)

    def observe(self, service: str, operation: str, request: Mapping[str, Any]) -> Told | None:
        """Note a call that begins; returns what is to be told its answer, None when nothing is counted now."""
        if not self._stage:
            return None
        stage = self._stage
        changes = self._changes(operation, request) if service == "dynamodb" else []

        def told(answer: Mapping[str, Any]) -> None:
            entry = Entry(stage, service, operation)
            if service == "dynamodb":
                entry = self._dynamodb(entry, request, changes, answer)
            with self._lock:
                self.entries.append(entry)

        return told

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens meanwhile under this name; outside of a stage nothing is counted."""
        self._stage, before = name, self._stage
        try:
            yield
        finally:
            self._stage = before

    def take(self) -> list[Entry]:
        """Return what was counted and begin anew."""
        taken, self.entries = self.entries, []
        return taken

    # --- events of botocore

    def _before(self, params: Mapping[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        context[_NOTE] = self.observe(model.service_model.service_name, model.name, params)

    def _after(self, parsed: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        told: Told | None = context.pop(_NOTE, None)
        if told is not None:
            told(parsed)

    # --- DynamoDB

    def _changes(self, operation: str, params: Mapping[str, Any]) -> list[tuple[str, Item, Item | None]]:
        """Return (table, key, item before) of everything that the request writes."""
        return [(table, key, self.peek(table, key)) for table, key in written(operation, params)]

    def _dynamodb(
        self,
        entry: Entry,
        params: Mapping[str, Any],
        changes: list[tuple[str, Item, Item | None]],
        parsed: Mapping[str, Any],
    ) -> Entry:
        if changes:
            return Entry(entry.stage, entry.service, entry.operation, self._written(entry.operation, changes, parsed))
        units, items = _read(entry.operation, params, parsed, self.indexes)
        return Entry(entry.stage, entry.service, entry.operation, 0, units, items)

    def _written(
        self, operation: str, changes: list[tuple[str, Item, Item | None]], parsed: Mapping[str, Any]
    ) -> float:
        in_transaction = operation == "TransactWriteItems"
        if "Error" in parsed:
            return sum(failed_write_units(old, in_transaction=in_transaction) for _, _, old in changes)
        return sum(
            write_units(old, self.peek(table, key), self.indexes.get(table, ()), in_transaction=in_transaction)
            for table, key, old in changes
        )


def _key(item: Item) -> Item:
    return {name: item[name] for name in KEY_NAMES}


def written(operation: str, params: Mapping[str, Any]) -> list[tuple[str, Item]]:
    """Return (table, key) of every item that a request writes; [] for a read."""
    match operation:
        case "PutItem":
            return [(params["TableName"], _key(params["Item"]))]
        case "UpdateItem" | "DeleteItem":
            return [(params["TableName"], params["Key"])]
        case "TransactWriteItems":
            parts = [part for wanted in params["TransactItems"] for part in wanted.values()]
            return [(part["TableName"], part["Key"] if "Key" in part else _key(part["Item"])) for part in parts]
        case "BatchWriteItem":
            return [
                (table, _key(put["PutRequest"]["Item"]) if "PutRequest" in put else put["DeleteRequest"]["Key"])
                for table, puts in params["RequestItems"].items()
                for put in puts
            ]
        case _:
            return []


def _read(
    operation: str, params: Mapping[str, Any], parsed: Mapping[str, Any], indexes: Mapping[str, tuple[Index, ...]]
) -> tuple[float, int]:
    """Return read units and items of a read."""
    match operation:
        case "GetItem":
            item = parsed.get("Item")
            is_consistent = bool(params.get("ConsistentRead"))
            return read_units(item_bytes(item) if item else 0, is_consistent=is_consistent), 1 if item else 0
        case "BatchGetItem":
            return _batch(params, parsed)
        case "Query" | "Scan":
            return _query(params, parsed, indexes)
        case _:
            return 0, 0


def _batch(params: Mapping[str, Any], parsed: Mapping[str, Any]) -> tuple[float, int]:
    """Each item of a batch is rounded up by itself; one that is absent is a unit too."""
    units, count = 0.0, 0
    for table, wanted in params["RequestItems"].items():
        found = parsed.get("Responses", {}).get(table, [])
        left = len(parsed.get("UnprocessedKeys", {}).get(table, {}).get("Keys", []))
        is_consistent = bool(wanted.get("ConsistentRead"))
        sizes = [item_bytes(item) for item in found] + [0] * (len(wanted["Keys"]) - len(found) - left)
        units += sum(read_units(size, is_consistent=is_consistent) for size in sizes)
        count += len(found)
    return units, count


def _query(
    params: Mapping[str, Any], parsed: Mapping[str, Any], indexes: Mapping[str, tuple[Index, ...]]
) -> tuple[float, int]:
    """A query pays for what it looked at, all together; an index for its entries only."""
    items = parsed.get("Items", [])
    if "IndexName" in params:
        (index, *_) = indexes[params["TableName"]]
        items = [index.entry(item) or item for item in items]
    size = sum(map(item_bytes, items)) + COUNTED_BYTES * (parsed.get("ScannedCount", 0) - len(items))
    return read_units(size, is_consistent=bool(params.get("ConsistentRead"))), parsed.get("ScannedCount", 0)
