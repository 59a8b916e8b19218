"""The simulated egress units, on the real ledger and the real `Attempting`, and the servers that they speak to.

A unit's engine is a set of trials, each a generator that stops wherever a real engine could be interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Final, cast

from egret.contracts.handoff import VERSION, Handoff, HandoffAnswer, Transaction
from egret.contracts.ports import Units
from egret.contracts.records import UNIT_GONE_AFTER, UNIT_VALIDITY, HandoffRefused, Suspension, Unit
from egret.core.delivery import Attempt, Lease
from egret.core.errors import Unavailable
from egret.core.outcome import Bounced, Deferred, Delivered, Outcome, Remote, Unknown
from egret.core.reply import Reply
from egret.memory.clock import FakeClock
from egret_egress.attempt import Attempting, Keeping
from egret_egress.ledger import AttemptKey, JournalFailing, Ledger, ended_in, keys_of
from egret_egress.memory_journal import MemoryJournal
from egret_egress.parcel import TooLate
from egret_egress.recorder import Book, Recorder
from tests.fault.faults import Build, Crash, Faults, pick

ROOM: Final = 8
ATTEMPT_TAKES_AT_MOST: Final = timedelta(minutes=30)
REMOTE: Final = Remote("mx.example", "192.0.2.1")
TAKEN: Final = Reply(250, ("2.0.0 taken",))
LATER: Final = Reply(451, ("4.3.0 later",))
NEVER: Final = (Reply(550, ("5.1.1 nobody here",)), Reply(554, ("5.2.2 full",)), Reply(550, ("5.7.1 policy",)))

Receive = Callable[[AttemptKey, str], None]


class TimeIsUp(Exception):
    """An attempt has lasted as long as it may."""


class Stopped(Exception):
    """The unit drains and waits no longer."""


class SimJournal(MemoryJournal):
    """A journal whose disk may be full for a moment, or whose keeper is broken."""

    def __init__(self, records: list[bytes], faults: Faults, rng: Random, build: Build) -> None:
        super().__init__(records)
        self._faults = faults
        self._rng = rng
        self._build = build
        self.has_failed = False

    def append(self, *records: bytes) -> None:
        """Add records, or raise OSError."""
        if self._build is Build.NO_JOURNAL:
            return
        if self._faults.enabled and self._rng.random() < 0.003:
            self.has_failed = True
            raise OSError(28, "no space left")
        super().append(*records)

    def survivors(self, *, power: bool) -> list[bytes]:
        """Return what a new process finds: everything, or after a loss of power only the beginning."""
        records = self.read_all()
        return records[: int(self._rng.random() * (len(records) + 1))] if power else records


@dataclass(slots=True)
class _Trial:
    """One transaction under way. deadline: once it has begun."""

    transaction: Transaction
    steps: Generator[None, None, None]
    deadline: datetime | None = None


class _Queue:
    """Stands for the queue in front of the book in `Recorder`: one entry at a time, in any order."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.entries: list[tuple[AttemptKey, Attempt | Lease]] = []
        self.answered: Callable[[AttemptKey, Attempt], None] = lambda _, __: None

    def record(self, key: AttemptKey, attempt: Attempt) -> None:
        self.answered(key, attempt)
        self.entries.append((key, attempt))

    def release(self, key: AttemptKey, until: datetime | None = None, waiting: str = "") -> None:
        lease = self._ledger.lease(key)
        if lease is not None:
            self.entries.append((key, lease))


@dataclass(slots=True)
class Surroundings:
    """What every unit works with. receive: a remote server has taken a message for good."""

    rng: Random
    clock: FakeClock
    faults: Faults
    units: Units
    book: Book
    has_content: Callable[[Transaction], bool]
    receive: Receive
    note: Callable[[str], None]
    build: Build


@dataclass(frozen=True, slots=True)
class Left:
    """A volume whose unit does not run. is_whole: its host has not gone down since."""

    records: list[bytes]
    is_whole: bool = True


