"""Explain in one sentence what a delivery waits for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

from egret.contracts.records import Suspension, Unit
from egret.contracts.settings import HoldRule
from egret.core.delivery import Attempt, Delivery, Message, State
from egret.core.outcome import Unknown, error_of
from egret.usecases.way import OWN_WAY, Way

NO_UNIT = (
    "Due now, but Egret's sending part (the egress) does not run. Nothing is wrong with the message: it goes as soon "
    "as the operator of Egret has it running again."
)
PORT25_CLOSED = (
    "Due now, but Egret cannot reach any mail server, since outbound port 25 is closed to it. The message goes as soon "
    "as the port is open, which AWS does when the operator of Egret asks for it."
)
BUSY = "Due now, and waiting for a free slot: Egret is busy with other mail, and looks again every minute."
DUE = "Due now: it is about to be sent."
_TOO_OLD = "Due now, but every egress unit is too old to send over the transport"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a delivery may have to wait for: all units, all hold rules, and the way that it takes."""

    units: Sequence[Unit] = ()
    rules: Sequence[HoldRule] = ()
    way: Way = OWN_WAY


def explain(delivery: Delivery, message: Message | None, around: Surroundings, now: datetime) -> str:
    """Return what keeps a delivery from its next attempt, "" when it has ended.

    message: its facts, None when they are gone.
    """
    match delivery.state:
        case State.DELIVERED | State.FAILED | State.SUPPRESSED | State.CANCELED:
            return ""
        case State.HELD:
            return _held(delivery, message, around.rules)
        case State.ATTEMPTING:
            number = delivery.lease.attempt if delivery.lease else len(delivery.attempts) + 1
            which = f"Attempt {number} of {delivery.max_attempts}"
            return f"{which} is with an egress unit: it waits for its turn there, or is being made."
        case State.QUEUED:
            return _scheduled(delivery, around, now) if now < delivery.not_before else _ready(delivery, around, now)
        case _:
            assert_never(delivery.state)


def _held(delivery: Delivery, message: Message | None, rules: Sequence[HoldRule]) -> str:
    header_from = message.header_from if message else ""
    for rule in rules:
        if rule.matches(delivery.account, header_from, delivery.recipient):
            return f"On hold by rule {rule.id} until an operator releases it."
    return "On hold until an operator releases it."


def _scheduled(delivery: Delivery, around: Surroundings, now: datetime) -> str:
    if delivery.waiting:
        standing = suspension_of(delivery, _connected(around, now), around.way, now)
        if standing is None:
            # Nothing says here when the wait ends: it may be long after the next look.
            return f"waiting: {delivery.waiting}; Egret looks again about {_about(delivery.not_before, now)}"
        return _waits(delivery.waiting, max(delivery.not_before, standing.until), now)
    when = _time(delivery.not_before)
    if not delivery.attempts:
        return f"To be sent not before {when}."
    number = f"{len(delivery.attempts) + 1} of {delivery.max_attempts}"
    return f"Attempt {number} follows at {when}, {_since(delivery.attempts[-1])}."


def _since(last: Attempt) -> str:
    """Return why one more attempt is made."""
    error = error_of(last.outcome).rstrip(". ")
    if isinstance(last.outcome, Unknown):
        return f"since nobody can say whether attempt {last.number} has delivered it: {error}"
    return f"since attempt {last.number} failed: {error}"


def _ready(delivery: Delivery, around: Surroundings, now: datetime) -> str:
    way = around.way
    alive = [unit for unit in around.units if now < unit.valid_until]
    if not alive:
        return NO_UNIT
    able = [unit for unit in alive if unit.handoff_version >= way.version]
    if not able:
        return f"{_TOO_OLD} {way.transport}: the operator of Egret has to update them."
    connected = _connected(around, now)
    if not connected:
        return PORT25_CLOSED
    standing = suspension_of(delivery, connected, way, now)
    if standing is not None:
        return _waits(standing.reason, standing.until, now)
    if all(unit.room == 0 for unit in connected):
        return BUSY
    return DUE


def _connected(around: Surroundings, now: datetime) -> list[Unit]:
    """Return the units that mail on this way can go through."""
    way = around.way
    alive = [unit for unit in around.units if now < unit.valid_until and unit.handoff_version >= way.version]
    return [unit for unit in alive if unit.port25 or not way.needs_port25]


def suspension_of(delivery: Delivery, units: Iterable[Unit], way: Way, now: datetime) -> Suspension | None:
    """Return what keeps a delivery from all of the units: the suspension that ends first; None when one takes it."""
    ends: list[Suspension] = []
    for unit in units:
        whose = delivery.account, delivery.domain
        is_direct, smarthost = way.needs_port25, way.smarthost
        covering = [
            one for one in unit.suspensions if one.covers(*whose, now, is_direct=is_direct, smarthost=smarthost)
        ]
        if not covering:
            return None
        ends.append(max(covering, key=lambda suspension: suspension.until))
    return min(ends, key=lambda suspension: suspension.until, default=None)


def _waits(reason: str, until: datetime, now: datetime) -> str:
    return f"waiting: {reason}; next try about {_about(until, now)}"


def _about(instant: datetime, now: datetime) -> str:
    return f"{instant:%H:%M} UTC" if instant.date() == now.date() else f"{instant:%Y-%m-%d %H:%M} UTC"


def _time(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%d %H:%M:%S UTC")
