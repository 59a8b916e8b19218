"""The promises of the design, as checks of a simulated world. Each raises Violation with one sentence."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from egret.contracts.records import MailFilter
from egret.contracts.settings import Account
from egret.core.delivery import Delivery, State
from egret.core.events import EventKind, event_id, is_wanted
from egret.core.ids import SENT_INDEX, delivery_id
from egret.core.outcome import Delivered, Unknown
from egret.usecases.notify import DELAYED_AFTER
from egret.usecases.post_webhook import FAILED as GIVEN_UP
from tests.fault.faults import Violation

if TYPE_CHECKING:
    from tests.fault.actors import Wish
    from tests.fault.simulation import World

PATIENCE: Final = timedelta(hours=6)
"""While every event is told within this time, those of a delivery are told in order, where that is asked for."""
ENDS: Final = {
    State.FAILED: {EventKind.FAILED},
    State.SUPPRESSED: {EventKind.SUPPRESSED},
    State.CANCELED: {EventKind.CANCELED},
    State.DELIVERED: {EventKind.DELIVERED},
}


def always(world: World) -> None:
    """Check what holds at every moment: whoever is not at the end has content."""
    for (account, id_), delivery in world.table.deliveries.items():
        if not delivery.state.is_terminal and world.store.content(account, delivery.message_id) is None:
            raise Violation(f"delivery {id_} is {delivery.state.value} and its content is gone")
    for account, message_id in world.table.submissions:
        if (account, message_id) not in world.table.messages:
            raise Violation(f"submission {message_id} is open and its content is gone")


def open_things(world: World) -> str:
    """Return what is still going on, "" when everything has come to rest."""
    table = world.table
    waiting = [delivery.state.value for delivery in table.deliveries.values() if not delivery.state.is_terminal]
    calls = [record.state for record in table.calls.values() if record.due_at is not None]
    queues = [len(world.hints), len(world.call_queue), len(world.inbound)]
    busy = [process.id for process in world.fleet.processes() if not process.is_idle]
    if waiting or calls or any(queues) or busy or table.submissions or world.functions.has_records:
        return (
            f"deliveries {waiting}, calls {calls}, queues {queues}, units {busy}, submissions {len(table.submissions)}"
        )
    return "wishes" if has_open_wishes(world) else ""


def has_open_wishes(world: World) -> bool:
    """Whether a client still asks."""
    return any(wish.key and not wish.answers and not wish.is_over for wish in world.clients.wishes)


def before_replay(world: World) -> None:
    """Check what a replay would mend, for want of an order that shows it: mail is told without one."""
    for account in world.accounts:
        _told_of_mail(world, account)


def at_the_end(world: World) -> None:
    """Check every promise when all has come to rest and nothing is forgotten yet."""
    for wish in world.clients.wishes:
        _accepted(world, wish)
    for delivery in world.ever.values():
        _ended(world, delivery)
        _sent_once(world, delivery)
    for account in world.accounts:
        _told(world, account)
        _counted(world, account)
        _own(world, account)
    _suppressed(world)
    _taken_in(world)
    _notified(world)
    for process in world.fleet.processes():
        if process.ledger.in_hand:
            raise Violation(f"{process.id} still holds {process.ledger.in_hand} attempts")


# --- 1: nothing is lost


def _accepted(world: World, wish: Wish) -> None:
    """An answer of 200 is never lost; one key is one acceptance."""
    account, subject = wish.caller.account.id, wish.request.subject
    made = {d.message_id for d in world.ever.values() if d.account == account and _subject(world, d) == subject}
    for ids in wish.answers:
        for id_, person in zip(ids, wish.request.to, strict=True):
            delivery = world.ever.get((account, id_))
            if delivery is None or delivery.recipient != person.address:
                raise Violation(f"{subject} was answered with {id_}, which is not there")
    if wish.key and len(made) > 1:
        raise Violation(f"{subject} was accepted {len(made)} times with one key")
    if wish.key and len(set(wish.answers)) > 1:
        raise Violation(f"{subject} got different answers with one key: {wish.answers}")
    for message_id in made:
        if wish.request.save_sent:
            _is_in_sent(world, account, message_id)
        count = sum(d.message_id == message_id and d.account == account for d in world.ever.values())
        if count != len(wish.request.to):
            raise Violation(f"{subject} has {len(wish.request.to)} recipients and {count} deliveries")


def _subject(world: World, delivery: Delivery) -> str:
    stored = world.table.messages.get((delivery.account, delivery.message_id))
    if stored is None:
        raise Violation(f"the message of {delivery.id} is gone before its time")
    return stored.message.subject


def _is_in_sent(world: World, account: str, message_id: int) -> None:
    """The copy came with the acceptance, and its content is there."""
    copy = world.mailboxes.get(account, delivery_id(message_id, SENT_INDEX), world.clock.now())
    if copy is None or world.memory_blobs.get(copy.blob) is None:
        raise Violation(f"message {message_id} of {account} has no copy in Sent")


def _ended(world: World, delivery: Delivery) -> None:
    """Every delivery ends, and an event says how."""
    name = f"delivery {delivery.id} of {delivery.account}"
    if not delivery.state.is_terminal:
        raise Violation(f"{name} is {delivery.state.value} for ever")
    if not {event.kind for event in delivery.events} & ENDS[delivery.state]:
        raise Violation(f"{name} is {delivery.state.value} and no event says so")
    if [event.seq for event in delivery.events] != list(range(1, len(delivery.events) + 1)):
        raise Violation(f"{name} has gaps in its events")
    if [attempt.number for attempt in delivery.attempts] != list(range(1, len(delivery.attempts) + 1)):
        raise Violation(f"{name} has gaps in its attempts")


# --- 2: nothing is sent twice


def _sent_once(world: World, delivery: Delivery) -> None:
    """What is recorded agrees with what the remote server has; unknown only when nobody can know."""
    received = {
        key.attempt for key in world.received if (key.account, key.delivery_id) == (delivery.account, delivery.id)
    }
    for attempt in delivery.attempts:
        outcome = attempt.outcome
        if isinstance(outcome, Delivered) and attempt.number not in received:
            raise Violation(f"attempt {attempt.number} of {delivery.id} is delivered and was not received")
        if not isinstance(outcome, Delivered | Unknown) and attempt.number in received:
            raise Violation(f"attempt {attempt.number} of {delivery.id} was received and is {outcome}")
        if isinstance(outcome, Unknown):
            _unknowable(world, delivery, attempt.number)
    if beyond := received - {attempt.number for attempt in delivery.attempts}:
        raise Violation(f"attempts {beyond} of {delivery.id} were received and are not recorded")


def _unknowable(world: World, delivery: Delivery, number: int) -> None:
    unit = world.fleet.answered.get((delivery.account, delivery.id, number))  # type: ignore[call-overload]
    if unit is not None and unit not in world.fleet.lost:
        raise Violation(f"attempt {number} of {delivery.id} is unknown although {unit} has the answer")


# --- 3: everything is told


def _told(world: World, account: Account) -> None:
    webhook = account.webhook
    told = world.receivers.told.get(account.id, [])
    by_delivery: dict[int, list[int]] = defaultdict(list)
    for payload in told:
        by_delivery[payload["QueueMsgID"]].append(int(payload["id"].rpartition("_")[2]))
    for delivery in world.ever.values():
        if delivery.account != account.id or webhook is None:
            continue
        wanted = [event.seq for event in delivery.events if is_wanted(event.kind, webhook.events)]
        heard = by_delivery[delivery.id]
        missing = set(wanted if webhook.in_order else wanted[-1:]) - set(heard) - _given_up(world, delivery)
        if missing:
            raise Violation(f"events {missing} of {delivery.id} of {account.name} were never told")
        if extra := set(heard) - set(wanted):
            raise Violation(f"events {extra} of {delivery.id} were told although nobody wants them")
        first_heard = list(dict.fromkeys(heard))
        if webhook.in_order and first_heard != sorted(first_heard) and _is_quick(world, delivery):
            raise Violation(f"events of {delivery.id} were told in the order {first_heard}")
    _consistent(world, account, told)


def _told_of_mail(world: World, account: Account) -> None:
    """Mail of strangers is in the mailbox once; all news is told, and what belongs to a delivery is not."""
    mails = [mail for (owner, _), mail in world.table.mails.items() if owner == account.id and mail.is_news]
    strangers = world.postmasters.strangers
    kept = sorted(mail.source for mail in mails if mail.source in strangers)
    if kept != sorted(source for source, owner in strangers.items() if owner == account.id):
        raise Violation(f"{account.name} has the mail {kept} of {strangers}")
    given_up = {id_ for (_, id_, seq), record in world.table.calls.items() if seq == 0 and record.state == GIVEN_UP}
    wanted, heard = {mail.id for mail in mails}, world.receivers.mails.get(account.id, set())
    if wanted - heard - given_up or heard - wanted:
        raise Violation(f"{account.name} was told of the mail {heard} instead of {wanted}")


def _given_up(world: World, delivery: Delivery) -> set[int]:
    """Events whose receiver refused every try of the schedule."""
    return {
        seq
        for (account, id_, seq), record in world.table.calls.items()
        if (account, id_) == (delivery.account, delivery.id) and record.state == GIVEN_UP
    }


def _is_quick(world: World, delivery: Delivery) -> bool:
    """No event came so late that order was given up."""
    heard = world.receivers.first_heard
    ids = {event_id(delivery.account, delivery.id, event.seq): event.at for event in delivery.events}
    return all(heard[id_] - at < PATIENCE for id_, at in ids.items() if id_ in heard)


def _consistent(world: World, account: Account, told: list[dict[str, Any]]) -> None:
    """The same id always says the same, and what the delivery says."""
    first: dict[str, dict[str, Any]] = {}
    for payload in told:
        delivery = world.ever.get((account.id, payload["QueueMsgID"]))
        if delivery is None:
            raise Violation(f"{account.name} hears of a delivery that is not its own: {payload['QueueMsgID']}")
        seq = int(payload["id"].rpartition("_")[2])
        event = delivery.events[seq - 1]
        facts = (event_id(account.id, delivery.id, seq), event.kind.value, delivery.recipient, delivery.fromid)
        if (payload["id"], payload["Event"], payload["Recipient"], payload["FromID"]) != facts:
            raise Violation(f"the call {payload} does not say what happened: {facts}")
        varying = {"WebhookQueued"} if _put_on_the_list(world, account, payload) else {"WebhookQueued", "Suppressing"}
        same = {name: value for name, value in payload.items() if name not in varying}
        if first.setdefault(payload["id"], same) != same:
            raise Violation(f"event {payload['id']} was told in two ways: {first[payload['id']]} and {same}")


def _put_on_the_list(world: World, account: Account, payload: dict[str, Any]) -> bool:
    """Whether this event is the one that the list remembers.

    The list keeps one entry for an address: when a person took it off and another event put it back, a replay of the
    first event no longer knows that it once suppressed.
    """
    key = (account.id, payload["Recipient"])
    entry = world.suppressions.find([key]).get(key)
    return entry is not None and entry.source_event == payload["id"]


# --- 4: tenants


def _own(world: World, account: Account) -> None:
    """Lists, mailboxes and suppressions hold only what is the account's own."""
    own = {
        event_id(d.account, d.id, e.seq): d for d in world.ever.values() if d.account == account.id for e in d.events
    }
    for entry in world.suppressions.list(account.id, world.clock.now()):
        if entry.account != account.id or (entry.source_event and entry.source_event not in own):
            raise Violation(f"{account.name} has a suppression that is not its own: {entry}")
    for mail in world.mailboxes.list(account.id, MailFilter(), "", 1000, world.clock.now()).items:
        if mail.mailbox == "Inbox" and account.name not in mail.rcpt_to:
            raise Violation(f"{account.name} has a mail of another: {mail.rcpt_to}")
    for delivery in world.ever.values():
        if delivery.account == account.id and delivery.state is State.SUPPRESSED:
            _is_own_suppression(world, delivery)


