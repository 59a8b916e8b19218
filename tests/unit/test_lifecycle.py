"""The life cycle answers every change in every state, and never lets go of mail."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from egret.core.changes import Cancel, Change, Claim, Expire, Hold, Postpone, Record, Release, Report, Suppress, Unhold
from egret.core.delivery import Delivery, Lease, State
from egret.core.events import Event, EventKind
from egret.core.lifecycle import Refusal, apply
from egret.core.outcome import Outcome
from egret.core.trace import SessionTrace
from tests.unit.builders import HOUR, LATER, NEVER, NOBODY_KNOWS, NOW, OK, a_delivery, an_attempt

LEASE = Lease(1, "unit-1", NOW + HOUR)
IN_STATE = {
    State.QUEUED: a_delivery(),
    State.HELD: a_delivery(state=State.HELD, held_at=NOW, due_at=None),
    State.ATTEMPTING: a_delivery(state=State.ATTEMPTING, lease=LEASE),
    State.DELIVERED: a_delivery(state=State.DELIVERED, ended_at=NOW, due_at=None),
    State.FAILED: a_delivery(state=State.FAILED, ended_at=NOW, due_at=None),
    State.SUPPRESSED: a_delivery(state=State.SUPPRESSED, ended_at=NOW, due_at=None),
    State.CANCELED: a_delivery(state=State.CANCELED, ended_at=NOW, due_at=None),
}
LONG_AFTER = NOW + 100 * HOUR
CHANGES: dict[str, Change] = {
    "claim": Claim("unit-1", NOW, NOW + HOUR),
    "release": Release(LEASE, NOW),
    "postpone": Postpone(NOW, NOW + HOUR, "the provider asked us to slow down"),
    "delivered": Record(an_attempt(1, OK), NOW + HOUR, NOW),
    "deferred": Record(an_attempt(1, LATER), NOW + HOUR, NOW),
    "exhausted": Record(an_attempt(1, LATER), None, NOW),
    "bounced": Record(an_attempt(1, NEVER), NOW + HOUR, NOW),
    "unknown": Record(an_attempt(1, NOBODY_KNOWS), NOW + HOUR, NOW),
    "expire": Expire(LONG_AFTER),
    "suppress": Suppress(NOW, "on the list"),
    "hold": Hold(NOW),
    "unhold": Unhold(NOW),
    "cancel": Cancel(NOW),
    "reported failed": Report(Event(0, EventKind.FAILED, NOW, source="mail-1")),
    "reported delayed": Report(Event(0, EventKind.DELAYED, NOW, source="mail-1")),
}
T, L, S, H, N = Refusal.TERMINAL, Refusal.LEASED, Refusal.STALE, Refusal.HELD, Refusal.NOT_HELD
Q, A, D, F = State.QUEUED, State.ATTEMPTING, State.DELIVERED, State.FAILED
TABLE: dict[str, tuple[State | Refusal, ...]] = {
    # change:          queued, held, attempting, delivered, failed, suppressed, canceled
    "claim": (A, H, L, T, T, T, T),
    "release": (S, S, Q, T, T, T, T),
    "postpone": (Q, H, L, T, T, T, T),
    "delivered": (S, S, D, T, T, T, T),
    "deferred": (S, S, Q, T, T, T, T),
    "exhausted": (S, S, F, T, T, T, T),
    "bounced": (S, S, F, T, T, T, T),
    "unknown": (S, S, Q, T, T, T, T),
    "expire": (F, H, L, T, T, T, T),
    "suppress": (State.SUPPRESSED, State.SUPPRESSED, L, T, T, T, T),
    "hold": (State.HELD, H, L, T, T, T, T),
    "unhold": (N, Q, N, T, T, T, T),
    "cancel": (State.CANCELED, State.CANCELED, L, T, T, T, T),
    "reported failed": (Q, State.HELD, A, F, F, State.SUPPRESSED, State.CANCELED),
    "reported delayed": (Q, State.HELD, A, D, F, State.SUPPRESSED, State.CANCELED),
}


@pytest.mark.parametrize(
    ("name", "state", "expected"),
    [(name, state, answer) for name, row in TABLE.items() for state, answer in zip(IN_STATE, row, strict=True)],
)
def test_every_change_has_an_answer_in_every_state(name: str, state: State, expected: State | Refusal) -> None:
    """The table is total: each pair gives a state or a refusal, and a change always raises rev by one."""
    before = IN_STATE[state]
    after = apply(before, CHANGES[name])

    if isinstance(after, Refusal):
        assert expected == after
    else:
        assert (expected, before.rev + 1) == (after.state, after.rev)


def test_the_table_names_every_change() -> None:
    """No change is left out of the table."""
    assert set(CHANGES) == set(TABLE)


def test_a_claim_before_its_time_is_refused() -> None:
    """A retry or a future release is never early."""
    assert apply(a_delivery(not_before=NOW + HOUR), Claim("u", NOW, NOW + HOUR)) == Refusal.NOT_DUE


def test_waiting_says_why_and_uses_no_attempt() -> None:
    """What is put off comes due again at the time that is named, with the sentence, and with all its attempts."""
    put_off = apply(a_delivery(), Postpone(NOW, NOW + HOUR, "slow down"))
    given_back = apply(IN_STATE[State.ATTEMPTING], Release(LEASE, NOW + HOUR, "slow down"))

    for delivery in (put_off, given_back):
        assert isinstance(delivery, Delivery)
        assert (
            delivery.not_before,
            delivery.due_at,
            delivery.waiting,
            delivery.attempts,
        ) == (NOW + HOUR, NOW + HOUR, "slow down", ())


def test_waiting_never_outlives_the_maximum_age() -> None:
    """However long it is asked to wait, it comes due when its age is over."""
    later = NOW + 1000 * HOUR
    put_off = apply(a_delivery(), Postpone(NOW, later, "slow down"))
    given_back = apply(IN_STATE[State.ATTEMPTING], Release(LEASE, later, "slow down"))

    for delivery in (put_off, given_back):
        assert isinstance(delivery, Delivery)
        assert delivery.expires_at == delivery.not_before == delivery.due_at


def test_only_what_may_be_claimed_is_put_off() -> None:
    """A retry that is not due yet keeps its time."""
    assert apply(a_delivery(not_before=NOW + HOUR), Postpone(NOW, NOW, "slow down")) == Refusal.NOT_DUE


def test_an_attempt_ends_the_waiting() -> None:
    """The sentence is about the time before the attempt."""
    waiting = replace(IN_STATE[State.ATTEMPTING], waiting="slow down")
    tried = apply(waiting, CHANGES["deferred"])

    assert isinstance(tried, Delivery)
    assert tried.waiting == ""


def test_only_the_newest_attempt_keeps_its_transcript() -> None:
    """Replies and policies of earlier attempts stay; their transcripts would make the item grow without end."""
    trace = SessionTrace("", "dane", "TLSv1.3", ("S: 220 hello",))
    first = apply(IN_STATE[State.ATTEMPTING], Record(replace(an_attempt(1, LATER), trace=trace), NOW, NOW))
    assert isinstance(first, Delivery)
    claimed = apply(first, Claim("unit-1", NOW, NOW + HOUR))
    assert isinstance(claimed, Delivery)
    second = apply(claimed, Record(replace(an_attempt(2, LATER), trace=trace), NOW, NOW))

    assert isinstance(second, Delivery)
    assert [attempt.trace for attempt in second.attempts] == [replace(trace, transcript=()), trace]


def test_a_lost_lease_is_claimed_again_under_the_same_number() -> None:
    """The attempt id stays, so that the unit's journal can answer for it."""
    again = apply(IN_STATE[State.ATTEMPTING], Claim("unit-1", LEASE.until, LEASE.until + HOUR))

    assert isinstance(again, Delivery)
    assert again.lease == Lease(1, "unit-1", LEASE.until + HOUR)


