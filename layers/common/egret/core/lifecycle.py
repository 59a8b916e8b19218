"""The life cycle of a delivery: one total table of (state, change).

`apply` answers for every state and every change: the delivery as it is afterwards, or why nothing changes.
Nothing else in Egret decides about states; stores write what this returns, if `rev` is still the old one.
"""

from __future__ import annotations

import enum
from datetime import datetime
from typing import assert_never

from msgspec.structs import replace

from egret.core.changes import Cancel, Change, Claim, Expire, Hold, Postpone, Record, Release, Report, Suppress, Unhold
from egret.core.delivery import Attempt, Delivery, Lease, State
from egret.core.events import Event, EventKind
from egret.core.outcome import Bounced, Deferred, Delivered, Unknown, error_of

GIVEN_UP = "given up after"
"""How the error begins of what failed since there is no further attempt, though the last outcome was not final."""


class Refusal(enum.StrEnum):
    """Why a change does not apply."""

    TERMINAL = "it has already ended"
    LEASED = "an attempt is being made"
    STALE = "that attempt is not the one under way"
    NOT_DUE = "it is not due yet"
    HELD = "it is on hold"
    NOT_HELD = "it is not on hold"
    YOUNG = "its maximum age has not passed"
    REPEATED = "that was recorded before"


def apply(delivery: Delivery, change: Change) -> Delivery | Refusal:  # noqa: C901, PLR0911 (one return for each change)
    """Return the delivery after the change, with `rev` one higher, or the reason why nothing changes."""
    match change:
        case Claim():
            return _claim(delivery, change)
        case Release():
            return _release(delivery, change)
        case Postpone():
            return _postpone(delivery, change)
        case Record():
            return _record(delivery, change)
        case Expire():
            return _expire(delivery, change)
        case Suppress():
            return _idle_end(delivery, State.SUPPRESSED, _event(EventKind.SUPPRESSED, change.at, change.reason))
        case Hold():
            return _hold(delivery, change)
        case Unhold():
            return _unhold(delivery, change)
        case Cancel():
            event = _event(EventKind.CANCELED, change.at, "withdrawn before it was delivered")
            return _idle_end(delivery, State.CANCELED, event)
        case Report():
            return _report(delivery, change.event)
        case _:
            assert_never(change)


def _event(kind: EventKind, at: datetime, error: str) -> Event:
    return Event(0, kind, at, error=error)


def _with_event(delivery: Delivery, event: Event) -> Delivery:
    return replace(delivery, events=_events_with(delivery, event), rev=delivery.rev + 1)


def _events_with(delivery: Delivery, event: Event) -> tuple[Event, ...]:
    """Return the events and one more, with the next number."""
    seq = delivery.event_seq + 1
    return (*delivery.events, event if event.seq == seq else replace(event, seq=seq))


def _end(delivery: Delivery, state: State, event: Event, attempts: tuple[Attempt, ...] | None = None) -> Delivery:
    return replace(
        delivery,
        state=state,
        attempts=delivery.attempts if attempts is None else attempts,
        waiting="",
        lease=None,
        due_at=None,
        held_at=None,
        ended_at=event.at,
        events=_events_with(delivery, event),
        rev=delivery.rev + 1,
    )


def _idle_end(delivery: Delivery, state: State, event: Event) -> Delivery | Refusal:
    """End a delivery that no unit is working on."""
    match delivery.state:
        case State.QUEUED | State.HELD:
            return _end(delivery, state, event)
        case State.ATTEMPTING:
            return Refusal.LEASED
        case State.DELIVERED | State.FAILED | State.SUPPRESSED | State.CANCELED:
            return Refusal.TERMINAL
        case _:
            assert_never(delivery.state)


def _claim(delivery: Delivery, change: Claim) -> Delivery | Refusal:
    match delivery.state:
        case State.QUEUED:
            if change.at < delivery.not_before:
                return Refusal.NOT_DUE
        case State.ATTEMPTING:
            # A lost lease: the same attempt is asked for again, under the same number.
            if delivery.lease and change.at < delivery.lease.until:
                return Refusal.LEASED
        case State.HELD:
            return Refusal.HELD
        case State.DELIVERED | State.FAILED | State.SUPPRESSED | State.CANCELED:
            return Refusal.TERMINAL
        case _:
            assert_never(delivery.state)
    lease = Lease(len(delivery.attempts) + 1, change.unit, change.until)
    return replace(delivery, state=State.ATTEMPTING, lease=lease, rev=delivery.rev + 1)


