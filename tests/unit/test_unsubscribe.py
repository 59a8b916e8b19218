"""Who asks for no more mail gets none, however he asks, as often as he asks, and long after the mail."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egret.api.http import Headers, Request
from egret.contracts.queues import Call, Inbound, InboundRecipient, pack_inbound
from egret.contracts.records import MailFilter
from egret.contracts.settings import RetryPolicy, Suppression, WebhookSettings
from egret.core.delivery import Delivery, State
from egret.core.errors import Unavailable
from egret.core.events import Event, EventKind, event_id
from egret.core.unsubscribe import Wish, keys_of, seal
from egret.memory.queue import MemoryQueue
from egret.memory.suppressions import MemorySuppressions
from egret.usecases.deliveries import delivery_cancel
from egret.usecases.ingest import IngestPorts, ingest
from egret.usecases.notify import NotifyPorts
from egret.usecases.publish import PublishPorts, publish
from egret.usecases.send import send
from egret.usecases.suppressions import suppression_list, suppression_present, suppression_remove
from egret.usecases.unsubscribe import Heard, MailUnsubscribe, UnsubscribePorts, unsubscribe
from functions.send.handler import answer
from tests.api_service import api_of_service, content, event
from tests.unit.builders import ACCOUNT, HOUR, NOW, OTHER_ACCOUNT
from tests.unit.sending import SECRETS, Service, a_request, people

KEYS = keys_of(SECRETS.fromid)
LINKS = re.compile(r"<https://api.example.com(/unsubscribe/[a-z2-7]+)>, <mailto:([^?]+)\?subject=([^>]+)>")
ONE_CLICK = b"List-Unsubscribe=One-Click"
FORM = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "Mail/1.0"}
MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n',
    {"Content-Type": "multipart/form-data; boundary=b"},
)


def publishing(service: Service, queue: MemoryQueue[Call]) -> PublishPorts:
    """Return the ports of publish."""
    store, blobs, mailboxes, settings = service.store, service.blobs, service.mailboxes, service.settings

    def no_mail(*mail: object, **_: object) -> None:
        raise AssertionError(f"nobody asked for {mail}")

    notifying = NotifyPorts(store, blobs, mailboxes, settings, "mail.example.com", RetryPolicy(), no_mail)
    return PublishPorts(store, mailboxes, blobs, service.suppressions, settings, queue, service.clock, notifying)


@dataclass
class World:
    """A service, and a message to Ann+news@example.net with its link; an hour has passed since."""

    service: Service = field(default_factory=Service)

    def __post_init__(self) -> None:
        """Send the message."""
        service = self.service
        self.api = api_of_service(service)
        caller = replace(service.caller(), host="api.example.com")
        sent = send(service.sending, caller, a_request(to=people("Ann+news@example.net"), unsubscribe=True))
        self.id = sent.submissions[0].queue_msg_id
        header = re.sub(r"\r\n ", " ", service.content(sent).decode())
        found = re.search(
            r"<https://api.example.com(/unsubscribe/[a-z2-7]+)>, <mailto:([^?]+)\?subject=([^>]+)>", header
        )
        assert found is not None
        self.path, self.mailbox, self.subject = found.groups()
        service.clock.advance(HOUR)

    @property
    def ports(self) -> UnsubscribePorts:
        """The ports of unsubscribe."""
        return UnsubscribePorts(self.service.store, self.service.suppressions, self.service.clock)

    def call(self, method: str = "POST", body: bytes = ONE_CLICK, **changes: Any) -> dict[str, Any]:
        """Ask for the link, or another path; return what API Gateway gets."""
        path, headers = changes.get("path", self.path), changes.get("headers", FORM)
        return answer(self.api, event(method, str(path), body, headers))

    def mail(self, subject: str, id_: str = "in1", delivery: int = 0, account: str = ACCOUNT) -> int:
        """Take in a mail to the address of the link, as the egress stored it."""
        service, key = self.service, f"inbound/{id_}"
        recipient = InboundRecipient(self.mailbox, account, delivery or self.id, unsubscribes=True)
        envelope = Inbound(id_, service.clock.now().isoformat(), "ann@example.net", [recipient])
        service.blobs.put(key, pack_inbound(envelope, f"Subject: {subject}\r\n\r\nPlease.\r\n".encode()))
        doing = MailUnsubscribe(self.ports, KEYS)
        ports = IngestPorts(
            service.store, service.blobs, service.mailboxes, service.clock, service.settings, SECRETS, unsubscribe=doing
        )
        return ingest(ports, key)

    def delivery(self) -> Delivery:
        """Return the delivery as stored."""
        return self.service.delivery(self.id)

    def events(self) -> list[Event]:
        """Return the delivery's events of this kind."""
        return [one for one in self.delivery().events if one.kind is EventKind.UNSUBSCRIBED]

    def entries(self) -> list[Suppression]:
        """Return the account's list."""
        return suppression_list(self.service.suppressing, ACCOUNT)

    def publish(self) -> list[Call]:
        """Tell what changed; return the calls of webhooks."""
        service = self.service
        queue: MemoryQueue[Call] = MemoryQueue()
        publish(publishing(service, queue), service.store.stream)
        return queue.waiting

    def forget(self) -> None:
        """Let the delivery end and be forgotten."""
        delivery_cancel(self.service.delivering, ACCOUNT, self.id)
        self.service.clock.advance(timedelta(days=400))


