"""Sees to what units before this one have left on its volume: their outcomes are recorded, and they are withdrawn.

After that deliver knows that they are gone, and that what they had under way beside it is unknown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import islice

from egret.contracts.ports import Units
from egret.core.errors import Unavailable
from egret_egress.journal import records_in
from egret_egress.ledger import ended_in
from egret_egress.recorder import BATCH, Book
from egret_egress.volume import Predecessor

log = logging.getLogger(__name__)

AGAIN_S = 10.0


async def succeed(
    predecessors: Sequence[Predecessor], book: Book, units: Units, executor: Executor, again_s: float = AGAIN_S
) -> None:
    """Finish what each has left, however long the table does not answer; a crash on the way only repeats it.

    The order counts: an outcome that is recorded after deliver has called it unknown may come too late.
    """
    loop = asyncio.get_running_loop()
    for one in predecessors:
        while True:
            try:
                count = await loop.run_in_executor(executor, partial(_finish, one, book, units))
            except Unavailable as error:
                log.warning("not succeeded yet: %s", error, extra={"unit": one.unit_id})
                await asyncio.sleep(again_s)
                continue
            log.warning("a unit has ended with its host", extra={"unit": one.unit_id, "outcomes": count})
            break


def _finish(one: Predecessor, book: Book, units: Units) -> int:
    """Record, withdraw, forget; blocking. Returns how many outcomes there were."""
    ended = ended_in(records_in(one.journal))
    rest = iter(ended)
    while batch := list(islice(rest, BATCH)):
        book.record_all([(key.account, key.delivery_id, attempt) for key, attempt in batch])
    units.remove(one.unit_id)
    one.journal.unlink(missing_ok=True)
    return len(ended)
