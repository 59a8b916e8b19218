"""Brings outcomes into the table and gives attempts back, in threads, for as long as it takes.

At low load each goes at once. At high load they go together: what comes while a thread is at work is its next batch,
and further threads are for what it cannot carry, or keeps waiting.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import datetime
from typing import Protocol

from egret.core.delivery import Attempt, Lease
from egret.core.errors import ContractError, Unavailable
from egret.usecases.record_outcome import Ended
from egret_egress.ledger import AttemptKey, Ledger

log = logging.getLogger(__name__)

THREADS = 16
BATCH = 100
"""As many as the table gives in one read."""
PATIENCE_S = 0.03
"""How long a short queue waits for threads at work before one more comes: a few round trips to the table."""
GATHER_S = 0.005
"""How long a thread that comes from one batch waits for the next to become more than a few."""
FEW = BATCH // 2
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0


class Book(Protocol):
    """Where outcomes are kept: the use cases `record_outcome` and `release`, bound to their ports. Blocking."""

    def record(self, account: str, delivery_id: int, attempt: Attempt) -> None:
        """Record; one that was recorded before changes nothing. Raises Unavailable."""
        ...

    def record_all(self, ended: Sequence[Ended]) -> None:
        """Record the outcomes of different deliveries, with less work than one by one. Raises Unavailable."""
        ...

    def release(
        self, account: str, delivery_id: int, lease: Lease, until: datetime | None = None, waiting: str = ""
    ) -> None:
        """Give a claim back; one that is under another lease by now stays as it is. Raises Unavailable.

        until: when there is a use in claiming it again; waiting: why not before, one sentence.
        """
        ...


class _Entry:
    """What is to be written. what: an outcome to be recorded, or a lease to be given back."""

    __slots__ = ("key", "tries", "until", "waiting", "what")

    def __init__(
        self, key: AttemptKey, what: Attempt | Lease, until: datetime | None = None, waiting: str = ""
    ) -> None:
        self.key = key
        self.what = what
        self.until = until
        self.waiting = waiting
        self.tries = 0


class Recorder:
    """A queue in front of the book."""

    def __init__(self, book: Book, ledger: Ledger, executor: Executor, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._book = book
        self._ledger = ledger
        self._executor = executor
        self._first_pause_s = first_pause_s
        self._queue: deque[_Entry] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._is_watching = False
        self._written = 0
        self._open = 0
        self._given_up = 0
        self._idle: asyncio.Future[None] | None = None

    @property
    def open(self) -> int:
        """Outcomes and releases that are not in the table yet."""
        return self._open

    @property
    def given_up(self) -> int:
        """Outcomes and releases that the table will never take."""
        return self._given_up

    def record(self, key: AttemptKey, attempt: Attempt) -> None:
        """Bring an outcome into the table; the ledger learns when it stands there."""
        self._put(_Entry(key, attempt))

    def release(self, key: AttemptKey, until: datetime | None = None, waiting: str = "") -> None:
        """Give an attempt back that was not made; it must be in the ledger's phase RELEASING. See `Book.release`."""
        lease = self._ledger.lease(key)
        if lease is not None:
            self._put(_Entry(key, lease, until, waiting))

    async def idle(self) -> None:
        """Wait until everything is in the table."""
        if self._open:
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    def _put(self, entry: _Entry) -> None:
        self._open += 1
        self._queue.append(entry)
        self._kick()

    def _kick(self) -> None:
        """See to it that enough threads are at work."""
        if not self._queue or len(self._workers) >= THREADS:
            return
        if not self._workers or len(self._queue) > BATCH * len(self._workers):
            self._employ()
        elif not self._is_watching:
            self._is_watching = True
            asyncio.get_running_loop().call_later(PATIENCE_S, self._look_again, self._written)

    def _employ(self) -> None:
        task = asyncio.get_running_loop().create_task(self._work())
        self._workers.add(task)
        task.add_done_callback(self._workers.discard)

    def _look_again(self, written: int) -> None:
        """Those at work may be waiting for a table that does not answer; others may be luckier."""
        self._is_watching = False
        if self._queue and len(self._workers) < THREADS:
            if self._written == written:
                self._employ()
            self._kick()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # whatever ends in this turn of the loop comes along
        while self._queue:
            batch = self._batch()
            errors = await loop.run_in_executor(self._executor, self._perform, batch)
            self._written += len(batch)
            try:
                self._settle(batch, errors)
            except Exception as error:
                log.exception("what was recorded could not be noted; it is recorded again, which changes nothing")
                for entry in batch:
                    self._again(entry, error)
            if 0 < len(self._queue) < FEW:
                await asyncio.sleep(GATHER_S)

    def _batch(self) -> list[_Entry]:
        """Take from the queue: outcomes of different deliveries, or one release."""
        batch: dict[tuple[str, int], _Entry] = {}
        while self._queue and len(batch) < BATCH:
            entry = self._queue[0]
            delivery = entry.key[:2]
            if batch and (delivery in batch or isinstance(entry.what, Lease)):
                break
            batch[delivery] = self._queue.popleft()
            if isinstance(entry.what, Lease):
                break
        return list(batch.values())

    def _perform(self, batch: list[_Entry]) -> list[Exception | None]:
        """Runs in a thread."""
        try:
            self._write(batch)
        except Unavailable as error:
            return [error] * len(batch)
        except Exception as error:  # noqa: BLE001 (an outcome must not be lost to a bug: it is tried again)
            if len(batch) == 1:
                return [error]
            # One that cannot be recorded must not keep the others.
            return [alone for entry in batch for alone in self._perform([entry])]
        return [None] * len(batch)

    def _write(self, batch: list[_Entry]) -> None:
        (account, delivery_id, _), what = batch[0].key, batch[0].what
        if isinstance(what, Lease):
            self._book.release(account, delivery_id, what, batch[0].until, batch[0].waiting)
        elif len(batch) == 1:
            self._book.record(account, delivery_id, what)
        else:
            self._book.record_all([(*entry.key[:2], entry.what) for entry in batch if isinstance(entry.what, Attempt)])

    def _settle(self, batch: Sequence[_Entry], errors: Sequence[Exception | None]) -> None:
        settled = [
            (entry, error)
            for entry, error in zip(batch, errors, strict=True)
            if error is None or isinstance(error, ContractError)
        ]
        self._ledger.recorded(*[entry.key for entry, _ in settled if not isinstance(entry.what, Lease)])
        for entry, error in settled:
            if isinstance(error, ContractError):
                self._give_up(entry, error)
            if isinstance(entry.what, Lease):
                self._ledger.released(entry.key)
        self._open -= len(settled)
        for entry, trouble in zip(batch, errors, strict=True):
            if trouble is not None and not isinstance(trouble, ContractError):
                self._again(entry, trouble)
        if not self._open and self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    def _give_up(self, entry: _Entry, error: ContractError) -> None:
        """Say so once, and hold the room no longer: the attempt stays ended here, and its lease runs out."""
        self._given_up += 1
        log.error("never recorded", exc_info=error, extra={**_ids(entry), "given_up": self._given_up})

    def _again(self, entry: _Entry, error: Exception) -> None:
        entry.tries += 1
        pause_s = min(LONGEST_PAUSE_S, self._first_pause_s * 2 ** min(entry.tries - 1, 10))
        trace = None if isinstance(error, Unavailable) else error
        log.warning(
            "not recorded yet: %s", type(error).__name__, exc_info=trace, extra={**_ids(entry), "tries": entry.tries}
        )
        asyncio.get_running_loop().call_later(pause_s, self._requeue, entry)

    def _requeue(self, entry: _Entry) -> None:
        self._queue.append(entry)
        self._kick()


def _ids(entry: _Entry) -> dict[str, object]:
    """Return what names an entry in the log."""
    return {"account": entry.key.account, "delivery": entry.key.delivery_id, "attempt": entry.key.attempt}
