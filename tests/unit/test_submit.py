"""Submit: what is accepted of a raw message, what is taken from it, and what is refused."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.contracts.settings import HoldRule
from egret.contracts.submission import Submission, SubmissionRecipient, Trouble
from egret.contracts.webapi import ErrorCode, SendResult, SuppressionAddRequest
from egret.core import fromid
from egret.core.delivery import Delivery, Message, State
from egret.core.errors import InvalidRequest
from egret.core.ids import message_of
from egret.usecases.submit import submit
from egret.usecases.suppressions import suppression_add
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT
from tests.unit.sending import LOGIN, SECRETS, Service, a_domain

KEY = "0" * 64
HEAD = "From: App <app@example.com>\r\nTo: ann@example.net\r\nSubject: Hello\r\n"
MORE = "Message-ID: <1@client.example>\r\nDate: Wed, 4 Mar 2026 10:00:00 +0000\r\n"
BODY = "\r\nGood morning.\r\n"


def to(*addresses: str) -> tuple[SubmissionRecipient, ...]:
    """Return recipients without parameters."""
    return tuple(SubmissionRecipient(address) for address in addresses)


def a_submission(**changes: Any) -> Submission:
    """Return a small submission that is accepted, with the changes."""
    values: dict[str, Any] = {
        "key_hash": KEY,
        "mail_from": LOGIN,
        "recipients": to("ann@example.net"),
        "content": (HEAD + MORE + BODY).encode(),
    }
    return Submission(**(values | changes))


def submitted(service: Service, **changes: Any) -> SendResult:
    """Submit with the changes."""
    return submit(service.sending, service.caller(), a_submission(**changes))


def refused(service: Service, **changes: Any) -> str:
    """Submit with the changes, be refused, return the code; nothing is stored or counted."""
    with pytest.raises(InvalidRequest) as caught:
        submitted(service, **changes)
    assert service.stored_count == 0
    assert service.counters.used(ACCOUNT, "2026-03-04") == 0
    return caught.value.code


def first(service: Service, result: SendResult) -> Delivery:
    """Return the first delivery of a result."""
    return service.delivery(result.submissions[0].queue_msg_id)


def facts(service: Service, result: SendResult) -> Message:
    """Return the facts of a result."""
    found = service.store.message(ACCOUNT, message_of(result.submissions[0].queue_msg_id))
    assert found is not None
    return found


def content(head: str, body: str = BODY) -> bytes:
    """Return a message with these fields."""
    return (head + body).encode()


def test_an_accepted_message_is_queued_as_one_of_send() -> None:
    """A delivery with a fromid, a hint, the recipients counted, the facts of the message."""
    service = Service()
    result = submitted(service, recipients=to("ann@example.net", "bob@example.org"))
    delivery, message = first(service, result), facts(service, result)

    assert delivery.reverse_path == f"{delivery.fromid}@bounces.example.com"
    assert (delivery.recipient, delivery.state, delivery.not_before) == ("ann@example.net", State.QUEUED, NOW)
    assert message.recipients == ("ann@example.net", "bob@example.org")
    assert (message.subject, message.header_from, message.login) == ("Hello", LOGIN, LOGIN)
    assert message.message_id == result.message_id == "<1@client.example>"
    assert len(service.hints.waiting) == 2
    assert service.counters.used(ACCOUNT, "2026-03-04") == 2


def test_the_message_is_kept_byte_for_byte_below_trace_and_signatures() -> None:
    """So that what its author signed still verifies. Nobody learns where it was submitted from."""
    service = Service()
    body = "\r\n8 bit: ü\r\n.dot\r\n"
    result = submitted(service, content=content(HEAD + MORE, body))
    stored = service.content(result)
    trace = "Received: from mail.egret.example by mail.egret.example with ESMTPSA id"

    assert stored.decode().endswith("\r\n" + HEAD + MORE + body)
    assert stored.decode().startswith(trace)
    assert stored.count(b"DKIM-Signature:") == 2
    assert facts(service, result).size_bytes == len(stored)
    assert not facts(service, result).smtputf8


@pytest.mark.rfc("6409", "8")
def test_message_id_and_date_are_added_where_missing() -> None:
    """RFC 6409 8.1 and 8.2; both are signed."""
    service = Service()
    result = submitted(service, content=content(HEAD))
    stored = service.content(result).decode()

    assert f"\r\nMessage-Id: {result.message_id}\r\n" in stored
    assert "\r\nDate: 4 Mar 2026 05:06:07 +0000\r\n" in stored
    assert result.message_id.endswith("@example.com>")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", f"Feedback-ID: :{ACCOUNT}:mail:egret"),
        ("List-Unsubscribe: <https://example.com/u>\r\n", f"Feedback-ID: :{ACCOUNT}:list:egret"),
        ("feedback-id: a:b:c:shop1\r\n", "feedback-id: a:b:c:shop1"),
    ],
)
def test_providers_can_tell_accounts_apart(more: str, expected: str) -> None:
    """Feedback-ID names the account and is signed, as with Send; one of the author's own stays alone."""
    service = Service()
    stored = service.content(submitted(service, content=content(HEAD + MORE + more))).decode()
    lines = [line for line in stored.split("\r\n") if line.lower().startswith("feedback-id:")]

    assert lines == [expected]
    assert stored.lower().count("feedback-id") == 1 + 2 * 2, "signed and sealed by two signatures"


