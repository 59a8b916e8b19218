"""Send: what is accepted, and how."""

from __future__ import annotations

import base64
import email
import email.policy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dkim
import pytest

from egret.contracts.queues import Hint
from egret.contracts.records import MailFilter
from egret.contracts.settings import HoldRule, Installation, Suppression
from egret.contracts.webapi import ErrorCode, File, NameAddress
from egret.core import fromid, messageid
from egret.core.delivery import State
from egret.core.errors import InvalidRequest, Unavailable
from egret.core.events import EventKind
from egret.core.ids import delivery_id, message_of
from egret.memory.dice import SeededDice
from egret.usecases.send import send
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT
from tests.unit.sending import LOGIN, SECRETS, Service, a_domain, a_request, dkim_keys, people


class StuckDice(SeededDice):
    """Dice whose bits are always 0."""

    def bits(self, count: int) -> int:
        """Return 0."""
        return 0


def refused(service: Service, **changes: Any) -> str:
    """Send, be refused, and return the code; nothing may be stored."""
    with pytest.raises(InvalidRequest) as caught:
        service.send(**changes)
    assert (service.stored_count, service.hints.waiting, service.counters.used(ACCOUNT, "2026-03-04")) == (0, [], 0)
    return caught.value.code


def parsed(raw: bytes) -> email.message.EmailMessage:
    """Return a message as the standard library reads it."""
    return email.message_from_bytes(raw, policy=email.policy.default)


def test_one_recipient_becomes_one_queued_delivery() -> None:
    """The delivery has all that deliver needs."""
    service = Service()

    result = service.send()

    delivery = service.delivery(result.submissions[0].queue_msg_id)
    assert (delivery.state, delivery.recipient, delivery.domain) == (State.QUEUED, "ann@example.net", "example.net")
    assert (delivery.not_before, delivery.expires_at) == (NOW, NOW + timedelta(hours=72))
    assert (delivery.due_at, delivery.retention) == (NOW + timedelta(seconds=90), timedelta(days=30))


def test_the_result_names_every_recipient_in_order() -> None:
    """To, CC, BCC; addresses as the caller wrote them; duplicates stay."""
    service = Service()

    result = service.send(
        to=people("B@Example.NET", "b@example.net"), cc=people("c@example.net"), bcc=people("d@ä.example")
    )

    ids = [submission.queue_msg_id for submission in result.submissions]
    assert [s.address for s in result.submissions] == ["B@Example.NET", "b@example.net", "c@example.net", "d@ä.example"]
    assert ids == [delivery_id(message_of(ids[0]), index) for index in range(4)]
    assert [service.delivery(i).recipient for i in ids][0::3] == ["B@example.net", "d@xn--4ca.example"]


def test_the_reverse_path_is_the_fromid_at_the_return_path_domain() -> None:
    """A bounce comes back to Egret and names its delivery."""
    service = Service()

    (submission,) = service.send().submissions

    delivery = service.delivery(submission.queue_msg_id)
    assert delivery.reverse_path == f"{submission.from_id}@bounces.example.com"
    assert fromid.verify(SECRETS.fromid, submission.from_id) == fromid.FromId(ACCOUNT, submission.queue_msg_id)


def test_a_domain_whose_mx_is_egret_has_the_form_of_the_reference() -> None:
    """Local part, separator, fromid; what stood behind a separator before is cut."""
    service = Service()
    service.settings.put_domain(a_domain(separator="+"))

    (submission,) = service.send(from_=people("app+tag@example.com")).submissions

    assert service.delivery(submission.queue_msg_id).reverse_path == f"app+{submission.from_id}@example.com"


def test_a_long_local_part_leaves_room_for_the_fromid() -> None:
    """The local part of a reverse-path stays within 64 octets."""
    service = Service()
    service.settings.put_domain(a_domain(separator="+"))

    (submission,) = service.send(from_=people("x" * 64 + "@example.com")).submissions

    local_part = service.delivery(submission.queue_msg_id).reverse_path.rpartition("@")[0]
    assert (len(local_part), local_part) == (64, "x" * 31 + "+" + submission.from_id)


