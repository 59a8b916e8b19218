"""notify tells each sender once what became of his mail, in his Inbox, and by SMTP if he asked for that."""

from __future__ import annotations

import email
import email.message
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from egret.contracts.settings import RetryPolicy, SendingDomain
from egret.core.changes import Cancel, Claim, Expire, Record, Suppress
from egret.core.compose_dsn import MAX_RETURNED_BYTES
from egret.core.delivery import Delivery, Message, State
from egret.core.events import Event, EventKind, event_id
from egret.core.ids import delivery_id
from egret.core.outcome import Bounced, Deferred, Outcome, Remote
from egret.core.reply import Reply
from egret.memory.store import MemoryMailStore
from egret.usecases.notify import DELAYED_AFTER, NotifyPorts, notify
from egret.usecases.suppress import Happening
from egret.usecases.threads import thread_of
from tests.unit.builders import (
    ACCOUNT,
    HOUR,
    LATER,
    MESSAGE_ID,
    NEVER,
    NOBODY_KNOWS,
    NOW,
    OK,
    REMOTE,
    a_delivery,
    an_attempt,
    dsn_in,
)
from tests.unit.notifying import CONTENT, MINUTE, SUBMITTED, World, attempted, changed, newest, text_of


@pytest.fixture
def world() -> World:
    """An account with a message to ann@example.net."""
    return World()


# --- what is told


def test_a_refusal_is_told_in_the_inbox(world: World) -> None:
    """Once, with everything that a list of mails shows."""
    failed = attempted(a_delivery(), NEVER)

    assert world.notify(newest(failed)) == 1
    (mail,) = world.inbox()
    assert (mail.is_dsn, mail.mail_from, mail.rcpt_to) == (True, "", "x@bounces.example.com")
    assert (mail.header_from, mail.subject) == ("postmaster@mail.example.com", "Undelivered mail")
    assert (mail.source, mail.received_at) == (event_id(ACCOUNT, MESSAGE_ID, 1), failed.events[-1].at)
    assert mail.message_id == f"<{event_id(ACCOUNT, MESSAGE_ID, 1)}@mail.example.com>"
    assert mail.flags == frozenset()


def test_the_notification_is_about_the_message(world: World) -> None:
    """Field by field, for the sender, in the thread of his message."""
    world.notify(newest(attempted(a_delivery(), NEVER)))
    message, report = email.message_from_bytes(world.raw()), world.read()
    (recipient,) = report.recipients

    assert message["Return-Path"] == "<>"
    assert message["Delivered-To"] == "x@bounces.example.com"
    assert message["To"] == "<x@bounces.example.com>"
    assert message["References"] == message["In-Reply-To"] == "<1@example.com>"
    assert (report.reporting_mta, report.arrival_date) == ("mail.example.com", NOW)
    assert report.original_message_id == "<1@example.com>"
    assert (recipient.final_recipient, recipient.action, recipient.status) == ("ann@example.net", "failed", "5.1.1")
    assert (recipient.diagnostic_type, recipient.diagnostic_text) == ("smtp", "550 5.1.1 no such user")
    assert (recipient.remote_mta, recipient.last_attempt_date) == ("mx.example.net", NOW + MINUTE / 60)
    assert dict(recipient.fields)["Remote-MTA"] == "dns; mx.example.net (192.0.2.1)"
    assert dict(recipient.fields)["Final-Log-ID"] == str(MESSAGE_ID)
    assert (recipient.will_retry_until, recipient.original_recipient) == (None, "")


def test_what_the_submission_gave_comes_back(world: World) -> None:
    """ENVID, ORCPT, and the release that was asked for (RFC 4865)."""
    world.accept(envid="QQ314159", future_release="for;600")
    world.notify(newest(attempted(a_delivery(orcpt="rfc822;Ann+2Bx@Example.net"), NEVER)))

    assert world.read().original_envelope_id == "QQ314159"
    assert dict(world.read().fields)["Future-Release-Request"] == "for;600"
    assert world.read().recipients[0].original_recipient == "Ann+x@Example.net"


