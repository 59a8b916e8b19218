"""ingest tells each delivery what came back about it, and keeps the mail, both exactly once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from egret.contracts.queues import Inbound, InboundRecipient, pack_inbound
from egret.contracts.records import Acceptance, MailFilter, StoredMail
from egret.contracts.verdicts import DkimVerdict, Verdicts
from egret.core.delivery import Delivery, State
from egret.core.errors import ContractError, Unavailable
from egret.core.events import Event, EventKind, event_id
from egret.memory.blobs import MemoryBlobs
from egret.memory.clock import FakeClock
from egret.memory.mailboxes import MemoryMailboxes
from egret.memory.settings import MemorySettings
from egret.memory.store import MemoryMailStore
from egret.usecases.ingest import MAX_EVENTS, MAX_FIELD_BYTES, IngestPorts, ingest
from egret.usecases.returned import MAX_DIAGNOSTIC_BYTES, source_of
from egret.usecases.threads import thread_of
from tests.unit.builders import ACCOUNT, HOUR, MESSAGE_ID, NOW, OTHER_ACCOUNT, a_delivery, a_message
from tests.unit.sending import SECRETS, an_account

KEY = "inbound/2026-03-04/1"
RETURN_PATH = InboundRecipient("x@bounces.example.com", ACCOUNT, MESSAGE_ID)
LATER = NOW + HOUR
PLAIN = b"From: bob@example.net\r\nSubject: Re: Hello\r\nMessage-ID: <r@example.net>\r\n\r\nI am on holiday.\r\n"


def block(recipient: str = "ann@example.net", action: str = "failed", **fields: str) -> str:
    """Return one recipient's block of a report; `_` in a name stands for `-`."""
    lines = [f"Final-Recipient: rfc822; {recipient}", f"Action: {action}"]
    values = {"Status": "5.2.1", **fields}
    return "\r\n".join([*lines, *(f"{name.replace('_', '-')}: {value}" for name, value in values.items())]) + "\r\n"


def dsn(*blocks: str, message_id: str = "<dsn@example.net>", returned: str = "") -> bytes:
    """Return a delivery status notification with these blocks. returned: header of the message that it returns."""
    original = f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\n{returned}\r\n" if returned else ""
    status = "\r\n".join(["Reporting-MTA: dns; mx.example.net\r\n", *blocks])
    return (
        f"From: mailer-daemon@example.net\r\nSubject: Undelivered\r\nMessage-ID: {message_id}\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n"
        f"--b\r\nContent-Type: message/delivery-status\r\n\r\n{status}\r\n{original}--b--\r\n"
    ).encode()


@dataclass
class World:
    """The ports of ingest in memory, and a delivery that has been delivered."""

    store: MemoryMailStore = field(default_factory=MemoryMailStore)
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    clock: FakeClock = field(default_factory=lambda: FakeClock(LATER))
    settings: MemorySettings = field(default_factory=MemorySettings)

    def __post_init__(self) -> None:
        """Store the delivery."""
        self.mailboxes = MemoryMailboxes(self.store.table)
        self.accept()

    def accept(self, **changes: Any) -> None:
        """Store a delivery that the next hop took."""
        known = Event(1, EventKind.DELIVERED, NOW, code=250)
        ended = {"state": State.DELIVERED, "events": (known,), "ended_at": NOW, "due_at": None}
        delivery = a_delivery(**{**ended, **changes})
        self.store.put_message(a_message(account=delivery.account), b"content")
        self.store.accept(Acceptance(a_message(account=delivery.account), (delivery,)))

    def receive(
        self,
        raw: bytes,
        *recipients: InboundRecipient,
        id_: str = "in1",
        key: str = KEY,
        verdicts: Verdicts | None = None,
    ) -> int:
        """Store a mail as the egress does, and take it in."""
        to = list(recipients or [RETURN_PATH])
        envelope = Inbound(id_, LATER.isoformat(), "", to, remote_ip="192.0.2.9", verdicts=verdicts)
        self.blobs.put(key, pack_inbound(envelope, raw))
        return self.ingest(key)

    def ingest(self, key: str = KEY) -> int:
        """Take in what is stored."""
        return ingest(IngestPorts(self.store, self.blobs, self.mailboxes, self.clock, self.settings, SECRETS), key)

    def delivery(self, account: str = ACCOUNT) -> Delivery:
        """Return the delivery as stored."""
        found = self.store.get(account, MESSAGE_ID, self.clock.now())
        assert found is not None
        return found

    def told(self) -> list[tuple[Any, ...]]:
        """Return (kind, dsn, code, enhanced code) of the events that mail brought."""
        return [(e.kind, e.dsn, e.code, e.enhanced_code) for e in self.delivery().events[1:]]

    def inbox(self, account: str = ACCOUNT) -> list[StoredMail]:
        """Return the account's mails."""
        return list(self.mailboxes.list(account, MailFilter(mailbox="Inbox"), "", 100, self.clock.now()).items)


