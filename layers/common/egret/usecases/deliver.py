"""Bring due deliveries to an egress unit: judge, claim, group into transactions, hand over.

Nothing is claimed that could not be tried: hold, suppression, age, and the units' room and suspensions are looked at
first, so that waiting uses no attempt. What happens after the handoff is the unit's to record: deliver does not wait
for SMTP.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from egret.contracts.handoff import Transaction
from egret.contracts.ports import Clock, Egress, MailStore, SettingsReader, Suppressions, Units
from egret.contracts.queues import Hint
from egret.contracts.records import UNIT_GONE_AFTER, HandoffRefused, Suspension, Unit
from egret.contracts.settings import HoldRule, RetryPolicy
from egret.core.address import Address
from egret.core.changes import Change, Claim, Expire, Hold, Postpone, Suppress
from egret.core.delivery import Delivery, Lease, Message, State
from egret.core.errors import Unavailable
from egret.core.lifecycle import Refusal, apply
from egret.usecases.handover import Claimed, batches
from egret.usecases.record_outcome import RecordPorts, look_again_at, record_unknown, release
from egret.usecases.waiting import suspension_of
from egret.usecases.way import OWN_WAY, Way, way_of

log = logging.getLogger(__name__)

POSTPONE_AFTER = timedelta(minutes=3)
"""What is suspended for less is looked at again each minute, as is what waits for room."""

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class DeliverPorts:
    """What deliver needs."""

    store: MailStore
    suppressions: Suppressions
    settings: SettingsReader
    units: Units
    egress: Egress
    clock: Clock
    retry: RetryPolicy

    @property
    def recording(self) -> RecordPorts:
        """The part that recording needs."""
        return RecordPorts(self.store, self.clock, self.retry)


@dataclass(slots=True)
class Tally:
    """How many deliveries came to what, for the log and for metrics."""

    counts: Counter[str] = field(default_factory=Counter)

    def add(self, what: str, count: int = 1) -> None:
        """Count."""
        self.counts[what] += count


def deliver(ports: DeliverPorts, hints: Iterable[Hint]) -> Tally:
    """Look at the deliveries that hints name and hand over those whose time has come.

    Repeated, stale and unknown hints do nothing. Raises Unavailable when the store does not answer; the hints may
    then be given again.
    """
    tally = Tally()
    now = ports.clock.now()
    keys = list(dict.fromkeys((hint.account, id_) for hint in hints for id_ in hint.ids))
    found = ports.store.get_many(keys, now)
    open_ = [found[key] for key in keys if key in found and not found[key].state.is_terminal]
    if not open_:
        return tally
    fleet = _Fleet(ports.units.list(), now)
    waiting = _settle(ports, open_, fleet, tally)
    claimed = _claim_all(ports, waiting, fleet, tally)
    _hand_over(ports, claimed, tally)
    return tally


class _Fleet:
    """The units as they announced themselves, and how much room is left while this run fills it.

    now: one instant for the whole run, so that the recipients of a transaction have the same lease.
    """

    def __init__(self, units: Sequence[Unit], now: datetime) -> None:
        self.now = now
        self._units = {unit.id: unit for unit in units}
        self._room = {unit.id: unit.room for unit in units if unit.is_usable(now, needs_port25=False)}

    def is_gone(self, unit_id: str) -> bool:
        """Say whether a unit can no longer be running any transaction: withdrawn, or silent for long enough."""
        unit = self._units.get(unit_id)
        return unit is None or unit.valid_until + UNIT_GONE_AFTER <= self.now

    def is_overdue(self, delivery: Delivery) -> bool:
        """Say whether it is past its age, its attempt is over, and its unit, alive but full, cannot be asked for it."""
        lease = delivery.lease
        if lease is None or self._may_take(lease.unit, OWN_WAY):
            return False
        return self.now >= max(delivery.expires_at, lease.until + UNIT_GONE_AFTER)

    def _may_take(self, unit_id: str, way: Way) -> bool:
        """Say whether a unit has room, and all that mail on this way needs."""
        if self._room.get(unit_id, 0) <= 0:
            return False
        unit = self._units[unit_id]
        return unit.handoff_version >= way.version and (unit.port25 or not way.needs_port25)

    def choose(self, delivery: Delivery, way: Way) -> Unit | None:
        """Return the unit for a delivery, None when none can take it now.

        A lost lease goes back to the unit that has it, suspended or not: its journal knows whether the attempt was
        begun, and one that was not is refused there.
        """
        by_room = sorted(self._room, key=self._room.__getitem__, reverse=True)
        wanted = [delivery.lease.unit] if delivery.lease else by_room
        for unit_id in wanted:
            if not self._may_take(unit_id, way):
                continue
            unit = self._units[unit_id]
            whose = delivery.account, delivery.domain
            is_direct, smarthost = way.needs_port25, way.smarthost
            if delivery.lease or not unit.suspends(*whose, self.now, is_direct=is_direct, smarthost=smarthost):
                self._room[unit_id] -= 1
                return unit
        return None

    def suspension(self, delivery: Delivery, way: Way) -> Suspension | None:
        """Return what keeps a delivery that is under no lease from every unit that has room, None when nothing does."""
        if delivery.lease is not None:
            return None
        units = [self._units[unit_id] for unit_id in self._room if self._may_take(unit_id, way)]
        return suspension_of(delivery, units, way, self.now)


def _settle(ports: DeliverPorts, deliveries: list[Delivery], fleet: _Fleet, tally: Tally) -> list[Delivery]:
    """End, or pass over, what is not to be tried now; return the rest."""
    now = ports.clock.now()
    suppressed = _suppressed(ports.suppressions, deliveries, now)
    waiting: list[Delivery] = []
    for delivery in deliveries:
        if delivery.state is State.ATTEMPTING and delivery.lease and fleet.is_gone(delivery.lease.unit):
            record_unknown(ports.recording, delivery, "the egress unit that was trying it is gone")
            tally.add("unknown")
            continue
        if fleet.is_overdue(delivery):
            record_unknown(ports.recording, delivery, "the egress unit that was trying it cannot be asked any more")
            tally.add("unknown")
            continue
        ending = _ending(delivery, suppressed, now)
        if ending is not None:
            _apply(ports.store, delivery, ending, tally)
        elif _may_be_claimed(delivery, now):
            waiting.append(delivery)
        else:
            tally.add("waiting")
    return waiting


def _ending(delivery: Delivery, suppressed: Mapping[Key, str], now: datetime) -> Change | None:
    if delivery.state is not State.QUEUED:
        return None
    if now >= delivery.expires_at:
        return Expire(now)
    reason = suppressed.get((delivery.account, delivery.id))
    return Suppress(now, reason) if reason is not None else None


def _may_be_claimed(delivery: Delivery, now: datetime) -> bool:
    probe = Claim("", now, now)
    return not isinstance(apply(delivery, probe), Refusal)


def _suppressed(suppressions: Suppressions, deliveries: list[Delivery], now: datetime) -> dict[Key, str]:
    """Return why, for each (account, delivery id) whose recipient stands on its account's list."""
    bases = {(d.account, d.id): (d.account, str(Address.parse(d.recipient).base_address())) for d in deliveries}
    entries = suppressions.find(sorted(set(bases.values())))
    return {
        key: f"the recipient is on the suppression list: {entry.reason}" if entry.reason else SUPPRESSED
        for key, base in bases.items()
        if (entry := entries.get(base)) is not None and entry.is_active_at(now)
    }


