"""What this unit has promised and done, attempt by attempt: the memory that keeps mail from being lost or sent twice.

Synchronous, and without I/O of its own: it stands on a `JournalFile`, so that engine and simulator run the same code.
An attempt goes TAKEN -> DOTTED -> FINISHED -> RECORDED, or TAKEN -> RELEASING -> forgotten. The journal notes each
step; "dot about to go" must be durable before the dot goes. After a restart: no dot noted -> it was not sent, give it
back; dot without outcome -> `Unknown`; outcome not recorded -> record it again.

What happens at the same time is written at once. Two things wait for a write: the answer to a handoff, for "taken", and
the dot, for "dot about to go". The rest follows with the next of them, or at the end of the loop's turn: a process that
dies before that is as one that died before it heard of the outcome, or of its being recorded.
"""

from __future__ import annotations

import contextlib
import enum
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import msgspec

from egret.contracts.handoff import VERSION, Handoff, Transaction
from egret.contracts.settings import DEFAULT_RETRY
from egret.core.delivery import Attempt, Lease
from egret.core.outcome import NOWHERE, Outcome, Remote, Unknown
from egret.core.trace import NO_TRACE, SessionTrace
from egret_egress import records
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
        """Add records; durable after the next `sync`, safe from the death of this process at once."""
        ...

    def sync(self) -> None:
        """Make everything appended so far durable."""
        ...

    def read_all(self) -> list[bytes]:
        """Return the records in order, without one that was cut off at the end."""
        ...

    def rotate(self, records: Iterable[bytes]) -> None:
        """Replace the content by these records, durably and atomically."""
        ...


class Phase(enum.Enum):
    """How far an attempt has come."""

    TAKEN = "taken"
    DOTTED = "dot noted"
    FINISHED = "outcome known"
    RECORDED = "outcome recorded"
    RELEASING = "being given back"


@dataclass(slots=True)
class Entry:
    """One attempt as it is remembered. finished: while FINISHED. domain: of the recipient, "" after a restart."""

    phase: Phase
    lease_until: datetime
    started_at: datetime | None = None
    remote: Remote = NOWHERE
    finished: Attempt | None = None
    domain: str = ""


@dataclass(frozen=True, slots=True)
class Taking:
    """The answer to a handoff.

    taken: one flag per transaction. start: the transactions to begin, only with legs that were not known before.
    rerecord: outcomes that were asked for again. lost: what was admitted, and could not be written down.
    """

    taken: list[bool]
    start: list[Transaction]
    rerecord: list[tuple[AttemptKey, Attempt]]
    lost: Sequence[Transaction] = ()


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


def all_fit(_transaction: Transaction, _new: int) -> bool:
    """Admit everything."""
    return True


Later = Callable[[Callable[[], None]], object]
"""Calls back soon: the loop's `call_soon`, for a unit that runs in one."""


def at_once(callback: Callable[[], None]) -> None:
    """Call back now: every record is written by itself."""
    callback()


