"""post_webhooks tells events to receivers of every temper, and nobody waits for another's."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook

from egret.contracts.queues import Call
from egret.contracts.records import Acceptance, Breaker, CallRecord, DueKind, PostAnswer, StoredMail
from egret.contracts.settings import Account, WebhookSettings
from egret.core.delivery import Delivery, Message
from egret.core.errors import ContractError, Unavailable
from egret.core.events import Event, EventKind, incoming_id, webhook_number
from egret.core.outcome import Remote
from egret.core.signature import secret_from_bytes
from egret.memory.blobs import MemoryBlobs
from egret.memory.calls import MemoryCalls, MemoryPoster, Posted
from egret.memory.clock import FakeClock
from egret.memory.dice import SeededDice
from egret.memory.due import MemoryDueIndex
from egret.memory.mailboxes import MemoryMailboxes
from egret.memory.settings import MemorySettings
from egret.memory.store import MemoryMailStore
from egret.usecases.post_webhook import CALL_LIFETIME, LARGE_BYTES, UNSEEN_PATIENCE, PostPorts, post_webhooks
from tests.unit.builders import ACCOUNT, HOUR, MESSAGE_ID, NOW, OTHER_ACCOUNT, a_delivery, a_message

URL = "https://hooks.example.com/egret"
MINUTE = timedelta(minutes=1)
NEW_SECRET, OLD_SECRET = secret_from_bytes(b"n" * 32), secret_from_bytes(b"o" * 32)
HOOK = WebhookSettings(URL)
DELIVERED = Event(1, EventKind.DELIVERED, NOW, attempt=1, code=250, enhanced_code="2.0.0", reply=("2.0.0 ok",))
DELAYED = Event(1, EventKind.DELAYED, NOW, attempt=1, code=451, enhanced_code="4.3.0", error="later")
FAILED = Event(2, EventKind.FAILED, NOW + MINUTE, attempt=2, code=550, enhanced_code="5.1.1", error="never")


def answering(status: int, **headers: str) -> Callable[[Posted], PostAnswer]:
    """Return a receiver that always answers so; `_` in a header's name stands for `-`."""
    answer = PostAnswer(status, {name.replace("_", "-"): value for name, value in headers.items()})
    return lambda _: answer


@dataclass
class World:
    """The ports of posting in memory, two accounts with a webhook each."""

    store: MemoryMailStore = field(default_factory=MemoryMailStore)
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    settings: MemorySettings = field(default_factory=MemorySettings)
    poster: MemoryPoster = field(default_factory=MemoryPoster)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    dice: SeededDice = field(default_factory=SeededDice)

    @property
    def mailboxes(self) -> MemoryMailboxes:
        """The mailboxes over the same table."""
        return MemoryMailboxes(self.store.table)

    def __post_init__(self) -> None:
        """Set the webhooks."""
        self.calls = MemoryCalls(self.store.table)
        self.set_webhook(HOOK)
        other = WebhookSettings("https://other.example.com/")
        self.settings.put_account(Account(OTHER_ACCOUNT, "other", webhook=other))

    def set_webhook(self, webhook: WebhookSettings | None, **changes: Any) -> None:
        """Change the account."""
        self.settings.put_account(Account(ACCOUNT, "acme", webhook=webhook, **changes))

    def happen(self, *events: Event, number: int = 0, **changes: Any) -> list[Call]:
        """Store a delivery with these events; return their calls."""
        id_ = MESSAGE_ID + (number << 10)
        delivery = a_delivery(**{"id": id_, "events": events, "expires_at": NOW + 2000 * HOUR, **changes})
        message = a_message(id=id_, account=delivery.account)
        self.store.put_message(message, b"content")
        self.store.accept(Acceptance(message, (delivery,)))
        now = self.clock.now().isoformat()
        return [Call(delivery.account, delivery.id, event.seq, now) for event in events]

    def ports(self) -> PostPorts:
        """Return the bundle."""
        return PostPorts(
            self.store,
            self.mailboxes,
            self.blobs,
            self.calls,
            self.settings,
            self.settings,
            self.poster,
            self.clock,
            self.dice,
            map,
        )

    def post(self, calls: list[Call]) -> list[Call]:
        """Run once."""
        return post_webhooks(self.ports(), calls)

    def record(self, seq: int = 1, number: int = 0, account: str = ACCOUNT) -> CallRecord:
        """Return the record of a call."""
        found = self.calls.get(account, MESSAGE_ID + (number << 10), seq, self.clock.now())
        assert found is not None
        return found

    def payloads(self) -> list[dict[str, Any]]:
        """Return every body that was posted."""
        return [json.loads(posted.body) for posted in self.poster.posted]

    def come_due(self) -> list[Call]:
        """Go on to the next due call; return the calls that are due then."""
        index = MemoryDueIndex(self.store.table)
        entries = index.due(DueKind.CALL, self.clock.now() + 1000 * HOUR, 1000)
        self.clock.set(max(self.clock.now(), min(entry.due_at for entry in entries)))
        due = [entry for entry in entries if entry.due_at <= self.clock.now()]
        return [self.store.table.calls[entry.account, entry.id, entry.seq].call for entry in due]

    def try_until_ended_of(self, call: Call) -> None:
        """Retry a call until it does not wait."""
        for _ in range(50):
            known = self.calls.get(call.account, call.delivery_id, call.seq, self.clock.now())
            if known is None or known.state != "waiting":
                return
            self.post(self.come_due())
        pytest.fail("it waits for ever")

    def try_until_ended(self, limit: int = 50) -> None:
        """Retry the only call until nothing waits."""
        for _ in range(limit):
            if self.record().state != "waiting":
                return
            self.post(self.come_due())
        pytest.fail("it waits for ever")


