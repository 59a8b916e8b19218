"""Records of the change stream in the form in which Lambda hands them over."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from egret.aws.mail_items import delivery_item, message_item
from egret.aws.stream import decode_record
from egret.aws.table import Item
from egret.contracts.stream import StreamRecord
from egret.core.delivery import Delivery, Message
from egret.core.errors import ContractError
from tests.unit.builders import ACCOUNT, NOW

QUEUED = Delivery(ACCOUNT, 1 << 10, "c@d.example", "d.example", "", "", NOW, NOW, NOW, NOW - NOW)


def _record(event: str, item: Item, *images: str) -> dict[str, Any]:
    """Return a record as Lambda writes it: binary values in base64."""
    image = {
        name: {"B": base64.b64encode(value["B"]).decode()} if "B" in value else value for name, value in item.items()
    }
    return {
        "eventID": "1",
        "eventName": event,
        "eventSource": "aws:dynamodb",
        "dynamodb": {
            "Keys": {"pk": item["pk"], "sk": item["sk"]},
            "SequenceNumber": "1",
            "StreamViewType": "NEW_AND_OLD_IMAGES",
            **dict.fromkeys(images, image),
        },
    }


@pytest.mark.parametrize(
    ("event", "images", "expected"),
    [
        ("INSERT", ["NewImage"], StreamRecord(None, QUEUED)),
        ("MODIFY", ["OldImage", "NewImage"], StreamRecord(QUEUED, QUEUED)),
        ("REMOVE", ["OldImage"], StreamRecord(QUEUED, None)),
    ],
)
def test_change_of_a_delivery_is_read(event: str, images: list[str], expected: StreamRecord) -> None:
    """As it was and as it is, whichever of the two there is."""
    assert expected == decode_record(_record(event, delivery_item(QUEUED), *images))


def test_other_items_are_no_business_of_the_outbox() -> None:
    """Messages, plans and calls lie in the same table."""
    item = message_item(Message(ACCOUNT, 1 << 10, "", "", "", "", (), NOW, 0), b"")
    assert item is not None

    assert decode_record(_record("INSERT", item, "NewImage")) is None


@pytest.mark.parametrize("images", [[], ["NewImage"]], ids=["no image", "unreadable"])
def test_unreadable_record_is_a_contract_error(images: list[str]) -> None:
    """It goes to the failure destination, not into a loop."""
    item = delivery_item(QUEUED) | {"d": {"B": b"\xff"}}

    with pytest.raises(ContractError):
        decode_record(_record("MODIFY", item, *images))