def test_without_fromid_the_reverse_path_is_the_from_address() -> None:
    """An account that does not use it gets its bounces where it says."""
    service = Service()
    service.change_account(uses_fromid=False)

    (submission,) = service.send(from_=people("news@example.com")).submissions

    delivery = service.delivery(submission.queue_msg_id)
    assert (submission.from_id, delivery.fromid, delivery.reverse_path) == ("", "", "news@example.com")


def test_without_from_the_login_is_used_with_the_full_name() -> None:
    """The key's login address is the default From."""
    service = Service()

    message = parsed(service.content(service.send()))

    assert message["From"] == "Acme <app@example.com>"


def test_a_generated_message_id_names_the_submission() -> None:
    """It is a second means to match mail that comes back."""
    service = Service()

    result = service.send()

    number = message_of(result.submissions[0].queue_msg_id)
    assert messageid.verify(SECRETS.message_id, result.message_id) == messageid.Submission(ACCOUNT, number)
    assert parsed(service.content(result))["Message-Id"] == result.message_id


def test_a_given_message_id_is_kept() -> None:
    """The caller may number his own messages."""
    service = Service()

    result = service.send(message_id="<order-17@example.com>")

    assert result.message_id == "<order-17@example.com>"
    assert parsed(service.content(result))["Message-Id"] == "<order-17@example.com>"


@pytest.mark.rfc("6376", "6")
def test_both_signatures_verify() -> None:
    """Dkimpy finds an RSA and an Ed25519 signature, both of the From domain."""
    service = Service()
    records = {
        f"{k.selector}._domainkey.example.com.".encode(): k.public_record.encode() for k in dkim_keys("example.com")
    }

    content = service.content(service.send(html="<p>Häppy</p>", subject="Grüße"))

    judge = dkim.DKIM(content)
    assert [judge.verify(index, dnsfunc=lambda name, **_: records[name]) for index in (0, 1)] == [True, True]


def test_received_names_a_single_recipient_only() -> None:
    """Of several, none learns of another."""
    service = Service()

    alone = parsed(service.content(service.send()))["Received"]
    service.clock.advance(timedelta(seconds=1))
    together = parsed(service.content(service.send(bcc=people("secret@example.net"))))["Received"]

    assert "for <ann@example.net>" in alone
    assert "for" not in together.split()
    assert "from mail.egret.example by mail.egret.example" in together


def test_bcc_recipients_are_nowhere_in_the_message() -> None:
    """Blind means blind."""
    service = Service()

    content = service.content(service.send(to=people("a@example.net"), bcc=people("hidden@example.net")))

    assert b"hidden" not in content


def test_hints_are_one_for_each_recipient_domain() -> None:
    """Recipients of one domain travel together."""
    service = Service()

    result = service.send(to=people("a@one.example", "b@two.example", "c@ONE.example"))

    a, b, c = (submission.queue_msg_id for submission in result.submissions)
    assert service.hints.waiting == [Hint(ACCOUNT, [a, c]), Hint(ACCOUNT, [b])]


def test_a_queue_of_hints_that_is_down_changes_nothing() -> None:
    """The hint is an optimisation: the sweep finds the delivery."""
    service = Service()
    service.hints.is_down = True

    result = service.send()

    assert service.delivery(result.submissions[0].queue_msg_id).due_at == NOW + timedelta(seconds=90)


def test_several_recipients_are_expanded_and_closed() -> None:
    """Nothing is left for the sweep to repair."""
    service = Service()

    result = service.send(to=people("a@example.net", "b@example.net"))

    assert [service.delivery(s.queue_msg_id).state for s in result.submissions] == [State.QUEUED, State.QUEUED]
    assert service.store.planned(ACCOUNT, result.submissions[0].queue_msg_id) == ()


def test_facts_are_kept_for_events() -> None:
    """Subject, Extra and Message-ID are what webhooks tell."""
    service = Service()

    result = service.send(subject="Your order", extra={"order": "17"}, require_tls=True)

    message = service.store.message(ACCOUNT, message_of(result.submissions[0].queue_msg_id))
    assert message is not None
    assert (message.subject, message.extra, message.message_id) == ("Your order", {"order": "17"}, result.message_id)
    assert (message.login, message.header_from, message.require_tls) == (LOGIN, LOGIN, True)
    assert message.size_bytes == len(service.content(result))