def test_what_is_for_us_does_not_go_out() -> None:
    """Bcc would tell what it hides; a Return-Path is written by who delivers."""
    service = Service()
    ours = "Bcc: eve@example.net,\r\n\tmallory@example.net\r\nReturn-Path: <x@example.com>\r\nX-Mox-Extra-A: b\r\n"
    result = submitted(service, content=content("Egret-Idempotency-Key: 1\r\n" + HEAD + ours + MORE))

    assert service.content(result).decode().endswith(HEAD + MORE + BODY)


def test_extra_comes_from_its_fields() -> None:
    """With canonical keys; they leave the message unless the account keeps them."""
    service = Service()
    head = HEAD + "x-mox-extra-order-ID: 17\r\nX-Mox-Extra-Note: =?utf-8?q?gr=C3=BCn?=\r\n"
    result = submitted(service, content=content(head))
    service.change_account(keeps_extra_headers=True)
    kept = submitted(service, content=content(head))

    assert facts(service, result).extra == {"Order-Id": "17", "Note": "grün"}
    assert b"order-ID" not in service.content(result)
    assert b"x-mox-extra-order-ID: 17\r\n" in service.content(kept)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"content": b"Hello.\r\n"}, Trouble.MALFORMED),
        ({"content": content("To: ann@example.net\r\n")}, Trouble.MALFORMED),
        ({"content": content(HEAD + "X-Mox-Extra-A: 1\r\nx-mox-extra-a: 2\r\n")}, Trouble.MALFORMED),
        ({"content": content(HEAD + "Egret-Idempotency-Key: 1\r\n" * 2)}, Trouble.MALFORMED),
        ({"content": content(HEAD + f"X-Mox-Extra-A: {'x ' * 480}\r\n" + f" {'y ' * 480}\r\n" * 9)}, ErrorCode.USER),
        ({"content": content("From: app@example.org\r\n")}, ErrorCode.BAD_FROM),
        ({"content": content("From: app@elsewhere.example\r\n")}, ErrorCode.BAD_FROM),
        ({"content": content("From: a@example.com, b@example.com\r\n")}, ErrorCode.MULTIPLE_FROM),
        ({"content": content("From: Nobody\r\n")}, ErrorCode.BAD_ADDRESS),
        ({"content": content("From: <app@example.com> <ceo@bank.example>\r\n")}, ErrorCode.BAD_ADDRESS),
        ({"content": content("From: <@relay.example:app@example.com>\r\n")}, ErrorCode.BAD_ADDRESS),
        ({"content": content("From: team: app@example.com;\r\n")}, ErrorCode.BAD_ADDRESS),
        ({"content": content("From: =?utf-8?q?app=40example.com?=\r\n")}, ErrorCode.BAD_ADDRESS),
        ({"content": content("From: App <=?ceo@bank.example?q?app=40example.com?=>\r\n")}, ErrorCode.BAD_ADDRESS),
        ({"content": content(HEAD + "Sender: ceo@bank.example\r\n")}, ErrorCode.BAD_FROM),
        ({"mail_from": "app@elsewhere.example"}, Trouble.BAD_SENDER),
        ({"mail_from": "app@example.org"}, Trouble.BAD_SENDER),
        ({"mail_from": "x@bounces.example.org"}, Trouble.BAD_SENDER),
        ({"mail_from": "no address"}, Trouble.BAD_SENDER),
        ({"recipients": ()}, ErrorCode.NO_RECIPIENTS),
        ({"recipients": to(*(f"a{n}@example.net" for n in range(1001)))}, ErrorCode.TOO_MANY_RECIPIENTS),
        ({"recipients": to("nobody")}, ErrorCode.BAD_ADDRESS),
        ({"content": content(HEAD.replace("Hello", "Grüße"))}, Trouble.NEEDS_SMTPUTF8),
        ({"recipients": to("ünn@example.net")}, Trouble.NEEDS_SMTPUTF8),
        ({"content": HEAD.replace("Hello", "Grüße").encode("latin-1"), "smtputf8": True}, Trouble.MALFORMED),
        ({"future_release": f"for;{61 * 86400}"}, ErrorCode.USER),
        ({"future_release": "until;2026-06-01T00:00:00Z"}, ErrorCode.USER),
        ({"future_release": "until;tomorrow"}, ErrorCode.USER),
        ({"content": content(HEAD + f"Message-ID: <{'x' * 600}@example.com>\r\n")}, Trouble.MALFORMED),
    ],
)
def test_what_is_refused(changes: dict[str, Any], code: str) -> None:
    """With the code that says why; no submission leaves a trace then."""
    assert refused(Service(), **changes) == code


