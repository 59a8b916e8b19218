"""suppress puts dead addresses on the list, once, and never argues with a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from egret.contracts.settings import Suppression
from egret.contracts.webapi import SuppressionAddRequest
from egret.core.changes import Record
from egret.core.delivery import Delivery, Lease, State
from egret.core.errors import Unavailable
from egret.core.events import Event, EventKind, event_id
from egret.core.ids import delivery_id
from egret.core.lifecycle import apply
from egret.core.outcome import Bounced, Deferred
from egret.core.reply import Reply
from egret.core.suppression import Strike, Strikes
from egret.core.trace import SessionTrace
from egret.memory.clock import FakeClock
from egret.memory.dice import SeededDice
from egret.memory.suppressions import MemorySuppressions
from egret.usecases.suppress import MAX_EVIDENCE_BYTES, Happening, failure_of, suppress
from egret.usecases.suppressions import SuppressionPorts, suppression_add, suppression_remove
from tests.unit.builders import ACCOUNT, HOUR, MESSAGE_ID, NOW, OTHER_ACCOUNT, REMOTE, a_delivery, an_attempt

KEY = (ACCOUNT, "ann@example.net")
HARD: dict[str, Any] = {"kind": EventKind.FAILED, "code": 550, "enhanced_code": "5.1.1"}
SOFT: dict[str, Any] = {"kind": EventKind.FAILED, "code": 552, "enhanced_code": "5.2.2"}
DELIVERED: dict[str, Any] = {"kind": EventKind.DELIVERED, "code": 250}


def happening(
    number: int, at: datetime = NOW, *, seq: int = 1, recipient: str = "ann@example.net", **event: Any
) -> Happening:
    """Return an event of delivery `number`, as its newest."""
    one = Event(seq, at=at, **event)
    return Happening(a_delivery(id=delivery_id(MESSAGE_ID, number), recipient=recipient, events=(one,)), one)


@dataclass
class World:
    """A suppression list, and what an operator can do to it."""

    list: MemorySuppressions = field(default_factory=MemorySuppressions)

    def judge(self, *happenings: Happening) -> set[str]:
        """Run suppress."""
        return suppress(self.list, happenings)

    def entry(self, key: tuple[str, str] = KEY) -> Suppression | None:
        """Return the entry of a key."""
        return self.list.find([key]).get(key)

    def is_active(self) -> bool:
        """Mail to ann is refused."""
        entry = self.entry()
        return entry is not None and entry.is_active_at(NOW)

    def strikes(self) -> int:
        """How many failures in a row ann has."""
        return len(self.list.find_strikes([KEY]).get(KEY, Strikes()).counted)

    def ports(self, at: datetime) -> SuppressionPorts:
        """Return what the account's own methods need."""
        return SuppressionPorts(self.list, FakeClock(at), SeededDice())


def failed(outcome: Bounced | Deferred, number: int = 0, at: datetime = NOW, *, policy: str = "") -> Happening:
    """Return the failure of delivery `number`, whose only attempt came to an outcome."""
    attempt = replace(an_attempt(1, outcome), trace=SessionTrace(policy=policy))
    leased = a_delivery(id=delivery_id(MESSAGE_ID, number), state=State.ATTEMPTING, lease=Lease(1, "unit-1", at))
    ended = apply(leased, Record(attempt, None, at))
    assert isinstance(ended, Delivery)
    return Happening(ended, ended.events[-1])


def refused_before(reply: Reply) -> Happening:
    """Return the failure of a delivery whose server refused us before it was told of the recipient."""
    return failed(Bounced("the server does not want to talk", reply, names_recipient=False))


@pytest.fixture
def world() -> World:
    """An empty list."""
    return World()


