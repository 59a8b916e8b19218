"""What one worker does: the waiting transactions of a domain one after the other, the next of which may have begun."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from egret.contracts.handoff import Transaction
from egret_egress.attempt import Attempting, Keeping
from egret_egress.backlog import Backlog
from egret_egress.content import Content
from egret_egress.following import Ahead
from egret_egress.parcel import Parcel


class Errand(msgspec.Struct, frozen=True):
    """One transaction. ahead: when it began behind the final dot of the one before."""

    transaction: Transaction
    attempting: Attempting
    ahead: Ahead | None = None


class Errands:
    """The `following.Upcoming` of one worker.

    may_begin: whether it may take another one at all. is_long: whether so many wait that it is no loss for one to wait
    behind the answer to another message: with few, another connection is sooner there than a receiver that scans.
    """

    def __init__(
        self,
        domain: str,
        backlog: Backlog[Transaction],
        keeping: Keeping,
        may_begin: Callable[[], bool],
        is_long: Callable[[], bool],
    ) -> None:
        self._domain = domain
        self._backlog = backlog
        self._keeping = keeping
        self._may_begin = may_begin
        self._is_long = is_long
        self._begun: Errand | None = None
        self._peeked: Errand | None = None

    def next(self) -> Errand | None:
        """Take the next errand, None when there is none: first what has begun."""
        if (errand := self.begun()) is not None:
            return errand
        transaction = self._backlog.pop(self._domain) if self._may_begin() else None
        return None if transaction is None else Errand(transaction, Attempting(transaction, self._keeping))

    def begun(self) -> Errand | None:
        """Take the errand that has begun, if there is one."""
        errand, self._begun = self._begun, None
        return errand

    def peek(self) -> Parcel | None:
        """Return the next parcel, if its content need not be fetched first."""
        transaction = self._backlog.peek(self._domain) if self._is_long() and self._may_begin() else None
        if transaction is None or transaction.content.inline is None:
            return None
        errand = self._peeked
        if errand is None or errand.transaction is not transaction:
            errand = self._peeked = Errand(transaction, Attempting(transaction, self._keeping))
        return Parcel(transaction, Content(transaction.content.inline), errand.attempting)

    def take(self, ahead: Ahead) -> None:
        """Take the transaction that was looked at: it has begun."""
        transaction = self._backlog.pop(self._domain)
        if self._peeked is None or transaction is not self._peeked.transaction:
            raise LookupError("another transaction has begun than the one that was looked at")
        self._begun = Errand(transaction, self._peeked.attempting, ahead)
        self._peeked = None