def _release(delivery: Delivery, change: Release) -> Delivery | Refusal:
    if delivery.state is not State.ATTEMPTING or delivery.lease != change.lease:
        return Refusal.TERMINAL if delivery.state.is_terminal else Refusal.STALE
    not_before = min(change.not_before, max(delivery.not_before, delivery.expires_at))
    due_at = max(delivery.due_at, not_before) if delivery.due_at else not_before
    return replace(
        delivery,
        state=State.QUEUED,
        lease=None,
        not_before=not_before,
        due_at=due_at,
        waiting=change.waiting,
        rev=delivery.rev + 1,
    )


def _postpone(delivery: Delivery, change: Postpone) -> Delivery | Refusal:
    """Put it off for as long as it lives at most: nothing outlives its maximum age by waiting."""
    refusal = _not_queued(delivery.state)
    if refusal is not None:
        return refusal
    if change.at < delivery.not_before:
        return Refusal.NOT_DUE
    not_before = min(change.not_before, delivery.expires_at)
    return replace(delivery, not_before=not_before, due_at=not_before, waiting=change.waiting, rev=delivery.rev + 1)


def _record(delivery: Delivery, change: Record) -> Delivery | Refusal:
    number = change.attempt.number
    if number <= len(delivery.attempts):
        return _answered_late(delivery, change)
    if delivery.state.is_terminal:
        return Refusal.TERMINAL
    if delivery.state is not State.ATTEMPTING or delivery.lease is None or delivery.lease.attempt != number:
        return Refusal.STALE
    tried = (*map(_without_transcript, delivery.attempts), change.attempt)
    event = _attempt_event(delivery, change)
    match change.attempt.outcome:
        case Delivered():
            return _after_overtaking(delivery, _end(delivery, State.DELIVERED, event, tried))
        case Bounced():
            return _end(delivery, State.FAILED, event, tried)
        case Deferred() | Unknown():
            at = change.next_at
            if at is None or at >= delivery.expires_at:
                spent = _counted(number, "attempt") if at is None else _age(delivery, change.at)
                error = f"{GIVEN_UP} {spent}: {event.error}"
                return _end(delivery, State.FAILED, replace(event, kind=EventKind.FAILED, error=error), tried)
            queued = replace(delivery, attempts=tried, waiting="", state=State.QUEUED, lease=None)
            return _with_event(replace(queued, not_before=at, due_at=at), event)
        case _:
            assert_never(change.attempt.outcome)


def _without_transcript(attempt: Attempt) -> Attempt:
    """Return an attempt that is no longer the newest: its reply stays, its transcript goes, or the item would grow."""
    trace = attempt.trace
    return replace(attempt, trace=replace(trace, transcript=())) if trace.transcript else attempt


def _answered_late(delivery: Delivery, change: Record) -> Delivery | Refusal:
    """Put the server's answer in the place of `unknown`, unless the next attempt has begun meanwhile.

    A unit that was cut off from us for so long that it counted as gone still has the answer in its journal: with it,
    what was delivered is not sent a second time.
    """
    *earlier, last = delivery.attempts
    outcome = change.attempt.outcome
    is_waiting = delivery.state in (State.QUEUED, State.HELD) and last.number == change.attempt.number
    if not (is_waiting and isinstance(last.outcome, Unknown) and isinstance(outcome, Delivered | Bounced)):
        return Refusal.REPEATED
    known = (*earlier, change.attempt)
    if isinstance(outcome, Delivered):
        return _after_overtaking(delivery, _end(delivery, State.DELIVERED, _attempt_event(delivery, change), known))
    return _end(delivery, State.FAILED, _attempt_event(delivery, change), known)