@pytest.mark.parametrize(
    ("event", "suppresses", "strikes"),
    [
        (HARD, True, 0),
        ({**HARD, "enhanced_code": ""}, True, 0),
        ({**HARD, "dsn": True, "code": 500, "enhanced_code": "5.2.1"}, True, 0),
        (SOFT, False, 1),
        ({**SOFT, "dsn": True}, False, 1),
        ({"kind": EventKind.FAILED, "code": 451, "enhanced_code": "4.3.0"}, False, 1),
        ({"kind": EventKind.FAILED, "code": 554, "enhanced_code": "5.7.1"}, False, 0),
        ({"kind": EventKind.FAILED, "code": 553, "enhanced_code": "5.1.8"}, False, 0),
        ({"kind": EventKind.FAILED, "error": "given up after 3 days: it was never attempted"}, False, 0),
        ({"kind": EventKind.DELAYED, "code": 451, "enhanced_code": "4.3.0"}, False, 0),
        ({"kind": EventKind.DELAYED, "code": 550, "enhanced_code": "5.1.1", "dsn": True}, False, 0),
        ({"kind": EventKind.DELIVERED, "code": 554, "enhanced_code": "5.0.0", "dsn": True}, False, 0),
        ({"kind": EventKind.SUPPRESSED}, False, 0),
        ({"kind": EventKind.CANCELED}, False, 0),
        ({"kind": EventKind.UNRECOGNIZED, "dsn": True}, False, 0),
        ({"kind": EventKind.COMPLAINED}, True, 0),
        ({"kind": EventKind.UNSUBSCRIBED}, True, 0),
    ],
)
def test_what_an_event_does_to_the_list(world: World, event: dict[str, Any], suppresses: bool, strikes: int) -> None:
    """The truth table: dead addresses, complaints and unsubscribes at once, other failures count, the rest does not."""
    one = happening(0, **event)

    assert world.judge(one) == ({one.id} if suppresses else set())
    assert (world.is_active(), world.strikes()) == (suppresses, strikes)


@pytest.mark.parametrize("kind", [EventKind.FAILED, EventKind.COMPLAINED, EventKind.UNSUBSCRIBED])
def test_what_a_message_id_alone_vouches_for_suppresses_nobody(world: World, kind: EventKind) -> None:
    """Everybody who got the message could have written it."""
    one = happening(0, kind=kind, code=550, enhanced_code="5.1.1", dsn=True, by_message_id=True)

    assert world.judge(one) == set()
    assert (world.is_active(), world.strikes()) == (False, 0)


def test_the_reason_names_source_and_code(world: World) -> None:
    """A person who reads the list sees why, and which event it was."""
    one = happening(0, **{**HARD, "dsn": True})
    world.judge(one)

    entry = world.entry()

    assert entry is not None
    assert (entry.reason, entry.source_event, entry.kind, entry.manual, entry.created_at) == (
        "a DSN says that the address is dead (550 5.1.1)",
        one.id,
        "bounce",
        False,
        NOW,
    )


def test_three_failed_deliveries_in_a_row_suppress(world: World) -> None:
    """The third event is the one that suppresses; variants of the address count together."""
    first, second, third = (
        happening(number, NOW + number * HOUR, recipient=recipient, **SOFT)
        for number, recipient in enumerate(("ann@example.net", "Ann+x@example.net", "ANN@example.net"))
    )

    assert world.judge(first, second) == set()
    assert world.judge(third) == {third.id}
    assert world.is_active()


def test_accounts_count_for_themselves(world: World) -> None:
    """Another account's failures say nothing."""
    for number in range(3):
        one = Event(1, EventKind.FAILED, NOW + number * HOUR, code=552, enhanced_code="5.2.2")
        account = OTHER_ACCOUNT if number == 1 else ACCOUNT
        world.judge(Happening(a_delivery(id=delivery_id(MESSAGE_ID, number), account=account, events=(one,)), one))

    assert (world.is_active(), world.strikes()) == (False, 2)


def test_several_reports_about_one_delivery_are_one_strike(world: World) -> None:
    """A list or an alias may answer one message with many DSNs."""
    events = tuple(
        Event(seq, EventKind.FAILED, NOW + seq * HOUR, source=str(seq), dsn=True, code=552) for seq in (1, 2, 3)
    )
    delivery = a_delivery(events=events)
    world.judge(*(Happening(delivery, event) for event in events))

    assert (world.is_active(), world.strikes()) == (False, 1)


def test_a_delivery_that_arrives_clears_the_strikes(world: World) -> None:
    """Failures before it no longer count, those after it do."""
    world.judge(happening(0, NOW, **SOFT), happening(1, NOW + HOUR, **SOFT))
    world.judge(happening(2, NOW + 2 * HOUR, **DELIVERED))
    assert world.strikes() == 0

    world.judge(happening(3, NOW + 3 * HOUR, **SOFT), happening(4, NOW + 4 * HOUR, **SOFT))
    assert (world.is_active(), world.strikes()) == (False, 2)


