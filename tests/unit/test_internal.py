"""Mail of our own: queued once for each key, as other mail is queued."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from egret.contracts.records import IdempotencyState
from egret.contracts.webapi import SendResult, SuppressionAddRequest
from egret.core.delivery import State
from egret.core.errors import Unavailable
from egret.usecases.internal import REMEMBERED, InternalMail, send_internal
from egret.usecases.suppressions import suppression_add
from tests.unit.builders import ACCOUNT
from tests.unit.sending import Service

HEADERS = (
    b"From: Mail <postmaster@mail.egret.example>\r\nTo: ann@example.net\r\nSubject: Not delivered\r\n"
    b"Message-ID: <dsn-1@mail.egret.example>\r\nDate: Wed, 4 Mar 2026 12:00:00 +0000\r\n"
)
OWN_HEADERS = HEADERS.replace(b"postmaster@mail.egret.example", b"postmaster@example.com")


def queued(service: Service, **changes: Any) -> SendResult:
    """Queue a mail to one recipient with the changes."""
    values: dict[str, Any] = {"headers": HEADERS, "body": b"Sorry.\r\n", "recipients": ("ann@example.net",)}
    return send_internal(service.sending, service.caller().account, InternalMail("dsn 1", **(values | changes)))


def test_a_mail_of_our_own_has_a_null_reverse_path() -> None:
    """So that nobody answers it with a DSN; it is hinted at, as all mail is, and charged to nobody."""
    service = Service()
    result = queued(service, max_attempts=5, require_tls=False)
    delivery = service.delivery(result.submissions[0].queue_msg_id)
    message = service.store.message(ACCOUNT, delivery.message_id)

    assert (delivery.reverse_path, delivery.fromid, delivery.max_attempts) == ("", "", 5)
    assert message is not None
    assert (message.require_tls, message.subject, message.login) == (False, "Not delivered", "")
    assert message.message_id == result.message_id == "<dsn-1@mail.egret.example>"
    assert [hint.ids for hint in service.hints.waiting] == [[delivery.id]]
    assert service.counters.used(ACCOUNT, "2026-03-04") == 0


def test_the_content_is_what_was_given_below_a_received_field() -> None:
    """Nothing of it is changed; its size is the stored one."""
    service = Service()
    result = queued(service)
    content = service.content(result)
    message = service.store.message(ACCOUNT, result.submissions[0].queue_msg_id)

    assert content.startswith(b"Received: ")
    assert content.endswith(HEADERS + b"\r\nSorry.\r\n")
    assert message is not None
    assert message.size_bytes == len(content)


def test_a_key_is_queued_once() -> None:
    """Whatever the second mail says: it is about the same thing. Another key is another mail."""
    service = Service()
    first = queued(service)
    service.clock.advance(REMEMBERED - timedelta(minutes=1))

    assert queued(service, body=b"Sorry, again.\r\n") == first
    assert service.stored_count == 1
    mail = InternalMail("dsn 2", HEADERS, b"", ("ann@example.net",))
    assert send_internal(service.sending, service.caller().account, mail) != first


def test_several_recipients_are_one_submission() -> None:
    """With a key of their own each, as the one of a single recipient."""
    service = Service()
    first = queued(service, recipients=("ann@example.net", "bob@example.net"))

    assert [one.address for one in first.submissions] == ["ann@example.net", "bob@example.net"]
    assert queued(service, recipients=("ann@example.net", "bob@example.net")) == first


def test_a_from_domain_of_the_account_signs_and_takes_bounces() -> None:
    """Reports are signed, and their bounces find them by a fromid."""
    service = Service()
    result = queued(service, headers=OWN_HEADERS, uses_fromid=True)
    delivery = service.delivery(result.submissions[0].queue_msg_id)

    assert service.content(result).count(b"DKIM-Signature:") == 2
    assert delivery.reverse_path == f"{delivery.fromid}@bounces.example.com"


def test_a_suppressed_recipient_gets_nothing() -> None:
    """An address that bounced is dead for reports, too."""
    service = Service()
    suppression_add(service.suppressing, ACCOUNT, SuppressionAddRequest(email_address="ann@example.net"))

    assert service.delivery(queued(service).submissions[0].queue_msg_id).state is State.SUPPRESSED


def test_two_processes_at_once_queue_it_once() -> None:
    """The second is to ask again: the first may yet fail."""
    service = Service()

    class Busy:
        def reserve(self, *_: Any) -> tuple[IdempotencyState, str]:
            return IdempotencyState.IN_FLIGHT, ""

    ports = replace(service.sending, idempotency=Busy())  # type: ignore[arg-type]
    mail = InternalMail("dsn 1", HEADERS, b"", ("ann@example.net",))
    with pytest.raises(Unavailable):
        send_internal(ports, service.caller().account, mail)