@pytest.mark.rfc("8689", "5")
def test_require_tls_false_is_said_in_the_message() -> None:
    """Delivery matters more than TLS: `TLS-Required: No`."""
    service = Service()

    message = parsed(service.content(service.send(require_tls=False)))

    assert message["TLS-Required"] == "No"


# --- later -----------------------------------------------------------------------------------------------------------


def test_future_release_waits_without_a_hint() -> None:
    """The sweep finds it when its time has come; its maximum age begins then."""
    service = Service()
    later = NOW + timedelta(days=60)

    (submission,) = service.send(future_release=later).submissions

    delivery = service.delivery(submission.queue_msg_id)
    assert (delivery.not_before, delivery.due_at, delivery.expires_at) == (later, later, later + timedelta(hours=72))
    assert service.hints.waiting == []
    message = service.store.message(ACCOUNT, delivery.message_id)
    assert message is not None
    assert message.future_release == "until;2026-05-03T05:06:07Z"


def test_future_release_in_the_past_is_now() -> None:
    """Past times are allowed."""
    service = Service()

    (submission,) = service.send(future_release=NOW - timedelta(days=1)).submissions

    assert service.delivery(submission.queue_msg_id).not_before == NOW
    assert len(service.hints.waiting) == 1


def test_future_release_beyond_60_days_is_refused() -> None:
    """Content is not kept for ever."""
    assert refused(Service(), future_release=NOW + timedelta(days=60, seconds=1)) == ErrorCode.USER


# --- suppressed and held ---------------------------------------------------------------------------------------------


def suppress(service: Service, base_address: str, account: str = ACCOUNT) -> None:
    """Put an address on a list."""
    service.suppressions.put_new(Suppression(account, 1, base_address, base_address, NOW, reason="bounced before"))


def test_a_suppressed_recipient_ends_at_once_with_its_event() -> None:
    """It is accepted, never tried, and the account hears of it."""
    service = Service()
    suppress(service, "ann@example.net")

    result = service.send(to=people("Ann+news@example.net", "bob@example.net"))

    ann, bob = (service.delivery(submission.queue_msg_id) for submission in result.submissions)
    assert (ann.state, ann.due_at, [event.kind for event in ann.events]) == (
        State.SUPPRESSED,
        None,
        [EventKind.SUPPRESSED],
    )
    assert ann.events[0].error == "the recipient is on the suppression list: bounced before"
    assert (bob.state, service.hints.waiting) == (State.QUEUED, [Hint(ACCOUNT, [bob.id])])


def test_a_suppression_ends_with_its_time() -> None:
    """Mail queued from then on goes out."""
    service = Service()
    entry = Suppression(ACCOUNT, 1, "ann@example.net", "ann@example.net", NOW, expires_at=NOW + timedelta(days=1))
    service.suppressions.put_new(entry)
    states = []
    for _ in range(2):
        states.append(service.delivery(service.send().submissions[0].queue_msg_id).state)
        service.clock.advance(timedelta(days=1))

    assert states == [State.SUPPRESSED, State.QUEUED]


def test_the_suppressions_of_others_do_not_matter() -> None:
    """No account learns from another's list."""
    service = Service()
    suppress(service, "ann@example.net", OTHER_ACCOUNT)

    (submission,) = service.send().submissions

    assert service.delivery(submission.queue_msg_id).state is State.QUEUED