def taken_and_returned(number: int, *, returned: bool = True) -> list[Happening]:
    """Return what happens to delivery `number`: the server takes it, and reports an hour later that it failed."""
    at = NOW + number * 2 * HOUR
    taken = Event(1, EventKind.DELIVERED, at, attempt=1, code=250)
    report = Event(2, at=at + HOUR, source=f"report {number}", dsn=True, **SOFT)
    delivery = a_delivery(id=delivery_id(MESSAGE_ID, number), events=(taken, report))
    return [Happening(delivery, taken), *([Happening(delivery, report)] if returned else [])]


def test_a_server_that_takes_everything_and_reports_later_fails_in_a_row_too(world: World) -> None:
    """What a report says has failed was no success between the others, however often the stream repeats it."""
    for number in range(3):
        assert world.strikes() == number
        world.judge(*taken_and_returned(number), *taken_and_returned(number))

    assert (world.is_active(), world.strikes()) == (True, 3)


def test_a_mail_that_is_not_returned_was_a_success(world: World) -> None:
    """Two that were, one that was not, two that were: not three in a row."""
    for number in range(5):
        world.judge(*taken_and_returned(number, returned=number != 2))

    assert (world.is_active(), world.strikes()) == (False, 2)


def test_a_batch_sees_its_own_strikes(world: World) -> None:
    """Order within one call counts: failures before and after a success are not in a row."""
    batch = [happening(0, NOW, **SOFT), happening(1, NOW + HOUR, **SOFT), happening(2, NOW + 2 * HOUR, **DELIVERED)]
    world.judge(*batch, happening(3, NOW + 3 * HOUR, **SOFT))

    assert (world.is_active(), world.strikes()) == (False, 1)


def test_the_same_events_again_give_the_same_answer(world: World) -> None:
    """A stream that repeats itself suppresses nobody, and `Suppressing` stays true for the event that did."""
    events = [happening(number, NOW + number * HOUR, **SOFT) for number in range(3)]
    answers = [world.judge(*events[:2]), world.judge(*events[:2]), world.judge(*events), world.judge(*events)]

    assert answers == [set(), set(), {events[2].id}, {events[2].id}]
    assert world.strikes() == 3


@pytest.mark.parametrize("event", [HARD, {"kind": EventKind.COMPLAINED}])
def test_only_the_event_that_listed_an_address_is_suppressing(world: World, event: dict[str, Any]) -> None:
    """A later one finds it listed already."""
    first, second = happening(0, **event), happening(1, NOW + HOUR, **event)

    assert (world.judge(first), world.judge(second), world.judge(second, first)) == ({first.id}, set(), {first.id})


@pytest.mark.parametrize("count", [1, 3])
def test_a_replay_never_undoes_a_removal(world: World, count: int) -> None:
    """Neither a hard failure nor three strikes come back; what the events once did is still told."""
    event = HARD if count == 1 else SOFT
    events = [happening(number, NOW + number * HOUR, **event) for number in range(count)]
    told = world.judge(*events)
    suppression_remove(world.ports(NOW + 24 * HOUR), ACCOUNT, "Ann@example.net")

    assert world.judge(*reversed(events)) == told == {events[-1].id}
    assert (world.is_active(), world.strikes()) == (False, 0)


def test_a_failure_after_the_removal_lists_it_again(world: World) -> None:
    """The person's word holds for the past."""
    world.judge(happening(0, **HARD))
    suppression_remove(world.ports(NOW + HOUR), ACCOUNT, "ann@example.net")
    later = happening(1, NOW + 2 * HOUR, **HARD)

    assert world.judge(later) == {later.id}
    assert world.is_active()


def test_strikes_cleared_since_do_not_change_what_the_event_did(world: World) -> None:
    """A message that was on its way when the address was listed may still arrive; a replay tells the same as before."""
    events = [happening(number, NOW + number * HOUR, **SOFT) for number in range(3)]
    world.judge(*events)
    world.judge(happening(9, NOW + 4 * HOUR, **DELIVERED))

    assert world.judge(*events) == {events[2].id}


def test_an_address_that_a_person_listed_is_nobody_elses(world: World) -> None:
    """The person's entry stays, with its reason."""
    request = SuppressionAddRequest(email_address="ann@example.net", reason="asked")
    suppression_add(world.ports(NOW - HOUR), ACCOUNT, request)

    assert world.judge(happening(0, **HARD)) == set()
    assert [entry.reason for entry in world.list.list(ACCOUNT, NOW)] == ["asked"]


