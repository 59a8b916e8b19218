"""publish turns each change into what follows from it, once per new event."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from egret.contracts.queues import Call
from egret.contracts.records import Acceptance, MailFilter, StoredMail
from egret.contracts.settings import Account, RetryPolicy, WebhookSettings
from egret.contracts.stream import MailRecord, StreamRecord, TableChange
from egret.core.delivery import Delivery, State
from egret.core.errors import Unavailable
from egret.core.events import Event, EventKind
from egret.core.ids import delivery_id
from egret.memory.blobs import MemoryBlobs
from egret.memory.clock import FakeClock
from egret.memory.mailboxes import MemoryMailboxes
from egret.memory.queue import MemoryQueue
from egret.memory.settings import MemorySettings
from egret.memory.store import MemoryMailStore
from egret.memory.suppressions import MemorySuppressions
from egret.usecases.notify import NotifyPorts
from egret.usecases.publish import PublishPorts, publish
from tests.unit.builders import ACCOUNT, HOUR, MESSAGE_ID, NOW, a_delivery, a_message

DELAYED = Event(1, EventKind.DELAYED, NOW, code=451, enhanced_code="4.3.0")
FAILED = Event(2, EventKind.FAILED, NOW + HOUR, code=550, enhanced_code="5.1.1")


@dataclass
class World:
    """The ports of publish in memory, an account with a webhook."""

    store: MemoryMailStore = field(default_factory=MemoryMailStore)
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    suppressions: MemorySuppressions = field(default_factory=MemorySuppressions)
    settings: MemorySettings = field(default_factory=MemorySettings)
    queue: MemoryQueue[Call] = field(default_factory=MemoryQueue)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))

    @property
    def mailboxes(self) -> MemoryMailboxes:
        """The mailboxes over the same table."""
        return MemoryMailboxes(self.store.table)

    def __post_init__(self) -> None:
        """Set the webhook."""
        self.set_webhook(WebhookSettings("https://hooks.example.com/"))

    def set_webhook(self, webhook: WebhookSettings | None) -> None:
        """Change the account."""
        self.settings.put_account(Account(ACCOUNT, "acme", webhook=webhook))

    def publish(self, *records: TableChange) -> list[tuple[int, bool]]:
        """Run publish; return (event, suppressing) of every call in the queue."""
        notifying = NotifyPorts(
            self.store,
            self.blobs,
            self.mailboxes,
            self.settings,
            "mail.example.com",
            RetryPolicy(),
            self._no_mail,
        )
        ports = PublishPorts(
            self.store,
            self.mailboxes,
            self.blobs,
            self.suppressions,
            self.settings,
            self.queue,
            self.clock,
            notifying,
        )
        publish(ports, records)
        return [(call.seq, call.suppressing) for call in self.queue.waiting]

    def _no_mail(self, *mail: object, **_: object) -> None:
        raise AssertionError(f"nobody asked for {mail}")


@pytest.fixture
def world() -> World:
    """An account with a webhook for all events of the reference."""
    return World()


def test_mail_that_comes_in_is_told(world: World) -> None:
    """Once, to the incoming webhook; changes of it, and mail that is no news, are not."""
    hook = WebhookSettings("https://hooks.example.com/mail")
    world.settings.put_account(Account(ACCOUNT, "acme", incoming_webhook=hook))
    mail = StoredMail(ACCOUNT, MESSAGE_ID, "Inbox", "content/1", 1, NOW, is_news=True)
    changed = dataclasses.replace(mail, flags=frozenset({"a"}), rev=2)
    world.publish(
        MailRecord(None, mail), MailRecord(mail, changed), MailRecord(None, dataclasses.replace(mail, is_news=False))
    )

    assert world.queue.waiting == [Call(ACCOUNT, MESSAGE_ID, 0, NOW.isoformat(), is_mail=True)]


@pytest.mark.parametrize("hook", [None, WebhookSettings("https://hooks.example.com/mail", disabled=True)])
def test_mail_is_told_only_to_who_wants_it(world: World, hook: WebhookSettings | None) -> None:
    """The other webhook hears nothing of it."""
    other = WebhookSettings("https://hooks.example.com/")
    world.settings.put_account(Account(ACCOUNT, "acme", webhook=other, incoming_webhook=hook))
    mail = StoredMail(ACCOUNT, MESSAGE_ID, "Inbox", "content/1", 1, NOW, is_news=True)

    assert world.publish(MailRecord(None, mail)) == []


def with_events(*events: Event, **changes: Any) -> Delivery:
    """Return the delivery with these events."""
    return a_delivery(events=events, **changes)


def test_only_new_events_are_told(world: World) -> None:
    """What the old image had was told when it was new."""
    assert world.publish(StreamRecord(with_events(DELAYED), with_events(DELAYED, FAILED))) == [(2, True)]


def test_a_change_without_event_tells_nothing(world: World) -> None:
    """A claim or a hold concerns nobody."""
    claimed = replace(with_events(DELAYED), state=State.ATTEMPTING)

    assert world.publish(StreamRecord(with_events(DELAYED), claimed)) == []


def test_a_delivery_that_is_born_with_an_event_tells_it(world: World) -> None:
    """A recipient that was suppressed at submission."""
    born = with_events(Event(1, EventKind.SUPPRESSED, NOW), state=State.SUPPRESSED)

    assert world.publish(StreamRecord(None, born)) == [(1, False)]


def test_the_call_names_the_event_and_the_time(world: World) -> None:
    """The poster finds the rest by it."""
    world.publish(StreamRecord(None, with_events(DELAYED)))

    assert world.queue.waiting == [Call(ACCOUNT, MESSAGE_ID, 1, NOW.isoformat())]


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (frozenset(), [1, 2]),
        (frozenset({"failed"}), [2]),
        (frozenset({"failed", "complained"}), [2, 3]),
        (frozenset({"delivered"}), []),
    ],
)
def test_an_account_hears_what_it_asked_for(world: World, events: frozenset[str], told: list[int]) -> None:
    """Empty means all of the reference's; complaints only by name."""
    world.set_webhook(WebhookSettings("https://hooks.example.com/", events=events))
    complained = Event(3, EventKind.COMPLAINED, NOW)

    assert [seq for seq, _ in world.publish(StreamRecord(None, with_events(DELAYED, FAILED, complained)))] == told