@pytest.fixture
def world() -> World:
    """Receivers that answer 200."""
    return World()


# --- what is told


@pytest.mark.parametrize(
    ("event", "suppressing", "expected"),
    [
        (DELIVERED, False, ("delivered", False, False, 0, "", "")),
        (DELAYED, False, ("delayed", False, False, 451, "4.3.0", "later")),
        (Event(1, EventKind.DELAYED, NOW, error="dial"), False, ("delayed", False, False, 0, "", "dial")),
        (Event(1, EventKind.FAILED, NOW, error="dial"), False, ("failed", False, False, 0, "", "dial")),
        (
            msgspec.structs.replace(FAILED, seq=1, code=554, enhanced_code="5.7.0"),
            False,
            ("failed", False, False, 554, "5.7.0", "never"),
        ),
        (msgspec.structs.replace(FAILED, seq=1), True, ("failed", False, True, 550, "5.1.1", "never")),
        (Event(1, EventKind.SUPPRESSED, NOW, error="listed"), False, ("suppressed", False, False, 0, "", "listed")),
        (Event(1, EventKind.CANCELED, NOW), False, ("canceled", False, False, 0, "", "")),
        (
            Event(1, EventKind.FAILED, NOW, dsn=True, code=500, enhanced_code="5.2.1"),
            True,
            ("failed", True, True, 500, "5.2.1", ""),
        ),
        (
            Event(1, EventKind.DELIVERED, NOW, dsn=True, code=554, enhanced_code="5.0.0"),
            False,
            ("delivered", True, False, 554, "5.0.0", ""),
        ),
        (Event(1, EventKind.UNRECOGNIZED, NOW, dsn=True), False, ("unrecognized", True, False, 0, "", "")),
        (Event(1, EventKind.UNRECOGNIZED, NOW), False, ("unrecognized", False, False, 0, "", "")),
    ],
)
def test_the_values_of_each_case(world: World, event: Event, suppressing: bool, expected: tuple[Any, ...]) -> None:
    """Event, DSN, Suppressing, SMTPCode, SMTPEnhancedCode and Error are those of the reference."""
    (call,) = world.happen(event)
    world.post([Call(call.account, call.delivery_id, call.seq, call.queued_at, suppressing)])
    told = world.payloads()[0]

    keys = ("Event", "DSN", "Suppressing", "SMTPCode", "SMTPEnhancedCode", "Error")
    assert tuple(told[key] for key in keys) == expected