def test_a_removed_suppression_does_not_matter() -> None:
    """The entry stays only to keep a replay from putting it back."""
    service = Service()
    suppress(service, "ann@example.net")
    service.suppressions.remove(ACCOUNT, "ann@example.net", NOW)

    (submission,) = service.send().submissions

    assert service.delivery(submission.queue_msg_id).state is State.QUEUED


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        (HoldRule("1"), State.HELD),
        (HoldRule("1", account=ACCOUNT), State.HELD),
        (HoldRule("1", account=OTHER_ACCOUNT), State.QUEUED),
        (HoldRule("1", sender="example.com"), State.HELD),
        (HoldRule("1", sender=LOGIN), State.HELD),
        (HoldRule("1", recipient="example.net"), State.HELD),
        (HoldRule("1", recipient="ann@example.net"), State.HELD),
        (HoldRule("1", recipient="net"), State.QUEUED),
        (HoldRule("1", account=ACCOUNT, recipient="example.org"), State.QUEUED),
        (HoldRule("1", sender="example.org", recipient="example.net"), State.QUEUED),
    ],
)
def test_hold_rules_are_anded(rule: HoldRule, state: State) -> None:
    """All given fields of a rule must match; held mail gets no hint."""
    service = Service()
    service.settings.put_hold_rule(rule)

    (submission,) = service.send().submissions

    assert service.delivery(submission.queue_msg_id).state is state
    assert len(service.hints.waiting) == (state is State.QUEUED)


# --- refusals --------------------------------------------------------------------------------------------------------

NAMED = (NameAddress(name="A\nBcc: x@example.org", address="ann@example.net"),)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (ErrorCode.MISSING_BODY, {"text": ""}),
        (ErrorCode.MULTIPLE_FROM, {"from_": people("a@example.com", "b@example.com")}),
        (ErrorCode.USER, {"from_": (NameAddress(name="\t", address=LOGIN),)}),
        (ErrorCode.USER, {"to": NAMED}),
        (ErrorCode.BAD_ADDRESS, {"from_": people("no address")}),
        (ErrorCode.BAD_ADDRESS, {"to": people("a@[192.0.2.1]")}),
        (ErrorCode.BAD_ADDRESS, {"cc": people("a@under_score.example")}),
        (ErrorCode.BAD_ADDRESS, {"bcc": people("a@example.net.")}),
        (ErrorCode.BAD_ADDRESS, {"reply_to": people("@")}),
        (ErrorCode.BAD_FROM, {"from_": people("app@example.org")}),
        (ErrorCode.BAD_FROM, {"from_": people("app@unknown.example")}),
        (ErrorCode.BAD_FROM, {"from_": people("app@sub.example.com")}),
        (ErrorCode.NO_RECIPIENTS, {"to": ()}),
        (ErrorCode.TOO_MANY_RECIPIENTS, {"to": people("a@example.net") * 1001}),
        (ErrorCode.TOO_MANY_RECIPIENTS, {"to": (), "bcc": people("a@example.net") * 10_000}),
        (ErrorCode.USER, {"subject": "a\r\nBcc: x@example.org"}),
        (ErrorCode.USER, {"subject": "x" * 4097}),
        (ErrorCode.MALFORMED_MESSAGE_ID, {"message_id": "1@example.com"}),
        (ErrorCode.MALFORMED_MESSAGE_ID, {"message_id": "<1@example.com"}),
        (ErrorCode.MALFORMED_MESSAGE_ID, {"message_id": "<a b@example.com>"}),
        (ErrorCode.MALFORMED_MESSAGE_ID, {"message_id": "<" + "x" * 600 + ">"}),
        (ErrorCode.USER, {"message_id": "<1\n@example.com>"}),
        (ErrorCode.USER, {"references": ("<1\n@example.com>",)}),
        (ErrorCode.USER, {"headers": (("X-A", "b\nc"),)}),
        (ErrorCode.USER, {"headers": (("X A", "b"),)}),
        (ErrorCode.USER, {"headers": (("", "b"),)}),
        (ErrorCode.USER, {"headers": (("From", "evil@example.org"),)}),
        (ErrorCode.USER, {"headers": (("Bcc", "evil@example.org"),)}),
        (ErrorCode.USER, {"extra": {"k": "v" * 8192}}),
        (ErrorCode.USER, {"references": ("<1@x.example>",) * 1001}),
        (ErrorCode.USER, {"headers": (("X-A", "b"),) * 1001}),
        (ErrorCode.USER, {"extra": {"k": "\ud800"}}),
        (ErrorCode.USER, {"text": "\ud800"}),
        (ErrorCode.USER, {"attached_files": (File(name="a", data="not base64"),)}),
        (ErrorCode.USER, {"attached_files": (File(name="a", data="YQ"),)}),
        (ErrorCode.USER, {"inline_files": (File(name="a", data="ä"),)}),
        (ErrorCode.USER, {"attached_files": (File(name="a", data="YQ==", content_type="text\n/plain"),)}),
        (ErrorCode.USER, {"attached_files": (File(name="a\n", data="YQ=="),)}),
        (ErrorCode.USER, {"attached_files": (File(name="a", data="YQ==", upload_id="x"),)}),
        (ErrorCode.UPLOAD_NOT_FOUND, {"attached_files": (File(name="a", upload_id="../../x"),)}),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_code(code: str, changes: dict[str, Any]) -> None:
    """Codes of ref 1.7; nothing is stored, counted or hinted."""
    assert refused(Service(), **changes) == code


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        (ErrorCode.MISSING_BODY, {"text": "", "from_": people("a@example.com", "b@example.com"), "to": ()}),
        (ErrorCode.MULTIPLE_FROM, {"from_": people("a", "b"), "to": ()}),
        (ErrorCode.BAD_ADDRESS, {"from_": people("app@example.org"), "to": people("x")}),
        (ErrorCode.BAD_FROM, {"from_": people("app@example.org"), "to": ()}),
        (ErrorCode.NO_RECIPIENTS, {"to": (), "reply_to": people("x")}),
        (ErrorCode.BAD_ADDRESS, {"reply_to": people("x"), "subject": "\n"}),
        (ErrorCode.USER, {"subject": "\n", "message_id": "x"}),
        (ErrorCode.MALFORMED_MESSAGE_ID, {"message_id": "x\n", "future_release": NOW + timedelta(days=99)}),
    ],
)
def test_the_first_mistake_decides(code: str, changes: dict[str, Any]) -> None:
    """The order of checks is the reference's."""
    assert refused(Service(), **changes) == code


