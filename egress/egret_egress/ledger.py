"""What this unit has promised and done, attempt by attempt: the memory that keeps mail from being lost or sent twice.

Synchronous, and without I/O of its own: it stands on a `JournalFile`, so that engine and simulator run the same code.
An attempt goes TAKEN -> DOTTED -> FINISHED -> RECORDED, or TAKEN -> RELEASING -> forgotten. The journal notes each
step when it happens; "taken" before the handoff is answered, "dot about to go" before the dot goes. After a restart: no
dot noted -> it was not sent, give it back; dot without outcome -> `Unknown`; outcome not recorded -> record it again.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import msgspec

from egret.contracts.handoff import VERSION, Handoff, Transaction
from egret.contracts.settings import DEFAULT_RETRY
from egret.core.delivery import Attempt, Lease
from egret.core.outcome import NOWHERE, Outcome, Remote, Unknown
from egret.core.trace import NO_TRACE, SessionTrace
from egret_egress import endings, records
from egret_egress.holdings import Holdings
from egret_egress.records import Dotted, Finished, Forgotten, JournalRecord, Over, Recorded, Taken
from egret_egress.remembered import Remembered, fingerprint


class AttemptKey(NamedTuple):
    """Names one attempt, over all units and times."""

    account: str
    delivery_id: int
    attempt: int


class JournalFile(Protocol):
    """An append-only file. Errors of storage raise OSError, and then nothing of those records is in the file."""

    def append(self, *records: bytes) -> None:
        """Add records: when this returns they are safe from the death of this process."""
        ...

    def read_all(self) -> list[bytes]:
        """Return the records in order, without one that was cut off at the end."""
        ...

    def rotate(self, records: Iterable[bytes]) -> None:
        """Replace the content by these records, atomically."""
        ...


class JournalFailing(Exception):
    """The journal cannot be written, so that nothing may go out. The message says why, in the words of the system."""


class Phase(enum.Enum):
    """How far an attempt has come."""

    TAKEN = "taken"
    DOTTED = "dot noted"
    FINISHED = "outcome known"
    RECORDED = "outcome recorded"
    RELEASING = "being given back"


class Entry:
    """One attempt as it is remembered. finished: while FINISHED. domain: of the recipient, "" after a restart."""

    __slots__ = ("domain", "finished", "lease_until", "phase", "remote", "started_at")

    def __init__(self, phase: Phase, lease_until: datetime, domain: str = "") -> None:
        self.phase = phase
        self.lease_until = lease_until
        self.domain = domain
        self.started_at: datetime | None = None
        self.remote = NOWHERE
        self.finished: Attempt | None = None


@dataclass(frozen=True, slots=True)
class Taking:
    """The answer to a handoff.

    taken: one flag per transaction. start: the transactions to begin, only with legs that were not known before.
    rerecord: outcomes that were asked for again.
    """

    taken: list[bool]
    start: list[Transaction]
    rerecord: list[tuple[AttemptKey, Attempt]]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a restart has to make good. release: certainly not sent. unknown, rerecord: outcomes to record."""

    release: list[AttemptKey]
    unknown: list[tuple[AttemptKey, Attempt]]
    rerecord: list[tuple[AttemptKey, Attempt]]


KEPT = DEFAULT_RETRY.lease + timedelta(minutes=5)
"""How long a recorded attempt is remembered. Until it was recorded, deliver may have leased it again, and that handoff
may still be on its way: while its lease holds, it must not begin here as if it were new. 5 min: clocks differ."""
COMPACT_AFTER = 50_000
"""Records in the journal before it may be compacted: some 5 MB, read in well under a second at a start."""
OVER_IN_ONE_RECORD = 32 * 1024
"""Bytes of fingerprints, well below what the journal takes as one record."""

Admits = Callable[[Transaction, int], bool]
"""Whether there is room for a transaction with so many attempts that are new."""
LetsGo = Callable[[Transaction], None]
"""Takes back what was admitted."""


def all_fit(_transaction: Transaction, _new: int) -> bool:
    """Admit everything."""
    return True


def held_nothing(_transaction: Transaction) -> None:
    """Take nothing back."""