@pytest.fixture
def world() -> World:
    """A message with a link."""
    return World()


@pytest.mark.rfc("8058", "3.2")
@pytest.mark.parametrize(
    ("body", "headers"),
    [(ONE_CLICK, FORM), MULTIPART, (b"a=b&List-Unsubscribe=One%2DClick", FORM), (ONE_CLICK + b"\r\n", FORM)],
    ids=["urlencoded", "multipart", "escaped", "with a line end"],
)
def test_one_post_suppresses_the_address(world: World, body: bytes, headers: dict[str, str]) -> None:
    """Without login, cookie or redirect; the entry says when, why and how."""
    got = world.call(body=body, headers=headers)

    (entry,) = world.entries()
    assert got["statusCode"] == 200
    assert "Location" not in got["headers"]
    assert "Set-Cookie" not in got["headers"]
    assert b"<h1>Unsubscribed</h1>" in content(got)
    assert (entry.base_address, entry.original_address) == ("ann@example.net", "Ann+news@example.net")
    assert (entry.kind, entry.manual, entry.created_at) == ("unsubscribe", False, world.service.clock.now())
    assert entry.source_event == event_id(ACCOUNT, world.id, world.events()[0].seq)
    assert entry.evidence.startswith("POST from 192.0.2.1, ")


def test_the_delivery_hears_of_it_once(world: World) -> None:
    """However often it is asked, by whatever way; the list has one entry."""
    world.call()
    entries = world.entries()
    world.service.clock.advance(HOUR)

    assert world.call()["statusCode"] == 200
    assert world.mail(world.subject) == 1
    assert [one.reply for one in world.events()] == [("POST from 192.0.2.1, Mail/1.0",)]
    assert world.entries() == entries


def test_nothing_more_is_sent(world: World) -> None:
    """A later message of the account ends as suppressed; another account may write."""
    world.call()
    later = world.service.send(to=people("ANN@example.net"))

    assert world.service.delivery(later.submissions[0].queue_msg_id).state is State.SUPPRESSED
    assert not suppression_present(world.service.suppressing, OTHER_ACCOUNT, "ann@example.net")


@pytest.mark.rfc("8058", "3.1")
def test_a_link_works_when_the_delivery_is_forgotten(world: World) -> None:
    """A year later; there is no event then."""
    world.forget()

    assert world.call()["statusCode"] == 200
    assert [(entry.base_address, entry.source_event) for entry in world.entries()] == [("ann@example.net", "")]


