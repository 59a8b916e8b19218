"""One message, all the way, with a real Postfix as the other side."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta
from email.parser import BytesParser
from typing import Any

import dkim
import pytest

from egret.core.retry import DELIVERY_JITTER
from tests.e2e.installation import wait_until
from tests.peers.conftest import ASCII_DOMAIN, RECIPIENT_LIMIT, RETRY_BASE_S, Peers
from tests.peers.postfix import DOMAIN, GONE, Mail

pytestmark = pytest.mark.peers

Found = dict[str, Any]


def arrived(peers: Peers, mailbox: str) -> Mail:
    """Return the only mail of a mailbox, once it is there."""
    (mail,) = wait_until(lambda: peers.postfix.mails(mailbox), f"mail for {mailbox}")
    return mail


def verdicts(peers: Peers, mail: Mail) -> list[bool]:
    """Return what dkimpy says of each signature of a mail, with the keys that the operator was told to publish."""

    def published(name: bytes, timeout: int = 5) -> bytes | None:
        value = peers.keys.get(name.decode().rstrip("."))
        return value.encode() if value is not None else None

    count = len(BytesParser().parsebytes(mail.content).get_all("DKIM-Signature", []))
    return [dkim.DKIM(mail.content).verify(index, dnsfunc=published) for index in range(count)]


def test_two_recipients_go_in_one_transaction_and_dkim_verifies(peers: Peers) -> None:
    """An account without fromids: one mail in Postfix's queue with two recipients, signatures that hold on arrival."""
    recipients = [f"ann@{DOMAIN}", f"bob@{DOMAIN}"]
    request = {"To": [{"Address": address} for address in recipients], "Subject": "Grüße", "Text": "Zwölf Boxkämpfer"}
    result = peers.installation.ask("Send", request, peers.plain)

    ids = [submission["QueueMsgID"] for submission in result["Submissions"]]
    deliveries = [peers.installation.await_end(queue_msg_id, peers.plain) for queue_msg_id in ids]
    assert [delivery["State"] for delivery in deliveries] == ["delivered", "delivered"]
    (reply,) = {attempt["Reply"][0] for delivery in deliveries for attempt in delivery["Attempts"]}
    queue_id = reply.rpartition(" queued as ")[2]

    def removed() -> bool:
        return any(line.endswith(f"{queue_id}: removed") for line in peers.postfix.log)

    wait_until(removed, "delivered by Postfix")
    own = [line for line in peers.postfix.log if f" {queue_id}: " in line]
    assert sum("nrcpt=2" in line for line in own) == 1
    assert sum("status=sent (delivered to maildir)" in line for line in own) == 2
    assert re.search(r"from=<([^>]*)>", "\n".join(own)) is not None
    for mailbox in ("ann", "bob"):
        mail = arrived(peers, mailbox)
        assert verdicts(peers, mail) == [True, True]
        assert BytesParser().parsebytes(mail.content)["Message-ID"] == result["MessageID"]


def test_a_bounce_after_acceptance_comes_back_and_suppresses(peers: Peers) -> None:
    """Postfix's own DSN finds its delivery: failed, suppressed, told with a signature that the library accepts."""
    address = f"{GONE}@{DOMAIN}"
    sent = peers.installation.send(address, login=peers.login)
    queue_msg_id = sent["QueueMsgID"]

    def has_failed(found: Found) -> bool:
        return bool(found["State"] == "failed")

    delivery = peers.installation.await_delivery(queue_msg_id, has_failed, peers.login)

    assert [(attempt["Outcome"], attempt["Code"]) for attempt in delivery["Attempts"]] == [("delivered", 250)]
    assert [(e["Event"], e["DSN"]) for e in delivery["Events"]] == [("delivered", False), ("failed", True)]
    assert delivery["Events"][-1]["SMTPEnhancedCode"] == "5.1.1"

    def told() -> list[Found]:
        return [event for event in peers.receiver.events(queue_msg_id) if event["Event"] == "failed"]

    event = wait_until(told, "told")[0]
    expected = {"DSN": True, "Suppressing": True, "FromID": sent["FromID"], "MessageID": sent["MessageID"]}
    assert {name: event[name] for name in expected} == expected
    assert event["SMTPEnhancedCode"] == "5.1.1"

    present = peers.installation.ask("SuppressionPresent", {"EmailAddress": address}, peers.login)
    assert present["Present"]
    again = peers.installation.send(address, login=peers.login)["QueueMsgID"]
    second = peers.installation.await_end(again, peers.login)
    assert (second["State"], second["Attempts"]) == ("suppressed", [])


def test_a_deferred_message_is_retried_on_schedule_and_delivered(peers: Peers) -> None:
    """Postfix puts the recipient off; after the pause of the schedule the second attempt succeeds."""
    address = f"later@{DOMAIN}"
    peers.access.rules[address] = "450 4.2.0 come back later"
    queue_msg_id = peers.installation.send(address, login=peers.login)["QueueMsgID"]

    def was_put_off(found: Found) -> bool:
        return bool(found["Attempts"])

    waiting = peers.installation.await_delivery(queue_msg_id, was_put_off, peers.login)
    del peers.access.rules[address]
    delivery = peers.installation.await_end(queue_msg_id, peers.login)

    assert [event["Event"] for event in waiting["Events"]] == ["delayed"]
    assert delivery["State"] == "delivered"
    attempts = delivery["Attempts"]
    assert [(a["Outcome"], a["Code"], a["EnhancedCode"]) for a in attempts] == [
        ("deferred", 450, "4.2.0"),
        ("delivered", 250, "2.0.0"),
    ]
    first, second = (datetime.fromisoformat(attempt["Start"]) for attempt in attempts)
    assert second - first >= timedelta(seconds=RETRY_BASE_S * (1 + DELIVERY_JITTER[0]))
    assert verdicts(peers, arrived(peers, "later")) == [True, True]
    wait_until(lambda: "delivered" in [e["Event"] for e in peers.receiver.events(queue_msg_id)], "told")


