"""Results of TLS sessions in memory: summed up, bounded, written at times, and nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from egret.core.tlsrpt import (
    MAX_DETAILS,
    AppliedPolicy,
    FailureDetail,
    PolicyType,
    ResultKey,
    ResultType,
    Tally,
    TlsResult,
    TlsSession,
    total,
)
from egret.memory.clock import FakeClock
from egret.memory.tls import MemoryTlsResults
from egret_egress.tls_results import AT_ONCE, FAILURE_WAITS, KINDS, SUCCESS_WAITS, TlsResultNotes, writing

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NO_POLICY = AppliedPolicy(PolicyType.NONE)
STS = AppliedPolicy(PolicyType.STS, ("version: STSv1", "mode: testing"), ("*.example.net",))
EXPIRED = FailureDetail(ResultType.CERTIFICATE_EXPIRED, receiving_mx="mx.example.net")
GOOD = TlsSession("example.net", "example.net", NO_POLICY)
BAD = TlsSession("example.net", "example.net", STS, (EXPIRED,))

DETAILS = st.builds(
    FailureDetail,
    st.sampled_from(ResultType),
    receiving_mx=st.sampled_from(["mx1", "mx2"]),
    reason_code=st.integers(0, 30).map(str),
)
SESSIONS = st.builds(
    TlsSession,
    st.sampled_from(["a.example", "mx.a.example"]),
    st.just("a.example"),
    st.sampled_from([NO_POLICY, STS]),
    st.lists(DETAILS, max_size=2).map(tuple),
)
STEPS = st.lists(
    st.tuples(SESSIONS, st.sampled_from([0, 1]), st.integers(0, 3600), st.sampled_from(["go on", "write", "fail"])),
    max_size=40,
)


def _stored(table: MemoryTlsResults, *days: datetime) -> dict[ResultKey, Tally]:
    pages = [table.list(day.date(), "", 1000, NOW).items for day in days or (NOW,)]
    return {result.key: result.tally for page in pages for result in page}


def _expected(sessions: list[tuple[TlsSession, datetime]]) -> dict[ResultKey, Tally]:
    sums: dict[ResultKey, list[Tally]] = {}
    for session, at in sessions:
        sums.setdefault(session.key(at), []).append(session.tally)
    return {key: total(tallies) for key, tallies in sums.items()}


@given(STEPS)
def test_flushes_of_several_units_are_one_sum(steps: list[tuple[TlsSession, int, int, str]]) -> None:
    """However the sessions spread over two units, the flushes, their failures, and midnight."""
    units, table, at = (TlsResultNotes(), TlsResultNotes()), MemoryTlsResults(), NOW
    counted: list[tuple[TlsSession, datetime]] = []
    for session, unit, pause_s, then in steps:
        at += timedelta(seconds=pause_s)
        units[unit].add(session, at)
        counted.append((session, at))
        if then != "go on":
            taken = units[unit].take(at)
            written = taken[::2] if then == "fail" else taken
            for result in written:
                table.add(result)
            units[unit].put_back([result for result in taken if result not in written], at)
    for notes in units:
        for result in notes.take(at, everything=True):
            table.add(result)

    days = [NOW + timedelta(days=offset) for offset in range(3)]
    stored, expected = _stored(table, *days), _expected(counted)
    assert stored.keys() == expected.keys()
    for key, tally in stored.items():
        wanted = expected[key]
        assert (tally.successes, tally.failures, tally.by_type) == (wanted.successes, wanted.failures, wanted.by_type)


@given(st.lists(SESSIONS, max_size=KINDS // 2), st.randoms(use_true_random=False))
def test_order_makes_no_difference(sessions: list[TlsSession], random: object) -> None:
    """Exactly the same results, details included, while no limit is reached."""
    shuffled = list(sessions)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    sums = []
    for order in (sessions, shuffled):
        notes = TlsResultNotes()
        for session in order:
            notes.add(session, NOW)
        sums.append({result.key: result.tally for result in notes.take(NOW, everything=True)})

    assert sums[0] == sums[1] == _expected([(session, NOW) for session in sessions])


def test_successes_wait_longer_than_failures() -> None:
    """A domain with a session each second costs a write in ten minutes."""
    notes = TlsResultNotes()
    notes.add(GOOD, NOW)
    notes.add(BAD, NOW)

    assert notes.take(NOW + FAILURE_WAITS - SECOND) == []
    assert notes.take(NOW + FAILURE_WAITS) == [TlsResult(BAD.key(NOW), Tally(0, 1, {EXPIRED: 1}))]
    for second in range(1, 600):
        notes.add(GOOD, NOW + second * SECOND)
    assert notes.take(NOW + SUCCESS_WAITS - SECOND) == []
    assert notes.take(NOW + SUCCESS_WAITS) == [TlsResult(GOOD.key(NOW), Tally(600))]


def test_a_day_that_has_ended_is_written_at_once() -> None:
    """Its report is due soon."""
    notes = TlsResultNotes()
    evening = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
    notes.add(GOOD, evening)
    notes.add(GOOD, evening + SECOND)

    assert notes.take(evening + SECOND) == [TlsResult(GOOD.key(evening), Tally(1))]


def test_kinds_of_failure_are_told_apart_up_to_a_limit() -> None:
    """A server that fails in ever new ways makes no result grow without end, over all flushes of a day."""
    notes, table = TlsResultNotes(), MemoryTlsResults()
    for index in range(300):
        detail = FailureDetail(ResultType.VALIDATION_FAILURE, reason_code=f"code-{index}")
        notes.add(TlsSession("example.net", "example.net", NO_POLICY, (detail,)), NOW)
        for result in notes.take(NOW, everything=True):
            table.add(result)
    (tally,) = _stored(table).values()

    assert tally.failures == 300
    assert len(tally.details) == KINDS + 1 <= MAX_DETAILS
    assert tally.details[FailureDetail(ResultType.VALIDATION_FAILURE)] == 300 - KINDS


def test_the_next_day_tells_kinds_apart_anew() -> None:
    """What was seen yesterday takes no room today."""
    notes = TlsResultNotes()
    for day in range(3):
        at = NOW + timedelta(days=day)
        for index in range(KINDS):
            detail = FailureDetail(ResultType.VALIDATION_FAILURE, reason_code=f"code-{day}-{index}")
            notes.add(TlsSession("example.net", "example.net", NO_POLICY, (detail,)), at)
        (result,) = notes.take(at, everything=True)
        assert len(result.tally.details) == KINDS
    assert len(notes._kinds) == 1


def test_memory_is_bounded() -> None:
    """Sessions with too many domains at a time are not counted, and the number of those is known."""
    notes = TlsResultNotes(keys=10)
    for index in range(15):
        notes.add(TlsSession(f"d{index}.example", f"d{index}.example", NO_POLICY), NOW)
        notes.add(TlsSession(f"d{index}.example", f"d{index}.example", NO_POLICY, (EXPIRED,)), NOW)

    assert len(notes) == 10
    assert notes.dropped == 10
    assert len(notes._kinds) <= 10


def test_much_is_written_before_it_is_too_much() -> None:
    """When half of the room is used, nothing waits for its time."""
    notes = TlsResultNotes(keys=10)
    for index in range(6):
        notes.add(TlsSession(f"d{index}.example", f"d{index}.example", NO_POLICY), NOW)

    assert len(notes.take(NOW)) == 6


def test_little_is_taken_at_a_time_until_the_end() -> None:
    """The event loop has mail to send; the rest comes at the next turn."""
    notes = TlsResultNotes()
    for index in range(AT_ONCE + 2):
        notes.add(TlsSession(f"d{index}.example", "example.net", NO_POLICY), NOW)

    assert len(notes.take(NOW + SUCCESS_WAITS)) == AT_ONCE
    assert len(notes.take(NOW + SUCCESS_WAITS)) == 2
    for index in range(AT_ONCE + 2):
        notes.add(TlsSession(f"d{index}.example", "example.net", NO_POLICY), NOW)
    assert len(notes.take(NOW, everything=True)) == AT_ONCE + 2


def test_what_is_forgotten_anyway_does_not_wait() -> None:
    """A table that was away for days gets no results that nobody asks for."""
    notes = TlsResultNotes()
    result = TlsResult(GOOD.key(NOW), Tally(1))
    notes.put_back([result], result.key.forget_at)

    assert len(notes) == 0


def test_notes_are_written_through_the_port() -> None:
    """Each by itself, all that somebody wants to hear of."""
    notes, table = TlsResultNotes(), MemoryTlsResults()
    sessions = [TlsSession(f"d{index}.example", "example.net", NO_POLICY) for index in range(60)]
    for session in sessions:
        notes.add(session, NOW)

    async def first_fifty(results: Sequence[TlsResult]) -> list[TlsResult]:
        return [result for result in results if int(result.key.policy_domain[1:].partition(".")[0]) < 50]

    with ThreadPoolExecutor(2) as executor:
        asyncio.run(writing(notes, table, FakeClock(NOW), first_fifty).flush(executor, 10))

    assert _stored(table) == _expected([(session, NOW) for session in sessions[:50]])
    assert len(notes) == 0
