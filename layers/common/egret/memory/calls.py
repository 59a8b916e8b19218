"""Webhook calls in memory: their records, the breakers, and a poster that asks a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from egret.contracts.records import Breaker, CallRecord, PostAnswer
from egret.memory.table import MailTable

MAX_ANSWER_BYTES = 512


class MemoryCalls:
    """The `Calls` port over a `MailTable`: share the table with the mail store, whose due index lists the calls."""

    def __init__(self, table: MailTable | None = None) -> None:
        self.table = table or MailTable()

    def put(self, record: CallRecord) -> None:
        """Write the record of (account, delivery, seq), replacing an older one."""
        call = record.call
        with self.table.lock:
            self.table.calls[call.account, call.delivery_id, call.seq] = record

    def get(self, account: str, delivery_id: int, seq: int, now: datetime) -> CallRecord | None:
        """Return the record, None when absent or past its retention."""
        with self.table.lock:
            record = self.table.calls.get((account, delivery_id, seq))
        return record if record is not None and now < record.forget_at else None

    def breaker(self, account: str, url: str) -> Breaker:
        """Return the state of a URL, a closed breaker when none is stored."""
        with self.table.lock:
            return self.table.breakers.get((account, url), Breaker())

    def put_breaker(self, account: str, url: str, breaker: Breaker) -> None:
        """Store it; a closed one without failures is deleted."""
        with self.table.lock:
            if breaker == Breaker():
                self.table.breakers.pop((account, url), None)
            else:
                self.table.breakers[account, url] = breaker


@dataclass(frozen=True, slots=True)
class Posted:
    """One request that a poster made."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout: timedelta


class MemoryPoster:
    """The `WebhookPoster` port: `answer` plays the customer's server, `posted` has every request."""

    def __init__(self, answer: Callable[[Posted], PostAnswer] = lambda _: PostAnswer(200)) -> None:
        self.answer = answer
        self.posted: list[Posted] = []

    def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: timedelta) -> PostAnswer:
        """Make one call; of the answer's body the first 512 bytes are read."""
        request = Posted(url, dict(headers), body, timeout)
        self.posted.append(request)
        answer = self.answer(request)
        return replace(answer, body=answer.body[:MAX_ANSWER_BYTES])