def _after_overtaking(before: Delivery, ended: Delivery) -> Delivery:
    """Let a DSN that overtook the record of its own attempt have the last word: the next hop took it all back.

    Its event is told once more, after `delivered`, since an account may only hear the newest.
    """
    bounce = next((event for event in reversed(before.events) if event.dsn and event.kind is EventKind.FAILED), None)
    if bounce is None:
        return ended
    return replace(_with_event(ended, replace(bounce, source="")), state=State.FAILED, rev=ended.rev)


_KIND_OF = {
    Delivered: EventKind.DELIVERED,
    Bounced: EventKind.FAILED,
    Deferred: EventKind.DELAYED,
    Unknown: EventKind.DELAYED,
}


def _attempt_event(delivery: Delivery, change: Record) -> Event:
    outcome = change.attempt.outcome
    reply = outcome.reply
    return Event(
        seq=delivery.event_seq + 1,
        kind=_KIND_OF[type(outcome)],
        at=change.at,
        attempt=change.attempt.number,
        code=reply.code if reply else 0,
        enhanced_code=reply.enhanced_code if reply else "",
        error=error_of(outcome),
        reply=reply.lines if reply else (),
        remote=outcome.remote,
    )


def _expire(delivery: Delivery, change: Expire) -> Delivery | Refusal:
    if delivery.state is State.HELD:
        return Refusal.HELD
    if not delivery.state.is_terminal and change.at < delivery.expires_at:
        return Refusal.YOUNG
    last = error_of(delivery.attempts[-1].outcome) if delivery.attempts else delivery.waiting
    reason = f"{GIVEN_UP} {_age(delivery, change.at)}: {last or 'it was never attempted'}"
    return _idle_end(delivery, State.FAILED, _event(EventKind.FAILED, change.at, reason))


def _age(delivery: Delivery, at: datetime) -> str:
    """Return how long a delivery has been queued, in the largest unit of which there are two."""
    seconds = int((at - delivery.queued_at).total_seconds())
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return _counted(seconds // length, unit)
    return _counted(seconds, "second")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _hold(delivery: Delivery, change: Hold) -> Delivery | Refusal:
    """Hold it. While an attempt is made that is refused: the rule is looked at again before the next one."""
    refusal = _not_queued(delivery.state)
    if refusal is not None:
        return refusal
    return replace(delivery, state=State.HELD, due_at=None, held_at=change.at, rev=delivery.rev + 1)


def _not_queued(state: State) -> Refusal | None:
    """Return why nothing can be done that only what waits for its next attempt allows, None when it can."""
    match state:
        case State.QUEUED:
            return None
        case State.ATTEMPTING:
            return Refusal.LEASED
        case State.HELD:
            return Refusal.HELD
        case State.DELIVERED | State.FAILED | State.SUPPRESSED | State.CANCELED:
            return Refusal.TERMINAL
        case _:
            assert_never(state)


def _unhold(delivery: Delivery, change: Unhold) -> Delivery | Refusal:
    if delivery.state is not State.HELD or delivery.held_at is None:
        return Refusal.TERMINAL if delivery.state.is_terminal else Refusal.NOT_HELD
    not_before = max(delivery.not_before, change.at)
    return replace(
        delivery,
        state=State.QUEUED,
        held_at=None,
        is_released=True,
        not_before=not_before,
        due_at=not_before,
        expires_at=delivery.expires_at + (change.at - delivery.held_at),
        rev=delivery.rev + 1,
    )


def _report(delivery: Delivery, event: Event) -> Delivery | Refusal:
    """Add what came back; only "failed" after "delivered" changes the state, since the next hop took it all back.

    Where the delivery has a reverse-path of its own, what came by the Message-ID alone does not: anybody who got the
    message could have written it, and a genuine report would have come to the reverse-path.
    """
    if event.source and any(event.source == known.source for known in delivery.events):
        return Refusal.REPEATED
    reported = _with_event(delivery, event)
    is_weak = event.by_message_id and delivery.fromid != ""
    if event.kind is EventKind.FAILED and delivery.state is State.DELIVERED and not is_weak:
        return replace(reported, state=State.FAILED)
    return reported
