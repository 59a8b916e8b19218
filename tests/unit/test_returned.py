"""Which deliveries a mail is about, and how sure that is."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from egret.contracts.queues import InboundRecipient
from egret.core import fromid, messageid
from egret.core.delivery import State
from egret.core.events import EventKind
from egret.core.ids import delivery_id
from egret.memory.suppressions import MemorySuppressions
from egret.usecases.suppress import Happening, suppress
from tests.unit.builders import ACCOUNT, MESSAGE_ID, OTHER_ACCOUNT, a_delivery, a_message
from tests.unit.sending import SECRETS
from tests.unit.test_ingest import LATER, RETURN_PATH, World, block, dsn

ABUSE = InboundRecipient("abuse@example.com", OTHER_ACCOUNT)
LOGIN = InboundRecipient("app@example.com", ACCOUNT)
OURS = messageid.mint(SECRETS.message_id[0], ACCOUNT, MESSAGE_ID, "example.com")
TOKEN = fromid.mint(SECRETS.fromid, ACCOUNT, MESSAGE_ID)


def complaint(kind: str = "abuse", returned: str = "", fields: str = "") -> bytes:
    """Return a report of RFC 5965. returned: header of the message it is about; fields: more of its own."""
    return (
        "From: <fbl@example.net>\r\nSubject: FW: Hello\r\nMIME-Version: 1.0\r\nMessage-ID: <c@example.net>\r\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\r\n\r\n'
        "--b\r\nContent-Type: text/plain\r\n\r\nThis is an email abuse report.\r\n"
        "--b\r\nContent-Type: message/feedback-report\r\n\r\n"
        f"Feedback-Type: {kind}\r\nUser-Agent: Provider/1.0\r\nVersion: 1\r\n{fields}\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\n{returned}Subject: Hello\r\n\r\nHello\r\n--b--\r\n"
    ).encode()


@pytest.fixture
def world() -> World:
    """A delivery to ann@example.net, delivered."""
    return World()


@pytest.mark.rfc("5965", "3")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("abuse", EventKind.COMPLAINED),
        ("Fraud", EventKind.COMPLAINED),
        ("opt-out", EventKind.UNSUBSCRIBED),
        ("not-spam", EventKind.UNRECOGNIZED),
        ("auth-failure", EventKind.UNRECOGNIZED),
        ("dmarc", EventKind.UNRECOGNIZED),
    ],
)
def test_a_complaint_to_the_reverse_path_is_told(world: World, kind: str, expected: EventKind) -> None:
    """What a recipient complains of counts; what a machine says of authentication does not."""
    assert world.receive(complaint(kind)) == 1
    assert [(event.kind, event.dsn, event.by_message_id) for event in world.delivery().events[1:]] == [
        (expected, False, False)
    ]


@pytest.mark.parametrize(
    ("returned", "fields"),
    [
        (f"Return-Path: <{TOKEN}@bounces.example.com>\r\n", ""),
        (f"Return-Path: <app+{TOKEN.upper()}@example.com>\r\n", ""),
        ("", f"Original-Mail-From: <{TOKEN}@bounces.example.com>\r\n"),
        ("", f"Original-Mail-From: <prvs=0123456789={TOKEN}@bounces.example.com>\r\n"),
    ],
)
def test_the_returned_reverse_path_leads_to_the_delivery(world: World, returned: str, fields: str) -> None:
    """A feedback loop writes to one address of the installation, whosever mail it is about."""
    assert world.receive(complaint("abuse", returned, fields), ABUSE) == 1
    assert [(event.kind, event.by_message_id) for event in world.delivery().events[1:]] == [
        (EventKind.COMPLAINED, False)
    ]


@pytest.mark.parametrize(("kind", "listed_as"), [("abuse", "complaint"), ("opt-out", "unsubscribe")])
def test_an_entry_quotes_the_complaint(world: World, kind: str, listed_as: str) -> None:
    """Who doubts an entry of the suppression list sees which report it came of."""
    world.receive(complaint(kind, "", f"Original-Mail-From: <{TOKEN}@bounces.example.com>\r\n"), ABUSE)
    listed = MemorySuppressions()
    suppress(listed, [Happening(world.delivery(), world.delivery().events[-1])])

    (entry,) = listed.list(ACCOUNT, LATER)
    assert (entry.kind, entry.evidence) == (listed_as, f"Feedback-Type: {kind}; User-Agent: Provider/1.0")


def test_our_message_id_leads_to_the_delivery_and_is_weak(world: World) -> None:
    """Everybody who got the message knows it."""
    assert world.receive(complaint("abuse", f"Message-ID: {OURS}\r\n"), ABUSE) == 1
    assert [(event.kind, event.by_message_id) for event in world.delivery().events[1:]] == [
        (EventKind.COMPLAINED, True)
    ]


@pytest.mark.rfc("3464", "2.2.1")
@pytest.mark.parametrize("by", ["message-id", "envelope-id"])
def test_each_block_of_a_report_to_the_login_finds_its_delivery(by: str) -> None:
    """A message without fromids, two recipients, one report: each block is an event of its recipient's delivery."""
    world = World()
    other = a_delivery(id=delivery_id(MESSAGE_ID, 1), recipient="bob@example.org", domain="example.org")
    message = a_message(recipients=("ann@example.net", "bob@example.org"))
    stored = world.store.table.messages[ACCOUNT, MESSAGE_ID]
    world.store.table.messages[ACCOUNT, MESSAGE_ID] = replace(stored, message=message)
    world.store.expand([other])
    blocks = [block("bob@example.org", Status="5.2.2"), block("ANN+tag@example.net"), block("carl@example.net")]
    raw = dsn(*blocks, returned=f"Message-ID: {OURS}\r\n" if by == "message-id" else "Subject: Hello\r\n")
    if by == "envelope-id":
        envid = f"Reporting-MTA: dns; mx.example.net\r\nOriginal-Envelope-Id: {OURS.strip('<>').partition('@')[0]}\r\n"
        raw = raw.replace(b"Reporting-MTA: dns; mx.example.net\r\n", envid.encode())

    assert world.receive(raw, LOGIN) == 2
    assert [(e.kind, e.enhanced_code, e.by_message_id) for e in world.delivery().events[1:]] == [
        (EventKind.FAILED, "5.2.1", True)
    ]
    told = world.store.get(ACCOUNT, other.id, world.clock.now())
    assert told is not None
    assert [(e.kind, e.enhanced_code, e.by_message_id) for e in told.events] == [(EventKind.FAILED, "5.2.2", True)]