def _is_own_suppression(world: World, delivery: Delivery) -> None:
    """Who was suppressed stood on the account's own list at some time."""
    if not world.suppressions.find([(delivery.account, delivery.recipient)]):
        raise Violation(
            f"{delivery.id} was suppressed although {delivery.account} never had {delivery.recipient} listed"
        )


def _suppressed(world: World) -> None:
    """What a person took off the list comes back only for something that happened later."""
    for (account, address), removed_at in world.people.removed.items():
        entry = world.suppressions.find([(account, address)])[account, address]
        if entry.is_active_at(world.clock.now()) and entry.created_at < removed_at:
            raise Violation(f"{address} was put back on the list of {account} by something old: {entry}")


def _taken_in(world: World) -> None:
    """What was answered with 250 stands in its account's Inbox, and made one event, however often it was sent."""
    for mail in world.postmasters.mails:
        account, id_ = mail.about
        tries = {f"{mail.name}-{number + 1}" for number in range(mail.tries)}
        kept = [one.account for one in world.table.mails.values() if one.source in tries]
        if set(kept) != {account} or len(kept) > mail.tries:
            raise Violation(f"{mail.name} is in the Inbox of {kept} instead of {account}, sent {mail.tries} times")
        told = [event.kind for event in world.ever[account, id_].events if event.source == mail.source]
        if told != [mail.kind]:
            raise Violation(f"{mail.name} made {told} of delivery {id_} instead of {mail.kind}")