class Process:
    """One run of the engine of one unit. before: the unit that ended with its host, and what is left of its journal."""

    def __init__(
        self, unit_id: str, records: list[bytes], around: Surroundings, before: tuple[str, list[bytes]] | None = None
    ) -> None:
        self.id = unit_id
        self.is_alive = True
        self.is_draining = False
        self.is_cut_off = False
        self.journal = SimJournal(records, around.faults, around.rng, around.build)
        self.ledger = Ledger(unit_id, self.journal)
        self.before = before
        self.trials: list[_Trial] = []
        self.queue = _Queue(self.ledger)
        self.valid_until: datetime | None = None
        self._around = around
        self._keeping = Keeping(self.ledger, cast("Recorder", self.queue), around.clock, self.holds)

    def holds(self, now: datetime) -> bool:
        """Whether attempts may begin."""
        return self.valid_until is not None and now < self.valid_until

    @property
    def room(self) -> int:
        """How many deliveries it would take."""
        return 0 if self.is_draining else max(0, ROOM - self.ledger.in_hand)

    @property
    def is_idle(self) -> bool:
        """Nothing under way, everything recorded."""
        return not self.trials and not self.queue.entries

    def recover(self) -> None:
        """Make good what the last run left, as `Engine.recover`."""
        recovery = self.ledger.recover(self._around.clock.now())
        for key in recovery.release:
            self.queue.release(key)
        for key, attempt in (*recovery.unknown, *recovery.rerecord):
            self.queue.entries.append((key, attempt))

    def succeed(self) -> None:
        """Finish what the unit before has left, as `succession.succeed`."""
        if self.before is None or self.is_cut_off:
            return
        unit_id, records = self.before
        try:
            for key, attempt in ended_in(records):
                self._around.book.record(key.account, key.delivery_id, attempt)
            self._around.units.remove(unit_id)
        except Unavailable:
            return
        self._around.note(f"{self.id} has succeeded {unit_id}")
        self.before = None

    def announce(self) -> None:
        """Write the row, unless the table cannot be reached."""
        if self.is_cut_off:
            return
        self.valid_until = self._around.clock.now() + UNIT_VALIDITY
        full = self.ledger.holdings.full(ROOM, ROOM)
        suspended = tuple(Suspension(one.domain, self.valid_until, "full", one.account) for one in full)
        facts = (self.id, "http://unit", "mail.example", (), True, self.room, self.valid_until, suspended)
        unit = Unit(*facts, handoff_version=VERSION)
        self._around.units.put(unit)

    def take(self, handoff: Handoff) -> HandoffAnswer:
        """Take what fits, as `Engine.take`."""
        if self.is_draining or handoff.unit != self.id:
            raise HandoffRefused
        taking = self.ledger.take(handoff, self._around.clock.now(), self._admits)
        for key, attempt in taking.rerecord:
            self.queue.entries.append((key, attempt))
        for transaction in taking.start:
            self.trials.append(_Trial(transaction, iter(())))  # type: ignore[arg-type]
            self.trials[-1].steps = self._try(self.trials[-1])
        return HandoffAnswer(taking.taken, self.room)

    def _admits(self, transaction: Transaction, new: int) -> bool:
        held = self.ledger.holdings
        return held.total + new <= ROOM and held.may_add(transaction.account, transaction.domain, ROOM)

    # --- one transaction

    def _try(self, trial: _Trial) -> Generator[None, None, None]:
        """Try one transaction, as `Engine._attempt` does, stopping wherever the engine waits for anything."""
        attempting = Attempting(trial.transaction, self._keeping)
        try:
            yield from self._deliver(trial, attempting)
        except TooLate:
            attempting.give_back("too late")
        except JournalFailing as failing:
            attempting.abandon(f"journal: {failing}", "journal")
        except Stopped:
            attempting.abandon("the egress stopped during the attempt", "stopped")
        except TimeIsUp:
            attempting.fail(Deferred("the time for one attempt was over"))

    def _deliver(self, trial: _Trial, attempting: Attempting) -> Generator[None, None, None]:
        rng = self._around.rng
        yield
        attempting.begin()
        trial.deadline = self._around.clock.now() + ATTEMPT_TAKES_AT_MOST
        yield
        if not self._around.has_content(trial.transaction):
            attempting.fail(Deferred("the stored message could not be found"))
            return
        accepted = []
        for index in range(len(trial.transaction.legs)):
            outcome = _before_dot(rng)
            if outcome is None:
                accepted.append(index)
            else:
                attempting.decide(index, outcome)
        if not accepted:
            return
        yield
        attempting.before_dot(accepted, REMOTE)
        yield
        outcome, is_received = _after_dot(rng)
        if is_received:
            keys = keys_of(trial.transaction)
            for index in accepted:
                self._around.receive(keys[index], self.id)
        yield
        for index in accepted:
            attempting.decide(index, outcome)

    # --- steps

    def step(self) -> None:
        """Do one thing of those that wait."""
        choice = int(self._around.rng.random() * (len(self.trials) + len(self.queue.entries) or 1))
        if choice < len(self.trials):
            self._advance(self.trials[choice])
        elif self.queue.entries:
            self._record(choice - len(self.trials))

    def _advance(self, trial: _Trial) -> None:
        late = trial.deadline is not None and self._around.clock.now() >= trial.deadline
        self._around.note(f"{self.id} goes on with {_names(trial.transaction)}{' too long' if late else ''}")
        try:
            trial.steps.throw(TimeIsUp()) if late else next(trial.steps)
        except StopIteration:
            self.trials.remove(trial)

    def _record(self, position: int) -> None:
        """Bring one entry into the table, as the recorder does; what fails is tried again."""
        key, what = entry = self.queue.entries.pop(position)
        self._around.note(f"{self.id} {'releases' if isinstance(what, Lease) else 'records'} {_name(key)}")
        try:
            if self.is_cut_off:
                raise Unavailable
            if isinstance(what, Lease):
                self._around.book.release(key.account, key.delivery_id, what)
            else:
                self._around.book.record(key.account, key.delivery_id, what)
        except Unavailable:
            self.queue.entries.append(entry)
            return
        except Crash:
            self._around.note(f"{self.id} dies of it")
            self.queue.entries.append(entry)
            raise
        if isinstance(what, Lease):
            self.ledger.released(key)
        else:
            self.ledger.recorded(key)

    def tick(self) -> None:
        """Let time pass: attempts end by themselves, the row is renewed."""
        now = self._around.clock.now()
        for trial in [one for one in self.trials if one.deadline is not None and now >= one.deadline]:
            self._advance(trial)
        self.succeed()
        self.announce()

    def drain(self) -> None:
        """Take nothing new; give back what has not begun."""
        self.is_draining = True
        for trial in [one for one in self.trials if one.deadline is None]:
            self.trials.remove(trial)
            for key in keys_of(trial.transaction):
                if self.ledger.releasing(key):
                    self.queue.release(key)
        self.announce()

    def stop(self) -> None:
        """Wait no longer for what is under way."""
        for trial in self.trials:
            try:
                next(trial.steps) if trial.deadline is None else trial.steps.throw(Stopped())
            except StopIteration:
                continue
        self.trials = []