def test_every_line_of_a_reply_is_told(world: World) -> None:
    """In the report and in the text."""
    lines = ("5.7.1 no", "5.7.1 see https://example.net/policy", "5.7.1 good bye")
    told = world.told(attempted(a_delivery(), Bounced("the server refused the message", Reply(554, lines), REMOTE)))

    assert told[2] == "554-5.7.1 no 554-5.7.1 see https://example.net/policy 554 5.7.1 good bye"
    text = text_of(world.raw())
    assert "    554-5.7.1 no\n    554-5.7.1 see https://example.net/policy\n    554 5.7.1 good bye\n" in text


def test_a_hostile_reply_tells_only_what_it_says(world: World) -> None:
    """It adds nothing to the report."""
    lines = ("5.1.1 x\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; eve@example.net", ") \x00 \u2028 ü" * 900)
    action, status, _ = world.told(attempted(a_delivery(), Bounced("refused", Reply(550, lines), REMOTE)))

    assert (action, status, len(world.read().recipients)) == ("failed", "5.1.1", 1)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (NEVER, "5.1.1"),
        (Bounced("refused", Reply(552, ("mailbox full",)), REMOTE), "5.0.0"),
        (Bounced("the domain takes no mail"), "5.0.0"),
        (LATER, "4.3.0"),
        (Deferred("no connection", None, Remote("mx.example.net", "192.0.2.1")), "4.4.7"),
        (NOBODY_KNOWS, "4.4.7"),
    ],
)
def test_the_status_is_that_of_the_last_answer(world: World, outcome: Outcome, status: str) -> None:
    """Its class is 4 where another attempt of the sender may succeed; who was not answered is too late."""
    action, told, _ = world.told(attempted(a_delivery(max_attempts=1), outcome))

    assert (action, told) == ("failed", status)


def test_what_grew_too_old_is_told_with_the_last_answer(world: World) -> None:
    """No attempt ended it."""
    waiting = attempted(a_delivery(), LATER)
    told = world.told(changed(waiting, Expire(waiting.expires_at)))

    assert told == ("failed", "4.3.0", "451 4.3.0 try later")
    assert "given up after 3 days" in dict(world.read().recipients[0].fields)["Status"]


def test_what_was_never_attempted_is_told_too(world: World) -> None:
    """It grew too old while nothing could be sent."""
    assert world.told(changed(a_delivery(), Expire(NOW + 72 * HOUR))) == ("failed", "4.4.7", "")
    assert world.read().recipients[0].last_attempt_date is None


def test_a_suppressed_recipient_is_told_with_its_reason(world: World) -> None:
    """Not with an answer that it got before."""
    waiting = attempted(a_delivery(), LATER)
    told = world.told(changed(waiting, Suppress(NOW + HOUR, "the recipient is on the suppression list: x")))

    assert told == ("failed", "5.0.0", "")
    assert "on the suppression list: x" in dict(world.read().recipients[0].fields)["Status"]
    assert world.read().recipients[0].last_attempt_date is not None


# --- delays


def test_the_fifth_failure_is_told_as_a_delay_and_no_other(world: World) -> None:
    """Once, about two hours after the first attempt."""
    delivery = a_delivery()
    for number in range(1, 8):
        delivery = attempted(delivery, LATER)
        assert world.notify(newest(delivery)) == (number == DELAYED_AFTER)

    assert [mail.subject for mail in world.inbox()] == ["Delayed mail, which is still being tried"]
    assert [one.action for one in world.read().recipients] == ["delayed"]


def last_attempt_of(delivery: Delivery) -> datetime:
    """Return when the last attempt of the delivery is made when all fail."""
    while not delivery.state.is_terminal:
        delivery = attempted(delivery, LATER)
    return delivery.attempts[-1].started_at


@pytest.mark.parametrize(
    "changes",
    [{}, {"max_attempts": 6}, {"max_attempts": 20}, {"expires_at": NOW + 8 * HOUR}],
)
def test_a_delay_tells_the_true_times(world: World, changes: dict[str, Any]) -> None:
    """When it is tried next, and the last attempt that the queue will make: by number or by age."""
    delayed = attempted(a_delivery(**changes), *[LATER] * 5)
    world.notify(newest(delayed))
    (recipient,) = world.read().recipients

    assert recipient.will_retry_until is not None
    assert abs(recipient.will_retry_until - last_attempt_of(delayed)) < MINUTE
    text = text_of(world.raw())
    assert f"{delayed.not_before:%H:%M:%S}" in text
    assert f"{recipient.will_retry_until:%H:%M:%S}" in text