def test_the_wish_outlives_a_bounce(world: World) -> None:
    """Who takes a dead address off the list must still see that its owner wants no mail; a replay changes nothing."""
    list_, address = world.service.suppressions, "ann@example.net"
    bounce = Suppression(ACCOUNT, 1, address, address, NOW, source_event="evt_1")
    list_.put_new(bounce)
    world.call()

    assert [entry.kind for entry in world.entries()] == ["unsubscribe"]
    assert list_.put_new(bounce) == world.entries()[0]


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "OPTIONS"]),
    path=st.text(max_size=60),
    body=st.binary(max_size=60) | st.just(ONE_CLICK),
    content_type=st.sampled_from(["", "multipart/form-data; boundary=b", FORM["Content-Type"]]) | st.text(max_size=20),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_every_request_is_answered(world: World, method: str, path: str, body: bytes, content_type: str) -> None:
    """Whatever it carries, and for a right link as for a wrong one, never with a fault of ours."""
    for whole in (f"/unsubscribe/{path}", world.path):
        request = Request(method, whole, Headers({"Content-Type": content_type}), body, "192.0.2.1")

        assert world.api.handle(request).status in (200, 400, 404, 405, 429)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_at_a_link_changes_nothing(world: World, method: str) -> None:
    """Scanners of mail fetch every link; people get a button."""
    got = world.call(method, b"")

    assert got["statusCode"] == 200
    assert b'<form method="post">' in content(got)
    assert b'name="List-Unsubscribe" value="One-Click"' in content(got)
    assert (world.entries(), world.events()) == ([], [])


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"", FORM), (b"List-Unsubscribe=no", FORM), (ONE_CLICK, {}), (b"%zz", FORM), (ONE_CLICK, MULTIPART[1])],
)
def test_a_post_that_says_something_else_changes_nothing(world: World, body: bytes, headers: dict[str, str]) -> None:
    """It gets the button."""
    got = world.call(body=body, headers=headers)

    assert got["statusCode"] == 400
    assert b"<button>" in content(got)
    assert world.entries() == []


def test_other_methods_are_refused(world: World) -> None:
    """With what is possible."""
    got = world.call("DELETE", b"")

    assert (got["statusCode"], got["headers"]["Allow"]) == (405, "GET, HEAD, POST")


def test_pages_are_for_nobody_elses_eyes(world: World) -> None:
    """Not kept, not indexed, framed or told to other sites; they load nothing."""
    for got in (world.call("GET", b""), world.call("GET", b"", path="/unsubscribe/x"), world.call()):
        headers = got["headers"]
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Robots-Tag"] == "noindex, nofollow"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert b'<html lang="en">' in content(got)


def test_every_wrong_link_gets_the_same_answer(world: World) -> None:
    """Cut, changed, another installation's, none at all: nothing tells why, and nothing happens."""
    foreign = seal([b"k" * 32], Wish(ACCOUNT, world.id, "ann@example.net"))
    wrong = [
        world.path[:-8],
        f"{world.path[:-9]}aaaaaaaa",
        f"/unsubscribe/{foreign}",
        "/unsubscribe/",
        "/unsubscribe/ü",
    ]
    answers = [world.call(method, path=quote(path)) for path in wrong for method in ("GET", "POST")]

    assert {got["statusCode"] for got in answers} == {404}
    assert len({content(got) for got in answers}) == 1
    assert world.entries() == []


def test_who_tries_many_links_is_refused_and_right_ones_go_on(world: World) -> None:
    """Counted as failed logins are; providers unsubscribe many from one address, with links that are right."""
    statuses = [world.call("GET", b"", path="/unsubscribe/x")["statusCode"] for _ in range(12)]

    assert statuses == [404] * 10 + [429] * 2
    assert world.call()["statusCode"] == 200