SUPPRESSED = "the recipient is on the suppression list"


def _apply(store: MailStore, delivery: Delivery, change: Change, tally: Tally) -> None:
    """Write a change unless it does not apply or somebody was faster: the next hint looks again."""
    changed = apply(delivery, change)
    won = not isinstance(changed, Refusal) and store.replace(delivery, changed)
    tally.add(type(change).__name__.lower() if won else "raced")


def _claim_all(ports: DeliverPorts, waiting: list[Delivery], fleet: _Fleet, tally: Tally) -> list[Claimed]:
    """Lease what a unit has room for; the leases are written side by side."""
    if not waiting:
        return []
    contents = ports.store.contents(sorted({(d.account, d.message_id) for d in waiting}))
    planned = [plan for delivery in waiting if (plan := _plan(ports, delivery, contents, fleet, tally))]
    written = ports.store.replace_many([(old, claimed.delivery) for old, claimed in planned])
    claimed = [one for (_, one), won in zip(planned, written, strict=True) if won]
    tally.add("claim", len(claimed))
    tally.add("raced", len(planned) - len(claimed))
    return claimed


def _plan(
    ports: DeliverPorts,
    delivery: Delivery,
    contents: Mapping[Key, tuple[Message, bytes | str]],
    fleet: _Fleet,
    tally: Tally,
) -> tuple[Delivery, Claimed] | None:
    """Return the delivery and how it is to be claimed, None when it is not to be tried now."""
    stored = contents.get((delivery.account, delivery.message_id))
    if stored is None:
        log.error("content is missing", extra={"account": delivery.account, "delivery": delivery.id})
        tally.add("without content")
        return None
    message, content = stored
    now = ports.clock.now()
    if _is_held(ports.settings.hold_rules(), delivery, message):
        _apply(ports.store, delivery, Hold(now), tally)
        return None
    way = way_of(ports.settings, delivery, message)
    unit = fleet.choose(delivery, way)
    if unit is None:
        _put_off(ports, delivery, fleet.suspension(delivery, way), tally)
        return None
    leased = apply(delivery, Claim(unit.id, fleet.now, fleet.now + ports.retry.lease))
    if isinstance(leased, Refusal) or leased.lease is None:
        return None
    again = delivery.lease is not None
    return delivery, Claimed(leased, unit, message, content, leased.lease, again, way.transport)