@pytest.fixture
def world() -> World:
    """A delivery to ann@example.net."""
    return World()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (dsn(block()), (EventKind.FAILED, True, 500, "5.2.1")),
        (dsn(block(Diagnostic_Code="smtp; 550 5.1.1 no such user")), (EventKind.FAILED, True, 550, "5.1.1")),
        (dsn(block(action="delayed", Status="4.4.1")), (EventKind.DELAYED, True, 400, "4.4.1")),
        (
            dsn(block(action="delivered", Status="2.0.0", Diagnostic_Code="smtp; 554 5.0.0 odd")),
            (EventKind.DELIVERED, True, 554, "5.0.0"),
        ),
        (dsn(block(action="relayed", Status="2.0.0")), (EventKind.RELAYED, True, 0, "2.0.0")),
        (dsn(block(action="expanded", Status="2.0.0")), (EventKind.EXPANDED, True, 0, "2.0.0")),
        (dsn(block(action="exploded")), (EventKind.UNRECOGNIZED, True, 0, "")),
        (dsn(), (EventKind.UNRECOGNIZED, True, 0, "")),
        (PLAIN, (EventKind.UNRECOGNIZED, False, 0, "")),
        (b"", (EventKind.UNRECOGNIZED, False, 0, "")),
        (b"\xff\x00 no mail at all", (EventKind.UNRECOGNIZED, False, 0, "")),
    ],
)
def test_what_mail_to_a_reverse_path_tells(world: World, raw: bytes, expected: tuple[Any, ...]) -> None:
    """Actions of RFC 3464 are events; everything else that comes is `unrecognized`."""
    assert world.receive(raw) == 1
    assert world.told() == [expected]


def test_a_failed_report_takes_the_delivery_back(world: World) -> None:
    """What the next hop took has not arrived: the state says so; the report's words are in the event."""
    raw = dsn(block(Diagnostic_Code="smtp; 550 5.1.1 no such user", Remote_MTA="dns; mx2.example.net"))
    world.receive(raw)
    event = world.delivery().events[1]

    assert world.delivery().state == State.FAILED
    assert (event.error, event.reply, event.remote.mx_host, event.source, event.at) == (
        "550 5.1.1 no such user",
        ("550 5.1.1 no such user",),
        "mx2.example.net",
        source_of("<dsn@example.net>", raw.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n")),
        LATER,
    )


def test_a_success_has_no_error(world: World) -> None:
    """The diagnostic of a `delivered` block is its reply, not its error."""
    world.receive(dsn(block(action="delivered", Status="2.0.0", Diagnostic_Code="smtp; 250 2.0.0 ok")))

    assert (world.delivery().events[1].error, world.delivery().events[1].reply) == ("", ("250 2.0.0 ok",))


def test_a_single_block_is_about_the_recipient_whatever_address_it_names(world: World) -> None:
    """Ann forwards her mail: the report names the address behind hers, the reverse-path is hers."""
    world.receive(dsn(block("ann.private@example.org")))

    assert world.told() == [(EventKind.FAILED, True, 500, "5.2.1")]


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ((block("bob@example.net", Status="5.1.1"), block("Ann@Example.NET")), (EventKind.FAILED, True, 500, "5.2.1")),
        (
            (
                block("bob@example.net"),
                block("a@example.org", "delayed", Status="4.2.2", Original_Recipient="rfc822; ann@example.net"),
            ),
            (EventKind.DELAYED, True, 400, "4.2.2"),
        ),
        ((block("bob@example.net"), block("carl@example.net")), (EventKind.UNRECOGNIZED, True, 0, "")),
    ],
)
def test_of_several_blocks_the_recipients_own_counts(
    world: World, blocks: tuple[str, ...], expected: tuple[Any, ...]
) -> None:
    """By final or original recipient, in any case; if none names it, nothing is guessed."""
    world.receive(dsn(*blocks))

    assert world.told() == [expected]


def test_the_same_mail_again_changes_nothing(world: World) -> None:
    """One event, one mail, however often the queue hands it out."""
    answers = [world.receive(dsn(block())), world.ingest(), world.ingest()]

    assert answers == [1, 0, 0]
    assert (len(world.told()), len(world.inbox())) == (1, 1)


def test_a_notification_of_ours_that_comes_back_is_no_event(world: World) -> None:
    """It says what we know; another delivery's, which nobody sends, is mail like any other."""
    assert world.receive(dsn(block(), message_id=f"<{event_id(ACCOUNT, MESSAGE_ID, 1)}@mail.example.com>")) == 0
    assert (world.told(), [mail.is_news for mail in world.inbox()]) == ([], [False])

    other = f"<{event_id(ACCOUNT, MESSAGE_ID + 1, 1)}@mail.example.com>"
    assert world.receive(dsn(block(), message_id=other), id_="in2", key=f"{KEY}2") == 1


