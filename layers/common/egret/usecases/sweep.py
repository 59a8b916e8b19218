"""The sweep: every minute, turn what is due into hints and calls again.

Hints are an optimisation, this is the guarantee: whatever was lost between two parts, its due entry brings it back.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from egret.contracts.ports import CallQueue, Calls, Clock, DueEntry, DueIndex, DueKind, HintQueue, MailStore, Units
from egret.contracts.queues import Hint
from egret.core.ids import message_of

log = logging.getLogger(__name__)

MAX_ENTRIES = 5000
"""Due deliveries looked at in one run; the next run follows in a minute."""
IDLE_ENTRIES = 500
"""The same while no unit could take anything: enough to end what has become too old."""
ACCOUNT_SHARE = 0.5
"""Part of a run that one account may fill while others wait too."""
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
    """What one run did: deliveries hinted at, submissions repaired, calls queued again."""

    hinted: int
    repaired: int
    called: int


def sweep(ports: SweepPorts) -> Swept:
    """Repair submissions, queue failed calls whose time has come, hint at due deliveries. Raises Unavailable."""
    return Swept(repaired=_repair(ports), called=_recall(ports), hinted=_hint(ports))


def _repair(ports: SweepPorts) -> int:
    """Expand submissions of several recipients whose sender died between the commit and the last delivery."""
    entries = ports.due.due(DueKind.SUBMISSION, ports.clock.now(), MAX_ENTRIES)
    for entry in entries:
        ports.store.expand(ports.store.planned(entry.account, entry.id))
        ports.store.close(entry.account, entry.id)
        log.info("submission repaired", extra={"account": entry.account, "submission": entry.id})
    return len(entries)


def _recall(ports: SweepPorts) -> int:
    now = ports.clock.now()
    calls = []
    for entry in ports.due.due(DueKind.CALL, now, MAX_ENTRIES):
        record = ports.calls.get(entry.account, entry.id, entry.seq, now)
        if record is None or record.due_at is None:
            continue
        # Moved on before it is queued: if the queue fails or loses it, it comes back then.
        ports.calls.put(replace(record, due_at=now + CALL_PATIENCE))
        calls.append(record.call)
    if calls:
        ports.call_queue.put(calls)
    return len(calls)


def _hint(ports: SweepPorts) -> int:
    now = ports.clock.now()
    room = sum(unit.room for unit in ports.units.list() if unit.is_usable(now))
    limit = min(MAX_ENTRIES, room) if room else IDLE_ENTRIES
    entries = _fair(ports.due.due(DueKind.DELIVERY, now, 2 * limit), limit)
    hints: dict[tuple[str, int], list[int]] = defaultdict(list)
    for entry in entries:
        hints[entry.account, message_of(entry.id)].append(entry.id)
    if hints:
        ports.hint_queue.put([Hint(account, ids) for (account, _), ids in hints.items()])
    return len(entries)


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