def test_a_delay_has_a_status_of_a_delay(world: World) -> None:
    """Also where a 5yz was put off."""
    put_off = Deferred("put off", Reply(550, ("5.7.1 who are you",)), REMOTE)

    assert world.told(attempted(a_delivery(), *[put_off] * 5))[:2] == ("delayed", "4.7.1")


# --- who hears


@pytest.mark.parametrize(
    ("notified", "kinds"),
    [
        ("", ["failed", "delayed"]),
        ("NEVER", []),
        ("FAILURE", ["failed"]),
        ("DELAY", ["delayed"]),
        ("SUCCESS", ["relayed"]),
        ("SUCCESS,FAILURE,DELAY", ["failed", "delayed", "relayed"]),
    ],
)
def test_a_sender_hears_what_he_asked_for(world: World, notified: str, kinds: list[str]) -> None:
    """RFC 3461 section 4.1: without NOTIFY, of failures and delays."""
    endings: dict[str, list[Outcome]] = {"failed": [NEVER], "delayed": [LATER] * 5, "relayed": [OK]}
    heard = []
    for index, (kind, outcomes) in enumerate(endings.items()):
        one = attempted(a_delivery(id=delivery_id(MESSAGE_ID, index), notify=notified), *outcomes)
        if world.notify(newest(one)):
            heard.append(kind)

    assert heard == kinds


def test_a_success_is_told_unless_the_next_hop_does(world: World) -> None:
    """RFC 3461 section 5.2.2: who offers DSN was told what the sender wants."""
    relayed = attempted(a_delivery(notify="SUCCESS"), OK)
    passed_on = attempted(a_delivery(id=delivery_id(MESSAGE_ID, 1), notify="SUCCESS"), OK, takes_dsn=True)

    assert world.notify(newest(passed_on)) == 0
    assert world.told(relayed) == ("relayed", "2.0.0", "250 2.0.0 queued as 1")
    text = text_of(world.raw())
    assert "does not report what becomes of it" in " ".join(text.split())


def test_an_account_may_do_without(world: World) -> None:
    """It hears by webhook; nothing is read for it, and nothing stored."""
    world.change_account(dsn_to_mailbox=False)
    world.store.table.messages.clear()

    assert world.notify(newest(attempted(a_delivery(), NEVER))) == 0
    assert (world.inbox(), world.blobs.objects) == ([], {})


def test_a_notification_is_never_answered(world: World) -> None:
    """Mail with a null reverse-path."""
    assert world.notify(newest(attempted(a_delivery(reverse_path="", fromid=""), NEVER))) == 0


def test_what_was_withdrawn_is_not_told(world: World) -> None:
    """Who did it knows."""
    assert world.notify(newest(changed(a_delivery(), Cancel(NOW)))) == 0


def reported(kind: EventKind, delivery: Delivery, **changes: Any) -> Happening:
    """Return what somebody else's notification told of a delivery."""
    values: dict[str, Any] = {"code": 550, "enhanced_code": "5.2.1", "reply": ("550 5.2.1 disabled",)}
    values |= {"source": "in1", "dsn": True, "remote": Remote("mx.example.org"), **changes}
    return Happening(delivery, Event(9, kind, NOW + HOUR, **values))


@pytest.mark.parametrize("kind", list(EventKind))
def test_what_came_back_lies_in_the_inbox_itself(world: World, kind: EventKind) -> None:
    """It is not told a second time."""
    assert world.notify(reported(kind, a_delivery(state=State.DELIVERED))) == 0


def test_an_unknown_account_and_a_forgotten_message_stop_nobody(world: World) -> None:
    """The account was deleted, or the event comes late."""
    stranger = attempted(a_delivery(account="zzzzzzzz"), NEVER)
    forgotten = attempted(a_delivery(id=delivery_id(MESSAGE_ID + (1 << 10), 0)), NEVER)

    assert world.notify(newest(stranger), newest(forgotten), newest(attempted(a_delivery(), NEVER))) == 1