def test_a_disabled_domain_is_refused() -> None:
    """The operator switched it off."""
    service = Service()
    service.settings.put_domain(a_domain(disabled=True))

    assert refused(service) == ErrorCode.DOMAIN_DISABLED


def test_the_disabled_domain_of_another_is_just_not_ours() -> None:
    """Nothing is told of it."""
    service = Service()
    found = service.settings.domain("example.org")
    assert found is not None
    service.settings.put_domain(replace(found, disabled=True))

    assert refused(service, from_=people("a@example.org")) == ErrorCode.BAD_FROM


def test_a_login_without_a_domain_cannot_use_fromid() -> None:
    """Bounces would not come back."""
    service = Service()
    service.change_account(addresses=(LOGIN, "app@elsewhere.example"))

    assert refused(service, from_=people("App@Elsewhere.Example")) == ErrorCode.USER


def test_a_login_without_a_domain_sends_unsigned_without_fromid() -> None:
    """Its address is its own; there is just no key to sign with."""
    service = Service()
    service.change_account(addresses=(LOGIN, "app@elsewhere.example"), uses_fromid=False)

    content = service.content(service.send(from_=people("app@elsewhere.example")))

    assert b"DKIM-Signature" not in content
    assert parsed(content)["Message-Id"].endswith("@mail.egret.example>")


def test_a_message_that_is_too_large_is_refused() -> None:
    """The limit is on the composed message."""
    service = Service(installation=Installation("mail.egret.example", max_message_bytes=20_000))

    assert refused(service, text="x" * 20_000) == ErrorCode.MESSAGE_TOO_LARGE
    data = base64.b64encode(b"x" * 15_000).decode()
    assert refused(service, attached_files=(File(name="a", data=data),)) == ErrorCode.MESSAGE_TOO_LARGE
    assert len(service.send(text="x" * 15_000).submissions) == 1


def test_the_daily_limit_counts_recipients() -> None:
    """All or nothing; a new UTC day begins anew."""
    service = Service()
    service.change_account(messages_per_day=3)
    service.send(to=people("a@example.net", "b@example.net"))

    with pytest.raises(InvalidRequest) as caught:
        service.send(to=people("a@example.net", "b@example.net"))
    assert (caught.value.code, service.counters.used(ACCOUNT, "2026-03-04")) == (ErrorCode.MESSAGE_LIMIT_REACHED, 2)

    service.send()
    service.clock.advance(timedelta(days=1))
    service.send(to=people("a@example.net", "b@example.net", "c@example.net"))


