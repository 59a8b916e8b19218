"""The sweep: every minute, turn what is due into hints and calls again.

Hints are an optimisation, this is the guarantee: whatever was lost between two parts, its due entry brings it back.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from egret.contracts.ports import CallQueue, Calls, Clock, DueIndex, HintQueue, MailStore, Units
from egret.contracts.queues import Call, Hint
from egret.contracts.records import UNIT_GONE_AFTER, DueEntry, DueKind, Unit
from egret.core.delivery import Delivery
from egret.core.errors import EgretError, Unavailable
from egret.core.ids import message_of

log = logging.getLogger(__name__)

MAX_ENTRIES = 5000
"""Due deliveries looked at in one run; the next run follows in a minute."""
MAX_WINDOWS = 4
"""How many times as many are looked at while most of them must wait: under way, or suspended by every unit."""
MAX_CALLS = 1000
"""Webhook calls queued in one run; each takes a read and a write."""
IDLE_ENTRIES = 500
"""The same while no unit could take anything: enough to end what has become too old."""
ACCOUNT_SHARE = 0.5
"""Part of a run that one account may fill while others wait too."""
UNIT_SHOWN = timedelta(days=7)
"""How long operators still see a unit that is gone for good."""
CALL_PATIENCE = timedelta(minutes=5)
"""A webhook call that was queued again counts as lost after this long, and is queued once more."""


@dataclass(frozen=True, slots=True)
class SweepPorts:
    """What the sweep needs."""

    store: MailStore
    due: DueIndex
    calls: Calls
    call_queue: CallQueue
    hint_queue: HintQueue
    units: Units
    clock: Clock


@dataclass(frozen=True, slots=True)
class Swept:
    """What one run did: deliveries hinted at, submissions repaired, calls queued again; and what it found.

    due: deliveries found to be due, at most MAX_WINDOWS * MAX_ENTRIES. late_by: how long the oldest of them is due.
    """

    hinted: int
    repaired: int
    called: int
    due: int = 0
    late_by: timedelta = timedelta(0)


@dataclass(slots=True)
class _Run:
    """What the parts of one run have to say beside how much they did."""

    failures: list[EgretError] = field(default_factory=list)
    due: int = 0
    late_by: timedelta = timedelta(0)


def sweep(ports: SweepPorts) -> Swept:
    """Hint at due deliveries, repair submissions, queue failed calls whose time has come, forget units of long ago.

    What fails keeps nothing else from being done; Unavailable is raised at the end, for the alarm, and the next run
    tries again.
    """
    run = _Run()
    failures = run.failures
    done = []
    for part in (_hint, _repair, _recall, _forget_units):
        try:
            done.append(part(ports, run))
        except EgretError as error:
            log.exception("part of the sweep failed", extra={"part": part.__name__})
            failures.append(error)
            done.append(0)
    if failures:
        raise Unavailable(detail=f"{len(failures)} failures in the sweep, the first: {failures[0]}") from failures[0]
    hinted, repaired, called, _ = done
    return Swept(hinted, repaired, called, run.due, run.late_by)


def _forget_units(ports: SweepPorts, _: _Run) -> int:
    """Remove units long gone for good: their attempts have been unknown since, and deliver reads every row."""
    silent_since = ports.clock.now() - UNIT_GONE_AFTER - UNIT_SHOWN
    forgotten = [unit.id for unit in ports.units.list() if unit.valid_until <= silent_since]
    for unit_id in forgotten:
        ports.units.remove(unit_id)
        log.info("unit forgotten", extra={"unit": unit_id})
    return len(forgotten)


def _repair(ports: SweepPorts, run: _Run) -> int:
    """Expand submissions of several recipients whose sender died between the commit and the last delivery."""
    repaired = 0
    for entry in ports.due.due(DueKind.SUBMISSION, ports.clock.now(), MAX_ENTRIES):
        ids = {"account": entry.account, "submission": entry.id}
        try:
            ports.store.expand(ports.store.planned(entry.account, entry.id))
            ports.store.close(entry.account, entry.id)
        except EgretError as error:
            log.exception("submission not repaired", extra=ids)
            run.failures.append(error)
            continue
        log.info("submission repaired", extra=ids)
        repaired += 1
    return repaired


def _recall(ports: SweepPorts, run: _Run) -> int:
    """Queue the calls that wait and whose time has come."""
    now = ports.clock.now()
    calls = []
    for entry in _fair(ports.due.due(DueKind.CALL, now, MAX_ENTRIES), MAX_CALLS):
        try:
            call = _move_on(ports, entry, now)
        except EgretError as error:
            log.exception("webhook call not queued again", extra={"account": entry.account, "delivery": entry.id})
            run.failures.append(error)
            continue
        if call is not None:
            calls.append(call)
    if calls:
        ports.call_queue.put(calls)
    return len(calls)


def _move_on(ports: SweepPorts, entry: DueEntry, now: datetime) -> Call | None:
    """Return the call to queue, None when it no longer waits; the index may lag behind the record."""
    record = ports.calls.get(entry.account, entry.id, entry.seq, now)
    if record is None or record.due_at is None or record.due_at > now:
        return None
    # Moved on before it is queued: if the queue fails or loses it, it comes back then.
    ports.calls.put(replace(record, due_at=now + CALL_PATIENCE))
    return record.call


def _hint(ports: SweepPorts, run: _Run) -> int:
    """Hint at what is due, about as much as the units can take."""
    now = ports.clock.now()
    units = [unit for unit in ports.units.list() if unit.is_usable(now)]
    room = sum(unit.room for unit in units)
    limit = min(MAX_ENTRIES, room) if room else IDLE_ENTRIES
    entries = _fair(_due(ports, units, limit, run), limit)
    hints: dict[tuple[str, int], list[int]] = defaultdict(list)
    for entry in entries:
        hints[entry.account, message_of(entry.id)].append(entry.id)
    if hints:
        ports.hint_queue.put([Hint(account, ids) for (account, _), ids in hints.items()])
    return len(entries)


def _due(ports: SweepPorts, units: Sequence[Unit], limit: int, run: _Run) -> list[DueEntry]:
    """Return what is due; where that is more than `limit`, without what has to wait."""
    now = ports.clock.now()
    entries = ports.due.due(DueKind.DELIVERY, now, MAX_ENTRIES)
    run.due = len(entries)
    run.late_by = max((now - entry.due_at for entry in entries), default=timedelta(0))
    if len(entries) <= limit:
        return entries
    within = _without_waiting(ports, units, entries, now)
    for windows in range(2, MAX_WINDOWS + 1):
        if len(within) >= limit or len(entries) < (windows - 1) * MAX_ENTRIES:
            break
        seen = set(entries)
        entries = ports.due.due(DueKind.DELIVERY, now, windows * MAX_ENTRIES)
        run.due = len(entries)
        within += _without_waiting(ports, units, [entry for entry in entries if entry not in seen], now)
    return within


def _without_waiting(
    ports: SweepPorts, units: Sequence[Unit], entries: Sequence[DueEntry], now: datetime
) -> list[DueEntry]:
    """Leave out what a unit works on or all suspend: it stays due, and would take the places of all others."""
    deliveries = ports.store.get_many([(entry.account, entry.id) for entry in entries], now)
    return [
        entry
        for entry in entries
        if (delivery := deliveries.get((entry.account, entry.id))) and not _must_wait(delivery, units, now)
    ]


def _must_wait(delivery: Delivery, units: Sequence[Unit], now: datetime) -> bool:
    """Say whether nothing can be done about a delivery now; a lost lease can be asked for, an old delivery ended."""
    if delivery.lease is not None:
        return now < delivery.lease.until
    if now >= delivery.expires_at or not units:
        return False
    return all(unit.suspends(delivery.account, delivery.domain, now) for unit in units)


def _fair(entries: Sequence[DueEntry], limit: int) -> list[DueEntry]:
    """Return up to `limit` entries, oldest first, no account with more than its share while others wait."""
    entries = sorted(entries, key=lambda entry: entry.due_at)
    share = max(1, int(limit * ACCOUNT_SHARE))
    within: list[DueEntry] = []
    beyond: list[DueEntry] = []
    taken: dict[str, int] = defaultdict(int)
    for entry in entries:
        taken[entry.account] += 1
        (within if taken[entry.account] <= share else beyond).append(entry)
    return (within + beyond)[:limit]