def _before_dot(rng: Random) -> Outcome | None:
    """Return what a server says to a recipient, None when it takes it for now."""
    dice = rng.random()
    if dice < 0.8:
        return None
    return Deferred("put off", LATER, REMOTE) if dice < 0.9 else Bounced("refused", pick(rng, NEVER), REMOTE)


def _after_dot(rng: Random) -> tuple[Outcome, bool]:
    """Return what is heard after the final dot, and whether the server has the message then."""
    dice = rng.random()
    if dice < 0.75:
        return Delivered(TAKEN, REMOTE), True
    if dice < 0.83:
        return Unknown("the connection died", REMOTE), dice < 0.79
    return (Deferred("put off", LATER, REMOTE) if dice < 0.93 else Bounced("refused", NEVER[1], REMOTE)), False


def _name(key: AttemptKey) -> str:
    return f"{key.account[0]}{key.delivery_id % 10**7}#{key.attempt}"


def _names(transaction: Transaction) -> str:
    return ",".join(_name(key) for key in keys_of(transaction))


@dataclass(slots=True)
class Fleet:
    """All units, running or not, and the handoffs that are still on their way.

    lost: ids of units whose memory is incomplete, so that an attempt of theirs may be unknown although it was answered.
    """

    around: Surroundings
    running: dict[str, Process] = field(default_factory=dict)
    down: dict[str, Left] = field(default_factory=dict)
    late: list[Handoff] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    answered: dict[AttemptKey, str] = field(default_factory=dict)
    count: int = 0

    def start(self) -> None:
        """Start a unit with an empty volume."""
        self._run(self._new_id(), [])

    def _new_id(self) -> str:
        self.count += 1
        return f"unit-{self.count}"

    def restart(self, unit_id: str) -> None:
        """Start a unit whose volume was kept; another one where the host went down."""
        row = self.around.units.get(unit_id)
        if row is not None and row.valid_until + UNIT_GONE_AFTER <= self.around.clock.now():
            self.lost.add(unit_id)
        left = self.down.pop(unit_id)
        if left.is_whole or self.around.build is Build.SAME_UNIT:
            self._run(unit_id, left.records)
        else:
            self._run(self._new_id(), [], (unit_id, left.records))

    def _run(self, unit_id: str, records: list[bytes], before: tuple[str, list[bytes]] | None = None) -> None:
        process = Process(unit_id, records, self.around, before)
        process.queue.answered = self._answered
        self.running[unit_id] = process
        self.around.note(f"{unit_id} starts with {len(records)} records")
        process.recover()
        process.announce()

    def _answered(self, key: AttemptKey, attempt: Attempt) -> None:
        if not isinstance(attempt.outcome, Unknown):
            unit = next(id_ for id_, process in self.running.items() if process.ledger.phase(key) is not None)
            self.answered[key] = unit

    def kill(self, process: Process, *, power: bool = False, volume: bool = True) -> None:
        """End a process at once; the volume is kept, maybe without what was not synced, or lost."""
        if not process.is_alive:
            return
        process.is_alive = False
        del self.running[process.id]
        if volume:
            self.down[process.id] = Left(process.journal.survivors(power=power), not power)
        if power or not volume or process.journal.has_failed:
            self.lost.add(process.id)
        self.around.note(f"{process.id} dies{' with power' if power else ''}{'' if volume else ' for good'}")

    def hand(self, unit: Unit, handoff: Handoff) -> HandoffAnswer:
        """Bring a handoff to its unit: it may be refused, late, lost, or its answer may be."""
        rng, faults = self.around.rng, self.around.faults
        dice = rng.random() if faults.enabled else 1.0
        self.around.note(f"handoff to {unit.id}: {[_names(t) for t in handoff.transactions]} {dice:.3f}")
        if dice < 0.03:
            raise HandoffRefused
        if dice < 0.10:
            self.late.append(handoff)
            raise Unavailable
        if dice < 0.12:
            raise Unavailable
        process = self.running.get(unit.id)
        if process is None:
            raise HandoffRefused
        answer = process.take(handoff)
        self.around.note(f"{unit.id} answers {answer.taken}")
        if dice < 0.18:
            raise Unavailable
        return answer

    def arrive(self) -> None:
        """Let a late handoff arrive; nobody waits for the answer."""
        if not self.late:
            return
        handoff = self.late.pop(int(self.around.rng.random() * len(self.late)))
        process = self.running.get(handoff.unit)
        if process is not None and not process.is_draining:
            answer = process.take(handoff)
            self.around.note(f"late at {handoff.unit}: {[_names(t) for t in handoff.transactions]} {answer.taken}")

    def tick(self) -> None:
        """Let time pass for every unit."""
        now = self.around.clock.now()
        for process in list(self.running.values()):
            if process.valid_until is not None and process.valid_until + UNIT_GONE_AFTER <= now and process.is_cut_off:
                self.lost.add(process.id)
            process.tick()

    def processes(self) -> Iterator[Process]:
        """Yield the running ones."""
        yield from list(self.running.values())