def test_a_message_that_is_too_large_is_refused() -> None:
    """The limit is that of Send."""
    limit = Service().installation.max_message_bytes

    assert refused(Service(), content=b"x" * (limit + 1)) == ErrorCode.MESSAGE_TOO_LARGE


def test_the_daily_limit_is_that_of_the_account() -> None:
    """Over all ways in."""
    service = Service()
    service.change_account(messages_per_day=1)
    service.send()
    with pytest.raises(InvalidRequest) as caught:
        submitted(service)

    assert caught.value.code == ErrorCode.MESSAGE_LIMIT_REACHED


def test_suppressed_and_held_recipients_are_so_here() -> None:
    """As in Send."""
    service = Service()
    suppression_add(service.suppressing, ACCOUNT, SuppressionAddRequest(email_address="ann@example.net"))
    service.settings.put_hold_rule(HoldRule("1", recipient="example.org"))
    result = submitted(service, recipients=to("ann@example.net", "bob@example.org"))

    states = [service.delivery(one.queue_msg_id).state for one in result.submissions]
    assert states == [State.SUPPRESSED, State.HELD]


def test_a_recipient_given_twice_gets_it_once() -> None:
    """As it was asked for first."""
    service = Service()
    twice = (SubmissionRecipient("ann@example.net", "NEVER"), SubmissionRecipient("ann@EXAMPLE.net", "SUCCESS"))
    result = submitted(service, recipients=twice)

    assert len(result.submissions) == 1
    assert first(service, result).notify == "NEVER"


