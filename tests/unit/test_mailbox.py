"""The mailbox methods."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from egret.contracts.queues import Inbound, pack_inbound
from egret.contracts.records import StoredMail
from egret.contracts.webapi import MAX_ANSWER_BYTES, ErrorCode, MessageListRequest, NameAddress, RawContent
from egret.core.errors import ContractError, InvalidRequest
from egret.core.ids import message_id_number
from egret.usecases.mailbox import MailboxPorts, message_get, message_list, message_raw_get
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT
from tests.unit.sending import SECRETS, Service, people

RAW = b"From: Ann <ann@example.net>\r\nTo: app@example.com\r\nSubject: Re: Hello\r\n\r\nThank you.\r\n"


def ports(service: Service) -> MailboxPorts:
    """Return the ports of the mailbox methods."""
    return MailboxPorts(service.mailboxes, service.blobs, service.clock, SECRETS.cursor)


def receive(service: Service, raw: bytes = RAW, **changes: Any) -> int:
    """Let an account have a mail; return its id."""
    key = f"inbound/2026-03-04/{len(service.blobs.objects)}"
    service.blobs.put(key, pack_inbound(Inbound("m1", NOW.isoformat(), "ann@example.net", []), raw))
    values: dict[str, Any] = {
        "account": ACCOUNT,
        "id": message_id_number(service.clock.now(), 0),
        "mailbox": "Inbox",
        "blob": key,
        "size_bytes": len(raw),
        "received_at": service.clock.now(),
        "mail_from": "ann@example.net",
        "rcpt_to": "app@example.com",
        "header_from": "ann@example.net",
        "subject": "Re: Hello",
        "remote_ip": "192.0.2.7",
    }
    mail = StoredMail(**(values | changes))
    assert service.mailboxes.put(mail)
    return mail.id


def code_of(call: Any, *args: Any) -> str:
    """Call, be refused, return the code."""
    with pytest.raises(InvalidRequest) as caught:
        call(*args)
    return caught.value.code


def test_get_reads_incoming_mail() -> None:
    """Without the envelope line that storage keeps before it."""
    service = Service()

    result = message_get(ports(service), ACCOUNT, receive(service))

    assert result.message.from_ == (NameAddress(name="Ann", address="ann@example.net"),)
    assert (result.message.subject, result.message.text) == ("Re: Hello", "Thank you.\n")
    assert result.structure.content_type == "/"  # none was given
    assert (result.meta.mail_from, result.meta.rcpt_to, result.meta.msg_from) == (
        "ann@example.net",
        "app@example.com",
        "ann@example.net",
    )
    assert (result.meta.size, result.meta.remote_ip, result.meta.mailbox_name) == (len(RAW), "192.0.2.7", "Inbox")


def test_get_of_a_sent_copy_equals_the_request() -> None:
    """Addresses, subject and texts come back; flags in the reference's order."""
    service = Service()
    result = service.send(
        to=(NameAddress(name="Ann", address="ann@example.net"),),
        bcc=people("hidden@example.net"),
        subject="Grüße",
        text="Good morning, ☀.\n",
        html="<p>Good morning</p>",
        references=("<1@example.net>",),
        save_sent=True,
    )
    (mail,) = message_list(ports(service), ACCOUNT, MessageListRequest(mailbox="Sent")).messages

    found = message_get(ports(service), ACCOUNT, mail.msg_id)

    message = found.message
    assert (message.to, message.bcc) == (
        (NameAddress(name="Ann", address="ann@example.net"),),
        people("hidden@example.net"),
    )
    assert (message.subject, message.text, message.html) == ("Grüße", "Good morning, ☀.\n", "<p>Good morning</p>\n")
    assert (message.message_id, message.references, message.date) == (result.message_id, ("<1@example.net>",), NOW)
    assert found.structure.content_type == "multipart/alternative"
    assert [part.content_type for part in found.structure.parts] == ["text/plain", "text/html"]
    assert found.meta.flags == ("$notjunk", r"\seen")