class Ledger:
    """The attempts of one unit.

    unit: its id; a handoff to another one is refused whole. is_failing: the journal could not be written the last time.
    """

    def __init__(self, unit: str, journal: JournalFile, compact_after: int = COMPACT_AFTER) -> None:
        self._unit = unit
        self._journal = journal
        self._compact_after = compact_after
        self._entries: dict[AttemptKey, Entry] = {}
        self._over = Remembered(KEPT)
        self._written = 0
        self.is_failing = False
        self.holdings = Holdings()

    @property
    def in_hand(self) -> int:
        """Attempts that are neither recorded nor given back."""
        return self.holdings.total

    @property
    def remembered(self) -> int:
        """Attempts in memory, recorded ones included."""
        return len(self._entries) + len(self._over)

    def phase(self, key: AttemptKey) -> Phase | None:
        """Return how far an attempt has come, None when it is not known (any more)."""
        entry = self._entries.get(key)
        if entry is not None:
            return entry.phase
        return Phase.RECORDED if _fingerprint(key) in self._over else None

    # --- handoff

    def take(self, handoff: Handoff, now: datetime, admits: Admits = all_fit, lets_go: LetsGo = held_nothing) -> Taking:
        """Take what may be begun and is not known yet.

        admits: asked about everything new, last; what it admits counts in `holdings` when it is asked again. lets_go:
        told of what was admitted and is not taken after all.
        Refused: another unit's or version's handoff, something new under a lease that has run out, or that there is no
        room for, an attempt that is just being given back. An attempt that is under way or recorded is taken again
        without a second start; one that has ended but is not recorded is taken and its outcome is to be recorded again.
        Something new that the journal cannot keep is refused. Whatever is raised, nothing new is taken then.
        """
        self.forget(now)
        if handoff.unit != self._unit or handoff.version > VERSION:
            return Taking([False] * len(handoff.transactions), [], [])
        taking, notes = Taking([], [], []), list[bytes]()
        try:
            for transaction in handoff.transactions:
                taking.taken.append(self._take(transaction, now, taking, admits, notes))
            self._append(notes)
        except OSError:
            records.log.exception("the journal cannot be written: nothing new can be taken")
            return self._without(self._undo(taking.start, lets_go), handoff, taking)
        except BaseException:
            self._undo(taking.start, lets_go)
            raise
        return taking

    def _take(
        self, transaction: Transaction, now: datetime, taking: Taking, admits: Admits, notes: list[bytes]
    ) -> bool:
        keys = keys_of(transaction)
        phases = [self.phase(key) for key in keys]
        if not keys or (len(keys) > 1 and len(set(keys)) < len(keys)) or Phase.RELEASING in phases:
            return False
        new = phases.count(None)
        # What is known is never refused for being late, or for want of room: "not taken" would let another unit begin.
        if new and (transaction.lease_until <= now or not admits(transaction, new)):
            return False
        if new:
            # Before anything that may fail: what is to be started is what is undone then.
            taking.start.append(transaction if new == len(keys) else _only_new(transaction, phases))
            self.holdings.add(transaction.account, transaction.domain, new)
        for key, phase in zip(keys, phases, strict=True):
            if phase is None:
                self._entries[key] = Entry(Phase.TAKEN, transaction.lease_until, domain=transaction.domain)
            if phase is not Phase.RECORDED:
                self._take_known(key, transaction.lease_until, taking)
                notes.append(records.encode(_taken(key, transaction.lease_until)))
        return True

    def _take_known(self, key: AttemptKey, lease_until: datetime, taking: Taking) -> None:
        entry = self._entries[key]
        entry.lease_until = max(entry.lease_until, lease_until)
        if entry.finished is not None:
            taking.rerecord.append((key, entry.finished))

    def _undo(self, start: Sequence[Transaction], lets_go: LetsGo) -> set[AttemptKey]:
        """Forget what was to be started, and return its attempts."""
        new = set[AttemptKey]()
        for transaction in start:
            keys = keys_of(transaction)
            for key in keys:
                self._entries.pop(key, None)
            self.holdings.add(transaction.account, transaction.domain, -len(keys))
            lets_go(transaction)
            new.update(keys)
        return new

    def _without(self, new: set[AttemptKey], handoff: Handoff, taking: Taking) -> Taking:
        """Return the answer when the journal cannot keep it: transactions with something new are refused."""
        taken = [
            was and new.isdisjoint(keys_of(transaction))
            for was, transaction in zip(taking.taken, handoff.transactions, strict=True)
        ]
        return Taking(taken, [], taking.rerecord)

    # --- the attempt

    def dot(self, keys: Iterable[AttemptKey], started_at: datetime, remote: Remote = NOWHERE) -> None:
        """Note that the final dot is about to go: when this returns it may. Raises JournalFailing."""
        keys = list(keys)
        try:
            self._append([records.encode(_dotted(key, started_at, remote)) for key in keys])
        except OSError as error:
            records.log.exception("the journal cannot be written")
            raise JournalFailing(error.strerror or str(error)) from error
        for key in keys:
            entry = self._entries[key]
            entry.phase, entry.started_at, entry.remote = Phase.DOTTED, started_at, remote

    def finish(
        self,
        key: AttemptKey,
        outcome: Outcome,
        started_at: datetime,
        duration: timedelta,
        trace: SessionTrace = NO_TRACE,
    ) -> Attempt:
        """Keep the outcome of an attempt and return it as it is to be recorded.

        A journal that cannot be written does not matter here: the outcome is still recorded; only a crash before that
        would make it unknown.
        """
        entry = self._entries[key]
        if entry.finished is not None:
            return entry.finished
        attempt = Attempt(key.attempt, started_at, duration, outcome, trace)
        entry.phase, entry.finished = Phase.FINISHED, attempt
        self._note(endings.finished(key.account, key.delivery_id, attempt))
        return attempt

    def recorded(self, *keys: AttemptKey) -> None:
        """The outcomes stand in the table; the attempts are remembered until no handoff of them can come any more."""
        notes: list[JournalRecord] = []
        for key in keys:
            entry = self._entries.pop(key, None)
            if entry is not None:
                # From here on nobody needs the outcome: it is enough to know that this attempt is over.
                self._over.add(_fingerprint(key))
                self.holdings.add(key.account, entry.domain, -1)
                notes.append(Recorded(key.account, key.delivery_id, key.attempt))
        self._note(*notes)

    def releasing(self, key: AttemptKey) -> bool:
        """Begin to give an attempt back; False when that is impossible since its dot was noted or it has ended."""
        entry = self._entries.get(key)
        if entry is None or entry.phase not in (Phase.TAKEN, Phase.RELEASING):
            return False
        entry.phase = Phase.RELEASING
        return True

    def released(self, key: AttemptKey) -> None:
        """The attempt was given back; it may come again as a new one."""
        entry = self._entries.get(key)
        if entry is not None and entry.phase is Phase.RELEASING:
            del self._entries[key]
            self.holdings.add(key.account, entry.domain, -1)
            self._note(Forgotten(*key))

    def lease(self, key: AttemptKey) -> Lease | None:
        """Return the lease under which an attempt was taken, None when it is not known."""
        entry = self._entries.get(key)
        return Lease(key.attempt, self._unit, entry.lease_until) if entry else None

    def holds(self, keys: Iterable[AttemptKey], now: datetime) -> bool:
        """Return whether all of these attempts may begin: known, and their leases have not run out."""
        for key in keys:
            entry = self._entries.get(key)
            if entry is None or entry.lease_until <= now:
                return False
        return True

    # --- time and restarts

    def forget(self, now: datetime) -> None:
        """Drop attempts recorded much longer than `KEPT` ago; shrink the journal when most of it is of no use."""
        self._over.forget(now)
        if self._written >= self._compact_after and self._written >= 8 * len(self._entries) + len(self._over):
            try:
                self.compact()
            except OSError:
                records.log.exception("the journal cannot be compacted")
                self._written = 0  # so that it is tried again after as many records, not at each handoff

    def compact(self) -> None:
        """Rewrite the journal with what is still remembered."""
        count = 0

        def lines() -> Iterator[bytes]:
            nonlocal count
            known = (record for key, entry in self._entries.items() for record in _records_of(key, entry))
            for record in itertools.chain(known, _records_over(self._over.packed())):
                count += 1
                yield records.encode(record)

        self._journal.rotate(lines())
        self._written = count

    def recover(self, now: datetime) -> Recovery:
        """Read the journal of the last run: what to give back, what is unknown now, what to record again.

        Call once, before anything else. Attempts to be released are in phase RELEASING afterwards.
        """
        for line in self._journal.read_all():
            self._replay(records.decode(line))
            self._written += 1
        recovery = Recovery([], [], [])
        for key, entry in list(self._entries.items()):
            match entry.phase:
                case Phase.TAKEN | Phase.RELEASING:
                    entry.phase = Phase.RELEASING
                    recovery.release.append(key)
                case Phase.DOTTED:
                    unknown = Unknown("the egress stopped between the message and the server's answer", entry.remote)
                    started_at = entry.started_at or now
                    recovery.unknown.append((key, self.finish(key, unknown, started_at, timedelta(0))))
                case Phase.FINISHED:
                    if entry.finished is not None:
                        recovery.rerecord.append((key, entry.finished))
                case Phase.RECORDED:
                    continue
            self.holdings.add(key.account, entry.domain, 1)
        self.forget(now)
        return recovery

    def _replay(self, record: JournalRecord | None) -> None:
        if record is None:
            return
        if isinstance(record, Over):
            self._over.add_packed(record.fingerprints)
            return
        key = AttemptKey(record.account, record.delivery_id, record.attempt)
        if isinstance(record, Taken):
            if _fingerprint(key) not in self._over:
                known = self._entries.setdefault(key, Entry(Phase.TAKEN, record.lease_until))
                known.lease_until = max(known.lease_until, record.lease_until)
            return
        if (entry := self._entries.get(key)) is None:
            return
        match record:
            case Dotted():
                entry.phase, entry.started_at = Phase.DOTTED, record.started_at
                entry.remote = Remote(record.mx_host, record.address)
            case Finished():
                entry.phase, entry.finished = Phase.FINISHED, endings.attempt_of(record)
            case Recorded():
                del self._entries[key]
                self._over.add(_fingerprint(key))
            case Forgotten():
                del self._entries[key]

    # --- writing

    def _note(self, *notes: JournalRecord) -> None:
        """Write records. That they cannot be written is logged, and does not matter to anybody who waits."""
        try:
            self._append([records.encode(note) for note in notes])
        except OSError:
            records.log.exception("the journal cannot be written")

    def _append(self, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        self.is_failing = True
        self._journal.append(*lines)
        self.is_failing = False
        self._written += len(lines)


def ended_in(lines: Iterable[bytes]) -> list[tuple[AttemptKey, Attempt]]:
    """Return the outcomes in a journal of which it does not say that they stand in the table.

    Of a unit that is gone nothing else counts: what its journal does not say may have happened all the same.
    """
    ended: dict[AttemptKey, Attempt] = {}
    for line in lines:
        record = records.decode(line)
        if isinstance(record, Finished):
            ended[AttemptKey(record.account, record.delivery_id, record.attempt)] = endings.attempt_of(record)
        elif isinstance(record, Recorded):
            ended.pop(AttemptKey(record.account, record.delivery_id, record.attempt), None)
    return list(ended.items())


def keys_of(transaction: Transaction) -> list[AttemptKey]:
    """Return the attempts of a transaction, in the order of its legs."""
    account = transaction.account
    return [AttemptKey(account, leg.delivery_id, leg.attempt) for leg in transaction.legs]


def _only_new(transaction: Transaction, phases: Sequence[Phase | None]) -> Transaction:
    fresh = [leg for phase, leg in zip(phases, transaction.legs, strict=True) if phase is None]
    return msgspec.structs.replace(transaction, legs=fresh)


# Each names the parts of a key: to unpack one costs as much as all the rest.


def _fingerprint(key: AttemptKey) -> bytes:
    return fingerprint(key.account, key.delivery_id, key.attempt)


def _taken(key: AttemptKey, lease_until: datetime) -> Taken:
    return Taken(key.account, key.delivery_id, key.attempt, lease_until)


def _dotted(key: AttemptKey, started_at: datetime, remote: Remote) -> Dotted:
    return Dotted(key.account, key.delivery_id, key.attempt, started_at, remote.mx_host, remote.address)


def _records_of(key: AttemptKey, entry: Entry) -> Iterator[JournalRecord]:
    yield _taken(key, entry.lease_until)
    if entry.phase is Phase.DOTTED and entry.started_at is not None:
        yield _dotted(key, entry.started_at, entry.remote)
    if entry.finished is not None:
        yield endings.finished(key.account, key.delivery_id, entry.finished)


def _records_over(packed: Iterable[bytes]) -> Iterator[Over]:
    """Put fingerprints into records of some size."""
    part = bytearray()
    for piece in packed:
        part += piece
        if len(part) >= OVER_IN_ONE_RECORD:
            yield Over(bytes(part))
            part.clear()
    if part:
        yield Over(bytes(part))
