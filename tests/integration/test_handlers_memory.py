"""The handlers on real events, over ports in memory: what is done, what comes again, what is logged."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from egret.aws.app import App
from egret.contracts.queues import Hint, encode_queue_body
from egret.contracts.records import MailFilter, PostAnswer
from egret.core.delivery import State
from egret.core.errors import ContractError, Unavailable
from egret.memory.calls import MemoryCalls, MemoryPoster, Posted
from egret.memory.store import MemoryMailStore
from functions.deliver import handler as deliver_function
from functions.dsn_ingest import handler as ingest_function
from functions.sweep import handler as sweep_function
from functions.webhook import handler as webhook_function
from tests.aws_events import event_file, failed, s3_notification, sqs_event
from tests.functions_world import HOOK, SECRET, World, delivered, mail_of
from tests.template import variables
from tests.unit.builders import ACCOUNT, MESSAGE_ID, NOW, OTHER_ACCOUNT, a_unit
from tests.unit.sending import an_account


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append(record)


@pytest.fixture(autouse=True)
def lines() -> Iterator[list[logging.LogRecord]]:
    """What the functions' loggers wrote."""
    kept = Lines()
    names = ("deliver", "sweep", "webhook", "dsn-ingest")
    for name in names:
        logging.getLogger(name).addHandler(kept)
    yield kept.kept
    for name in names:
        logging.getLogger(name).removeHandler(kept)


def told(lines: list[logging.LogRecord], message: str) -> list[dict[str, Any]]:
    """Return the fields of the lines with that message."""
    return [vars(line) for line in lines if line.getMessage() == message]


def test_deliver_hands_over_what_hints_name(lines: list[logging.LogRecord]) -> None:
    """One line tells how it went."""
    world = World()
    event = sqs_event(encode_queue_body(world.accept(0)), encode_queue_body(world.accept(1)))

    assert failed(deliver_function.run(world.delivering, event)) == []
    assert len(world.handed[0].transactions) == 2
    (line,) = told(lines, "deliver")
    assert (line["hints"], line["failed"], line["deliveries"]) == (2, 0, {"claim": 2, "leased": 2})


def test_a_hint_that_is_none_fails_alone() -> None:
    """The others are delivered."""
    world = World()
    event = sqs_event("not a hint", encode_queue_body(world.accept(0)))

    assert failed(deliver_function.run(world.delivering, event)) == ["m0"]
    assert world.get().state is State.ATTEMPTING


class DownStore(MemoryMailStore):
    """Storage that does not answer, or has an item that nobody can read."""

    def __init__(self, error: Exception, poison: int = 0) -> None:
        super().__init__()
        self.error = error
        self.poison = poison

    def get_many(self, keys: Any, now: Any) -> Any:
        """Fail when the poison is asked for, or always when there is none."""
        if not self.poison or (ACCOUNT, self.poison) in keys:
            raise self.error
        return super().get_many(keys, now)


def test_all_hints_come_again_when_storage_does_not_answer() -> None:
    """Losing a hint costs time only, but there is no need to."""
    world = World()
    ports = replace(world.delivering, store=DownStore(Unavailable(detail="down")))
    event = sqs_event(*[encode_queue_body(world.accept(i)) for i in range(3)])

    assert failed(deliver_function.run(ports, event)) == ["m0", "m1", "m2"]


def test_a_hint_at_a_corrupt_delivery_fails_alone() -> None:
    """The item cannot be read, now or ever: that hint goes to the dead letters."""
    world = World()
    ports = replace(world.delivering, store=DownStore(ContractError(detail="corrupt"), poison=MESSAGE_ID))
    event = sqs_event(*[encode_queue_body(world.accept(i)) for i in range(3)])

    assert failed(deliver_function.run(ports, event)) == ["m0"]


def test_calls_are_posted(lines: list[logging.LogRecord]) -> None:
    """To the account's URL; neither its Authorization nor a body is logged."""
    world = World()
    event = sqs_event(encode_queue_body(delivered(world)), "{}")

    assert failed(webhook_function.run_calls(world.posting, event)) == ["m1"]
    assert [posted.url for posted in world.poster.posted] == [HOOK.url]
    assert SECRET not in str([vars(line) for line in lines])


