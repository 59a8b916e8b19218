"""Deliveries as their account, or an operator, sees and steers them: get, list, cancel, hold, release."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from egret.contracts.ports import Clock, HintQueue, MailStore, SettingsReader, Units
from egret.contracts.queues import Hint
from egret.contracts.records import DeliveryFilter
from egret.contracts.webapi import (
    MAX_LIST,
    AttemptInfo,
    DeliveryInfo,
    DeliveryListRequest,
    DeliveryListResult,
    EventInfo,
)
from egret.core import cursor
from egret.core.address import Address, AddressError
from egret.core.changes import Cancel, Change, Hold, Unhold
from egret.core.delivery import Attempt, Delivery, Message, State
from egret.core.errors import InvalidRequest, Unavailable
from egret.core.events import Event, EventKind, event_id
from egret.core.ids import MAX_ID, message_of
from egret.core.lifecycle import GIVEN_UP, Refusal
from egret.core.outcome import error_of, name_of
from egret.usecases.change import Make, change
from egret.usecases.suppress import failure_of
from egret.usecases.waiting import Surroundings, explain
from egret.usecases.way import OWN_WAY, way_of

log = logging.getLogger(__name__)

DEFAULT_LIMIT: Final = 100
MAX_STORE_PAGES: Final = 10
"""Pages read for one answer while the account's retention hides what is on them; the cursor goes on from there."""


@dataclass(frozen=True, slots=True)
class DeliveryPorts:
    """What the delivery methods need. cursor_key: `Secrets.cursor`."""

    store: MailStore
    settings: SettingsReader
    units: Units
    hints: HintQueue
    clock: Clock
    cursor_key: bytes


def delivery_get(ports: DeliveryPorts, account: str, delivery_id: int) -> DeliveryInfo:
    """Return a delivery with its attempts and events. Raises InvalidRequest `deliveryNotFound`."""
    now = ports.clock.now()
    delivery = _visible(ports, account, delivery_id, now)
    message = ports.store.message(account, delivery.message_id)
    return _describe(ports, [delivery], {(account, delivery.message_id): message} if message else {}, now)[0]


def delivery_list(ports: DeliveryPorts, account: str, request: DeliveryListRequest) -> DeliveryListResult:
    """Return a page of an account's deliveries, newest first; it may be short although the cursor goes on.

    Raises InvalidRequest: `badAddress`, `user` for an unknown state, a limit out of range or a cursor that is not ours.
    """
    now, limit = ports.clock.now(), listing_limit(request.limit)
    wanted = _filter(request)
    scope = account + msgspec.json.encode(msgspec.structs.replace(request, cursor="", limit=0)).decode()
    at = cursor.unseal(ports.cursor_key, scope, request.cursor)
    if at is None:
        raise InvalidRequest("user", "The cursor does not belong to this listing.")
    found: list[Delivery] = []
    for _ in range(MAX_STORE_PAGES):
        page = ports.store.list(account, wanted, at, limit - len(found), now)
        found += [delivery for delivery in page.items if delivery.is_visible(now)]
        at = page.cursor
        if not at or len(found) >= limit:
            break
    facts = ports.store.messages(list(dict.fromkeys((account, delivery.message_id) for delivery in found)))
    sealed = cursor.seal(ports.cursor_key, scope, at)
    return DeliveryListResult(deliveries=tuple(_describe(ports, found, facts, now)), cursor=sealed)


def delivery_cancel(ports: DeliveryPorts, account: str, delivery_id: int) -> Delivery:
    """Withdraw a delivery; one that is canceled already stays so.

    Raises InvalidRequest: `deliveryNotFound`, `user` while an attempt is being made or when it has ended otherwise.
    """
    now = ports.clock.now()

    def decide(delivery: Delivery) -> Change | Delivery:
        return delivery if delivery.state is State.CANCELED else Cancel(now)

    return _steer(ports, account, delivery_id, decide)


def delivery_hold(ports: DeliveryPorts, account: str, delivery_id: int) -> Delivery:
    """Put a waiting delivery on hold; one that is held stays so. Errors as of `delivery_cancel`."""
    now = ports.clock.now()

    def decide(delivery: Delivery) -> Change | Delivery:
        return delivery if delivery.state is State.HELD else Hold(now)

    return _steer(ports, account, delivery_id, decide)


def delivery_release(ports: DeliveryPorts, account: str, delivery_id: int) -> Delivery:
    """Lift the hold of a delivery and hint at it, so that it goes at once unless it is for later.

    A rule that still matches will hold it again. Errors as of `delivery_cancel`.
    """
    now = ports.clock.now()

    def decide(delivery: Delivery) -> Change | Delivery:
        return delivery if delivery.state is State.QUEUED else Unhold(now)

    released = _steer(ports, account, delivery_id, decide)
    if released.not_before <= now:
        hint(ports.hints, [Hint(account, [delivery_id])])
    return released


def hint(queue: HintQueue, hints: Sequence[Hint]) -> None:
    """Queue hints; a queue that does not answer is only logged, since the sweep finds the deliveries as well."""
    if not hints:
        return
    try:
        queue.put(hints)
    except Unavailable as error:
        log.warning("hints not queued", extra={"error": str(error), "hints": len(hints)})