def test_raw_get_is_the_message_as_it_came() -> None:
    """Byte for byte."""
    service = Service()

    assert message_raw_get(ports(service), ACCOUNT, receive(service)) == RawContent(body=RAW)


def test_a_large_message_is_fetched_by_url() -> None:
    """A Lambda answers 6 MB; what came in is served without its envelope line."""
    service = Service()
    raw = RAW + b"x" * MAX_ANSWER_BYTES
    received = receive(service, raw)

    content = message_raw_get(ports(service), ACCOUNT, received)
    again = message_raw_get(ports(service), ACCOUNT, received)

    assert (content.body, service.blobs.download(content.url)) == (b"", raw)
    assert again == content


@pytest.mark.parametrize("mail_id", [0, -1, 1, 1 << 53, -(1 << 63), (1 << 63) - 1])
def test_what_is_not_there_is_not_found(mail_id: int) -> None:
    """Any integer may be asked for."""
    service = Service()

    assert code_of(message_get, ports(service), ACCOUNT, mail_id) == ErrorCode.MESSAGE_NOT_FOUND
    assert code_of(message_raw_get, ports(service), ACCOUNT, mail_id) == ErrorCode.MESSAGE_NOT_FOUND


def test_anothers_mail_is_not_found() -> None:
    """By no method."""
    service = Service()
    received = receive(service)

    assert code_of(message_get, ports(service), OTHER_ACCOUNT, received) == ErrorCode.MESSAGE_NOT_FOUND
    assert code_of(message_raw_get, ports(service), OTHER_ACCOUNT, received) == ErrorCode.MESSAGE_NOT_FOUND
    assert message_list(ports(service), OTHER_ACCOUNT, MessageListRequest()).messages == ()


def test_a_mail_whose_object_is_gone_is_not_found() -> None:
    """Storage may have dropped it."""
    service = Service()
    received = receive(service)
    service.blobs.objects.clear()

    assert code_of(message_get, ports(service), ACCOUNT, received) == ErrorCode.MESSAGE_NOT_FOUND


def test_an_object_that_is_not_ours_is_a_fault() -> None:
    """It is not shown as if it were mail."""
    service = Service()
    received = receive(service)
    service.blobs.put("inbound/2026-03-04/0", b"no envelope")

    with pytest.raises(ContractError):
        message_get(ports(service), ACCOUNT, received)


def test_a_listing_is_newest_first_and_goes_on() -> None:
    """Pages join without a gap or a repeat; a mailbox restricts."""
    service = Service()
    made = []
    for number in range(5):
        made.append(receive(service, mailbox="Inbox" if number % 2 else "Junk"))
        service.clock.advance(timedelta(minutes=1))
    found: list[int] = []
    cursor = ""
    for _ in range(3):
        page = message_list(ports(service), ACCOUNT, MessageListRequest(limit=2, cursor=cursor))
        found += [mail.msg_id for mail in page.messages]
        cursor = page.cursor

    junk = message_list(ports(service), ACCOUNT, MessageListRequest(mailbox="Junk")).messages

    assert (found, cursor) == (made[::-1], "")
    assert [mail.msg_id for mail in junk] == made[::-1][::2]


def test_a_cursor_of_another_listing_is_refused() -> None:
    """It is bound to account and mailbox."""
    service = Service()
    for _ in range(2):
        receive(service)
        service.clock.advance(timedelta(minutes=1))
    cursor = message_list(ports(service), ACCOUNT, MessageListRequest(limit=1)).cursor

    for account, mailbox in ((OTHER_ACCOUNT, ""), (ACCOUNT, "Inbox")):
        request = MessageListRequest(mailbox=mailbox, cursor=cursor)
        assert code_of(message_list, ports(service), account, request) == ErrorCode.USER


def test_a_limit_out_of_range_is_refused() -> None:
    """0 is the default, 1,000 the most."""
    assert code_of(message_list, ports(Service()), ACCOUNT, MessageListRequest(limit=1001)) == ErrorCode.USER
