"""What the egress notes of recipient domains' TLS: news, and once a day that nothing changed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from egret.contracts.tls import TlsSupport
from egret.memory.clock import FakeClock
from egret.memory.tls import MemoryDomainTls
from egret_egress.domain_tls import STILL_SO, DomainTlsNotes, writing
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT

SEEN = TlsSupport(ACCOUNT, "example.net", starttls=True, require_tls=False, updated_at=NOW)
SECOND = timedelta(seconds=1)


def _notes(*seen: TlsSupport) -> DomainTlsNotes:
    notes = DomainTlsNotes()
    for each in seen:
        notes.saw(each)
    return notes


def test_a_domain_is_written_once_however_many_sessions_it_has() -> None:
    """Also when the sessions go on after the write: a message does not cost one."""
    notes = _notes(*[replace(SEEN, updated_at=NOW + index * SECOND) for index in range(1000)])

    assert notes.take(NOW) == [SEEN]
    notes.saw(replace(SEEN, updated_at=NOW + STILL_SO - SECOND))
    assert notes.take(NOW) == []


def test_once_a_day_it_is_written_that_nothing_changed() -> None:
    """So that `updated` is not older than that."""
    notes = _notes(SEEN)
    notes.take(NOW)
    later = replace(SEEN, updated_at=NOW + STILL_SO)
    notes.saw(later)

    assert notes.take(NOW) == [later]


def test_a_change_is_written_at_the_next_turn() -> None:
    """Only the latest state of several."""
    changes = [replace(SEEN, starttls=False), replace(SEEN, require_tls=True)]
    for change in changes:
        notes = _notes(SEEN)
        notes.take(NOW)
        notes.saw(change)
        assert notes.take(NOW) == [change]

    assert _notes(SEEN, *changes).take(NOW) == [changes[-1]]


def test_accounts_and_domains_are_noted_apart() -> None:
    """Each tenant has its own view."""
    seen = [replace(SEEN, account=account, domain=domain) for account in (ACCOUNT, OTHER_ACCOUNT) for domain in "ab"]

    assert _notes(*seen).take(NOW) == seen


def test_memory_is_bounded() -> None:
    """What was not met for longest is forgotten, and written again when it is met again."""
    notes = DomainTlsNotes(known=2, waiting=10)
    a, b, c = (replace(SEEN, domain=f"{name}.example") for name in "abc")
    for seen in (a, b, a, c):
        notes.saw(seen)
    notes.take(NOW)
    for seen in (a, c, b):
        notes.saw(seen)

    assert notes.take(NOW) == [b]


def test_what_waits_is_bounded_and_comes_again() -> None:
    """A table that is away for long costs no memory; what was not kept is noted by the next session."""
    notes = DomainTlsNotes(waiting=3)
    seen = [replace(SEEN, domain=f"d{index}.example") for index in range(5)]
    for each in seen:
        notes.saw(each)

    assert notes.take(NOW) == seen[:3]
    for each in seen:
        notes.saw(each)
    assert notes.take(NOW) == seen[3:]


def test_what_could_not_be_written_yields_to_what_is_newer() -> None:
    """And is noted again by the next session when there is no room to keep it."""
    notes = DomainTlsNotes(waiting=2)
    other, third = replace(SEEN, domain="b.example"), replace(SEEN, domain="c.example")
    newer = replace(SEEN, starttls=False, updated_at=NOW + SECOND)
    for seen in (SEEN, other):
        notes.saw(seen)
    left = notes.take(NOW)
    for seen in (newer, third):
        notes.saw(seen)
    notes.put_back(left, NOW)

    assert notes.take(NOW) == [newer, third]
    notes.saw(other)
    assert notes.take(NOW) == [other]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans(), st.booleans()), max_size=30))
def test_the_table_says_what_was_seen_last(steps: list[tuple[str, bool, bool, bool]]) -> None:
    """Whenever it is written in between: after the end, every domain stands there as its last session was."""
    notes, table, last = DomainTlsNotes(), MemoryDomainTls(), {}
    for domain, starttls, require_tls, is_written in steps:
        notes.saw(TlsSupport(ACCOUNT, domain, starttls, require_tls, NOW))
        last[domain] = (starttls, require_tls)
        if is_written:
            table.put(notes.take(NOW))
    table.put(notes.take(NOW, everything=True))

    stored = {domain: table.get(ACCOUNT, domain, NOW) for domain in last}
    assert last == {domain: (seen.starttls, seen.require_tls) for domain, seen in stored.items() if seen}


def test_notes_are_written_through_the_port() -> None:
    """More than one batch of them."""
    notes, table = DomainTlsNotes(), MemoryDomainTls()
    seen = [replace(SEEN, domain=f"d{index}.example") for index in range(60)]
    for each in seen:
        notes.saw(each)
    with ThreadPoolExecutor(2) as executor:
        asyncio.run(writing(notes, table, FakeClock(NOW)).flush(executor, 10))

    assert [table.get(ACCOUNT, each.domain, NOW) for each in seen] == seen
    assert len(notes) == 0
