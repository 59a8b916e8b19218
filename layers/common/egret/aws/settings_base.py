"""What all items of the settings table have in common."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pynamodb.attributes import UnicodeAttribute
from pynamodb.expressions.condition import Condition
from pynamodb.models import Model

from egret.core.errors import ContractError

MARK_BYTES = 8


def new_mark() -> str:
    """Return a mark that no other write has."""
    return secrets.token_hex(MARK_BYTES)


class Setting(Model):
    """An item. kind: its partition. mark: random, another one with each write, by which a change is seen."""

    KIND: ClassVar[str]
    kind = UnicodeAttribute(hash_key=True, attr_name="pk")
    key = UnicodeAttribute(range_key=True, attr_name="sk")
    mark = UnicodeAttribute(attr_name="w", default_for_new=new_mark)

    @classmethod
    def at(cls, key: str, **fields: Any) -> Self:
        """Return an item of this kind."""
        return cls(cls.KIND, key, **fields)

    @classmethod
    def from_raw_data(cls, data: dict[str, Any]) -> Self:
        """Return what an item says; ContractError when it says too little or what cannot be read."""
        try:
            item = super().from_raw_data(data)
            item.serialize()  # pynamodb misses an attribute only when it writes
        except (TypeError, ValueError) as error:
            raise ContractError(
                detail=f"setting {data['pk']['S']} {data['sk']['S']} cannot be read: {error}"
            ) from error
        return item

    @classmethod
    def absent(cls) -> Condition:
        """Return the condition that there is no such item."""
        return cls.key.does_not_exist()

    def unchanged(self) -> Condition:
        """Return the condition that the item is still as it was read."""
        return type(self).mark == self.mark

    def is_written(self, standing: Mapping[str, Any] | None) -> bool:
        """Tell whether what stands in the table, in wire form, is this very write."""
        return standing is not None and standing["w"]["S"] == self.mark
