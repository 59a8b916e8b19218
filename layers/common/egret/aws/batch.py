"""Batches as Lambda's event sources hand them over, and what of them is to come again.

What cannot be processed fails alone: its neighbours are done, and it goes its own way to the dead letters. When storage
does not answer, everything comes again: nothing would fare better.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from egret.core.errors import ContractError, Unavailable

T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Batch(Generic[T]):
    """items: (id, value) of what could be read, in order. failed: ids of what is to come again."""

    items: list[tuple[str, T]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        """Return a handler's answer: ReportBatchItemFailures."""
        return batch_failures(self.failed)


def batch_failures(ids: Sequence[str]) -> dict[str, Any]:
    """Return the answer that names what failed: ids of SQS messages, or the sequence number to go on from."""
    return {"batchItemFailures": [{"itemIdentifier": each} for each in ids]}


def read_messages(event: Mapping[str, Any], decode: Callable[[str], T]) -> Batch[T]:
    """Return the decoded bodies of an SQS event; those that decode refuses have failed already."""
    batch: Batch[T] = Batch()
    for record in event["Records"]:
        try:
            batch.items.append((record["messageId"], decode(record["body"])))
        except (ContractError, msgspec.MsgspecError):
            log.exception("message cannot be read", extra={"queue_message": record["messageId"]})
            batch.failed.append(record["messageId"])
    return batch


def work_through(batch: Batch[T], work: Callable[[list[T]], R]) -> list[R]:
    """Do all at once, or one by one when that fails; return the results, and note in the batch what failed.

    work: may be done again for what it did already.
    """
    if not batch.items:
        return []
    try:
        return [work([value for _, value in batch.items])]
    except Unavailable:
        log.exception("batch is to come again", extra={"messages": len(batch.items)})
        batch.failed += [each for each, _ in batch.items]
        return []
    except Exception:
        log.exception("batch failed", extra={"messages": [each for each, _ in batch.items]})
        if len(batch.items) == 1:
            batch.failed.append(batch.items[0][0])
            return []
    results = []
    for item in batch.items:
        alone = Batch([item])
        results += work_through(alone, work)
        batch.failed += alone.failed
    return results


def work_in_order(items: Sequence[tuple[str, T]], work: Callable[[list[T]], object]) -> str:
    """Do all at once, or one by one when that fails; return the id of the first that failed, "" when all are done.

    A stream goes on from that id; work may be done again for what it did already.
    """
    if not items:
        return ""
    try:
        work([value for _, value in items])
        return ""
    except Unavailable:
        log.exception("records are to come again", extra={"records": len(items)})
        return items[0][0]
    except Exception:
        log.exception("records failed", extra={"records": [each for each, _ in items]})
        if len(items) == 1:
            return items[0][0]
    return next((failed for item in items if (failed := work_in_order([item], work))), "")