@pytest.mark.parametrize(
    "returned",
    [
        "Message-ID: <1@example.com>\r\n",
        f"Message-ID: {OURS.replace(OURS[20], 'a' if OURS[20] != 'a' else 'b', 1)}\r\n",
        f"Return-Path: <{TOKEN[:-1]}{'a' if TOKEN[-1] != 'a' else 'b'}@bounces.example.com>\r\n",
        f"Message-ID: {messageid.mint(b'k' * 32, ACCOUNT, MESSAGE_ID, 'example.com')}\r\n",
        f"Message-ID: {messageid.mint(SECRETS.message_id[0], OTHER_ACCOUNT, MESSAGE_ID, 'example.com')}\r\n",
    ],
    ids=["not ours", "changed", "changed fromid", "another key", "another account's"],
)
def test_what_is_forged_tells_nobody(world: World, returned: str) -> None:
    """No token, no event, whatever the report claims."""
    assert world.receive(complaint("abuse", returned, "Original-Rcpt-To: ann@example.net\r\n"), ABUSE) == 0
    assert world.receive(dsn(block(), returned=returned), LOGIN, id_="in2", key="inbound/2026-03-04/2") == 0
    assert world.told() == []


def test_an_answering_machine_suppresses_nobody(world: World) -> None:
    """It is told as mail that came to the reverse-path, and no more."""
    raw = b"From: ann@example.net\r\nAuto-Submitted: auto-replied\r\nSubject: Out of office\r\n\r\nBack on Monday.\r\n"
    assert world.receive(raw, RETURN_PATH) == 1
    assert world.told() == [(EventKind.UNRECOGNIZED, False, 0, "")]


