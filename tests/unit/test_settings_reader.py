"""The cache of settings: how long a change takes, and what a guesser can make of it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from egret.aws.settings_reader import KEEP, KEEP_ABSENT, MAX_ENTRIES, CachedSettings
from egret.contracts.settings import Account, ApiKey, Direct, HoldRule, SendingDomain, Transport
from egret.core.errors import Unavailable
from egret.core.routing import Route
from egret.memory.clock import FakeClock
from egret.memory.settings import MemorySettings
from tests.unit.builders import ACCOUNT, NOW

MOMENT = timedelta(microseconds=1)


@dataclass
class Counted(MemorySettings):
    """Settings that count how often an account is read."""

    reads: Counter[str] = field(default_factory=Counter)
    is_down: bool = False

    def __post_init__(self) -> None:
        MemorySettings.__init__(self)

    def account(self, account_id: str) -> Account | None:
        """Read, and count it."""
        if self.is_down:
            raise Unavailable
        self.reads[account_id] += 1
        return super().account(account_id)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that the test moves."""
    return FakeClock(NOW)


@pytest.fixture
def settings() -> Counted:
    """Settings with one account."""
    made = Counted()
    made.put_account(Account(ACCOUNT, "shop"))
    return made


@pytest.fixture
def cached(settings: Counted, clock: FakeClock) -> CachedSettings:
    """The cache under test."""
    return CachedSettings(settings, clock)


def test_second_question_reads_nothing(cached: CachedSettings, settings: Counted, clock: FakeClock) -> None:
    """For 30 seconds the first answer is given."""
    cached.account(ACCOUNT)
    clock.advance(KEEP - MOMENT)

    assert cached.account(ACCOUNT) == Account(ACCOUNT, "shop")
    assert settings.reads == {ACCOUNT: 1}


def test_how_long_an_answer_holds_can_be_chosen(settings: Counted, clock: FakeClock) -> None:
    """Also that there is none."""
    cached = CachedSettings(settings, clock, timedelta(seconds=1))
    assert (cached.account(ACCOUNT), cached.account("x")) == (Account(ACCOUNT, "shop"), None)
    settings.put_account(Account(ACCOUNT, "renamed"))
    settings.put_account(Account("x", "new"))
    clock.advance(timedelta(seconds=1))

    assert (cached.account(ACCOUNT), cached.account("x")) == (Account(ACCOUNT, "renamed"), Account("x", "new"))


def test_change_is_seen_within_a_minute(cached: CachedSettings, settings: Counted, clock: FakeClock) -> None:
    """When the time of an answer is over, the next question reads."""
    cached.account(ACCOUNT)
    settings.put_account(Account(ACCOUNT, "renamed"))
    clock.advance(KEEP)

    assert timedelta(minutes=1) >= KEEP
    assert cached.account(ACCOUNT) == Account(ACCOUNT, "renamed")


def test_absence_is_kept_for_a_shorter_time(cached: CachedSettings, settings: Counted, clock: FakeClock) -> None:
    """What an operator just made works seconds later."""
    before = cached.account("zzzzzzzz")
    settings.put_account(Account("zzzzzzzz", "new"))
    at_once = cached.account("zzzzzzzz")
    clock.advance(KEEP_ABSENT)

    assert (before, at_once) == (None, None)
    assert cached.account("zzzzzzzz") == Account("zzzzzzzz", "new")
    assert settings.reads == {"zzzzzzzz": 2}


def test_failure_is_not_kept(cached: CachedSettings, settings: Counted) -> None:
    """A table that does not answer is asked again at the next question."""
    settings.is_down = True
    with pytest.raises(Unavailable):
        cached.account(ACCOUNT)
    settings.is_down = False

    assert cached.account(ACCOUNT) == Account(ACCOUNT, "shop")


def test_guesses_do_not_grow_the_memory(cached: CachedSettings, settings: Counted, clock: FakeClock) -> None:
    """However many keys are tried, the cache stays at its limit, and drops the expired ones first."""
    for number in range(MAX_ENTRIES):
        cached.key(str(number))
    clock.advance(KEEP_ABSENT)
    cached.account(ACCOUNT)
    for number in range(3 * MAX_ENTRIES):
        cached.key(f"guess {number}")

    assert len(cached._kept) <= MAX_ENTRIES


def test_kinds_are_kept_apart(cached: CachedSettings, settings: Counted) -> None:
    """The same text is an account id, an address, a key and a domain without mixing them up."""
    settings.put_account(Account("x.example", "named", addresses=("x.example",)))
    settings.put_key(ApiKey("x.example", ACCOUNT, "a@b.example"))
    settings.put_domain(SendingDomain("x.example", ACCOUNT, "bounces.x.example"))
    settings.put_hold_rule(HoldRule("1"))
    settings.put_route(Route("x.example", "relay"))
    settings.put_transport(Transport("x.example", Direct()))

    found: Sequence[object] = [
        cached.account("x.example"),
        cached.account_of_address("x.example"),
        cached.key("x.example"),
        cached.domain("x.example"),
        cached.domain_of_return_path("bounces.x.example"),
        cached.accounts()[0],
        *cached.hold_rules(),
        *cached.routes(),
        *cached.transports(),
    ]
    kinds = [Account, Account, ApiKey, SendingDomain, SendingDomain, Account, HoldRule, Route, Transport]

    assert kinds == [type(thing) for thing in found]


def test_threads_share_the_cache(cached: CachedSettings, settings: Counted) -> None:
    """Each thread gets the whole answer."""
    answers: list[Account | None] = []
    threads = [threading.Thread(target=lambda: answers.append(cached.account(ACCOUNT))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [Account(ACCOUNT, "shop")] * 8