@pytest.mark.parametrize("webhook", [None, WebhookSettings("https://hooks.example.com/", disabled=True)])
def test_an_account_without_webhook_still_suppresses(world: World, webhook: WebhookSettings | None) -> None:
    """Reputation does not depend on who listens."""
    world.set_webhook(webhook)

    assert world.publish(StreamRecord(None, with_events(FAILED))) == []
    assert [entry.base_address for entry in world.suppressions.list(ACCOUNT, NOW)] == ["ann@example.net"]


def test_an_unknown_account_stops_nobody(world: World) -> None:
    """It was deleted while its mail was on the way."""
    record = StreamRecord(None, with_events(FAILED, account="zzzzzzzz"))

    assert world.publish(record, StreamRecord(None, with_events(DELAYED))) == [(1, False)]


def test_the_same_records_again_suppress_the_same(world: World) -> None:
    """The stream repeats; the second time tells the same of the same events."""
    record = StreamRecord(None, with_events(DELAYED, FAILED))
    world.publish(record)

    assert world.publish(record) == [(1, False), (2, True)] * 2


def test_a_queue_that_is_down_leaves_everything_to_do_again(world: World) -> None:
    """Unavailable comes out, and the next time completes it."""
    world.queue.is_down = True
    with pytest.raises(Unavailable):
        world.publish(StreamRecord(None, with_events(FAILED)))
    world.queue.is_down = False

    assert world.publish(StreamRecord(None, with_events(FAILED))) == [(2, True)]


def test_a_failure_is_told_in_the_inbox_whoever_listens(world: World) -> None:
    """Once, though the record comes twice; an account without a webhook hears of it there."""
    world.set_webhook(None)
    world.store.put_message(a_message(), b"Subject: Hello\r\n\r\n")
    world.store.accept(Acceptance(a_message(), (a_delivery(),)))
    record = StreamRecord(with_events(DELAYED), with_events(DELAYED, FAILED))
    world.publish(record, record)

    (mail,) = world.mailboxes.list(ACCOUNT, MailFilter("Inbox"), "", 10, NOW).items
    assert (mail.is_dsn, mail.subject) == (True, "Undelivered mail")
    assert b"Subject: Hello" in world.blobs.objects[mail.blob]


def test_the_last_removal_takes_the_content_with_it(world: World) -> None:
    """A message is reaped when its last delivery is gone, not before; a removal is no event."""
    ended = {"state": State.DELIVERED, "ended_at": NOW, "due_at": None, "retention": timedelta(0)}
    first, second = (with_events(DELAYED, id=delivery_id(MESSAGE_ID, i), **ended) for i in range(2))
    world.store.put_message(a_message(), b"content")
    world.store.accept(Acceptance(a_message(), (first,)))
    world.store.accept(Acceptance(a_message(), (replace(second, ended_at=NOW + HOUR),)))

    world.clock.set(NOW + timedelta(days=7))
    world.store.table.drop_forgotten(world.clock.now())
    assert world.publish(StreamRecord(first, None)) == []
    assert world.store.content(ACCOUNT, MESSAGE_ID) == b"content"

    world.clock.advance(HOUR)
    world.store.table.drop_forgotten(world.clock.now())
    world.publish(StreamRecord(second, None))
    assert world.store.content(ACCOUNT, MESSAGE_ID) is None