def test_delivered_mail_costs_nothing() -> None:
    """No port is asked."""
    nothing: Any = None
    ports = NotifyPorts(nothing, nothing, nothing, nothing, "", RetryPolicy(), nothing)
    delivered = newest(attempted(a_delivery(), OK))
    delayed = newest(attempted(a_delivery(), LATER))

    assert notify(ports, [delivered, delayed]) == 0


def test_several_recipients_have_a_notification_each(world: World) -> None:
    """Each about its own."""
    failed = [
        attempted(a_delivery(id=delivery_id(MESSAGE_ID, index), recipient=f"{index}@example.net"), NEVER)
        for index in range(3)
    ]

    assert world.notify(*map(newest, failed)) == 3
    addresses = set()
    for mail in world.inbox():
        report = dsn_in(world.blobs.objects[mail.blob])
        assert report is not None
        addresses |= {recipient.final_recipient for recipient in report.recipients}
    assert addresses == {"0@example.net", "1@example.net", "2@example.net"}


def test_the_same_event_again_is_the_same_notification(world: World) -> None:
    """The stream repeats."""
    failed = newest(attempted(a_delivery(), NEVER))
    world.notify(failed)
    first = dict(world.blobs.objects)

    assert world.notify(failed, failed) == 0
    assert (len(world.inbox()), world.blobs.objects) == (1, first)


def test_an_id_that_is_taken_is_passed_by(world: World) -> None:
    """By a mail that is another."""
    failed = newest(attempted(a_delivery(), NEVER))
    world.notify(failed)
    (mail,) = world.inbox()
    fresh = World()
    fresh.mailboxes.put(replace(mail, source="another"))

    assert fresh.notify(failed) == 1
    assert {one.source for one in fresh.inbox()} == {"another", failed.id}


# --- what comes back


class StoreWithObjects(MemoryMailStore):
    """One that keeps contents as objects, as that in the table does with large ones."""

    KEY = "content/1"

    def contents(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], tuple[Message, bytes | str]]:
        return {key: (message, self.KEY) for key, (message, _) in super().contents(keys).items()}


def returned(world: World, *outcomes: Outcome) -> tuple[str, bytes]:
    """Return type and content of the third part. outcomes: of the attempts, a refusal if not given."""
    world.notify(newest(attempted(a_delivery(), *(outcomes or (NEVER,)))))
    parts = email.message_from_bytes(world.raw()).get_payload()
    assert isinstance(parts, list)
    part = parts[2]
    assert isinstance(part, email.message.Message)
    content = part.get_payload(0) if part.is_multipart() else part
    assert isinstance(content, email.message.Message)
    return part.get_content_type(), content.as_bytes()


@pytest.mark.parametrize("ret", ["", "HDRS"])
def test_the_header_comes_back(world: World, ret: str) -> None:
    """By default, too: a mailbox need not be filled twice."""
    world.accept(ret=ret)

    kind, content = returned(world)
    assert (kind, b"Good day." in content) == ("text/rfc822-headers", False)
    assert b"Subject: Hello" in content


def test_the_whole_message_comes_back_if_asked_for(world: World) -> None:
    """RET=FULL."""
    world.accept(ret="FULL")

    kind, content = returned(world)
    assert (kind, b"Good day." in content) == ("message/rfc822", True)


@pytest.mark.rfc("3461", "4.3")
def test_of_a_delay_the_header_comes_back(world: World) -> None:
    """RET is about failures: what is still being tried need not be sent again."""
    world.accept(ret="FULL")

    assert returned(world, *[LATER] * 5)[0] == "text/rfc822-headers"


def test_a_protected_message_does_not_come_back_whole(world: World) -> None:
    """RFC 8689 section 5: the way back may be unprotected."""
    world.accept(ret="FULL", require_tls=True)

    assert returned(world)[0] == "text/rfc822-headers"


def test_a_large_message_comes_back_by_its_header(world: World) -> None:
    """Of an object only the beginning is read."""
    large = CONTENT + b"x\r\n" * MAX_RETURNED_BYTES
    world.store = StoreWithObjects()
    world.accept(large, ret="FULL")
    world.blobs.put(StoreWithObjects.KEY, large)

    kind, content = returned(world)
    assert (kind, b"Subject: Hello" in content) == ("text/rfc822-headers", True)