def test_a_payload_is_complete(world: World) -> None:
    """The reference's keys, and after them ours: recipient, attempt, remote MX, reply, event id."""
    world.post(world.happen(msgspec.structs.replace(DELIVERED, remote=Remote("mx.example.net", "192.0.2.1"))))

    assert list(world.payloads()[0].items()) == [
        ("Version", 0),
        ("Event", "delivered"),
        ("DSN", False),
        ("Suppressing", False),
        ("QueueMsgID", MESSAGE_ID),
        ("FromID", "x"),
        ("MessageID", "<1@example.com>"),
        ("Subject", "Hello"),
        ("WebhookQueued", "2026-03-04T05:06:07Z"),
        ("SMTPCode", 0),
        ("SMTPEnhancedCode", ""),
        ("Error", ""),
        ("Extra", {}),
        ("Recipient", "ann@example.net"),
        ("Attempt", 1),
        ("RemoteMX", "mx.example.net"),
        ("Reply", ["2.0.0 ok"]),
        ("EventID", f"evt_{ACCOUNT}_{MESSAGE_ID:x}_1"),
        ("Failure", ""),
    ]


def test_html_characters_are_escaped_as_the_reference_does(world: World) -> None:
    """`<` in a Message-ID does not stand bare in the body."""
    world.post(world.happen(DELIVERED))

    assert rb"\u003c1@example.com\u003e" in world.poster.posted[0].body


def test_the_headers_of_a_call(world: World) -> None:
    """The reference's, with the account's Authorization; the number of the event is below 2^53."""
    world.set_webhook(replace(HOOK, authorization="Bearer t0ken"))
    world.post(world.happen(DELIVERED))
    posted = world.poster.posted[0]

    event_id = f"evt_{ACCOUNT}_{MESSAGE_ID:x}_1"
    assert (posted.url, posted.timeout) == (URL, timedelta(seconds=30))
    assert posted.headers == {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "egret/0.1 (webhook)",
        "X-Mox-Webhook-ID": str(webhook_number(event_id)),
        "X-Mox-Webhook-Attempt": "1",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(NOW.timestamp())),
        "Authorization": "Bearer t0ken",
    }
    assert webhook_number(event_id) < 2**53


@pytest.mark.parametrize("secret", [NEW_SECRET, OLD_SECRET])
def test_the_signature_satisfies_the_reference_library_with_either_secret(secret: str) -> None:
    """During a rotation both sign, so that a receiver may change when it likes."""
    world = World(clock=FakeClock(datetime.now(UTC)))
    world.set_webhook(replace(HOOK, secrets=(NEW_SECRET, OLD_SECRET)))
    world.post(world.happen(DELIVERED))
    posted = world.poster.posted[0]

    assert Webhook(secret).verify(posted.body, dict(posted.headers)) == json.loads(posted.body)


# --- what comes of the answer


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_success(world: World, status: int) -> None:
    """The record is kept for the account's retention."""
    world.poster.answer = answering(status)
    assert world.post(world.happen(DELIVERED)) == []

    record = world.record()
    assert (record.state, record.due_at, record.forget_at) == ("delivered", None, NOW + timedelta(days=7))
    assert [result.status for result in record.results] == [status]


@pytest.mark.parametrize("status", [0, 100, 301, 302, 307, 308, 400, 401, 404, 429, 500, 503])
def test_anything_else_is_tried_again_to_the_twelfth_time(world: World, status: int) -> None:
    """The schedule of the reference, about 32 hours; id and body say the same, the attempt counts up."""
    world.poster.answer = answering(status)
    world.post(world.happen(DELIVERED))
    world.try_until_ended()

    starts = [result.started_at for result in world.record().results]
    waits = [(later - earlier) / MINUTE for earlier, later in pairwise(starts)]
    assert waits == pytest.approx([1, 2, 4, 7.5, 15, 30, 60, 120, 240, 480, 960], rel=0.011)
    assert (world.record().state, world.record().due_at) == ("failed", None)
    assert [posted.headers["X-Mox-Webhook-Attempt"] for posted in world.poster.posted] == [str(n) for n in range(1, 13)]
    assert len({(posted.headers["X-Mox-Webhook-ID"], posted.body) for posted in world.poster.posted}) == 1


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("3600", HOUR),
        ("Wed, 04 Mar 2026 07:06:07 GMT", 2 * HOUR),
        ("99999999", 24 * HOUR),
    ],
)
def test_retry_after_is_obeyed_for_up_to_a_day(world: World, status: int, value: str, wait: timedelta) -> None:
    """In seconds or as a date; other calls to the URL wait as well."""
    world.poster.answer = answering(status, Retry_After=value)
    world.post(world.happen(DELIVERED))
    world.clock.advance(MINUTE)
    world.post(world.happen(DELIVERED, number=1))

    assert world.record().due_at == NOW + wait
    assert (world.record(number=1).due_at, len(world.poster.posted)) == (NOW + wait, 1)