def test_an_entry_quotes_what_was_said(world: World) -> None:
    """The whole reply, as far as there is room for it: who doubts the entry wants to read it."""
    world.judge(happening(0, **HARD, reply=("5.1.1 unknown user", "5.1.1 " + "ü" * 900)))

    entry = world.entry()
    assert entry is not None
    assert entry.evidence.startswith("5.1.1 unknown user 5.1.1 üü")
    assert len(entry.evidence.encode()) <= MAX_EVIDENCE_BYTES


def test_a_dead_address_outlives_an_entry_for_a_time(world: World) -> None:
    """The event is news, and its entry lasts; the person's would have ended."""
    request = SuppressionAddRequest(email_address="ann@example.net", expires=NOW + HOUR)
    suppression_add(world.ports(NOW - HOUR), ACCOUNT, request)

    dead = happening(0, **HARD)
    assert world.judge(dead) == {dead.id}
    assert [(entry.kind, entry.expires_at) for entry in world.list.list(ACCOUNT, NOW)] == [("bounce", None)]


def test_a_failure_of_storage_between_strike_and_entry_is_made_good(world: World) -> None:
    """The strike is there, the entry is not: the same event again puts it."""

    class Dying(MemorySuppressions):
        is_dead = False

        def put_new(self, entry: Suppression) -> Suppression | None:
            if self.is_dead:
                raise Unavailable
            return super().put_new(entry)

    world.list = dying = Dying()
    events = [happening(number, NOW + timedelta(hours=number), **SOFT) for number in range(3)]
    dying.is_dead = True
    with pytest.raises(Unavailable):
        world.judge(*events)
    dying.is_dead = False

    assert world.judge(*events) == {event_id(ACCOUNT, events[2].delivery.id, 1)}


@pytest.mark.parametrize("text", ["blocked, see our policy page", "5.1.1 no such user"])
def test_a_server_that_blocks_us_does_not_suppress_the_recipient(world: World, text: str) -> None:
    """Listed once on a blocklist, an account must not lose every address of a provider."""
    assert world.judge(refused_before(Reply(550, (text,)))) == set()
    assert (world.is_active(), world.strikes()) == (False, 0)


@pytest.mark.parametrize(
    ("text", "policy", "is_dead"),
    [
        ("relaying denied", "opportunistic", False),
        ("no such user", "opportunistic", True),
        ("5.0.0 scripted answer", "plain", True),
        ("no such user", "smarthost", False),
        ("relaying denied", "smarthost, unverified", False),
        ("5.1.1 no such user", "smarthost", True),
        ("5.2.1 account disabled", "smarthost, plain", True),
    ],
)
def test_what_a_bare_550_at_rcpt_is_worth(world: World, text: str, policy: str, is_dead: bool) -> None:
    """The words count, and over a smarthost the enhanced code alone; nothing is a strike that is about us."""
    one = failed(Bounced("the server refused the recipient", Reply(550, (text,)), REMOTE), policy=policy)

    assert world.judge(one) == ({one.id} if is_dead else set())
    assert (world.is_active(), world.strikes()) == (is_dead, 0)


NO_DOMAIN = Bounced(
    "the recipient's domain does not exist (is it spelled right?)", Reply(550, ("5.1.2 The domain does not exist",))
)
NO_MAIL = Bounced("the recipient's domain says that it takes no mail (null MX)", Reply(556, ("5.1.10 null MX",)))
DAY = timedelta(days=1)


def test_a_resolver_that_knows_no_domain_for_a_day_suppresses_nobody(world: World) -> None:
    """It may be broken, and would put every address on the list that is written to meanwhile."""
    world.judge(*(failed(NO_DOMAIN, number, NOW + timedelta(minutes=number)) for number in range(9)))

    assert (world.is_active(), world.strikes()) == (False, 1)


def test_a_domain_that_does_not_exist_on_three_days_suppresses(world: World) -> None:
    """The reason says who says so, since no server was asked; a replay tells the same."""
    happenings = [failed(NO_DOMAIN, number, NOW + number * DAY) for number in range(3)]

    assert world.judge(*happenings) == {happenings[-1].id}
    assert world.judge(*happenings) == {happenings[-1].id}
    entry = world.entry()
    assert entry is not None
    assert entry.reason == (
        "three deliveries in a row failed, the last one since the recipient's domain does not exist (is it spelled "
        "right?)"
    )