def test_starttls_is_used_with_a_certificate_that_nobody_vouches_for(peers: Peers) -> None:
    """Opportunistic TLS: the mail came encrypted, says the header of the server that took it."""
    queue_msg_id = peers.installation.send(f"secret@{DOMAIN}", login=peers.login)["QueueMsgID"]
    assert peers.installation.await_end(queue_msg_id, peers.login)["State"] == "delivered"

    received = BytesParser().parsebytes(arrived(peers, "secret").content)["Received"]
    assert re.search(r"using TLSv1\.[23] with cipher", received)
    assert "with ESMTPS " in received


@pytest.mark.rfc("5321", "4.5.3.1.10")
def test_recipients_that_are_one_too_many_follow_on_the_same_connection(peers: Peers) -> None:
    """Five recipients, a server that takes two at a time (452 from the third on): 2 + 2 + 1, each of them once."""
    mailboxes = [f"many{number}" for number in range(1, 6)]
    request = {"To": [{"Address": f"{name}@{DOMAIN}"} for name in mailboxes], "Subject": "Five", "Text": "Hello."}
    submissions = peers.installation.ask("Send", request, peers.plain)["Submissions"]
    deliveries = [peers.installation.await_end(one["QueueMsgID"], peers.plain) for one in submissions]

    assert {delivery["State"] for delivery in deliveries} == {"delivered"}
    attempts = [attempt for delivery in deliveries for attempt in delivery["Attempts"]]
    assert [(attempt["Outcome"], attempt["Code"]) for attempt in attempts] == [("delivered", 250)] * 5
    queue_ids = Counter(attempt["Reply"][0].rpartition(" queued as ")[2] for attempt in attempts)
    assert sorted(queue_ids.values()) == [1, RECIPIENT_LIMIT, RECIPIENT_LIMIT]
    for mailbox in mailboxes:
        arrived(peers, mailbox)
    assert len(connections_of(peers.postfix.log, set(queue_ids))) == 1


def connections_of(log: list[str], queue_ids: set[str]) -> set[tuple[str, int]]:
    """Return on which connections Postfix took mails: its process, and the how-manieth of that process."""
    met: Counter[str] = Counter()
    found = set()
    for line in log:
        if (match := re.search(r"postfix/smtpd\[(\d+)\]: (\S+)( from)?", line)) is None:
            continue
        process, word = match[1], match[2].rstrip(":")
        met[process] += word == "connect"
        if word in queue_ids:
            found.add((process, met[process]))
    return found


@pytest.mark.rfc("6531", "3.2")
def test_an_address_beyond_ascii_is_delivered_over_smtputf8(peers: Peers) -> None:
    """Postfix takes it, and says in its header that it came that way."""
    queue_msg_id = peers.installation.send(f"jürgen@{DOMAIN}", login=peers.login)["QueueMsgID"]
    delivery = peers.installation.await_end(queue_msg_id, peers.login)

    assert [attempt["Outcome"] for attempt in delivery["Attempts"]] == ["delivered"], delivery
    mail = arrived(peers, "jürgen")
    assert b"with UTF8SMTPS " in mail.content
    assert f"To: <jürgen@{DOMAIN}>\r\n".encode() in mail.content
    assert verdicts(peers, mail) == [True, True]


@pytest.mark.rfc("6531", "3.5")
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"To": [{"Address": f"jürgen@{ASCII_DOMAIN}"}]}, "5.6.7"),
        ({"To": [{"Address": f"ann@{ASCII_DOMAIN}"}], "ReplyTo": [{"Address": "jürgen@sender.example"}]}, "5.6.9"),
    ],
    ids=["address", "header"],
)
def test_what_needs_smtputf8_bounces_at_once_where_there_is_none(peers: Peers, fields: Found, code: str) -> None:
    """One attempt, and nothing was handed to the server; it says what is missing. Other mail goes there as before."""
    request = {**fields, "Subject": "Hello", "Text": "Hello."}
    (submission,) = peers.installation.ask("Send", request, peers.login)["Submissions"]
    delivery = peers.installation.await_end(submission["QueueMsgID"], peers.login)

    assert delivery["State"] == "failed"
    assert [(attempt["Outcome"], attempt["EnhancedCode"]) for attempt in delivery["Attempts"]] == [("bounced", code)]
    assert [event["SMTPEnhancedCode"] for event in delivery["Events"]] == [code]
    again = peers.installation.send(f"plain@{ASCII_DOMAIN}", login=peers.login)
    assert peers.installation.await_end(again["QueueMsgID"], peers.login)["State"] == "delivered"

    def has_seen(fromid: str) -> bool:
        return any(fromid in line for line in peers.ascii_only.log)

    wait_until(lambda: has_seen(again["FromID"]), "noted by Postfix")
    assert not has_seen(submission["FromID"])
