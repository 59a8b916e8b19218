"""Sees to what units before this one have left on its volume: their outcomes are recorded, and they are withdrawn.

After that deliver knows that they are gone, and that what they had under way beside it is unknown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import islice

from egret.contracts.ports import Units
from egret.core.delivery import Attempt
from egret.core.errors import ContractError, Unavailable
from egret_egress.journal import records_in
from egret_egress.ledger import AttemptKey, ended_in
from egret_egress.recorder import BATCH, Book
from egret_egress.volume import Predecessor

log = logging.getLogger(__name__)

AGAIN_S = 10.0


@dataclass(slots=True)
class _Estate:
    """What a unit has left. to_record: once its journal was read. recorded, given_up: how many outcomes."""

    of: Predecessor
    is_read: bool = False
    to_record: dict[AttemptKey, Attempt] = field(default_factory=dict)
    recorded: int = 0
    given_up: int = 0


async def succeed(
    predecessors: Sequence[Predecessor], book: Book, units: Units, executor: Executor, again_s: float = AGAIN_S
) -> None:
    """Finish what each has left, however long table or disk do not answer; a crash on the way only repeats it.

    The order counts: an outcome that is recorded after deliver has called it unknown may come too late. Only one that
    the table will never take is given up, and nothing waits for a predecessor, or an outcome, that cannot be settled.
    """
    loop = asyncio.get_running_loop()
    left = [_Estate(one) for one in predecessors]
    while left:
        left = [one for one in left if not await loop.run_in_executor(executor, _is_settled, one, book, units)]
        if left:
            await asyncio.sleep(again_s)


def _is_settled(estate: _Estate, book: Book, units: Units) -> bool:
    """Settle an estate; False when that is to be tried again. Blocking."""
    unit = {"unit": estate.of.unit_id}
    try:
        if not _is_recorded(estate, book):
            return False
        units.remove(estate.of.unit_id)
        estate.of.journal.unlink(missing_ok=True)
    except (Unavailable, OSError) as error:
        log.warning("not succeeded yet: %s", error, extra=unit)
        return False
    except Exception:
        # Its row runs out by itself, and its journal stays for the next start.
        log.exception("a unit before this one cannot be succeeded", extra=unit)
        return True
    facts = {"outcomes": estate.recorded, "given_up": estate.given_up}
    log.warning("a unit before this one has ended", extra={**unit, **facts})
    return True


def _is_recorded(estate: _Estate, book: Book) -> bool:
    """Record what is not recorded yet; False when that has to be tried again for some. Raises Unavailable, OSError."""
    if not estate.is_read:
        estate.to_record = dict(ended_in(records_in(estate.of.journal)))
        estate.is_read = True
    rest = iter(list(estate.to_record.items()))
    while batch := list(islice(rest, BATCH)):
        _record(batch, estate, book)
    return not estate.to_record


def _record(batch: Sequence[tuple[AttemptKey, Attempt]], estate: _Estate, book: Book) -> None:
    """Record outcomes of an estate, which loses those that are done with. Raises Unavailable, OSError."""
    error = _error_of(batch, book)
    if error is None:
        estate.recorded += len(batch)
        for key, _ in batch:
            del estate.to_record[key]
        return
    if len(batch) > 1:
        # One that cannot be recorded must not keep the others.
        for one in batch:
            _record([one], estate, book)
        return
    key, _ = batch[0]
    ids = {"account": key.account, "delivery": key.delivery_id, "attempt": key.attempt}
    if isinstance(error, ContractError):
        estate.given_up += 1
        del estate.to_record[key]
        log.error("never recorded", exc_info=error, extra=ids)
        return
    # An outcome must not be lost to a bug: it is tried again.
    log.warning("not recorded yet: %s", type(error).__name__, exc_info=error, extra=ids)


def _error_of(batch: Sequence[tuple[AttemptKey, Attempt]], book: Book) -> Exception | None:
    """Record outcomes; returns why they cannot be. Raises Unavailable, OSError: all are to be recorded again."""
    try:
        book.record_all([(key.account, key.delivery_id, attempt) for key, attempt in batch])
    except (Unavailable, OSError):
        raise
    except Exception as error:  # noqa: BLE001 (it is told with the outcome that it keeps)
        return error
    return None