def _notified(world: World) -> None:
    """Every end in failure that is our own finding, and the one delay, is told in the account's Inbox once."""
    told = {EventKind.FAILED: 0, EventKind.SUPPRESSED: 0, EventKind.DELAYED: DELAYED_AFTER}
    expected = {
        (d.account, event_id(d.account, d.id, event.seq))
        for d in world.ever.values()
        for event in d.events
        if event.kind in told and not event.dsn and told[event.kind] in (0, event.attempt)
    }
    kept = [mail for mail in world.table.mails.values() if mail.source.startswith("evt_")]
    found = [(mail.account, mail.source) for mail in kept]
    if sorted(found) != sorted(expected):
        raise Violation(f"notifications of {set(found) ^ expected}, or several of one, of {len(found)}")
    for mail in kept:
        if world.memory_blobs.get(mail.blob) is None:
            raise Violation(f"the notification of {mail.source} has no content")


# --- 5 and the rest


def _counted(world: World, account: Account) -> None:
    """The daily counter never counts too little."""
    days: dict[str, int] = defaultdict(int)
    for delivery in world.ever.values():
        if delivery.account == account.id:
            days[f"{delivery.queued_at:%Y-%m-%d}"] += 1
    for day, count in days.items():
        if world.counters.used(account.id, day) < count:
            raise Violation(
                f"{account.name} sent {count} on {day} and {world.counters.used(account.id, day)} are counted"
            )


def forgotten(world: World) -> None:
    """Check that after every retention nothing is left, but what was never accepted."""
    if world.table.deliveries:
        raise Violation("deliveries outlive every retention")
    accepted = {(delivery.account, delivery.message_id) for delivery in world.ever.values()}
    for key in world.table.messages:
        if key in accepted:
            raise Violation(f"the content of {key} outlives its deliveries")