def test_a_receiver_that_fails_is_no_failure_of_the_message() -> None:
    """The record of the call says when it is tried again; the queue has nothing to repeat."""
    world = World(poster=MemoryPoster(lambda _: PostAnswer(500)))

    assert failed(webhook_function.run_calls(world.posting, sqs_event(encode_queue_body(delivered(world))))) == []


class UnreadableCalls(MemoryCalls):
    """Call records that cannot be written."""

    def put(self, record: Any) -> None:
        """Fail."""
        raise Unavailable(detail="down")


def test_calls_whose_record_cannot_be_written_come_again() -> None:
    """Posted perhaps twice, never lost."""
    world = World()
    ports = replace(world.posting, calls=UnreadableCalls())

    assert failed(webhook_function.run_calls(ports, sqs_event(encode_queue_body(delivered(world))))) == ["m0"]


def test_accounts_are_posted_to_side_by_side() -> None:
    """Each receiver answers only when the other has been asked, too."""
    both_asked = threading.Barrier(2)

    def answer(_: Posted) -> PostAnswer:
        both_asked.wait(timeout=10)
        return PostAnswer(200)

    world = World(poster=MemoryPoster(answer))
    world.settings.put_account(an_account(id=OTHER_ACCOUNT, name="other", addresses=("b@example.org",), webhook=HOOK))
    calls = [delivered(world), delivered(world, OTHER_ACCOUNT)]
    app = App.from_environment(dict.fromkeys((*variables("WebhookCallsFunction"), "AWS_REGION"), "x"))
    made = webhook_function.post_ports_of(app)
    assert isinstance(made.reading_large, type(threading.Lock()))
    ports = replace(world.posting, side_by_side=made.side_by_side)

    assert failed(webhook_function.run_calls(ports, sqs_event(*map(encode_queue_body, calls)))) == []
    assert len(world.poster.posted) == 2


def test_mail_is_taken_in_under_its_unquoted_key(lines: list[logging.LogRecord]) -> None:
    """S3 encodes keys in its notifications, a space as a plus."""
    world = World()
    mail_of(world, "inbound/2026-03-04/mail with spaces+and=signs")
    event = sqs_event(json.dumps(event_file("s3_notification")))

    assert failed(ingest_function.run(world.ingesting, event)) == []
    assert len(world.ingesting.mailboxes.list(ACCOUNT, MailFilter(mailbox="Inbox"), "", 10, NOW).items) == 1
    assert told(lines, "ingest")[0]["mails"] == 1


def test_the_test_event_of_s3_is_taken_for_what_it_is() -> None:
    """S3 sends one when the notification is set up."""
    world = World()

    assert failed(ingest_function.run(world.ingesting, sqs_event(json.dumps(event_file("s3_test"))))) == []


@pytest.mark.parametrize("body", ["", "7", "[]", "{}", '{"Records":[{}]}', '{"Records":7}'])
def test_what_is_no_notification_fails_alone(body: str) -> None:
    """The mail beside it is taken in."""
    world = World()
    mail_of(world, "inbound/good")
    event = sqs_event(body, s3_notification("inbound/good"))

    assert failed(ingest_function.run(world.ingesting, event)) == ["m0"]
    assert len(world.ingesting.mailboxes.list(ACCOUNT, MailFilter(mailbox="Inbox"), "", 10, NOW).items) == 1


def test_an_object_that_is_no_mail_fails_alone() -> None:
    """It goes to the dead letters, the others are taken in."""
    world = World()
    world.blobs.put("inbound/bad", b"no envelope\n")
    mail_of(world, "inbound/good")
    event = sqs_event(s3_notification("inbound/bad"), s3_notification("inbound/good"))

    assert failed(ingest_function.run(world.ingesting, event)) == ["m0"]
    assert len(world.ingesting.mailboxes.list(ACCOUNT, MailFilter(mailbox="Inbox"), "", 10, NOW).items) == 1


def test_the_sweep_hints_at_what_is_due(lines: list[logging.LogRecord]) -> None:
    """One line tells how it went."""
    world = World()
    world.units.put(a_unit(valid_until=NOW + timedelta(hours=1)))
    world.clock.advance(timedelta(seconds=91))
    swept = sweep_function.run(world.sweeping)

    assert (swept.hinted, world.hints.waiting) == (1, [Hint(ACCOUNT, [MESSAGE_ID])])
    assert told(lines, "sweep")[0]["hinted"] == 1