def test_ordinary_mail_that_quotes_a_message_is_ordinary(world: World) -> None:
    """A reply names our Message-ID, and is not about a delivery."""
    raw = f"From: ann@example.net\r\nIn-Reply-To: {OURS}\r\nMessage-ID: <r@x>\r\nSubject: Re\r\n\r\nHi\r\n".encode()
    assert world.receive(raw, LOGIN) == 0
    assert world.told() == []


QMAIL = (
    b"From: MAILER-DAEMON@example.net\r\nTo: x@bounces.example.com\r\nSubject: failure notice\r\n"
    b"Message-ID: <q@x>\r\n\r\n"
    b"Hi. This is the qmail-send program at example.net.\r\nI'm afraid I wasn't able to deliver your message to the "
    b"following addresses.\r\nThis is a permanent error; I've given up. Sorry it didn't work out.\r\n\r\n"
    b"<ann@example.net>:\r\n192.0.2.7 does not like recipient.\r\nRemote host said: 550 No such user here\r\n"
    b"Giving up on 192.0.2.7.\r\n\r\n--- Below this line is a copy of the message.\r\n\r\n"
    b"Return-Path: <x@bounces.example.com>\r\nSubject: Hello\r\n\r\nHello\r\n"
)


def test_a_report_in_words_suppresses_as_one_with_codes_does(world: World) -> None:
    """No enhanced code stands anywhere: the class that the words mean is kept with the event."""
    world.receive(QMAIL)
    event = world.delivery().events[-1]
    assert (event.kind, event.dsn, event.code, event.enhanced_code) == (EventKind.FAILED, True, 550, "5.1.1")
    assert event.failure == "address-dead"

    listed = MemorySuppressions()
    suppress(listed, [Happening(world.delivery(), event)])
    assert [entry.base_address for entry in listed.list(ACCOUNT, LATER)] == ["ann@example.net"]


FLAT = (
    b"From: Helpdesk <help@example.net>\r\nReturn-Path: <>\r\nMessage-ID: <h@x>\r\nAuto-Submitted: auto-replied\r\n"
    b"Subject: [55] Undelivered Mail Returned to Sender\r\n\r\nThank you, we got this:\r\n\r\n"
    b"Your message could not be delivered\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n"
    b"Final-Recipient: rfc822; ann@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n"
)


@pytest.mark.parametrize("raw", [QMAIL, FLAT])
def test_a_report_in_words_about_somebody_else_suppresses_nobody(world: World, raw: bytes) -> None:
    """Help desks answer with what they were sent: a bounce of another address says little of theirs."""
    world.receive(raw.replace(b"ann@example.net", b"bob@elsewhere.example"), RETURN_PATH)
    listed = MemorySuppressions()
    suppress(listed, [Happening(world.delivery(), event) for event in world.delivery().events])
    assert [(e.kind, e.failure) for e in world.delivery().events[1:]] == [(EventKind.FAILED, "recipient-refuses")]
    assert list(listed.list(ACCOUNT, LATER)) == []


@pytest.mark.parametrize(("own", "expected"), [(TOKEN, State.DELIVERED), ("", State.FAILED)])
def test_a_message_id_alone_does_not_take_back_what_has_a_reverse_path(own: str, expected: State) -> None:
    """Every recipient of a message knows it; where there is no reverse-path of its own, it is all that there is."""
    world = World()
    delivery = world.delivery()
    world.store.replace(delivery, msgspec.structs.replace(delivery, fromid=own, rev=delivery.rev + 1))

    assert world.receive(dsn(block("ann@example.net"), returned=f"Message-ID: {OURS}\r\n"), LOGIN) == 1
    assert [event.kind for event in world.delivery().events[1:]] == [EventKind.FAILED]
    assert world.delivery().state is expected
