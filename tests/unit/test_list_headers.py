"""Mail is marked for providers: List-Unsubscribe where it is asked for, Feedback-ID always, both signed."""

from __future__ import annotations

import re
from dataclasses import replace
from email import message_from_bytes, policy
from typing import Any

import pytest

from egret.contracts.settings import Installation
from egret.contracts.webapi import ErrorCode
from egret.core import fromid
from egret.core.errors import InvalidRequest
from egret.core.fromid import FromId, Purpose
from egret.core.unsubscribe import Wish, keys_of, unseal
from egret.usecases.send import send
from tests.unit.builders import ACCOUNT
from tests.unit.sending import SECRETS, Service, a_domain, a_request, people

POST = "List-Unsubscribe=One-Click"
FORM = re.compile(
    r"<https://api\.example\.com/unsubscribe/([a-z2-7]+)>,"
    r" <mailto:unsubscribe\+([a-z2-7]{32})@bounces\.example\.com\?subject=([a-z2-7]+)>"
)


def headers_of(service: Service, host: str = "api.example.com", **changes: Any) -> dict[str, list[str]]:
    """Send with the changes; return the headers as they went out, unfolded, by lower-case name."""
    result = send(service.sending, replace(service.caller(), host=host), a_request(**changes))
    message = message_from_bytes(service.content(result), policy=policy.compat32)
    return {name.lower(): [re.sub(r"\r?\n", "", value) for value in message.get_all(name, [])] for name in message}


def refusal(service: Service, host: str = "api.example.com", **changes: Any) -> str:
    """Send with the changes, be refused as `user`, return the sentence."""
    with pytest.raises(InvalidRequest) as caught:
        headers_of(service, host, **changes)
    assert caught.value.code == ErrorCode.USER
    assert service.stored_count == 0
    return caught.value.public


def test_a_message_has_a_link_of_its_own() -> None:
    """One https URI, one mailto; all of it names this recipient and this delivery (RFC 8058 section 3.1)."""
    service = Service()
    headers = headers_of(service, unsubscribe=True, to=people("Ann+x@Example.net"))

    (delivery,) = service.store.table.deliveries.values()
    found = FORM.fullmatch(headers["list-unsubscribe"][0])
    assert found is not None
    link, mailbox, subject = found.groups()
    assert link == subject
    assert unseal(keys_of(SECRETS.fromid), link) == Wish(ACCOUNT, delivery.id, "Ann+x@example.net")
    assert fromid.verify(SECRETS.fromid, mailbox, Purpose.UNSUBSCRIBE) == FromId(ACCOUNT, delivery.id)
    assert headers["list-unsubscribe-post"] == [POST]


def test_both_headers_are_sealed_by_every_signature() -> None:
    """Named in h= once more than they occur, so that none can be changed or added (RFC 8058 section 4)."""
    headers = headers_of(Service(), unsubscribe=True)

    assert len(headers["dkim-signature"]) == 2
    for signature in headers["dkim-signature"]:
        signed = re.sub(r"\s", "", signature).lower().partition("h=")[2].partition(";")[0].split(":")
        for name in ("list-unsubscribe", "list-unsubscribe-post", "feedback-id"):
            assert signed.count(name) == 2


@pytest.mark.parametrize(
    ("account", "call", "expected"),
    [(False, None, 0), (False, True, 1), (False, False, 0), (True, None, 1), (True, True, 1), (True, False, 0)],
)
def test_the_call_decides_before_the_account(account: bool, call: bool | None, expected: int) -> None:
    """Null leaves it to the account."""
    service = Service()
    service.change_account(unsubscribe=account)

    assert len(headers_of(service, unsubscribe=call).get("list-unsubscribe", [])) == expected


def test_several_recipients_are_refused() -> None:
    """Each link is its recipient's alone, and all recipients of a message have the same content."""
    service = Service()
    service.change_account(unsubscribe=True)

    assert "one recipient" in refusal(service, to=people("ann@example.net"), bcc=people("bob@example.net"))
    headers_of(service, to=people("ann@example.net", "bob@example.net"), unsubscribe=False)


def test_who_writes_the_header_does_without_ours() -> None:
    """To ask for both is a mistake."""
    service, own = Service(), (("list-UNSUBSCRIBE", "<https://shop.example/u>"),)
    service.change_account(unsubscribe=True)

    assert "of its own" in refusal(service, headers=own, unsubscribe=True)
    headers = headers_of(service, headers=own, to=people("ann@example.net", "bob@example.net"))
    assert headers["list-unsubscribe"] == ["<https://shop.example/u>"]
    assert "list-unsubscribe-post" not in headers


@pytest.mark.parametrize("domain", [a_domain(dkim_keys=()), a_domain(return_path_domain="")])
def test_without_signature_or_way_back_it_is_refused(domain: Any) -> None:
    """The header would not count, or the mail never reach us."""
    service = Service()
    service.settings.put_domain(domain)
    service.change_account(uses_fromid=False)

    assert "signed" in refusal(service, unsubscribe=True)


def test_mail_comes_to_the_domain_itself_where_that_is_ours() -> None:
    """It has no return-path domain where its MX is Egret."""
    service = Service()
    service.settings.put_domain(a_domain(return_path_domain="", separator="+"))

    assert "@example.com?subject=" in headers_of(service, unsubscribe=True)["list-unsubscribe"][0]


@pytest.mark.parametrize(
    ("installation", "host", "expected"),
    [
        (Installation("mx.example"), "api.example.com", "<https://api.example.com/unsubscribe/"),
        (
            Installation("mx.example", public_url="https://u.example/a/"),
            "x.example",
            "<https://u.example/a/unsubscribe/",
        ),
        (Installation("mx.example", local=True), "127.0.0.1:1080", "<http://127.0.0.1:1080/unsubscribe/"),
    ],
)
def test_the_link_leads_to_the_api(installation: Installation, host: str, expected: str) -> None:
    """To where it says that it is, else to where it was called; without TLS only in local mode."""
    service = Service(installation=installation)

    assert headers_of(service, host, unsubscribe=True)["list-unsubscribe"][0].startswith(expected)


def test_without_a_public_url_it_is_refused() -> None:
    """A link to nowhere helps nobody."""
    assert "public URL" in refusal(Service(), host="", unsubscribe=True)


def test_feedback_tells_accounts_apart() -> None:
    """The third field tells lists from other mail; the last one is the same for all."""
    service = Service()

    assert headers_of(service)["feedback-id"] == [f":{ACCOUNT}:mail:egret"]
    assert headers_of(service, unsubscribe=True)["feedback-id"] == [f":{ACCOUNT}:list:egret"]


def test_the_callers_own_feedback_id_stands_alone() -> None:
    """In any case of letters."""
    assert headers_of(Service(), headers=(("Feedback-Id", "a:b:c:shop1"),))["feedback-id"] == ["a:b:c:shop1"]
