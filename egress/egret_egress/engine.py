"""The engine: takes transactions by the ledger, tries each through the courier, has every outcome recorded.

Fair in turns: between the accounts of a place and the domains of an account, and between places when all workers are
busy. Fair in what is taken: no domain and no account fills the unit, see `holdings`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from egret.contracts.handoff import Handoff, HandoffAnswer, Transaction
from egret.core.errors import Unavailable
from egret.core.outcome import Deferred
from egret_egress.attempt import Keeping
from egret_egress.backlog import Backlog
from egret_egress.contents import Contents
from egret_egress.courier import Courier
from egret_egress.errands import Errand, Errands, Work
from egret_egress.holdings import Full
from egret_egress.ledger import JournalFailing, keys_of
from egret_egress.metrics import HANDOFFS, RELEASES
from egret_egress.parcel import Parcel, TooLate
from egret_egress.pool import NotNow, NoTurn

log = logging.getLogger(__name__)

PATIENCE_S = 0.1
"""How long a short queue waits for busy workers, whose open connections it would rather use, before they are looked at:
one more comes when not each of them has done something meanwhile."""
MAX_FULL = 50
"""Domains and accounts named as full: they stand in the unit's row, which is written every 10 seconds."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much is taken and done at a time.

    deliveries: in hand, that is taken and not recorded. size_bytes: of their messages, beyond which one may go: three
    or four of the largest, which leaves the smallest instance, of 1 GiB, enough for all else. workers: transactions
    under way or waiting for a connection, over all domains: more than one account can have in hand, so that its dead
    domains keep no other's mail from a worker; per_place: of one host, or of a domain whose host is not known.
    turn: transactions of one place that a worker makes before it looks whether another place waits.
    """

    deliveries: int = 2000
    size_bytes: int = 96 * 1024 * 1024
    workers: int = 1200
    per_place: int = 20
    turn: int = 50


@dataclass(frozen=True, slots=True)
class Parts:
    """What the engine works with."""

    keeping: Keeping
    courier: Courier
    contents: Contents


class _Crew:
    """The workers of a place. busy: how many; done: transactions that they tried; is_watched: somebody will look."""

    __slots__ = ("busy", "done", "is_watched")

    def __init__(self) -> None:
        self.busy = 0
        self.done = 0
        self.is_watched = False


class Draining(Exception):
    """The unit takes nothing any more."""


class Engine:
    """One unit's engine; all methods are for the event loop's thread."""

    def __init__(self, parts: Parts, capacity: Capacity | None = None) -> None:
        self._parts = parts
        self._keeping = parts.keeping
        self._contents = parts.contents
        self._capacity = capacity or Capacity()
        self._metrics = parts.keeping.metrics
        self._backlog: Backlog[Transaction] = Backlog()
        self._work_of_all = Work(self._backlog, parts.keeping, parts.courier.courses)
        self._crews: dict[str, _Crew] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._starved: dict[str, None] = {}
        self._is_draining = False

    @property
    def room(self) -> int:
        """How many more deliveries would be taken now."""
        if self._is_draining or self._contents.held.total >= self._capacity.size_bytes:
            return 0
        room = max(0, self._capacity.deliveries - self._keeping.ledger.in_hand)
        # One at a time shows when the journal can be written again, without claiming everything in vain meanwhile.
        return min(room, 1) if self._keeping.ledger.is_failing else room

    @property
    def full(self) -> list[Full]:
        """The domains and accounts nothing new is taken of, while there is room for others."""
        by_count = self._keeping.ledger.holdings.full(self._capacity.deliveries, MAX_FULL)
        by_bytes = self._contents.held.full(self._capacity.size_bytes, MAX_FULL)
        return list(dict.fromkeys(by_count + by_bytes))[:MAX_FULL]

    @property
    def waiting(self) -> int:
        """Transactions that no worker has begun."""
        return len(self._backlog)

    @property
    def waiting_s(self) -> float:
        """How long the oldest of them has waited, 0 when there is none."""
        return self._backlog.age_s

    @property
    def is_draining(self) -> bool:
        """SIGTERM came."""
        return self._is_draining

    def recover(self) -> None:
        """Make good what the last run left; before the first handoff."""
        recovery = self._keeping.ledger.recover(self._keeping.clock.now())
        self._metrics.count(RELEASES, ("Restarted",), len(recovery.release))
        for key in recovery.release:
            self._keeping.recorder.release(key)
        for key, attempt in (*recovery.unknown, *recovery.rerecord):
            self._keeping.recorder.record(key, attempt)
        counts = {"released": len(recovery.release), "unknown": len(recovery.unknown), "again": len(recovery.rerecord)}
        log.info("the journal was read", extra=counts)

    def take(self, handoff: Handoff) -> HandoffAnswer:
        """Take what there is room for; raises Draining."""
        if self._is_draining:
            self._metrics.count(HANDOFFS, ("refused",), len(handoff.transactions))
            raise Draining
        taking = self._keeping.ledger.take(handoff, self._keeping.clock.now(), self._admits, self._contents.let_go)
        for key, attempt in taking.rerecord:
            self._keeping.recorder.record(key, attempt)
        for place in dict.fromkeys([self._put(transaction) for transaction in taking.start]):
            self._employ(place)
        count = sum(taking.taken)
        for word, amount in (("taken", count), ("refused", len(taking.taken) - count)):
            self._metrics.count(HANDOFFS, (word,), amount)
        return HandoffAnswer(taking.taken, self.room)

    def _admits(self, transaction: Transaction, new: int) -> bool:
        """Leave out what goes beyond the room or beyond somebody's share; hold the content of what fits."""
        capacity, held = self._capacity, self._keeping.ledger.holdings
        fits = (
            held.total + new <= capacity.deliveries
            and held.may_add(transaction.account, transaction.domain, capacity.deliveries)
            and self._contents.fits(transaction, capacity.size_bytes)
        )
        if fits:
            self._contents.hold(transaction)
        return fits

    # --- workers

    def _put(self, transaction: Transaction) -> str:
        """Let a transaction wait at its place, which is returned."""
        place = self._parts.courier.courses.place(transaction, asyncio.get_running_loop().time())
        self._backlog.add(place, transaction.account, transaction.domain, transaction)
        return place

    def _employ(self, place: str) -> None:
        """See to it that enough workers look after a place: the first at once, more as its queue grows."""
        crew, waiting = self._crews.get(place) or _Crew(), self._backlog.count(place)
        while crew.busy < self._capacity.per_place and waiting >= max(1, 2 * crew.busy):
            if len(self._tasks) >= self._capacity.workers:
                if not crew.busy:
                    self._starved[place] = None
                    return
                break
            self._start_worker(place, crew)
            waiting -= 1
        if waiting and crew.busy < self._capacity.per_place:
            self._look_again(place, crew)

    def _start_worker(self, place: str, crew: _Crew) -> None:
        self._crews[place] = crew
        crew.busy += 1
        task = asyncio.get_running_loop().create_task(self._work(place, crew))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._dismiss(done, place, crew))

    def _look_again(self, place: str, crew: _Crew) -> None:
        """Trust the busy workers with a short queue, but not for long: they may be stuck with a silent server."""
        if not crew.is_watched:
            crew.is_watched = True
            asyncio.get_running_loop().call_later(PATIENCE_S, self._reinforce, place, crew, crew.done)

    def _reinforce(self, place: str, crew: _Crew, done: int) -> None:
        crew.is_watched = False
        if not (0 < crew.busy < self._capacity.per_place) or not self._backlog.count(place):
            return
        # Where each has done one meanwhile, what waits is done as soon.
        is_stuck = crew.done - done < crew.busy
        if is_stuck and len(self._tasks) < self._capacity.workers:
            self._start_worker(place, crew)
        self._employ(place)  # the queue may be long, and workers may be free that were not when it grew

    def _dismiss(self, task: asyncio.Task[None], place: str, crew: _Crew) -> None:
        self._tasks.discard(task)
        crew.busy -= 1
        if not crew.busy:
            del self._crews[place]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a worker failed", exc_info=error, extra={"place": place})
        while self._starved and len(self._tasks) < self._capacity.workers:
            first = next(iter(self._starved))
            del self._starved[first]
            self._employ(first)
        if self._backlog.count(place):
            self._employ(place)

    async def _work(self, place: str, crew: _Crew) -> None:
        done = 0
        errands = Errands(
            place,
            self._work_of_all,
            lambda: not self._starved or done < self._capacity.turn,
            lambda: self._backlog.count(place) >= crew.busy,
        )
        try:
            while (errand := errands.next()) is not None:
                done += 1
                if errand.ahead is not None and self._is_draining:
                    self._drop(errand)
                    return
                if not await self._attempt(errand, errands, place):
                    self._employ(self._put(errand.transaction))
                    continue
                crew.done += 1
                self._contents.let_go(errand.transaction)
        finally:
            if (left := errands.begun()) is not None:
                self._drop(left)

    def _drop(self, errand: Errand) -> None:
        """Give back what has begun and goes no further."""
        if errand.ahead is not None:
            self._parts.courier.drop(errand.ahead)
        errand.attempting.give_back("Stopped")
        self._contents.let_go(errand.transaction)

    async def _attempt(self, errand: Errand, errands: Errands, place: str) -> bool:
        """Try one transaction; whatever happens, each of its attempts is decided or given back.

        False: it was not tried, since it turned out that it is to wait at another place.
        """
        attempting = errand.attempting
        try:
            if errand.ahead is None:
                return await self._deliver(errand, errands, place)
            await self._parts.courier.go_on(errand.ahead, errands)
        except (TooLate, NoTurn, Unavailable) as cause:
            attempting.give_back(type(cause).__name__)
        except NotNow as wait:
            attempting.give_back("NotNow", datetime.fromtimestamp(wait.until, UTC), wait.reason)
        except JournalFailing as failing:
            attempting.abandon(f"the egress could not write its journal ({failing})", "JournalFailing")
        except asyncio.CancelledError:
            attempting.abandon("the egress stopped during the attempt", "Stopped")
            self._contents.let_go(errand.transaction)
            raise
        except Exception:
            attempting.fail(Deferred("the egress failed; its operators can read why in its log"))
            log.exception("an attempt failed by a fault of the egress", extra=attempting.ids)
        return True

    async def _deliver(self, errand: Errand, errands: Errands, place: str) -> bool:
        transaction, attempting = errand.transaction, errand.attempting
        course = await self._parts.courier.courses.find(transaction)
        if course.place != place and not self._is_draining:
            return False
        content = await self._contents.get(transaction.content)
        if content is None:
            attempting.begin()
            attempting.fail(Deferred("the stored message could not be found"))
            log.error("the content is missing", extra=attempting.ids)
            return True
        await self._parts.courier.deliver(Parcel(transaction, content, attempting), errands, course)
        return True

    # --- the end

    async def drain(self, limit_s: float) -> None:
        """Take nothing new, give back what has not begun, let the rest finish for up to limit_s seconds."""
        self._is_draining = True
        for transaction in self._backlog.pop_all():
            self._contents.let_go(transaction)
            for key in keys_of(transaction):
                if self._keeping.ledger.releasing(key):
                    self._metrics.count(RELEASES, ("Draining",))
                    self._keeping.recorder.release(key)
        self._parts.courier.turn_away()
        deadline = asyncio.get_running_loop().time() + limit_s
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit_s)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        left = max(1.0, deadline - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(left):
                await self._keeping.recorder.idle()
        except TimeoutError:
            # The journal has them: they are recorded after the next start.
            log.warning("not everything is recorded", extra={"open": self._keeping.recorder.open})
