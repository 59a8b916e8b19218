"""Events as Lambda hands them to functions, from tests/data/events: AWS's documented form, with bodies of ours."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

EVENTS = Path(__file__).parent / "data" / "events"


def event_file(name: str) -> Any:
    """Return the event of a file."""
    return json.loads((EVENTS / f"{name}.json").read_text())


def sqs_event(*bodies: str) -> dict[str, Any]:
    """Return an SQS event of messages m0, m1, … with these bodies."""
    (form,) = event_file("sqs")["Records"]
    return {"Records": [copy.deepcopy(form) | {"messageId": f"m{i}", "body": body} for i, body in enumerate(bodies)]}


def s3_notification(*quoted_keys: str) -> str:
    """Return the body of the message by which S3 tells of objects; keys as in notifications: URL-encoded."""
    (form,) = event_file("s3_notification")["Records"]
    records = []
    for key in quoted_keys:
        record = copy.deepcopy(form)
        record["s3"]["object"]["key"] = key
        records.append(record)
    return json.dumps({"Records": records})


def failed(answer: dict[str, Any]) -> list[str]:
    """Return the ids that a partial batch response says failed."""
    assert set(answer) == {"batchItemFailures"}
    return [each["itemIdentifier"] for each in answer["batchItemFailures"]]