def test_parameters_of_dsn_are_kept() -> None:
    """RET and ENVID with the message, NOTIFY and ORCPT with each delivery."""
    service = Service()
    wanted = SubmissionRecipient("ann@example.net", "SUCCESS,FAILURE", "rfc822;Ann+40example.net")
    result = submitted(service, recipients=(wanted,), ret="HDRS", envid="order 17")
    delivery, message = first(service, result), facts(service, result)

    assert (delivery.notify, delivery.orcpt) == ("SUCCESS,FAILURE", "rfc822;Ann+40example.net")
    assert (message.ret, message.envid) == ("HDRS", "order 17")


@pytest.mark.rfc("4865", "4")
@pytest.mark.parametrize(
    ("asked", "delay"),
    [
        ("for;3600", timedelta(hours=1)),
        ("until;2026-03-05T05:06:07Z", timedelta(days=1)),
        ("until;2026-03-05T05:06:07+02:00", timedelta(hours=22)),
        ("until;2026-03-01T00:00:00Z", timedelta(0)),
    ],
)
def test_future_release_puts_off_the_first_attempt(asked: str, delay: timedelta) -> None:
    """And the age of the delivery begins then (RFC 4865 4.4)."""
    service = Service()
    result = submitted(service, future_release=asked)
    delivery = first(service, result)

    assert delivery.not_before == NOW + delay
    assert delivery.expires_at == delivery.not_before + service.installation.retry.max_age
    assert facts(service, result).future_release == asked
    assert len(service.hints.waiting) == (not delay)


@pytest.mark.rfc("8689", "5")
@pytest.mark.parametrize(
    ("field", "require_tls", "wanted"),
    [("", False, None), ("", True, True), ("No", False, False), ("No", True, True), ("maybe", False, None)],
)
def test_tls_is_required_or_given_up(field: str, require_tls: bool, wanted: bool | None) -> None:
    """REQUIRETLS wins over the field, which stays in the message."""
    service = Service()
    head = HEAD + (f"TLS-Required: {field}\r\n" if field else "")
    result = submitted(service, content=content(head), require_tls=require_tls)

    assert facts(service, result).require_tls is wanted
    assert (b"TLS-Required: No" in service.content(result)) is (field == "No")


def test_the_null_reverse_path_stays_null() -> None:
    """A vacation notice must not be answered by a bounce."""
    service = Service()
    delivery = first(service, submitted(service, mail_from=""))

    assert (delivery.reverse_path, delivery.fromid) == ("", "")


def test_without_fromids_the_reverse_path_is_the_submitters() -> None:
    """Not the From address, which may be another of the account's."""
    service = Service()
    service.change_account(uses_fromid=False, addresses=(LOGIN, "bounce@example.com"))
    delivery = first(service, submitted(service, mail_from="bounce@example.com"))

    assert (delivery.reverse_path, delivery.fromid) == ("bounce@example.com", "")


@pytest.mark.rfc("6531", "3.4")
@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({"content": content(HEAD.replace("Hello", "Grüße"))}, True),
        ({"recipients": to("ünn@example.net")}, True),
        ({}, False),
        ({"content": content(HEAD + MORE, "\r\nGrüße\r\n")}, False),
        (
            {
                "content": content(
                    HEAD + "Content-Type: multipart/mixed; boundary=b\r\n",
                    "\r\n--b\r\nContent-Disposition: attachment; filename=ü\r\n\r\nx\r\n--b--\r\n",
                )
            },
            True,
        ),
    ],
)
def test_smtputf8_is_asked_of_the_next_server_only_when_needed(changes: dict[str, Any], needed: bool) -> None:
    """Many clients ask for it always; most servers that lack it could have taken the mail."""
    service = Service()

    assert facts(service, submitted(service, smtputf8=True, **changes)).smtputf8 is needed


def test_the_key_makes_the_same_submission_once() -> None:
    """The same result; another submission under it is a conflict."""
    service = Service()
    keyed = content("Egret-Idempotency-Key: order-17\r\n" + HEAD)
    result = submitted(service, content=keyed)
    service.clock.advance(timedelta(hours=1))

    assert submitted(service, content=keyed) == result
    assert service.stored_count == 1
    with pytest.raises(InvalidRequest) as caught:
        submitted(service, content=keyed, recipients=to("bob@example.net"))
    assert caught.value.code == ErrorCode.IDEMPOTENCY_CONFLICT