def test_an_attempt_is_recorded_once() -> None:
    """The same attempt recorded again changes nothing, and neither does a later one nobody leased."""
    once = apply(IN_STATE[State.ATTEMPTING], CHANGES["deferred"])

    assert isinstance(once, Delivery)
    assert apply(once, CHANGES["deferred"]) == Refusal.REPEATED
    assert apply(once, Record(an_attempt(2, OK), None, NOW)) == Refusal.STALE


@pytest.mark.parametrize(("outcome", "state"), [(OK, State.DELIVERED), (NEVER, State.FAILED)])
def test_an_answer_that_comes_late_replaces_unknown(outcome: Outcome, state: State) -> None:
    """A unit that was only cut off has the answer: what it delivered is not sent again."""
    given_up = apply(IN_STATE[State.ATTEMPTING], CHANGES["unknown"])
    assert isinstance(given_up, Delivery)
    known = apply(given_up, Record(an_attempt(1, outcome), NOW + HOUR, NOW))

    assert isinstance(known, Delivery)
    assert (state, None, an_attempt(1, outcome)) == (known.state, known.due_at, known.attempts[-1])
    assert [event.seq for event in known.events] == [1, 2]


def test_an_answer_that_comes_after_the_next_attempt_began_changes_nothing() -> None:
    """That attempt has an outcome of its own, and so has a delivery that has ended."""
    given_up = apply(IN_STATE[State.ATTEMPTING], CHANGES["unknown"])
    assert isinstance(given_up, Delivery)
    second = apply(given_up, Claim("unit-2", NOW + HOUR, NOW + 2 * HOUR))
    assert isinstance(second, Delivery)

    assert apply(second, CHANGES["delivered"]) == Refusal.REPEATED
    assert apply(replace(given_up, state=State.CANCELED), CHANGES["delivered"]) == Refusal.REPEATED
    assert apply(given_up, CHANGES["deferred"]) == Refusal.REPEATED


