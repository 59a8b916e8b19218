"""One transaction while it is tried: between the courier, who tries it, and ledger and recorder, who keep it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from egret.contracts.handoff import Transaction
from egret.contracts.metrics import Metrics, NoMetrics
from egret.contracts.ports import Clock
from egret.core.delivery import Attempt
from egret.core.outcome import Deferred, Outcome, Remote, Unknown, error_of, name_of
from egret.core.trace import NO_TRACE, SessionTrace
from egret_egress.ledger import AttemptKey, Ledger, keys_of
from egret_egress.metrics import ATTEMPT_SECONDS, ATTEMPTS, RELEASES, tls_word
from egret_egress.parcel import TooLate
from egret_egress.recorder import Recorder
from egret_egress.telling import tell

log = logging.getLogger(__name__)

_NUMBERS = ("0", "1", "2", "3", "4", "5", "6", "7", "8+")
"""Attempts by number, as metrics tell them apart."""
_NO_TIME = timedelta(0)


@dataclass(frozen=True, slots=True)
class Keeping:
    """What keeps the state of attempts. may_begin: whether the unit's own announcement holds at an instant."""

    ledger: Ledger
    recorder: Recorder
    clock: Clock
    may_begin: Callable[[datetime], bool]
    metrics: Metrics = field(default_factory=NoMetrics)


class Attempting:
    """The `courier.Progress` of one transaction."""

    __slots__ = ("_keeping", "_keys", "_may_be_sent", "_started_at", "_transaction", "_undecided")

    def __init__(self, transaction: Transaction, keeping: Keeping) -> None:
        self._transaction = transaction
        self._keys = keys_of(transaction)
        self._undecided = set(range(len(self._keys)))
        self._may_be_sent: set[int] = set()
        self._keeping = keeping
        self._started_at: datetime | None = None

    @property
    def ids(self) -> dict[str, object]:
        """What a log line says of it."""
        return {"account": self._transaction.account, "message_id": self._transaction.message_id}

    def begin(self) -> None:
        """Note the time; raises TooLate when a lease has run out or the unit is not announced any more."""
        if self._started_at is not None:
            return
        keeping = self._keeping
        now = keeping.clock.now()
        if not keeping.may_begin(now) or not keeping.ledger.holds(self._keys, now):
            raise TooLate
        self._started_at = now

    def before_dot(self, recipients: Sequence[int], remote: Remote) -> None:
        """Note the dot in the journal."""
        keeping = self._keeping
        started_at = self._started_at or keeping.clock.now()
        keeping.ledger.dot([self._keys[index] for index in recipients], started_at, remote)
        self._may_be_sent.update(recipients)

    def decide(self, recipient: int, outcome: Outcome, trace: SessionTrace = NO_TRACE) -> None:
        """Keep an outcome and have it recorded."""
        self._undecided.discard(recipient)
        keeping, key = self._keeping, self._keys[recipient]
        now = keeping.clock.now()
        started_at = self._started_at or now
        attempt = keeping.ledger.finish(key, outcome, started_at, max(_NO_TIME, now - started_at), trace)
        keeping.recorder.record(key, attempt)
        duration_s, result = attempt.duration.total_seconds(), name_of(attempt.outcome)
        self._count(attempt, result, duration_s)
        if log.isEnabledFor(logging.INFO):
            fields = self._ids_of(key)
            _add_facts(fields, outcome, result)
            fields["duration_s"] = duration_s
            _add_way(fields, attempt.trace)
            tell(log, "attempt", fields)

    def _count(self, attempt: Attempt, result: str, duration_s: float) -> None:
        metrics, transport = self._keeping.metrics, self._transaction.transport
        metrics.count(ATTEMPTS, (result, transport or "direct", tls_word(attempt.trace.policy)))
        number = _NUMBERS[min(attempt.number, len(_NUMBERS) - 1)]
        metrics.observe(ATTEMPT_SECONDS, duration_s, (number, result))

    def _ids_of(self, key: AttemptKey) -> dict[str, object]:
        transaction = self._transaction
        return {
            "account": transaction.account,
            "message_id": transaction.message_id,
            "delivery": key.delivery_id,
            "attempt": key.attempt,
            "domain": transaction.domain,
        }

    def fail(self, outcome: Deferred) -> None:
        """Decide everybody who is left: with the outcome, or as unknown when the dot may have gone."""
        for index in sorted(self._undecided):
            self.decide(index, Unknown(outcome.reason) if index in self._may_be_sent else outcome)

    def abandon(self, reason: str, why: str) -> None:
        """Stop here: who certainly got nothing is given back, for the others it cannot be known. why: see give_back."""
        self.give_back(why)
        self.fail(Deferred(reason))

    def give_back(self, why: str, until: datetime | None = None, waiting: str = "") -> None:
        """Give back whose dot was not noted. why: one of few words, since it is counted by it.

        until, waiting: see `Book.release`.
        """
        for index in sorted(self._undecided):
            key = self._keys[index]
            if self._keeping.ledger.releasing(key):
                self._undecided.discard(index)
                self._keeping.recorder.release(key, until, waiting)
                self._keeping.metrics.count(RELEASES, (why,))
                log.info("released", extra={**self._ids_of(key), "why": why})


def _add_way(fields: dict[str, object], trace: SessionTrace) -> None:
    """Add how the attempt went, as far as there is something to say."""
    if trace.transport:
        fields["transport"] = trace.transport
    if trace.policy:
        fields["policy"] = trace.policy
    if trace.tls:
        fields["tls"] = trace.tls


def _add_facts(fields: dict[str, object], outcome: Outcome, result: str) -> None:
    reply = outcome.reply
    fields["outcome"] = result
    fields["remote"] = str(outcome.remote)
    fields["code"] = reply.code if reply else 0
    fields["enhanced_code"] = reply.enhanced_code if reply else ""
    fields["error"] = error_of(outcome)
