"""The contract of `Suppressions`: entries, their tombstones, strikes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egret.contracts.settings import Suppression
from egret.core.suppression import Strike, Strikes, add
from egret.usecases.strikes import change_strikes
from tests.integration.contract.backends import Backend
from tests.samples import EXACT, HOUR, MINUTE, NOON

ADDRESS = "bob@example.net"


def _entry(account: str, number: int = 1, address: str = ADDRESS) -> Suppression:
    return Suppression(
        account=account,
        id=number,
        base_address=address,
        original_address=f"Bob+{number}@example.net",
        created_at=NOON + number * MINUTE + EXACT,
        reason="550 5.1.1 no such user, sagt der Server: ü",
        kind="bounce",
        source_event=f"evt_{number}",
    )


Made = tuple[datetime, datetime | None, datetime | None, str]
"""When an entry was made, expires, and was removed; its kind."""
ENDS = st.none() | st.integers(1, 4)
KINDS = st.sampled_from(["bounce", "unsubscribe", "complaint", "manual"])


def _of_times(created: int, ends: int | None, removed: int | None, kind: str) -> Made:
    """Return instants an hour apart; no entry ends before it begins."""
    after = None if ends is None else NOON + (created + ends) * HOUR
    return NOON + created * HOUR, after, None if removed is None else NOON + removed * HOUR, kind


def _stored(backend: Backend, account: str, address: str = ADDRESS) -> Suppression | None:
    return backend.suppressions.find([(account, address)]).get((account, address))


def test_new_entry_is_stored_whole(backend: Backend, account: str) -> None:
    """None says that it was added; every field comes back."""
    manual = replace(_entry(account, 2, "ann@example.net"), manual=True, kind="manual", source_event="", reason="")

    assert backend.suppressions.put_new(_entry(account)) is None
    assert backend.suppressions.put_new(manual) is None
    assert _entry(account) == _stored(backend, account)
    assert manual == _stored(backend, account, "ann@example.net")


def test_active_entry_stays(backend: Backend, account: str) -> None:
    """A second one is told who was first; so is a replay of the same event."""
    backend.suppressions.put_new(_entry(account, 1))

    assert backend.suppressions.put_new(_entry(account, 2)) == _entry(account, 1)
    assert backend.suppressions.put_new(_entry(account, 1)) == _entry(account, 1)
    assert _entry(account, 1) == _stored(backend, account)


def test_removal_marks_the_entry(backend: Backend, account: str) -> None:
    """It is found with the time of its removal, no longer listed, and cannot be removed again."""
    backend.suppressions.put_new(_entry(account))
    answers = [backend.suppressions.remove(account, ADDRESS, NOON + HOUR + n * MINUTE) for n in range(2)]

    assert answers == [True, False]
    assert replace(_entry(account), removed_at=NOON + HOUR) == _stored(backend, account)
    assert backend.suppressions.list(account, NOON) == []


def test_removing_what_is_not_there_is_false(backend: Backend, account: str) -> None:
    """And leaves no mark behind."""
    assert not backend.suppressions.remove(account, ADDRESS, NOON)
    assert _stored(backend, account) is None


def test_replay_never_undoes_a_removal(backend: Backend, account: str) -> None:
    """Events from before the removal find the removed entry."""
    backend.suppressions.put_new(_entry(account, 1))
    backend.suppressions.remove(account, ADDRESS, NOON + HOUR)
    removed = replace(_entry(account, 1), removed_at=NOON + HOUR)

    assert backend.suppressions.put_new(_entry(account, 1)) == removed
    assert backend.suppressions.put_new(_entry(account, 59)) == removed
    assert backend.suppressions.list(account, NOON) == []


def test_event_after_the_removal_suppresses_again(backend: Backend, account: str) -> None:
    """The address failed anew: a new entry takes the place of the removed one."""
    backend.suppressions.put_new(_entry(account, 1))
    backend.suppressions.remove(account, ADDRESS, NOON + HOUR)

    assert backend.suppressions.put_new(_entry(account, 61)) is None
    assert _entry(account, 61) == _stored(backend, account)
    assert backend.suppressions.list(account, NOON) == [_entry(account, 61)]


def test_entry_that_expires_is_stored_whole(backend: Backend, account: str) -> None:
    """With its end to the microsecond and what was said."""
    entry = replace(_entry(account), expires_at=NOON + HOUR + EXACT, evidence="5.1.1 sagt der Server: ü")

    assert backend.suppressions.put_new(entry) is None
    assert entry == _stored(backend, account)


def test_expired_entry_is_found_and_no_longer_listed(backend: Backend, account: str) -> None:
    """From the instant itself on; nor can it be removed."""
    entry = replace(_entry(account), expires_at=NOON + HOUR)
    backend.suppressions.put_new(entry)

    assert backend.suppressions.list(account, NOON + HOUR - MINUTE) == [entry]
    assert backend.suppressions.list(account, NOON + HOUR) == []
    assert not backend.suppressions.remove(account, ADDRESS, NOON + HOUR)
    assert entry == _stored(backend, account)
    assert backend.suppressions.remove(account, ADDRESS, NOON + HOUR - MINUTE)


@given(
    known=st.builds(_of_times, st.integers(0, 3), ENDS, st.none() | st.integers(0, 4), KINDS),
    new=st.builds(_of_times, st.integers(0, 3), ENDS, st.none(), KINDS),
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_entry_gives_way_as_the_rule_says(backend: Backend, account: str, known: Made, new: Made) -> None:
    """Whatever was there, removed or not, for good or for a time: every store keeps to `Suppression.gives_way_to`."""
    address = f"{uuid4().hex}@example.net"
    created, ends, removed, kind = known
    old = replace(_entry(account, address=address), created_at=created, expires_at=ends, kind=kind)
    backend.suppressions.put_new(old)
    if removed is not None and backend.suppressions.remove(account, address, removed):
        old = replace(old, removed_at=removed)
    fresh = replace(old, id=2, created_at=new[0], expires_at=new[1], kind=new[3], removed_at=None)

    answer = backend.suppressions.put_new(fresh)

    assert answer == (None if old.gives_way_to(fresh) else old)
    assert _stored(backend, account, address) == (fresh if answer is None else old)


def test_list_shows_active_entries_oldest_first(backend: Backend, account: str) -> None:
    """By the time they were made, not by address."""
    entries = [_entry(account, number, f"{chr(ord('z') - number)}@example.net") for number in range(1, 9)]
    for entry in reversed(entries):
        backend.suppressions.put_new(entry)
    backend.suppressions.remove(account, entries[3].base_address, NOON + HOUR)

    assert entries[:3] + entries[4:] == backend.suppressions.list(account, NOON)


def test_many_are_found_at_once(backend: Backend, account: str, other: str) -> None:
    """More than a hundred keys of two accounts; what is absent is left out."""
    entries = [_entry(who, number, f"a{number}@example.net") for who in (account, other) for number in range(60)]
    for entry in entries:
        backend.suppressions.put_new(entry)
    keys = [(entry.account, entry.base_address) for entry in entries]

    assert dict(zip(keys, entries, strict=True)) == backend.suppressions.find([*keys, keys[0], (account, "no@one")])
    assert backend.suppressions.find([]) == {}


def test_one_of_many_writers_adds_the_entry(backend: Backend, account: str) -> None:
    """Eight at once: one is added, seven are told which."""
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: backend.suppressions.put_new(_entry(account, n)), range(8)))

    stored = _stored(backend, account)
    assert answers.count(None) == 1
    assert answers.count(stored) == 7
    assert stored == _entry(account, answers.index(None))


def test_strikes_come_back_as_they_were(backend: Backend, account: str) -> None:
    """With their times, to the microsecond, and the time of the last success."""
    strikes = Strikes((Strike(NOON + EXACT, "evt_1"), Strike(NOON + HOUR, "evt_2")), NOON - HOUR + EXACT)
    cleared = Strikes((), NOON)
    backend.suppressions.put_strikes(account, ADDRESS, Strikes(), strikes)
    backend.suppressions.put_strikes(account, "ann@example.net", Strikes(), cleared)
    keys = [(account, ADDRESS), (account, "ann@example.net"), (account, "no@one")]

    assert {keys[0]: strikes, keys[1]: cleared} == backend.suppressions.find_strikes(keys)
    assert backend.suppressions.find_strikes([]) == {}


def test_strikes_are_replaced_by_whoever_knows_them(backend: Backend, account: str) -> None:
    """Who has read something else, or nothing, is told so and changes nothing."""
    key = (account, ADDRESS)
    first, second = Strikes((Strike(NOON + EXACT, "evt_1"),)), Strikes((), NOON + HOUR)
    answers = [
        backend.suppressions.put_strikes(*key, first, second),
        backend.suppressions.put_strikes(*key, Strikes(), first),
        backend.suppressions.put_strikes(*key, Strikes(), second),
        backend.suppressions.put_strikes(*key, second, Strikes((), NOON)),
    ]
    stood = backend.suppressions.find_strikes([key])

    assert answers == [False, True, False, False]
    assert stood == {key: first}
    assert backend.suppressions.put_strikes(*key, first, second)
    assert backend.suppressions.find_strikes([key]) == {key: second}


def test_no_strike_is_lost_when_many_write_at_once(backend: Backend, account: str) -> None:
    """Eight failures in eight lanes of the stream are eight strikes."""
    key = (account, ADDRESS)

    def strike(number: int) -> None:
        change_strikes(
            backend.suppressions, key, Strikes(), lambda known: add(known, f"evt_{number}", NOON + number * MINUTE)
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(strike, range(8)))

    expected = tuple(Strike(NOON + number * MINUTE, f"evt_{number}") for number in range(8))
    assert backend.suppressions.find_strikes([key]) == {key: Strikes(expected)}


def test_strikes_and_entries_are_kept_apart(backend: Backend, account: str) -> None:
    """Strikes suppress nothing by themselves, and a removal leaves them alone."""
    key = (account, ADDRESS)
    strikes = Strikes((Strike(NOON, "evt_1"),))
    backend.suppressions.put_strikes(*key, Strikes(), strikes)
    before = _stored(backend, account)
    backend.suppressions.put_new(_entry(account))
    backend.suppressions.remove(*key, NOON + HOUR)

    assert before is None
    assert backend.suppressions.find_strikes([key]) == {key: strikes}


def test_accounts_know_nothing_of_each_other(backend: Backend, account: str, other: str) -> None:
    """One account's suppressed address is another's good customer."""
    backend.suppressions.put_new(_entry(account))
    backend.suppressions.put_strikes(account, ADDRESS, Strikes(), Strikes((Strike(NOON, "evt_1"),)))

    assert _stored(backend, other) is None
    assert backend.suppressions.list(other, NOON) == []
    assert backend.suppressions.find_strikes([(other, ADDRESS)]) == {}
    assert not backend.suppressions.remove(other, ADDRESS, NOON + HOUR)
    assert backend.suppressions.put_new(_entry(other, 2)) is None
    assert _entry(account) == _stored(backend, account)