def test_a_link_is_not_logged(
    world: World, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads logs could unsubscribe everybody with them."""
    world.call()
    world.call("GET", b"")

    assert [vars(record)["path"] for record in caplog.records] == ["/unsubscribe/…"] * 2
    assert not any(world.subject in str(vars(record)) for record in caplog.records)


@pytest.mark.parametrize("subject", ["{}", "Re: unsubscribe {}", "{} ", "unsubscribe", ""])
def test_mail_to_the_address_unsubscribes(world: World, subject: str) -> None:
    """By the token in its subject, or by the delivery that the address names; the mail is kept for people to read."""
    assert world.mail(subject.format(world.subject)) == 1

    (entry,) = world.entries()
    assert (entry.base_address, entry.kind) == ("ann@example.net", "unsubscribe")
    assert entry.evidence == "mail in1 from <ann@example.net>"
    assert len(world.events()) == 1
    assert len(world.service.mailboxes.list(ACCOUNT, MailFilter("Inbox"), "", 10, NOW).items) == 1


def test_mail_unsubscribes_when_the_delivery_is_forgotten(world: World) -> None:
    """With its token; without one nobody knows any more whom it means."""
    world.forget()

    assert world.mail("unsubscribe", "in1") == 0
    assert world.entries() == []
    assert world.mail(world.subject, "in2") == 1
    assert [entry.base_address for entry in world.entries()] == ["ann@example.net"]


def test_a_subject_speaks_for_its_own_address_only(world: World) -> None:
    """The token of another delivery changes nothing at this one's address."""
    world.forget()
    other = seal(KEYS, Wish(ACCOUNT, world.id + 1024, "bob@example.net"))
    foreign = seal(KEYS, Wish(OTHER_ACCOUNT, world.id, "eve@example.net"))

    assert world.mail(f"{other} {foreign}") == 0
    assert world.entries() == []


def test_a_replayed_mail_does_not_undo_a_removal(world: World) -> None:
    """What a person took off the list stays off; when the recipient asks again, it is asked anew."""
    world.mail(world.subject)
    world.service.clock.advance(HOUR)
    suppression_remove(world.service.suppressing, ACCOUNT, "ann@example.net")
    ingest_again = MailUnsubscribe(world.ports, KEYS)
    service = world.service
    ports = IngestPorts(
        service.store,
        service.blobs,
        service.mailboxes,
        service.clock,
        service.settings,
        SECRETS,
        unsubscribe=ingest_again,
    )
    ingest(ports, "inbound/in1")

    assert world.entries() == []
    world.service.clock.advance(HOUR)
    world.call()
    (entry,) = world.entries()
    assert entry.created_at == world.service.clock.now()
    assert entry.source_event == event_id(ACCOUNT, world.id, world.events()[0].seq)


def test_the_webhook_hears_that_the_event_suppresses(world: World) -> None:
    """Where the account names the event; the stream finds the entry as the link has put it."""
    service = world.service
    service.change_account(webhook=WebhookSettings("https://h.example/", events=frozenset({"unsubscribed"})))
    world.call()
    entries = world.entries()
    queue: MemoryQueue[Call] = MemoryQueue()
    publish(publishing(service, queue), service.store.stream)

    assert [(call.delivery_id, call.suppressing) for call in world.publish()] == [(world.id, True)]
    assert world.entries() == entries


def test_the_stream_makes_good_what_a_failure_of_storage_left(world: World) -> None:
    """The event is there, the entry is not: it comes with the event, and with the next try."""

    class Dying(MemorySuppressions):
        def put_new(self, entry: Suppression) -> Suppression | None:
            raise Unavailable(detail="no answer")

    service, heard = world.service, Heard(world.service.clock.now(), "POST")
    ports, wish = UnsubscribePorts(service.store, Dying(), service.clock), Wish(ACCOUNT, world.id, "ann@example.net")
    with pytest.raises(Unavailable):
        unsubscribe(ports, wish, heard)
    queue: MemoryQueue[Call] = MemoryQueue()
    publish(publishing(service, queue), service.store.stream)

    assert [(entry.kind, entry.evidence) for entry in world.entries()] == [("unsubscribe", "POST")]
    assert not unsubscribe(world.ports, wish, heard)