def test_an_internationalized_message_has_an_internationalized_notification(world: World) -> None:
    """In the Inbox."""
    world.accept("Subject: Grüße\r\nMessage-ID: <1@example.com>\r\n\r\n".encode(), smtputf8=True)
    world.notify(newest(attempted(a_delivery(recipient="jürgen@example.net"), NEVER)))

    assert b"message/global-delivery-status" in world.raw()
    assert world.read().recipients[0].final_recipient == "jürgen@example.net"


# --- by SMTP


def test_who_submitted_and_asked_hears_by_smtp_as_well(world: World) -> None:
    """At the address that he gave, in ASCII, once for the event."""
    world.accept("Subject: Grüße\r\n\r\n".encode(), mail_from="list-bounces@example.com", smtputf8=True)
    failed = newest(attempted(a_delivery(recipient="jürgen@example.net", **SUBMITTED), NEVER))

    assert world.notify(failed) == 1
    ((key, recipient, mail),) = world.queued
    assert (key, recipient) == (f"dsn {failed.id}", "list-bounces@example.com")
    assert (mail.smtputf8, mail.is_8bit) == (False, False)
    message = email.message_from_bytes(mail.raw())
    assert (message["To"], message["Return-Path"]) == ("<list-bounces@example.com>", None)
    report = dsn_in(mail.raw())
    assert report is not None
    assert report.recipients[0].final_recipient == "jürgen@example.net"


@pytest.mark.rfc("8689", "5")
@pytest.mark.parametrize(("require_tls", "asked"), [(True, True), (None, None), (False, None)])
def test_a_bounce_is_protected_as_its_message_was(world: World, require_tls: bool | None, asked: bool | None) -> None:
    """It has the header of the message; that a message may go without TLS says nothing of its bounce."""
    world.accept(mail_from="list-bounces@example.com", require_tls=require_tls)
    world.notify(newest(attempted(a_delivery(**SUBMITTED), NEVER)))

    assert world.protected == [asked]


@pytest.mark.parametrize(
    ("message", "delivery"),
    [
        ({}, SUBMITTED),
        ({"mail_from": "app@example.com"}, {}),
        ({"mail_from": "app@example.com"}, {"notify": "DELAY"}),
        ({"mail_from": "fromid@bounces.example.org"}, SUBMITTED),
        ({"mail_from": "app@here.example"}, SUBMITTED),
        ({"mail_from": "App@Here.Example"}, SUBMITTED),
    ],
)
def test_nobody_else_is_written_to(world: World, message: dict[str, Any], delivery: dict[str, Any]) -> None:
    """Mail of the API; who asked for nothing, or for something else; whose mail comes to us: he has the Inbox."""
    world.settings.put_domain(SendingDomain("example.org", ACCOUNT, "bounces.example.org"))
    world.settings.put_domain(SendingDomain("here.example", ACCOUNT, "b.here.example", separator="+"))
    world.accept(**message)
    world.notify(newest(attempted(a_delivery(**delivery), NEVER)))

    assert world.queued == []


def test_smtp_does_not_depend_on_the_inbox(world: World) -> None:
    """An account without notifications in its Inbox may still ask by NOTIFY."""
    world.change_account(dsn_to_mailbox=False)
    world.accept(mail_from="app@example.com")

    assert world.notify(newest(attempted(a_delivery(**SUBMITTED), NEVER))) == 0
    assert (len(world.queued), world.inbox()) == (1, [])