FRAGMENTS = st.sampled_from(
    [
        *(
            b"From: app@example.com\r\n",
            b"From: <a@b> (",
            b"Sender: ",
            b"X-Mox-Extra-A: 1\r\n",
            b"Bcc: x\r\n",
            b"Date: \r\n",
        ),
        *(
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b"\0",
            b"\xff",
            b"Message-ID: <>\r\n",
            b"Content-Type: multipart/mixed; boundary=b\r\n",
        ),
        *(b"--b\r\n", b"x" * 999, b'"', b"@", b",", b"=?utf-8?q?=C3?=", "ü".encode(), b"TLS-Required: No\r\n"),
    ]
)


@given(st.lists(FRAGMENTS | st.binary(max_size=20), max_size=12), st.booleans())
def test_any_octets_are_taken_or_refused(pieces: list[bytes], smtputf8: bool) -> None:
    """Nothing else comes of them; what is taken has CRLF line ends, and is 7-bit in its header unless SMTPUTF8."""
    service = Service()
    try:
        result = submitted(service, content=b"".join(pieces), smtputf8=smtputf8)
    except InvalidRequest:
        assert service.stored_count == 0
        return
    stored = service.content(result)

    assert stored.replace(b"\r\n", b"").translate(None, b"\r\n") == stored.replace(b"\r\n", b"")
    assert facts(service, result).smtputf8 or stored.partition(b"\r\n\r\n")[0].isascii()


def separated() -> Service:
    """Return a service whose domain has a separator."""
    service = Service()
    service.settings.put_domain(a_domain(separator="+"))
    return service


@pytest.mark.parametrize("mail_from", ["app+Order-17@example.com", "Order-17@bounces.example.com"])
def test_a_fromid_of_the_submitter_is_used(mail_from: str) -> None:
    """Behind the separator, or at the return-path domain; it leads to the delivery in any case of letters."""
    service = separated()
    result = submitted(service, mail_from=mail_from)
    delivery = first(service, result)

    assert (delivery.reverse_path, delivery.fromid) == (mail_from, "Order-17")
    assert result.submissions[0].from_id == "Order-17"
    assert service.own_fromids.find(ACCOUNT, "order-17", NOW) == delivery.id
    assert service.own_fromids.find(OTHER_ACCOUNT, "order-17", NOW) == 0


def test_a_fromid_of_the_submitter_is_for_one_delivery() -> None:
    """One recipient, once."""
    assert refused(separated(), mail_from="app+1@example.com", recipients=to("a@b.example", "c@b.example")) == (
        Trouble.FROMID_ALONE
    )
    service = separated()
    submitted(service, mail_from="app+1@example.com")
    with pytest.raises(InvalidRequest) as caught:
        submitted(service, mail_from="1@bounces.example.com")

    assert caught.value.code == Trouble.FROMID_USED
    assert service.stored_count == len(service.store.table.messages) == 1


def test_a_fromid_of_ours_cannot_be_chosen() -> None:
    """Bounces of the new delivery would be told of another."""
    ours = fromid.mint(SECRETS.fromid, ACCOUNT, 4096)

    assert refused(Service(), mail_from=f"{ours}@bounces.example.com") == Trouble.FROMID_USED


def test_a_reverse_path_with_separator_must_be_the_accounts() -> None:
    """Also where only single addresses of the domain are."""
    service = Service()
    service.change_account(addresses=(LOGIN, "me@shared.example"))
    shared = a_domain(
        domain="shared.example", account=OTHER_ACCOUNT, return_path_domain="b.shared.example", separator="+"
    )
    service.settings.put_domain(shared)

    assert first(service, submitted(service, mail_from="me+7@shared.example")).fromid == "7"
    with pytest.raises(InvalidRequest):
        submitted(service, mail_from="you+7@shared.example")