@pytest.mark.parametrize(
    ("status", "value"), [(503, "soon"), (503, "-5"), (503, ""), (503, "Wed, 99 Mar 2026"), (503, "1"), (500, "3600")]
)
def test_a_retry_after_that_means_nothing_changes_nothing(world: World, status: int, value: str) -> None:
    """Unreadable, in the past, shorter than the schedule, or with another status."""
    world.poster.answer = answering(status, Retry_After=value)
    world.post(world.happen(DELIVERED))

    assert world.record().due_at == pytest.approx(NOW + MINUTE, abs=timedelta(seconds=1))


def test_410_disables_the_webhook_until_it_is_set_again(world: World) -> None:
    """No further call is made, not even of the same batch."""
    world.poster.answer = answering(410)
    assert world.post([*world.happen(DELIVERED), *world.happen(DELIVERED, number=1)]) == []

    account = world.settings.account(ACCOUNT)
    assert account is not None
    assert account.webhook == replace(HOOK, disabled=True)
    assert (world.record().state, len(world.poster.posted)) == ("failed", 1)
    world.post(world.happen(DELIVERED, number=2))
    assert len(world.poster.posted) == 1


def test_410_of_an_old_url_leaves_a_new_one_alone(world: World) -> None:
    """The operator set another URL while the settings at hand were a minute old."""

    def gone(_: Posted) -> PostAnswer:
        world.set_webhook(WebhookSettings("https://new.example.com/"))
        return PostAnswer(410)

    world.poster.answer = gone
    world.post(world.happen(DELIVERED))

    account = world.settings.account(ACCOUNT)
    assert account is not None
    assert account.webhook == WebhookSettings("https://new.example.com/")


@pytest.mark.parametrize("webhook", [None, replace(HOOK, disabled=True)])
def test_a_call_that_waits_ends_with_its_webhook(world: World, webhook: WebhookSettings | None) -> None:
    """Its record leaves the due index: nobody queues it for ever."""
    world.poster.answer = answering(500)
    world.post(world.happen(DELIVERED))
    world.set_webhook(webhook)
    world.post(world.come_due())

    assert (world.record().state, world.record().due_at, len(world.poster.posted)) == ("canceled", None, 1)


# --- newest only, or in order


def test_a_newer_event_replaces_an_older_one(world: World) -> None:
    """The older call is not made, and its record says why."""
    world.post(world.happen(DELAYED, FAILED))

    assert [told["Event"] for told in world.payloads()] == ["failed"]
    assert (world.record(1).state, world.record(2).state) == ("superseded", "delivered")


def test_a_newer_event_replaces_one_that_waits(world: World) -> None:
    """At the next try the world has moved on."""
    world.poster.answer = answering(500)
    calls = world.happen(DELAYED)
    world.post(calls)
    old = world.store.get(ACCOUNT, MESSAGE_ID, world.clock.now())
    assert old is not None
    world.store.replace(old, msgspec.structs.replace(old, events=(DELAYED, FAILED), rev=old.rev + 1))
    world.post(world.come_due())

    assert (world.record(1).state, len(world.poster.posted)) == ("superseded", 1)


def test_only_a_wanted_event_replaces(world: World) -> None:
    """An event that the account does not hear of leaves the older one alone."""
    world.set_webhook(replace(HOOK, events=frozenset({"delayed"})))
    world.post(world.happen(DELAYED, FAILED)[:1])

    assert [told["Event"] for told in world.payloads()] == ["delayed"]


def test_a_complaint_replaces_only_where_it_is_wanted_by_name(world: World) -> None:
    """`complained` is no event for those who did not name it."""
    complained = Event(2, EventKind.COMPLAINED, NOW)
    world.post(world.happen(DELIVERED, complained)[:1])
    assert [told["Event"] for told in world.payloads()] == ["delivered"]

    world.set_webhook(replace(HOOK, events=frozenset({"delivered", "complained"})))
    world.post(world.happen(DELIVERED, complained, number=1))
    assert [told["Event"] for told in world.payloads()] == ["delivered", "complained"]