def test_the_next_attempt_after_a_deferral_is_due_when_the_schedule_says() -> None:
    """Waiting for the retry, it is in the due index at that time and cannot be claimed before."""
    waiting = apply(IN_STATE[State.ATTEMPTING], CHANGES["deferred"])

    assert isinstance(waiting, Delivery)
    assert (waiting.due_at, waiting.not_before, waiting.lease) == (NOW + HOUR, NOW + HOUR, None)
    assert (
        waiting.event_seq,
        waiting.events[0].kind,
        waiting.events[0].code,
        waiting.events[0].enhanced_code,
    ) == (1, EventKind.DELAYED, 451, "4.3.0")


def test_a_retry_beyond_the_maximum_age_is_the_end() -> None:
    """Nobody waits for an attempt that would come too late."""
    ended = apply(IN_STATE[State.ATTEMPTING], Record(an_attempt(1, LATER), NOW + 72 * HOUR, NOW))

    assert isinstance(ended, Delivery)
    assert (ended.state, ended.due_at, ended.ended_at) == (State.FAILED, None, NOW)


def test_time_on_hold_does_not_count() -> None:
    """A hold over a weekend lets nothing expire."""
    released = apply(IN_STATE[State.HELD], Unhold(NOW + 50 * HOUR))

    assert isinstance(released, Delivery)
    assert (released.expires_at, released.due_at) == (NOW + 122 * HOUR, NOW + 50 * HOUR)
    assert released.is_released


def test_the_same_mail_reports_once() -> None:
    """A DSN that is processed twice makes one event."""
    reported = apply(IN_STATE[State.DELIVERED], CHANGES["reported failed"])

    assert isinstance(reported, Delivery)
    assert apply(reported, CHANGES["reported failed"]) == Refusal.REPEATED


def test_a_bounce_that_overtakes_the_record_has_the_last_word() -> None:
    """A DSN may be processed before the outcome of its attempt: it failed, and the newest event says so."""
    bounce = Event(0, EventKind.FAILED, NOW, source="mail-1", dsn=True, code=550)
    reported = apply(IN_STATE[State.ATTEMPTING], Report(bounce))
    assert isinstance(reported, Delivery)
    ended = apply(reported, CHANGES["delivered"])

    assert isinstance(ended, Delivery)
    assert (State.FAILED, reported.rev + 1) == (ended.state, ended.rev)
    assert [(e.seq, e.kind.value) for e in ended.events] == [(1, "failed"), (2, "delivered"), (3, "failed")]


UNDER_WAY = a_delivery(state=State.ATTEMPTING, lease=LEASE)


@pytest.mark.parametrize(
    ("outcome", "next_at", "error"),
    [
        (LATER, None, "given up after 1 attempt: the server put the recipient off, transient: 451 4.3.0 try later"),
        (LATER, LONG_AFTER, "given up after 2 days: the server put the recipient off, transient: 451 4.3.0 try later"),
        (NOBODY_KNOWS, None, "given up after 1 attempt: the connection died after the final dot"),
        (NEVER, None, "the server refused the recipient, permanent: 550 5.1.1 no such user"),
    ],
)
def test_who_gives_up_says_so(outcome: Outcome, next_at: datetime | None, error: str) -> None:
    """After how many attempts, or how long; what the last one heard stays. A refusal for good speaks for itself."""
    ended = apply(UNDER_WAY, Record(an_attempt(1, outcome), next_at, NOW + 50 * HOUR))

    assert isinstance(ended, Delivery)
    event = ended.events[-1]
    assert (ended.state, event.kind, event.error) == (State.FAILED, EventKind.FAILED, error)
    assert event.code == (outcome.reply.code if outcome.reply else 0)