def test_a_key_that_cannot_be_opened_is_our_fault() -> None:
    """An unsigned message does not go out by accident."""
    service = Service()
    broken = tuple(replace(key, wrapped=b"garbage" * 9) for key in dkim_keys("example.com"))
    service.settings.put_domain(a_domain(dkim_keys=broken))

    assert refused(service) == ErrorCode.SERVER


# --- ids -------------------------------------------------------------------------------------------------------------


def test_a_taken_id_is_replaced_everywhere() -> None:
    """Two processes that mint the same id in the same tick both get their message through."""
    service = Service()
    service.dice = SeededDice(5)
    first = service.send()
    service.dice = SeededDice(5)

    second = service.send(text="Another one.", save_sent=True)
    service.dice = SeededDice(5)
    third = service.send(to=people("a@example.net", "b@example.net"), save_sent=True)

    ids = {message_of(result.submissions[0].queue_msg_id) for result in (first, second, third)}
    assert len(ids) == 3
    for result in (second, third):
        number = message_of(result.submissions[0].queue_msg_id)
        assert messageid.verify(SECRETS.message_id, result.message_id) == messageid.Submission(ACCOUNT, number)
        assert f"id {number:x}" in parsed(service.content(result))["Received"]
    assert b"Another one." not in service.content(first)


def test_ids_that_never_differ_end_in_unavailable() -> None:
    """Dice that always fall the same way are no reason to loop for ever."""
    service = Service()
    service.dice = StuckDice()
    service.send()

    with pytest.raises(Unavailable, match="ids in a row"):
        service.send()
    assert service.stored_count == 1


def test_the_same_id_may_exist_in_two_accounts() -> None:
    """Ids are unique within an account; one account learns nothing of another by them."""
    service = Service()
    service.dice = SeededDice(5)
    mine = service.send()
    service.dice = SeededDice(5)

    theirs = send(service.sending, service.caller(OTHER_ACCOUNT), a_request())

    assert mine.submissions[0].queue_msg_id == theirs.submissions[0].queue_msg_id
    assert service.delivery(mine.submissions[0].queue_msg_id).reverse_path.endswith("@bounces.example.com")


# --- the copy --------------------------------------------------------------------------------------------------------


def test_save_sent_keeps_a_copy_with_bcc() -> None:
    """The copy shows whom the message went to, and has no trace."""
    service = Service()

    service.send(save_sent=True, bcc=people("hidden@example.net"))

    (mail,) = service.mailboxes.list(ACCOUNT, MailFilter(mailbox="Sent"), "", 10, NOW).items
    copy = parsed(service.blobs.objects[mail.blob])
    assert (copy["Bcc"], copy["Received"], mail.subject) == ("hidden@example.net", None, "Hello")
    assert (mail.size_bytes, mail.flags) == (len(service.blobs.objects[mail.blob]), frozenset({"$notjunk", r"\seen"}))


def test_without_save_sent_there_is_no_copy() -> None:
    """Nothing is kept unasked."""
    service = Service()

    service.send()

    assert service.mailboxes.list(ACCOUNT, MailFilter(), "", 10, NOW).items == ()


def test_an_smtputf8_message_says_so() -> None:
    """Deliver and engine must know that only an SMTPUTF8 server can take it."""
    service = Service()

    result = service.send(to=people("jürgen@example.net"))

    message = service.store.message(ACCOUNT, message_of(result.submissions[0].queue_msg_id))
    assert message is not None
    assert (message.smtputf8, message.recipients) == (True, ("jürgen@example.net",))


def test_account_is_what_the_caller_says() -> None:
    """A retention of the account is fixed when the message is accepted."""
    service = Service()
    account = replace(service.caller().account, keep_deliveries=timedelta(days=3))

    (submission,) = send(service.sending, replace(service.caller(), account=account), a_request()).submissions

    assert service.delivery(submission.queue_msg_id).retention == timedelta(days=3)