def test_in_order_every_event_is_told_after_the_one_before(world: World) -> None:
    """Calls that come the wrong way round wait; a failing one holds up the next."""
    world.set_webhook(replace(HOOK, in_order=True))
    first, second = world.happen(DELAYED, FAILED)
    world.post([second])
    assert world.poster.posted == []

    world.poster.answer = answering(500)
    world.post([first])
    world.poster.answer = answering(200)
    while any(record.state == "waiting" for record in world.store.table.calls.values()):
        world.post(world.come_due())

    assert [told["Event"] for told in world.payloads()] == ["delayed", "delayed", "failed"]


def test_in_order_works_without_retention(world: World) -> None:
    """That an event was told is remembered for as long as a later one may ask."""
    world.set_webhook(replace(HOOK, in_order=True), keep_calls=timedelta(0))
    first, second = world.happen(DELAYED, FAILED)
    world.post([first])
    world.clock.advance(MINUTE)
    world.post([second])

    assert [told["Event"] for told in world.payloads()] == ["delayed", "failed"]


def test_in_order_an_event_that_was_never_queued_holds_up_nothing_for_long(world: World) -> None:
    """The webhook may have been set between two events of a delivery."""
    world.set_webhook(replace(HOOK, in_order=True))
    _, second = world.happen(DELAYED, FAILED)
    world.post([second])
    while world.record(2).state == "waiting":
        world.post(world.come_due())

    assert [told["Event"] for told in world.payloads()] == ["failed"]
    assert UNSEEN_PATIENCE <= world.clock.now() - NOW <= UNSEEN_PATIENCE + HOUR


def test_in_order_a_replay_is_told_again(world: World) -> None:
    """A call queued anew is not taken for a repeat of the old one; a repeat of the old one is."""
    world.set_webhook(replace(HOOK, in_order=True))
    (call,) = world.happen(DELIVERED)
    world.post([call])
    world.post([call])
    assert len(world.poster.posted) == 1

    world.post([Call(call.account, call.delivery_id, call.seq, (NOW + HOUR).isoformat())])
    assert len(world.poster.posted) == 2


# --- repeats


def test_a_retry_that_is_queued_twice_is_made_once(world: World) -> None:
    """SQS may hand it out twice, the sweep may queue it twice."""
    world.poster.answer = answering(500)
    world.post(world.happen(DELIVERED))
    due = world.come_due()
    world.post([*due, *due])
    world.post(due)

    assert [posted.headers["X-Mox-Webhook-Attempt"] for posted in world.poster.posted] == ["1", "2"]


def test_a_retry_of_what_a_replay_has_told_is_not_made(world: World) -> None:
    """The record belongs to the replay by then, or is gone."""
    world.poster.answer = answering(500)
    (call,) = world.happen(DELIVERED)
    world.post([call])
    due = world.come_due()
    world.poster.answer = answering(200)
    world.post([Call(call.account, call.delivery_id, call.seq, world.clock.now().isoformat())])
    world.post(due)

    assert (len(world.poster.posted), world.record().state) == (2, "delivered")


# --- the breaker


def test_a_url_that_keeps_failing_is_left_alone_and_comes_back(world: World) -> None:
    """Five failures open the breaker; afterwards one call probes; a success closes it."""
    world.poster.answer = answering(500)
    calls = [call for number in range(8) for call in world.happen(DELIVERED, number=number)]
    world.post(calls)
    breaker = world.calls.breaker(ACCOUNT, URL)
    assert (len(world.poster.posted), breaker) == (5, Breaker(5, NOW + timedelta(seconds=30)))
    assert [world.record(number=n).call.attempts for n in range(8)] == [1] * 5 + [0] * 3

    world.post(world.come_due())
    assert (len(world.poster.posted), world.calls.breaker(ACCOUNT, URL)) == (6, Breaker(6, NOW + timedelta(seconds=90)))

    world.poster.answer = answering(200)
    while any(record.state == "waiting" for record in world.store.table.calls.values()):
        world.post(world.come_due())
    assert world.calls.breaker(ACCOUNT, URL) == Breaker()
    assert {world.record(number=n).state for n in range(8)} == {"delivered"}


