"""The announcements of egress units in DynamoDB: one small partition, read whole."""

from __future__ import annotations

import msgspec

from egret.aws.table import Item, Key, Range, Table, b, key_of, s
from egret.contracts.records import Unit
from egret.core.errors import ContractError

PARTITION = "UNIT"
_decode = msgspec.msgpack.Decoder(Unit).decode


class DynamoUnits:
    """The `Units` port."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def put(self, unit: Unit) -> None:
        """Announce."""
        pk, sk = _key(unit.id)
        self._table.put({"pk": s(pk), "sk": s(sk), "d": b(msgspec.msgpack.encode(unit))})

    def list(self) -> list[Unit]:
        """Return every unit ever announced and not removed, by id."""
        return [_read(item) for item in self._table.query(Range(PARTITION))]

    def get(self, unit_id: str) -> Unit | None:
        """Return one unit, None when it was removed or never was."""
        item = self._table.get(_key(unit_id))
        return None if item is None else _read(item)

    def remove(self, unit_id: str) -> None:
        """Withdraw."""
        self._table.delete(_key(unit_id))


def _key(unit_id: str) -> Key:
    return PARTITION, unit_id


def _read(item: Item) -> Unit:
    try:
        return _decode(item["d"]["B"])
    except msgspec.MsgspecError as error:
        raise ContractError(detail=f"unit {key_of(item)[1]} cannot be read: {error}") from error