def test_two_mails_that_say_the_same_are_two(world: World) -> None:
    """Each mail is an event of its own."""
    world.receive(dsn(block()))
    world.receive(dsn(block(), message_id="<another@example.net>"), id_="in2", key="inbound/2026-03-04/2")

    assert (len(world.told()), len(world.inbox())) == (2, 2)


def test_a_mail_that_is_sent_again_is_told_once(world: World) -> None:
    """A server that did not hear our 250, or somebody who replays a report: other trace fields, the same mail."""
    world.receive(dsn(block()))
    world.receive(b"Received: from elsewhere\r\n" + dsn(block()), id_="in2", key="inbound/2026-03-04/2")

    assert len(world.told()) == 1


def test_the_mail_is_kept_with_its_envelope(world: World) -> None:
    """What the mailbox shows of it."""
    world.receive(PLAIN, InboundRecipient("app@example.com", ACCOUNT))
    (mail,) = world.inbox()

    assert replace(mail, id=0) == StoredMail(
        account=ACCOUNT,
        id=0,
        mailbox="Inbox",
        blob=KEY,
        size_bytes=len(PLAIN),
        received_at=LATER,
        mail_from="",
        rcpt_to="app@example.com",
        header_from="bob@example.net",
        subject="Re: Hello",
        message_id="<r@example.net>",
        remote_ip="192.0.2.9",
        is_dsn=False,
        source="in1",
        thread=mail.thread,
        is_news=True,
    )
    assert world.told() == []


def test_the_verdicts_are_kept(world: World) -> None:
    """As MessageGet and webhooks show them."""
    passed = DkimVerdict("example.net", "s", "pass")
    verdicts = Verdicts(spf="pass", dmarc="pass", dkim=(passed, DkimVerdict("bad.example", "s", "fail"), passed))
    world.receive(PLAIN, InboundRecipient("app@example.com", ACCOUNT), verdicts=verdicts)
    (mail,) = world.inbox()

    assert (mail.mail_from_validated, mail.msg_from_validated, mail.dkim_domains) == (True, True, ("example.net",))


def test_mail_is_kept_as_long_as_the_account_wants(world: World) -> None:
    """From when it came in; 0 is for ever."""
    world.settings.put_account(an_account(keep_mail=timedelta(days=7)))
    world.receive(PLAIN, InboundRecipient("app@example.com", ACCOUNT))
    (mail,) = world.inbox()

    assert mail.expires_at == LATER + timedelta(days=7)
    world.clock.set(LATER + timedelta(days=7))
    assert world.inbox() == []


def test_what_belongs_to_a_delivery_is_no_news(world: World) -> None:
    """Its event is told instead, or nothing; once it is forgotten, its mail is mail like any other."""
    of_another = InboundRecipient("y@bounces.example.com", ACCOUNT, MESSAGE_ID + 1024)
    world.receive(dsn(block()))
    world.receive(PLAIN, of_another, id_="in2", key=KEY + "2")

    assert {mail.source: mail.is_news for mail in world.inbox()} == {"in1": False, "in2": True}


def test_mail_about_a_message_is_in_its_thread(world: World) -> None:
    """A DSN by the message that it returns or the address that it went to, a reply by what it refers to."""
    original = a_message().message_id
    returned = dsn(block(), message_id="<dsn2@example.net>").replace(
        b"\r\n--b--", b"\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <o@x>\r\n--b--"
    )
    reply = PLAIN.replace(b"<r@", b"<r2@").replace(b"\r\n\r\n", f"\r\nIn-Reply-To: {original}\r\n\r\n".encode())
    app = InboundRecipient("app@example.com", ACCOUNT)
    for number, (raw, recipient) in enumerate(
        [(dsn(block()), RETURN_PATH), (reply, app), (returned, app), (reply.replace(original.encode(), b"<o@x>"), app)]
    ):
        world.receive(raw, recipient, id_=f"in{number}", key=f"{KEY}{number}")
    threads = {mail.source: mail.thread for mail in world.inbox()}

    assert threads["in0"] == threads["in1"] != ""
    assert threads["in2"] != threads["in1"]
    assert threads["in2"] == thread_of(world.mailboxes, ACCOUNT, "<o@x>", (), LATER)