class Ledger:
    """The attempts of one unit.

    unit: its id; a handoff to another one is refused whole. later: when what nobody waits for is written.
    """

    def __init__(
        self, unit: str, journal: JournalFile, compact_after: int = COMPACT_AFTER, later: Later = at_once
    ) -> None:
        self._unit = unit
        self._journal = journal
        self._compact_after = compact_after
        self._later = later
        self._entries: dict[AttemptKey, Entry] = {}
        self._over = Remembered(KEPT)
        self._since: datetime | None = None
        self._unwritten: list[bytes] = []
        self._is_asked = False
        self._has_dots = False
        self._lost: OSError | None = None
        self._written = 0
        self._failing: set[str] = set()
        self.holdings = Holdings()

    @property
    def is_failing(self) -> bool:
        """The journal could not be written, or not be made durable, the last time."""
        return bool(self._failing)

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
        return Phase.RECORDED if fingerprint(*key) in self._over else None

    # --- handoff

    def take(self, handoff: Handoff, now: datetime, admits: Admits = all_fit) -> Taking:
        """Take what may be begun and is not known yet.

        admits: asked about everything new, last; what it admits counts in `holdings` when it is asked again.
        Refused: another unit's or version's handoff, something new under a lease that has run out, or that there is no
        room for, an attempt that is just being given back. An attempt that is under way or recorded is taken again
        without a second start; one that has ended but is not recorded is taken and its outcome is to be recorded again.
        Something new that the journal cannot keep is refused, and so is what was claimed before this run of the unit: a
        loss of power may have taken the memory of what became of it. Its dot was not noted, so that it was never sent.
        """
        self.forget(now)
        if handoff.unit != self._unit or handoff.version > VERSION:
            return Taking([False] * len(handoff.transactions), [], [])
        taking = Taking([], [], [])
        for transaction in handoff.transactions:
            taking.taken.append(self._take(transaction, now, taking, admits))
        try:
            self._flush()
        except OSError:
            records.log.exception("the journal cannot be written: nothing new can be taken")
            return self._without_new(handoff, taking)
        return taking

    def _take(self, transaction: Transaction, now: datetime, taking: Taking, admits: Admits) -> bool:
        keys = keys_of(transaction)
        phases = [self.phase(key) for key in keys]
        if not keys or len(set(keys)) < len(keys) or Phase.RELEASING in phases:
            return False
        new = phases.count(None)
        # What is known is never refused for being late, or for want of room: "not taken" would let another unit begin.
        if new and (transaction.lease_until <= now or self._is_of_before(transaction) or not admits(transaction, new)):
            return False
        for key, phase in zip(keys, phases, strict=True):
            if phase is None:
                self._entries[key] = Entry(Phase.TAKEN, transaction.lease_until, domain=transaction.domain)
            if phase is not Phase.RECORDED:
                self._take_known(key, transaction.lease_until, taking)
        if new:
            self.holdings.add(transaction.account, transaction.domain, new)
            taking.start.append(transaction if new == len(keys) else _only_new(transaction, phases))
        return True

    def _is_of_before(self, transaction: Transaction) -> bool:
        """Tell whether it was claimed while another run of the unit, or none, was there."""
        claimed_at = transaction.claimed_at
        return claimed_at is not None and self._since is not None and claimed_at < self._since

    def _take_known(self, key: AttemptKey, lease_until: datetime, taking: Taking) -> None:
        entry = self._entries[key]
        entry.lease_until = max(entry.lease_until, lease_until)
        self._unwritten.append(records.encode(Taken(*key, lease_until)))
        if entry.finished is not None:
            taking.rerecord.append((key, entry.finished))

    def _without_new(self, handoff: Handoff, taking: Taking) -> Taking:
        """Return the answer when the journal cannot keep it: transactions with something new are refused."""
        new = {key for transaction in taking.start for key in keys_of(transaction)}
        for key in new:
            self.holdings.add(key.account, self._entries.pop(key).domain, -1)
        taken = [
            was and new.isdisjoint(keys_of(transaction))
            for was, transaction in zip(taking.taken, handoff.transactions, strict=True)
        ]
        return Taking(taken, [], taking.rerecord, taking.start)

    # --- the attempt

    def note_dot(self, keys: Iterable[AttemptKey], started_at: datetime, remote: Remote) -> None:
        """Note that the final dot is about to go; `write` and then `sync` must have returned before it does."""
        for key in keys:
            self._unwritten.append(records.encode(Dotted(*key, started_at, remote.mx_host, remote.address)))
            entry = self._entries[key]
            entry.phase, entry.started_at, entry.remote = Phase.DOTTED, started_at, remote
        self._has_dots = True
        self._ask()

    def write(self) -> None:
        """Write what was noted; raises OSError when a dot that was noted since the last call cannot be written."""
        with contextlib.suppress(OSError):
            self._flush()
        lost, self._lost = self._lost, None
        if lost is not None:
            raise lost

    def sync(self) -> None:
        """Make everything written durable; may run in another thread. Raises OSError."""
        with self._watching("sync"):
            self._journal.sync()

    def dot(self, keys: Iterable[AttemptKey], started_at: datetime, remote: Remote = NOWHERE) -> None:
        """Note the dot durably: when this returns, the final dot (or BDAT LAST) may go. Raises OSError."""
        self.note_dot(keys, started_at, remote)
        self.write()
        self.sync()

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
        self._note(records.finished(key.account, key.delivery_id, attempt))
        return attempt

    def recorded(self, key: AttemptKey) -> None:
        """The outcome stands in the table; the attempt is remembered until no handoff of it can come any more."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        # From here on nobody needs the outcome: it is enough to know that this attempt is over.
        self._over.add(fingerprint(*key))
        self.holdings.add(key.account, entry.domain, -1)
        self._note(Recorded(*key))

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
        self._unwritten.clear()
        self._has_dots = False

    def recover(self, now: datetime) -> Recovery:
        """Read the journal of the last run: what to give back, what is unknown now, what to record again.

        Call once, before anything else. Attempts to be released are in phase RELEASING afterwards.
        """
        self._since = now
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
            if fingerprint(*key) not in self._over:
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
                entry.phase, entry.finished = Phase.FINISHED, records.attempt_of(record)
            case Recorded():
                del self._entries[key]
                self._over.add(fingerprint(*key))
            case Forgotten():
                del self._entries[key]

    # --- writing

    def _note(self, record: JournalRecord) -> None:
        """Have a record written soon. That it cannot be is logged, and does not matter to anybody who waits."""
        self._unwritten.append(records.encode(record))
        self._ask()

    def _ask(self) -> None:
        if not self._is_asked:
            self._is_asked = True
            self._later(self._flush_quietly)

    def end(self) -> None:
        """Write what is left, before the journal is closed."""
        self._flush_quietly()

    def _flush_quietly(self) -> None:
        self._is_asked = False
        try:
            self._flush()
        except OSError:
            records.log.exception("the journal cannot be written")

    def _flush(self) -> None:
        """Write everything noted, in one write; what cannot be written is dropped, and a dot is not forgotten."""
        lines, self._unwritten = self._unwritten, []
        has_dots, self._has_dots = self._has_dots, False
        if not lines:
            return
        try:
            with self._watching("append"):
                self._journal.append(*lines)
        except OSError as error:
            if has_dots:
                self._lost = error
            raise
        self._written += len(lines)

    @contextmanager
    def _watching(self, step: str) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._failing.add(step)
            raise
        self._failing.discard(step)


def keys_of(transaction: Transaction) -> list[AttemptKey]:
    """Return the attempts of a transaction, in the order of its legs."""
    account = transaction.account
    return [AttemptKey(account, leg.delivery_id, leg.attempt) for leg in transaction.legs]


def _only_new(transaction: Transaction, phases: Sequence[Phase | None]) -> Transaction:
    fresh = [leg for phase, leg in zip(phases, transaction.legs, strict=True) if phase is None]
    return msgspec.structs.replace(transaction, legs=fresh)


def _records_of(key: AttemptKey, entry: Entry) -> Iterator[JournalRecord]:
    yield Taken(*key, entry.lease_until)
    if entry.phase is Phase.DOTTED and entry.started_at is not None:
        yield Dotted(*key, entry.started_at, entry.remote.mx_host, entry.remote.address)
    if entry.finished is not None:
        yield records.finished(key.account, key.delivery_id, entry.finished)


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