def test_giving_up_counts_all_attempts() -> None:
    """The number of the last one."""
    tried = replace(UNDER_WAY, attempts=(an_attempt(1, LATER),), lease=replace(LEASE, attempt=2))
    ended = apply(tried, Record(an_attempt(2, LATER), None, NOW))

    assert isinstance(ended, Delivery)
    assert ended.events[-1].error.startswith("given up after 2 attempts: ")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, "given up after 4 days: it was never attempted"),
        ({"waiting": "Yahoo asked us to slow down"}, "given up after 4 days: Yahoo asked us to slow down"),
        (
            {"attempts": (an_attempt(1, LATER),)},
            "given up after 4 days: the server put the recipient off, transient: 451 4.3.0 try later",
        ),
    ],
)
def test_what_expires_says_what_it_waited_for(changes: dict[str, Any], error: str) -> None:
    """The last attempt's outcome, or what kept it from one."""
    ended = apply(a_delivery(**changes), Expire(LONG_AFTER))

    assert isinstance(ended, Delivery)
    assert ended.events[-1].error == error


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (48, "2 days"),
        (47.9, "47 hours"),
        (2, "2 hours"),
        (1.9, "114 minutes"),
        (1 / 60, "60 seconds"),
        (0, "0 seconds"),
    ],
)
def test_ages_are_told_in_the_largest_unit_of_which_there_are_two(age: float, words: str) -> None:
    """Days, hours, minutes or seconds."""
    at = NOW + age * HOUR
    ended = apply(a_delivery(expires_at=at), Expire(at))

    assert isinstance(ended, Delivery)
    assert ended.events[-1].error.startswith(f"given up after {words}: ")


def test_a_young_delivery_does_not_expire() -> None:
    """Expiry looks at the age itself."""
    assert apply(a_delivery(), Expire(NOW + HOUR)) == Refusal.YOUNG


def test_a_late_report_does_not_keep_it_alive_for_ever() -> None:
    """What is terminal is forgotten after its retention, at least seven days, and shown for the account's retention."""
    ended = replace(IN_STATE[State.DELIVERED], retention=timedelta(0))

    assert ended.forget_at == NOW + timedelta(days=7)
    assert (
        ended.is_visible(NOW),
        ended.is_forgotten(NOW + timedelta(days=6)),
        ended.is_forgotten(NOW + timedelta(days=7)),
    ) == (False, False, True)


outcomes = st.sampled_from([OK, LATER, NEVER, NOBODY_KNOWS])


def _changes(at: datetime, number: int, outcome: Outcome, next_at: datetime | None) -> list[Change]:
    event = Event(0, EventKind.FAILED, at, source=f"mail-{number}")
    return [
        Claim("u", at, at + HOUR),
        Release(Lease(number, "u", at + HOUR), at),
        Record(an_attempt(number, outcome, at), next_at, at),
        Expire(at),
        Suppress(at, ""),
        Hold(at),
        Unhold(at),
        Cancel(at),
        Report(event),
    ]


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(1, 4), outcomes, st.booleans(), st.integers(0, 90)), max_size=30)
)
def test_no_sequence_of_changes_breaks_the_invariants(
    steps: list[tuple[int, int, Outcome, bool, int]],
) -> None:
    """Terminal is for ever, what waits is always due some time, events and attempts are numbered without gaps."""
    delivery = a_delivery()
    for choice, number, outcome, more, hours in steps:
        at = NOW + hours * HOUR
        after = apply(delivery, _changes(at, number, outcome, at + HOUR if more else None)[choice])
        if isinstance(after, Refusal):
            continue
        assert after.rev == delivery.rev + 1
        assert not delivery.state.is_terminal or after.state.is_terminal
        delivery = after
        assert (delivery.due_at is not None) == (delivery.state in (State.QUEUED, State.ATTEMPTING))
        assert (delivery.lease is not None) == (delivery.state is State.ATTEMPTING)
        assert (delivery.ended_at is not None) == delivery.state.is_terminal
        assert [event.seq for event in delivery.events] == list(range(1, len(delivery.events) + 1))
        assert [attempt.number for attempt in delivery.attempts] == list(range(1, len(delivery.attempts) + 1))