def test_each_recipient_gets_the_mail_and_its_own_event(world: World) -> None:
    """Two accounts, and one of them twice: nobody's copy hides another's."""
    world.accept(account=OTHER_ACCOUNT)
    recipients = [
        RETURN_PATH,
        InboundRecipient("app@example.com", ACCOUNT),
        InboundRecipient("x@bounces.example.org", OTHER_ACCOUNT, MESSAGE_ID),
    ]

    assert world.receive(dsn(block()), *recipients) == 2
    assert sorted(mail.rcpt_to for mail in world.inbox()) == ["app@example.com", "x@bounces.example.com"]
    assert [mail.rcpt_to for mail in world.inbox(OTHER_ACCOUNT)] == ["x@bounces.example.org"]
    assert [event.kind for event in world.delivery(OTHER_ACCOUNT).events] == [EventKind.DELIVERED, EventKind.FAILED]


def test_an_id_that_another_mail_has_is_not_taken_from_it(world: World) -> None:
    """The next id is tried, the same one whenever the mail is processed again."""
    world.receive(PLAIN)
    (mail,) = world.inbox()
    squatter = replace(mail, source="squatter")
    world.store.table.mails.clear()
    world.store.table.mail_sources.clear()
    assert world.mailboxes.put(squatter)

    world.ingest()
    world.ingest()
    assert [kept.source for kept in world.inbox()].count("in1") == 1
    assert world.mailboxes.get(ACCOUNT, mail.id, NOW) == squatter


def test_an_id_that_the_same_mail_has_for_another_recipient_is_not_taken_either(world: World) -> None:
    """Neither copy is lost."""
    world.receive(PLAIN)
    (mail,) = world.inbox()
    sibling = replace(mail, rcpt_to="app@example.com")
    world.store.table.mails.clear()
    world.store.table.mail_sources.clear()
    assert world.mailboxes.put(sibling)

    world.ingest()
    assert sorted(kept.rcpt_to for kept in world.inbox()) == ["app@example.com", "x@bounces.example.com"]


def test_mail_about_a_forgotten_delivery_is_kept(world: World) -> None:
    """It tells nobody anything, but nothing is thrown away."""
    world.clock.set(NOW + timedelta(days=31))

    assert world.receive(dsn(block())) == 0
    assert len(world.inbox()) == 1


def test_a_flood_of_mail_does_not_swell_the_delivery(world: World) -> None:
    """A delivery hears of a bounded number of mails, each in a bounded number of bytes."""
    raw = dsn(block(Diagnostic_Code="smtp; 550 5.1.1 .." + "\U0001f4a3" * 10_000))
    told = [world.receive(raw + b"%d" % n, id_=f"in{n}", key=f"inbound/2026-03-04/{n}") for n in range(MAX_EVENTS + 5)]

    assert (sum(told), len(world.delivery().events), len(world.inbox())) == (MAX_EVENTS - 1, MAX_EVENTS, 100)
    assert len(world.delivery().events[1].error.encode()) == MAX_DIAGNOSTIC_BYTES


def test_an_endless_subject_does_not_keep_mail_from_the_mailbox(world: World) -> None:
    """The item of a mail stays small; the message itself is stored whole."""
    endless = "x" * 150_000
    raw = f"From: {endless}@example.net\r\nSubject: {endless}\r\nMessage-ID: <{endless}@x>\r\n\r\nHi\r\n".encode()
    world.receive(raw)

    (mail,) = world.inbox()
    assert (len(mail.subject), len(mail.message_id), len(mail.header_from)) == (MAX_FIELD_BYTES,) * 3
    assert mail.size_bytes == len(raw)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no envelope\n\nFrom: a@example.net\r\n\r\n",
        b'{"id":1}\nx',
        b'{"id":"1","received_at":"noon","mail_from":"","recipients":[]}\nx',
        b'{"id":"1","received_at":"2026-03-04T05:06:07","mail_from":"","recipients":[]}\nx',
        b"\xff\xfe\nx",
    ],
)
def test_an_object_that_is_not_ours_is_a_contract_error(world: World, body: bytes) -> None:
    """It goes to the dead letters, not into a mailbox."""
    world.blobs.put(KEY, body)
    with pytest.raises(ContractError):
        world.ingest()


def test_an_object_that_is_gone_is_nobodys_fault(world: World) -> None:
    """A notification that came very late."""
    assert world.ingest("inbound/2026-03-04/none") == 0


def test_a_mailbox_that_fails_is_made_good_the_next_time(world: World) -> None:
    """The event is there, the mail is not: the same mail again keeps it and tells nothing twice."""

    class Dying(MemoryMailboxes):
        def put(self, mail: StoredMail) -> bool:
            raise Unavailable

    alive, world.mailboxes = world.mailboxes, Dying(world.store.table)
    with pytest.raises(Unavailable):
        world.receive(dsn(block()))
    world.mailboxes = alive
    world.ingest()

    assert (len(world.told()), len(world.inbox())) == (1, 1)
