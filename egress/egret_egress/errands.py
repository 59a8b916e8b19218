"""What one worker does: the waiting transactions of a place one after the other, the next of which may have begun."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from egret.contracts.handoff import Transaction
from egret_egress.attempt import Attempting, Keeping
from egret_egress.backlog import Backlog
from egret_egress.content import Content
from egret_egress.course import Course, Courses
from egret_egress.following import Ahead
from egret_egress.parcel import Parcel


class Work(NamedTuple):
    """What all workers share."""

    backlog: Backlog[Transaction]
    keeping: Keeping
    courses: Courses


class Errand:
    """One transaction. ahead: when it began behind the final dot of the one before."""

    __slots__ = ("ahead", "attempting", "transaction")

    def __init__(self, transaction: Transaction, attempting: Attempting, ahead: Ahead | None = None) -> None:
        self.transaction = transaction
        self.attempting = attempting
        self.ahead = ahead


class Errands:
    """The `following.Upcoming` of one worker.

    may_begin: whether it may take another one at all. is_long: whether every worker has one more to do in any case, so
    that it is no loss for one to wait behind the answer to another message; with few, another connection is sooner
    there than a receiver that scans.
    """

    def __init__(self, place: str, work: Work, may_begin: Callable[[], bool], is_long: Callable[[], bool]) -> None:
        self._place = place
        self._work = work
        self._may_begin = may_begin
        self._is_long = is_long
        self._begun: Errand | None = None
        self._peeked: Parcel | None = None

    def next(self) -> Errand | None:
        """Take the next errand, None when there is none: first what has begun."""
        if (errand := self.begun()) is not None:
            return errand
        transaction = self._work.backlog.pop(self._place) if self._may_begin() else None
        return None if transaction is None else Errand(transaction, Attempting(transaction, self._work.keeping))

    def begun(self) -> Errand | None:
        """Take the errand that has begun, if there is one."""
        errand, self._begun = self._begun, None
        return errand

    def peek(self) -> tuple[Parcel, Course] | None:
        """Return the next parcel and its course, if neither content nor course need be fetched first."""
        work = self._work
        transaction = work.backlog.peek(self._place) if self._is_long() and self._may_begin() else None
        if transaction is None or transaction.content.inline is None:
            return None
        course = work.courses.known(transaction, asyncio.get_running_loop().time())
        if course is None:
            return None
        parcel = self._peeked
        if parcel is None or parcel.transaction is not transaction:
            content, attempting = Content(transaction.content.inline), Attempting(transaction, work.keeping)
            parcel = self._peeked = Parcel(transaction, content, attempting)
        return parcel, course

    def take(self, ahead: Ahead) -> None:
        """Take the transaction that was looked at: it has begun."""
        transaction, parcel = self._work.backlog.pop(self._place), ahead.parcel
        if transaction is not parcel.transaction or not isinstance(parcel.progress, Attempting):
            raise LookupError("another transaction has begun than the one that was looked at")
        self._begun = Errand(transaction, parcel.progress, ahead)
        self._peeked = None
