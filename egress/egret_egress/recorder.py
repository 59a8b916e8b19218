"""Brings outcomes into the table and gives attempts back, in threads, for as long as it takes."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

from egret.core.delivery import Attempt, Lease
from egret.core.errors import ContractError, Unavailable
from egret_egress.ledger import AttemptKey, Ledger

log = logging.getLogger(__name__)

THREADS = 16
BATCH = 16
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0


class Book(Protocol):
    """Where outcomes are kept: the use cases `record_outcome` and `release`, bound to their ports. Blocking."""

    def record(self, account: str, delivery_id: int, attempt: Attempt) -> None:
        """Record; one that was recorded before changes nothing. Raises Unavailable."""
        ...

    def release(self, account: str, delivery_id: int, lease: Lease) -> None:
        """Give a claim back; one that is under another lease by now stays as it is. Raises Unavailable."""
        ...


@dataclass(slots=True)
class _Entry:
    key: AttemptKey
    what: Attempt | Lease
    """An outcome to be recorded, or a lease to be given back."""
    tries: int = 0


class Recorder:
    """A queue in front of the book; at low load each entry goes at once, at high load a thread takes several."""

    def __init__(self, book: Book, ledger: Ledger, executor: Executor, first_pause_s: float = FIRST_PAUSE_S) -> None:
        self._book = book
        self._ledger = ledger
        self._executor = executor
        self._first_pause_s = first_pause_s
        self._queue: deque[_Entry] = deque()
        self._workers: set[asyncio.Task[None]] = set()
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

    def release(self, key: AttemptKey) -> None:
        """Give an attempt back that was not made; it must be in the ledger's phase RELEASING."""
        lease = self._ledger.lease(key)
        if lease is not None:
            self._put(_Entry(key, lease))

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
        if len(self._workers) < THREADS and self._queue:
            task = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(task)
            task.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            count = min(BATCH, max(1, len(self._queue) // THREADS))
            batch = [self._queue.popleft() for _ in range(count)]
            errors = await loop.run_in_executor(self._executor, self._perform, batch)
            for entry, error in zip(batch, errors, strict=True):
                self._settle(entry, error)

    def _perform(self, batch: list[_Entry]) -> list[Exception | None]:
        """Runs in a thread."""
        errors: list[Exception | None] = []
        for entry in batch:
            try:
                self._write(entry)
            except Exception as error:  # noqa: BLE001 (an outcome must not be lost to a bug: it is tried again)
                errors.append(error)
            else:
                errors.append(None)
        return errors

    def _write(self, entry: _Entry) -> None:
        account, delivery_id, _ = entry.key
        if isinstance(entry.what, Lease):
            self._book.release(account, delivery_id, entry.what)
        else:
            self._book.record(account, delivery_id, entry.what)

    def _settle(self, entry: _Entry, error: Exception | None) -> None:
        if isinstance(error, ContractError):
            self._give_up(entry, error)
        elif error is not None:
            self._again(entry, error)
            return
        if isinstance(entry.what, Lease):
            self._ledger.released(entry.key)
        else:
            self._ledger.recorded(entry.key)
        self._open -= 1
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