def test_a_null_mx_is_the_domains_own_word(world: World) -> None:
    """RFC 7505: it suppresses at once; the reason blames no server."""
    one = failed(NO_MAIL)

    assert world.judge(one) == {one.id}
    entry = world.entry()
    assert entry is not None
    assert entry.reason == "the recipient's domain says that it takes no mail (null MX)"


@pytest.mark.parametrize("policy", ["opportunistic", "smarthost"])
def test_a_5yz_that_was_put_off_until_the_end_does_not_suppress(world: World, policy: str) -> None:
    """It was about us, or about too many recipients."""
    world.judge(
        failed(Deferred("the smarthost refused the sender", Reply(550, ("5.1.1 who?",)), REMOTE), policy=policy)
    )

    assert (world.is_active(), world.strikes()) == (False, 0)


def test_the_reason_names_the_smarthost_that_says_it(world: World) -> None:
    """It is not the receiving server's word."""
    world.judge(failed(Bounced("refused", Reply(550, ("5.1.1 no such user",)), REMOTE), policy="smarthost"))

    entry = world.entry()
    assert entry is not None
    assert entry.reason == "the smarthost says that the address is dead (550 5.1.1)"


class Racing(MemorySuppressions):
    """A list on which another lane of the stream works: it puts its strikes after each of the first reads."""

    def __init__(self, others: list[Strikes]) -> None:
        super().__init__()
        self.others = others
        self.writes = 0

    def find_strikes(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Strikes]:
        """Answer with what stood there a moment ago."""
        found = super().find_strikes(keys)
        if self.others:
            super().put_strikes(*KEY, found.get(KEY, Strikes()), self.others.pop(0))
        return found

    def put_strikes(self, account: str, base_address: str, old: Strikes, new: Strikes) -> bool:
        """Count what is tried."""
        self.writes += 1
        return super().put_strikes(account, base_address, old, new)


OTHERS = Strikes((Strike(NOW - 2 * HOUR, "evt_1"), Strike(NOW - HOUR, "evt_2")))


def test_strikes_of_another_lane_count_too(world: World) -> None:
    """Two were added since the strikes were read: this one is the third."""
    world.list = Racing([OTHERS])
    one = happening(0, **SOFT)

    assert world.judge(one) == {one.id}
    assert world.strikes() == 3


def test_a_success_clears_what_another_lane_added(world: World) -> None:
    """And keeps what came after it."""
    later = Strike(NOW + HOUR, "evt_3")
    world.list = Racing([Strikes(OTHERS.kept[:1]), Strikes((*OTHERS.kept, later))])
    world.list.find_strikes([KEY])
    world.judge(happening(0, **DELIVERED))

    assert world.list.find_strikes([KEY])[KEY].counted == (later,)


def test_a_person_who_removes_an_entry_forgets_what_a_lane_adds_meanwhile(world: World) -> None:
    """A failure before the removal never counts after it."""
    racing = Racing([])
    world.list = racing
    world.judge(happening(0, **HARD))
    racing.others = [OTHERS]
    suppression_remove(world.ports(NOW + HOUR), ACCOUNT, "ann@example.net")

    assert world.strikes() == 0


def test_who_is_always_late_gives_up_and_is_asked_again(world: World) -> None:
    """A number of rounds, not for ever."""
    world.list = Racing([Strikes((Strike(NOW - HOUR, f"evt_{number}"),)) for number in range(99)])

    with pytest.raises(Unavailable):
        world.judge(happening(0, **SOFT))


def test_a_message_that_arrives_writes_nothing(world: World) -> None:
    """Nearly every message: an address without strikes, or one whose strikes were cleared before."""
    racing = Racing([])
    world.list = racing
    world.judge(happening(0, **DELIVERED))
    racing.put_strikes(*KEY, Strikes(), Strikes((), NOW - HOUR))
    world.judge(happening(1, **DELIVERED))

    assert racing.writes == 1


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (HARD, "address-dead"),
        ({**HARD, "kind": EventKind.DELAYED, "enhanced_code": "4.2.2", "code": 452}, "mailbox-full"),
        ({**HARD, "kind": EventKind.DELIVERED}, ""),
        ({"kind": EventKind.FAILED}, ""),
    ],
)
def test_an_event_tells_why_it_failed(event: dict[str, Any], expected: str) -> None:
    """The class that suppression and reports go by, for whoever hears of it."""
    assert failure_of(Event(1, at=NOW, **event)) == expected
