"""Capacity units of DynamoDB, computed from items as the API writes them.

Implements: the Developer Guide's "DynamoDB item sizes and formats", "Read and write operations" and "Considerations for
global secondary indexes", as of 2026. An item here is its wire form: `{"pk": {"S": "a"}, "n": {"N": "1"}}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Item = Mapping[str, Mapping[str, Any]]
WRITE_BYTES: Final = 1024
READ_BYTES: Final = 4096
CONTAINER_BYTES: Final = 3
"""Overhead of a list or map; each of its elements has one byte more."""
TRANSACTION: Final = 2
"""A transaction writes each item twice: to prepare and to commit."""


def number_bytes(text: str) -> int:
    """Return the size of a number: a byte for two significant digits, one more, and one for a minus sign."""
    digits = text.lstrip("-").replace(".", "").strip("0")
    return (len(digits) + 1) // 2 + 1 + text.startswith("-")


def value_bytes(value: Mapping[str, Any]) -> int:
    """Return the size of an attribute value in bytes."""
    ((kind, raw),) = value.items()
    match kind:
        case "S":
            return len(raw.encode())
        case "N":
            return number_bytes(raw)
        case "B":
            return len(raw)
        case "BOOL" | "NULL":
            return 1
        case "L":
            return CONTAINER_BYTES + sum(1 + value_bytes(one) for one in raw)
        case "M":
            return CONTAINER_BYTES + sum(1 + len(name.encode()) + value_bytes(one) for name, one in raw.items())
        case _:
            raise ValueError(f"no size is known for a value of kind {kind}")


def item_bytes(item: Item) -> int:
    """Return the size of an item: names and values."""
    return sum(len(name.encode()) + value_bytes(value) for name, value in item.items())


def blocks(size_bytes: int, block_bytes: int) -> int:
    """Return the units that a size takes, at least one."""
    return max(1, -(-size_bytes // block_bytes))


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index that projects keys only. keys: its own key attributes; table_keys: those of the table."""

    keys: tuple[str, ...]
    table_keys: tuple[str, ...] = ("pk", "sk")

    def entry(self, item: Item | None) -> Item | None:
        """Return what the index holds of an item, None when it does not appear there."""
        if item is None or any(name not in item for name in self.keys):
            return None
        return {name: item[name] for name in (*self.table_keys, *self.keys)}

    def write_units(self, old: Item | None, new: Item | None) -> int:
        """Return what a change of the table writes here: nothing, an entry, or one out and one in."""
        before, after = self.entry(old), self.entry(new)
        if before == after:
            return 0
        return sum(blocks(item_bytes(entry), WRITE_BYTES) for entry in (before, after) if entry is not None)


def write_units(old: Item | None, new: Item | None, indexes: Iterable[Index], *, in_transaction: bool = False) -> int:
    """Return the write units of a change from `old` to `new` (None: absent), those of the indexes included.

    The larger of both forms counts. Indexes follow a transaction afterwards and are written once.
    """
    larger = max(item_bytes(item) if item else 0 for item in (old, new))
    own = blocks(larger, WRITE_BYTES) * (TRANSACTION if in_transaction else 1)
    return own + sum(index.write_units(old, new) for index in indexes)


def failed_write_units(old: Item | None, *, in_transaction: bool = False) -> int:
    """Return the write units of a write whose condition failed: as large as what stood in the way."""
    return blocks(item_bytes(old) if old else 0, WRITE_BYTES) * (TRANSACTION if in_transaction else 1)


def read_units(size_bytes: int, *, is_consistent: bool) -> float:
    """Return the read units of one item, or of everything that a query looked at together; an absent item is a unit."""
    return blocks(size_bytes, READ_BYTES) * (1.0 if is_consistent else 0.5)