def test_a_call_that_only_waited_is_given_up(world: World) -> None:
    """Looks become rarer with age, and end: a dead URL costs a bounded number of writes."""
    calls, looks = world.happen(DELIVERED), 0
    while not looks or world.record().state == "waiting":
        calls = world.come_due() if looks else calls
        world.calls.put_breaker(ACCOUNT, URL, Breaker(99, world.clock.now() + 15 * MINUTE))
        world.post(calls)
        looks += 1

    assert (world.record().state, world.poster.posted) == ("failed", [])
    assert CALL_LIFETIME <= world.clock.now() - NOW < 2 * CALL_LIFETIME
    assert looks < 25


def test_one_dead_endpoint_holds_up_nobody(world: World) -> None:
    """Another account's calls of the same batch are made, whatever the first one's receiver does."""
    world.poster.answer = lambda posted: PostAnswer(0, error="timeout") if posted.url == URL else PostAnswer(200)
    dead = [call for number in range(9) for call in world.happen(DELIVERED, number=number)]
    alive = world.happen(DELIVERED, number=9, account=OTHER_ACCOUNT)
    assert world.post([*dead, *alive]) == []

    assert world.record(number=9, account=OTHER_ACCOUNT).state == "delivered"
    assert world.calls.breaker(OTHER_ACCOUNT, "https://other.example.com/") == Breaker()


# --- poison, and storage that fails


def test_poison_calls_stop_nobody(world: World) -> None:
    """Of an unknown account, delivery or event, or with a time that is none: they are dropped."""
    (good,) = world.happen(DELIVERED)
    poison = [
        Call("zzzzzzzz", MESSAGE_ID, 1, NOW.isoformat()),
        Call(ACCOUNT, MESSAGE_ID + 5, 1, NOW.isoformat()),
        Call(ACCOUNT, MESSAGE_ID, 77, NOW.isoformat()),
        Call(ACCOUNT, MESSAGE_ID, 1, "yesterday"),
        Call(ACCOUNT, MESSAGE_ID, 1, "2026-03-04T05:06:07"),
    ]

    assert world.post([*poison, good]) == []
    assert len(world.poster.posted) == 1


def test_a_delivery_that_cannot_be_read_stops_nobody(world: World) -> None:
    """One damaged item costs one call, not the batch."""

    class Damaged(MemoryMailStore):
        def get_many(self, keys: Any, now: datetime) -> dict[tuple[str, int], Delivery]:
            if (ACCOUNT, MESSAGE_ID) in keys:
                raise ContractError
            return super().get_many(keys, now)

    world.store = Damaged(world.store.table)
    calls = [call for number in range(3) for call in world.happen(DELIVERED, number=number)]

    assert world.post(calls) == []
    assert [told["QueueMsgID"] for told in world.payloads()] == [MESSAGE_ID + 1024, MESSAGE_ID + 2048]


class FailingCalls(MemoryCalls):
    """Calls whose storage dies at the n-th write."""

    def __init__(self, inner: MemoryCalls, writes: int) -> None:
        super().__init__(inner.table)
        self.writes = writes

    def put(self, record: CallRecord) -> None:
        """Write, as long as it lasts."""
        self.writes -= 1
        if self.writes < 0:
            raise Unavailable
        super().put(record)


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_storage_that_fails_in_the_middle_returns_what_was_not_dealt_with(world: World, writes: int) -> None:
    """Exactly the calls without a record come back; another account's are not among them."""
    calls = [call for number in range(3) for call in world.happen(DELIVERED, number=number)]
    inner, world.calls = world.calls, FailingCalls(world.calls, writes)
    assert world.post(calls) == calls[writes:]

    world.calls = inner
    assert world.post(calls[writes:]) == []
    assert {world.record(number=n).state for n in range(3)} == {"delivered"}


def test_a_breaker_that_cannot_be_stored_repeats_no_call(world: World) -> None:
    """The call is recorded; that is what counts."""

    class Stuck(MemoryCalls):
        def put_breaker(self, account: str, url: str, breaker: Breaker) -> None:
            raise Unavailable

    world.calls = Stuck(world.store.table)
    world.poster.answer = answering(500)

    assert world.post(world.happen(DELIVERED)) == []
    assert world.record().state == "waiting"


