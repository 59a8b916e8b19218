"""Replay: events once more."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from egret.contracts.queues import Call
from egret.contracts.settings import WebhookSettings
from egret.core.changes import Claim, Record
from egret.core.delivery import Delivery
from egret.memory.queue import MemoryQueue
from egret.usecases.change import change
from egret.usecases.deliveries import delivery_cancel
from egret.usecases.publish import PublishPorts, publish
from egret.usecases.replay import ReplayPorts, replay
from egret.usecases.send import send
from egret.usecases.suppressions import suppression_list, suppression_remove
from tests.unit.builders import ACCOUNT, NEVER, NOW, OTHER_ACCOUNT, an_attempt
from tests.unit.sending import Service, a_request, people
from tests.unit.test_mailbox import receive

HOOK = WebhookSettings("https://hooks.example.com/")


def ports(service: Service, queue: MemoryQueue[Call]) -> ReplayPorts:
    """Return the ports of replay."""
    return ReplayPorts(service.store, service.mailboxes, service.settings, service.suppressions, queue, service.clock)


def bounce(service: Service, address: str) -> int:
    """Send to an address that does not exist; return the delivery's id."""
    delivery_id = service.send(to=people(address)).submissions[0].queue_msg_id
    now = service.clock.now()
    change(service.store, ACCOUNT, delivery_id, lambda _: Claim("unit-1", now, now + timedelta(minutes=40)), now)
    record = Record(an_attempt(1, NEVER, now), None, now)
    assert isinstance(change(service.store, ACCOUNT, delivery_id, lambda _: record, now), Delivery)
    return delivery_id


def a_service() -> Service:
    """Return a service whose accounts both have a webhook."""
    service = Service()
    for account in (ACCOUNT, OTHER_ACCOUNT):
        service.settings.put_account(replace(service.caller(account).account, webhook=HOOK))
    return service


def test_events_since_an_instant_are_called_again() -> None:
    """With the same numbers, so that receivers drop what they know."""
    service, queue = a_service(), MemoryQueue[Call]()
    bounce(service, "old@example.net")
    service.clock.advance(timedelta(hours=1))
    new = bounce(service, "new@example.net")

    count = replay(ports(service, queue), NOW + timedelta(hours=1))

    assert [(call.account, call.delivery_id, call.seq) for call in queue.waiting] == [(ACCOUNT, new, 1)]
    assert count == 1


def test_a_replay_says_the_same_as_the_first_time() -> None:
    """`Suppressing` stays true for the event that put the address on the list."""
    service, first, again = a_service(), MemoryQueue[Call](), MemoryQueue[Call]()
    bounce(service, "gone@example.net")
    publishing = PublishPorts(
        service.store,
        service.mailboxes,
        service.blobs,
        service.suppressions,
        service.settings,
        first,
        service.clock,
        service.notifying,
    )
    publish(publishing, service.store.stream)

    replay(ports(service, again), NOW)

    assert again.waiting == first.waiting
    assert [call.suppressing for call in again.waiting] == [True]


def test_a_replay_never_undoes_a_removal() -> None:
    """What a person took off the list stays off."""
    service, queue = a_service(), MemoryQueue[Call]()
    bounce(service, "gone@example.net")
    replay(ports(service, queue), NOW)
    service.clock.advance(timedelta(minutes=1))
    suppression_remove(service.suppressing, ACCOUNT, "gone@example.net")

    replay(ports(service, queue), NOW)

    assert suppression_list(service.suppressing, ACCOUNT) == []


def test_one_account_can_be_replayed_alone() -> None:
    """The others hear nothing."""
    service, queue = a_service(), MemoryQueue[Call]()
    for account in (ACCOUNT, OTHER_ACCOUNT):
        result = send(service.sending, service.caller(account), a_request())
        delivery_cancel(service.delivering, account, result.submissions[0].queue_msg_id)

    assert replay(ports(service, queue), NOW, OTHER_ACCOUNT) == 1
    assert [call.account for call in queue.waiting] == [OTHER_ACCOUNT]
    assert replay(ports(service, queue), NOW) == 2


def test_accounts_without_a_webhook_are_not_called() -> None:
    """But their suppression list is repaired."""
    service, queue = Service(), MemoryQueue[Call]()
    bounce(service, "gone@example.net")

    assert (replay(ports(service, queue), NOW), queue.waiting) == (0, [])
    assert [entry.base_address for entry in suppression_list(service.suppressing, ACCOUNT)] == ["gone@example.net"]


def test_more_than_a_page_is_replayed() -> None:
    """Every delivery is looked at."""
    service, queue = a_service(), MemoryQueue[Call]()
    result = service.send(to=people(*(f"r{number}@example.net" for number in range(230))))
    for submission in result.submissions:
        delivery_cancel(service.delivering, ACCOUNT, submission.queue_msg_id)

    assert replay(ports(service, queue), NOW) == 230


def test_mail_that_came_in_is_called_again() -> None:
    """What is still there, of accounts that want to hear of it; copies of sent mail are no news."""
    service, queue = Service(), MemoryQueue[Call]()
    service.change_account(incoming_webhook=WebhookSettings("https://hooks.example.com/mail"))
    old = receive(service, is_news=True)
    service.clock.advance(timedelta(hours=1))
    new = receive(service, is_news=True)
    service.send(save_sent=True)
    receive(service, account=OTHER_ACCOUNT, is_news=True)

    assert replay(ports(service, queue), NOW + timedelta(minutes=1)) == 1
    assert replay(ports(service, queue), NOW) == 2
    assert [call.delivery_id for call in queue.waiting] == [new, new, old]
    assert all(call.is_mail and call.seq == 0 for call in queue.waiting)