def listing_limit(wanted: int) -> int:
    """Return how many items a listing gives: 0 means the default. Raises InvalidRequest `user` out of range."""
    if not 0 <= wanted <= MAX_LIST:
        raise InvalidRequest("user", f"The limit must be between 1 and {MAX_LIST}, or 0 for {DEFAULT_LIMIT}.")
    return wanted or DEFAULT_LIMIT


def _visible(ports: DeliveryPorts, account: str, delivery_id: int, now: datetime) -> Delivery:
    delivery = ports.store.get(account, delivery_id, now) if 0 < delivery_id <= MAX_ID else None
    if delivery is None or not delivery.is_visible(now):
        raise _not_found()
    return delivery


def _not_found() -> InvalidRequest:
    return InvalidRequest("deliveryNotFound", "There is no such delivery.")


_REFUSED = {
    Refusal.LEASED: "An egress unit has it for an attempt right now; ask again when that has ended.",
    Refusal.TERMINAL: "The delivery has already ended.",
}


def _steer(ports: DeliveryPorts, account: str, delivery_id: int, decide: Make) -> Delivery:
    now = ports.clock.now()
    _visible(ports, account, delivery_id, now)
    changed = change(
        ports.store,
        account,
        delivery_id,
        decide,
        now,
    )
    if changed is None:
        raise _not_found()
    if isinstance(changed, Refusal):
        raise InvalidRequest("user", _REFUSED.get(changed, f"That cannot be done: {changed.value}."))
    return changed


def _filter(request: DeliveryListRequest) -> DeliveryFilter:
    try:
        states = frozenset(State(state) for state in request.states)
    except ValueError as error:
        known = ", ".join(state.value for state in State)
        raise InvalidRequest("user", f"A state is not one of {known}.") from error
    try:
        recipient = str(Address.parse(request.recipient)) if request.recipient else ""
    except AddressError as error:
        raise InvalidRequest("badAddress", str(error)) from error
    if not 0 <= request.queue_msg_id <= MAX_ID:
        raise InvalidRequest("user", "No delivery has that QueueMsgID.")
    return DeliveryFilter(states, recipient, message_of(request.queue_msg_id), request.since, request.until)


def _describe(
    ports: DeliveryPorts, deliveries: Sequence[Delivery], facts: dict[tuple[str, int], Message], now: datetime
) -> list[DeliveryInfo]:
    """Return deliveries as the API shows them; units and rules are read once, and only when something waits."""
    waits = any(not delivery.state.is_terminal for delivery in deliveries)
    units = ports.units.list() if waits else []
    rules = ports.settings.hold_rules() if waits else ()
    infos = []
    for delivery in deliveries:
        message = facts.get((delivery.account, delivery.message_id))
        way = way_of(ports.settings, delivery, message) if message and delivery.state is State.QUEUED else OWN_WAY
        around = Surroundings(units, rules, way)
        infos.append(_info(delivery, message, explain(delivery, message, around, now)))
    return infos


def _info(delivery: Delivery, message: Message | None, waiting: str) -> DeliveryInfo:
    return DeliveryInfo(
        queue_msg_id=delivery.id,
        from_id=delivery.fromid,
        message_id=message.message_id if message else "",
        subject=message.subject if message else "",
        from_=message.header_from if message else "",
        recipient=delivery.recipient,
        state=delivery.state.value,
        waiting=waiting,
        due=delivery.not_before if delivery.state is State.QUEUED else None,
        queued=delivery.queued_at,
        expires=None if delivery.state.is_terminal else delivery.expires_at,
        ended=delivery.ended_at,
        attempts=tuple(_attempt_info(attempt, _error(delivery, attempt)) for attempt in delivery.attempts),
        events=tuple(_event_info(delivery, event) for event in delivery.events),
        extra=dict(message.extra) if message else {},
    )


def _error(delivery: Delivery, attempt: Attempt) -> str:
    """Return what an attempt came to; of the last one, also that Egret gave up, as the event tells it."""
    if attempt is delivery.attempts[-1]:
        for event in delivery.events:
            if event.kind is EventKind.FAILED and event.error.startswith(GIVEN_UP) and not event.dsn:
                return event.error
    return error_of(attempt.outcome)


def _attempt_info(attempt: Attempt, error: str) -> AttemptInfo:
    outcome = attempt.outcome
    return AttemptInfo(
        start=attempt.started_at,
        duration=attempt.duration.total_seconds(),
        remote=str(outcome.remote),
        code=outcome.reply.code if outcome.reply else 0,
        enhanced_code=outcome.reply.enhanced_code if outcome.reply else "",
        reply=outcome.reply.lines if outcome.reply else (),
        outcome=name_of(outcome),
        error=error,
        transport=attempt.trace.transport,
        tls_policy=attempt.trace.policy,
        tls=attempt.trace.tls,
        transcript=attempt.trace.transcript,
    )


def _event_info(delivery: Delivery, event: Event) -> EventInfo:
    return EventInfo(
        seq=event.seq,
        id=event_id(delivery.account, delivery.id, event.seq),
        event=event.kind.value,
        time=event.at,
        attempt=event.attempt,
        smtp_code=event.code,
        smtp_enhanced_code=event.enhanced_code,
        error=event.error,
        dsn=event.dsn,
        failure=failure_of(event),
    )