@pytest.mark.parametrize("broken", ["settings", "deliveries", "messages"])
def test_reads_that_fail_return_the_accounts_calls(world: World, broken: str) -> None:
    """And only that account's."""

    class Settings(MemorySettings):
        def account(self, account_id: str) -> Account | None:
            if broken == "settings" and account_id == ACCOUNT:
                raise Unavailable
            return super().account(account_id)

    class Store(MemoryMailStore):
        def get_many(self, keys: Any, now: datetime) -> dict[tuple[str, int], Delivery]:
            if broken == "deliveries" and ACCOUNT in dict(keys):
                raise Unavailable
            return super().get_many(keys, now)

        def messages(self, keys: Any) -> dict[tuple[str, int], Message]:
            if broken == "messages" and ACCOUNT in dict(keys):
                raise Unavailable
            return super().messages(keys)

    failing = World(store=Store(), settings=Settings())
    own = failing.happen(DELIVERED)
    other = failing.happen(DELIVERED, number=1, account=OTHER_ACCOUNT)

    assert failing.post([*own, *other]) == own
    assert [posted.url for posted in failing.poster.posted] == ["https://other.example.com/"]


# --- mail that comes in

RAW_MAIL = (
    b"From: Ann <ann@example.net>\r\nTo: app@example.com\r\nSubject: Re: <Hello>\r\nMessage-ID: <A@example.net>\r\n"
    b"In-Reply-To: <B@x>\r\nReferences: <C@X>\r\nDate: 2 Jan 2026 03:04:05 +0100\r\n\r\nThank you.\r\n"
)
MAIL_HOOK = WebhookSettings("https://hooks.example.com/mail", secrets=("whsec_" + "A" * 32,))


def mail_call(world: World, raw: bytes = RAW_MAIL, **changes: Any) -> Call:
    """Let a mail come in; return its call."""
    world.set_webhook(None, incoming_webhook=MAIL_HOOK)
    world.blobs.put("content/1", raw)
    values: dict[str, Any] = {
        "account": ACCOUNT,
        "id": MESSAGE_ID,
        "mailbox": "Inbox",
        "blob": "content/1",
        "size_bytes": len(raw),
        "received_at": NOW,
        "mail_from": "ann@example.net",
        "rcpt_to": "app@example.com",
        "remote_ip": "192.0.2.7",
        "thread": "t",
        "mail_from_validated": True,
        "dkim_domains": ("example.net",),
    }
    world.mailboxes.put(StoredMail(**(values | changes)))
    return Call(ACCOUNT, MESSAGE_ID, 0, NOW.isoformat(), is_mail=True)


def test_mail_is_told_as_the_reference_does(world: World) -> None:
    """Byte for byte up to the additions."""
    world.post([mail_call(world)])
    (posted,) = world.poster.posted

    expected = (
        rb'{"Version":0,"From":[{"Name":"Ann","Address":"ann@example.net"}],"To":[{"Name":"","Address":"app@example.com"}],'
        rb'"CC":[],"BCC":[],"ReplyTo":[],"Subject":"Re: \u003cHello\u003e","MessageID":"\u003cA@example.net\u003e",'
        rb'"InReplyTo":"\u003cB@x\u003e","References":["\u003cb@x\u003e","\u003cc@x\u003e"],'
        rb'"Date":"2026-01-02T03:04:05+01:00","Text":"Thank you.\n","HTML":"",'
        rb'"Structure":{"ContentType":"/","ContentTypeParams":{},"ContentID":"","ContentDisposition":"","Filename":"",'
        rb'"DecodedSize":12,"Parts":[]},"Meta":{"MsgID":'
        + str(MESSAGE_ID).encode()
        + rb',"MailFrom":"ann@example.net",'
        rb'"MailFromValidated":true,"MsgFromValidated":false,"RcptTo":"app@example.com",'
        rb'"DKIMVerifiedDomains":["example.net"],"RemoteIP":"192.0.2.7","Received":"'
    )
    assert posted.body.startswith(expected)
    meta = json.loads(posted.body)["Meta"]
    assert [*meta][-3:] == ["MailboxName", "Automated", "ThreadID"]
    assert (meta["MailboxName"], meta["Automated"], meta["ThreadID"]) == ("Inbox", False, "t")


