"""Records of the mail table's change stream, as Lambda hands them over, as changes of deliveries and mails."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from egret.aws.mail_items import read_delivery
from egret.aws.mailboxes import read_mail
from egret.aws.table import Item
from egret.contracts.stream import MailRecord, StreamRecord, TableChange
from egret.core.errors import ContractError


def decode_record(record: Mapping[str, Any]) -> TableChange | None:
    """Return the change of a delivery or of a mail; None when the record is of another kind of item.

    record: one of `Records` of the event, with NEW_AND_OLD_IMAGES. Raises ContractError when it cannot be read.
    """
    change = record.get("dynamodb", {})
    kind = str(change.get("Keys", {}).get("sk", {}).get("S", ""))[:2]
    if kind not in ("D#", "X#"):
        return None
    old, new = change.get("OldImage"), change.get("NewImage")
    if not old and not new:
        raise ContractError(detail="a stream record without images")
    before, after = _item(old) if old else None, _item(new) if new else None
    if kind == "X#":
        return MailRecord(read_mail(before) if before else None, read_mail(after) if after else None)
    return StreamRecord(read_delivery(before) if before else None, read_delivery(after) if after else None)


def _item(image: Mapping[str, Any]) -> Item:
    """Return an image as an item: Lambda writes binary values as base64, the API client gives them as bytes."""
    return {name: _value(value) for name, value in image.items()}


def _value(value: Mapping[str, Any]) -> dict[str, Any]:
    raw = value.get("B")
    return {"B": base64.b64decode(raw)} if isinstance(raw, str) else dict(value)