def _put_off(ports: DeliverPorts, delivery: Delivery, suspension: Suspension | None, tally: Tally) -> None:
    """Leave it for the next look, or let it say what it waits for where every unit suspends it for longer."""
    now = ports.clock.now()
    if suspension is None or suspension.until < now + POSTPONE_AFTER:
        tally.add("no room")
        return
    at = look_again_at(delivery, suspension.until, now)
    _apply(ports.store, delivery, Postpone(now, at, suspension.reason), tally)


def _is_held(rules: Sequence[HoldRule], delivery: Delivery, message: Message) -> bool:
    """A lost lease is not held, since the attempt may be under way, nor is what a person has released."""
    return (
        delivery.state is State.QUEUED
        and not delivery.is_released
        and any(rule.matches(delivery.account, message.header_from, delivery.recipient) for rule in rules)
    )


def _hand_over(ports: DeliverPorts, claimed: list[Claimed], tally: Tally) -> None:
    for batch in batches(claimed):
        unit, transactions = batch.unit, batch.handoff.transactions
        try:
            answer = ports.egress.hand(unit, batch.handoff)
        except HandoffRefused as refusal:
            log.warning("handoff refused", extra={"unit": unit.id, "reason": str(refusal)})
            # A unit that refuses while it drains may still be making an attempt that it was given before.
            taken = [batch.again] * len(transactions)
        except Unavailable as error:
            # It may have taken them: the leases stay, and when they run out the unit itself is asked again.
            log.warning("handoff unanswered", extra={"unit": unit.id, "reason": str(error)})
            taken = [True] * len(transactions)
        else:
            taken = [*answer.taken, *[False] * (len(transactions) - len(answer.taken))]
        for transaction, was_taken in zip(transactions, taken, strict=False):
            tally.add("leased" if was_taken else "released", len(transaction.legs))
            if not was_taken:
                _release(ports, unit, transaction)


def _release(ports: DeliverPorts, unit: Unit, transaction: Transaction) -> None:
    for leg in transaction.legs:
        lease = Lease(leg.attempt, unit.id, transaction.lease_until)
        release(ports.recording, transaction.account, leg.delivery_id, lease)