@pytest.mark.parametrize(
    ("raw", "mail_from", "automated"),
    [
        (RAW_MAIL, "ann@example.net", False),
        (RAW_MAIL, "", True),
        (b"Auto-Submitted: no\r\n" + RAW_MAIL, "ann@example.net", False),
        (b"Auto-Submitted: auto-replied; x=y\r\n" + RAW_MAIL, "ann@example.net", True),
        (b"Precedence: bulk\r\n" + RAW_MAIL, "ann@example.net", True),
        (b"List-Unsubscribe-Post: x\r\n" + RAW_MAIL, "ann@example.net", True),
        (b"Content-Type: multipart/report; boundary=b\r\n" + RAW_MAIL, "ann@example.net", True),
    ],
)
def test_mail_of_a_machine_is_told_as_such(world: World, raw: bytes, mail_from: str, automated: bool) -> None:
    """By its null reverse-path or its header fields."""
    world.post([mail_call(world, raw, mail_from=mail_from)])

    assert world.payloads()[0]["Meta"]["Automated"] is automated


@pytest.mark.parametrize(("size_bytes", "held"), [(LARGE_BYTES + 1, [True]), (LARGE_BYTES, [False])])
def test_large_mails_are_read_one_after_the_other(size_bytes: int, held: list[bool]) -> None:
    """Anybody may send them to many accounts at once, and the function that calls for all of them has 512 MB."""
    lock, seen = threading.Lock(), []

    class Blobs(MemoryBlobs):
        def get(self, key: str) -> bytes | None:
            seen.append(lock.locked())
            return super().get(key)

    world = World(blobs=Blobs())
    call = mail_call(world, size_bytes=size_bytes)
    post_webhooks(replace(world.ports(), reading_large=lock), [call])

    assert (len(world.poster.posted), seen, lock.locked()) == (1, held, False)


def test_a_call_about_mail_is_signed_and_repeated_as_any_other(world: World) -> None:
    """Its id stays, its attempt counts; then the record says that it was delivered."""
    call = mail_call(world)
    world.poster.answer = lambda _: PostAnswer(500 if len(world.poster.posted) < 3 else 200)
    world.post([call])
    world.try_until_ended_of(call)
    sent = [posted.headers for posted in world.poster.posted]

    assert [one["X-Mox-Webhook-Attempt"] for one in sent] == ["1", "2", "3"]
    assert len({(one["webhook-id"], one["X-Mox-Webhook-ID"]) for one in sent}) == 1
    assert sent[0]["webhook-id"] == world.payloads()[0]["EventID"] == incoming_id(ACCOUNT, MESSAGE_ID)
    assert all("webhook-signature" in one for one in sent)


def test_an_incoming_webhook_that_is_gone_is_disabled(world: World) -> None:
    """It alone."""
    call = mail_call(world)
    world.set_webhook(HOOK, incoming_webhook=MAIL_HOOK)
    world.poster.answer = lambda _: PostAnswer(410)
    world.post([call])
    account = world.settings.account(ACCOUNT)
    assert account is not None
    assert account.incoming_webhook is not None
    assert (account.webhook, account.incoming_webhook.disabled) == (HOOK, True)


def test_mail_that_is_gone_is_told_to_nobody(world: World) -> None:
    """Deleted before the call, or between two tries of it; nothing waits for ever."""
    call = mail_call(world)
    world.poster.answer = lambda _: PostAnswer(500)
    world.post([call])
    world.blobs.delete("content/1")
    world.post(world.come_due())
    after_the_object = world.calls.get(ACCOUNT, MESSAGE_ID, 0, world.clock.now())
    world.store.table.mails.clear()
    world.post([call])

    assert after_the_object is not None
    assert (after_the_object.state, after_the_object.due_at, len(world.poster.posted)) == ("canceled", None, 1)


def test_calls_of_both_webhooks_go_each_to_its_own(world: World) -> None:
    """In one batch."""
    call = mail_call(world)
    world.set_webhook(HOOK, incoming_webhook=MAIL_HOOK)
    (other,) = world.happen(DELIVERED, number=1)
    world.post([call, other])

    assert {posted.url: "Event" in json.loads(posted.body) for posted in world.poster.posted} == {
        MAIL_HOOK.url: False,
        HOOK.url: True,
    }