@pytest.mark.parametrize(
    ("kind", "notified", "status"),
    [
        (EventKind.FAILED, "FAILURE", "5.2.1"),
        (EventKind.DELAYED, "DELAY", "4.2.1"),
        (EventKind.DELIVERED, "SUCCESS", "2.1.5"),
        (EventKind.RELAYED, "SUCCESS", "2.1.9"),
        (EventKind.EXPANDED, "SUCCESS", "2.1.5"),
    ],
)
def test_what_came_back_to_us_goes_on_to_who_asked(world: World, kind: EventKind, notified: str, status: str) -> None:
    """Our reverse-path took the place of his, so another server's notification reached us instead of him."""
    world.accept(mail_from="app@example.com")
    delivery = a_delivery(state=State.DELIVERED, notify=notified)
    world.notify(reported(kind, delivery, enhanced_code=status, reply=(f"250 {status} said",)))

    report = dsn_in(world.queued[0][2].raw())
    assert report is not None
    (told,) = report.recipients
    assert (told.action, told.status, told.remote_mta) == (kind.value, status, "mx.example.org")
    assert told.diagnostic_text == f"250 {status} said"
    assert world.inbox() == []


def test_what_is_known_by_the_message_id_alone_goes_nowhere(world: World) -> None:
    """It may be our own notification, forwarded to us by who asked for it: passing it on would never end."""
    world.accept(mail_from="app@example.com")
    delivery = a_delivery(state=State.DELIVERED, **SUBMITTED)
    world.notify(*(reported(kind, delivery, by_message_id=True) for kind in EventKind))

    assert (world.queued, world.inbox()) == ([], [])


def test_what_came_back_goes_on_only_where_it_was_asked_for(world: World) -> None:
    """A failure to who wants to hear of successes only; what is no notification at all."""
    world.accept(mail_from="app@example.com")
    delivery = a_delivery(state=State.DELIVERED, notify="SUCCESS")
    world.notify(reported(EventKind.FAILED, delivery), reported(EventKind.UNRECOGNIZED, delivery, dsn=False))

    assert world.queued == []


def test_what_overtook_its_attempt_goes_on_once(world: World) -> None:
    """The notification came before the attempt was recorded, and its event was told again after that."""
    world.accept(mail_from="app@example.com")
    early = reported(EventKind.FAILED, a_delivery(notify="FAILURE"))
    leased = changed(a_delivery(notify="FAILURE", events=(early.event,)), Claim("unit-1", NOW, NOW + HOUR))
    overtaken = changed(leased, Record(an_attempt(1, OK), None, NOW))
    world.notify(*(Happening(overtaken, event) for event in overtaken.events))

    assert [event.kind for event in overtaken.events] == [EventKind.FAILED, EventKind.DELIVERED, EventKind.FAILED]
    assert len(world.queued) == 1


def test_a_notification_costs_three_reads_an_object_and_a_mail(world: World) -> None:
    """Of several about one message, the message is read once, and its thread remembered once."""
    store = Counting(world.store)
    blobs, mailboxes = Counting(world.blobs), Counting(world.mailboxes)
    failed = [attempted(a_delivery(id=delivery_id(MESSAGE_ID, index)), NEVER) for index in range(2)]
    ports: Any = (store, blobs, mailboxes, world.settings, "mail.example.com", RetryPolicy(), None)

    assert notify(NotifyPorts(*ports), map(newest, failed)) == 2
    assert (store.calls, blobs.calls) == (["contents"], ["put"] * 2)
    assert mailboxes.calls == ["holds", "threads", "join", "put", "holds", "threads", "put"]


class Counting:
    """A port that notes what it is asked for."""

    def __init__(self, port: object) -> None:
        self._port = port
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self._port, name)


def test_a_notification_lies_in_the_thread_of_its_message(world: World) -> None:
    """For as long as the account keeps mail."""
    thread = thread_of(world.mailboxes, ACCOUNT, "<1@example.com>", (), NOW)
    world.change_account(keep_mail=timedelta(days=7))
    failed = newest(attempted(a_delivery(), NEVER))
    world.notify(failed)

    (mail,) = world.inbox()
    assert (mail.thread, mail.to) == (thread, ("x@bounces.example.com",))
    assert mail.expires_at == failed.event.at + timedelta(days=7)
    assert not mail.is_news


def test_a_notification_that_was_removed_does_not_come_back(world: World) -> None:
    """Nor does its object, when the stream repeats."""
    failed = newest(attempted(a_delivery(), NEVER))
    world.notify(failed)
    (mail,) = world.inbox()
    world.mailboxes.remove(mail, NOW)
    world.blobs.delete(mail.blob)

    assert world.notify(failed) == 0
    assert (world.inbox(), world.blobs.objects) == ([], {})
