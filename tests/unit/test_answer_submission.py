"""Answering the SMTP listener: whose key it is, where the content lies, and how a refusal reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from egret.contracts.settings import ApiKey, Scope
from egret.contracts.submission import (
    STAGING,
    Submission,
    SubmissionRecipient,
    Submitted,
    Trouble,
    decode_submission,
    decode_submitted,
    encode,
)
from egret.contracts.webapi import ErrorCode
from egret.core.errors import Unavailable
from egret.memory.blobs import MemoryBlobs
from egret.usecases.answer_submission import AnswerPorts, answer_submission
from functions.submit.handler import answer
from tests.unit.builders import ACCOUNT, NOW
from tests.unit.sending import LOGIN, Service

KEY = ApiKey("5" * 64, ACCOUNT, LOGIN, Scope.SEND)
CONTENT = b"From: app@example.com\r\nMessage-ID: <1@client.example>\r\nSubject: Hi\r\n\r\nHello.\r\n"


def a_service(key: ApiKey = KEY) -> Service:
    """Return a service that knows the key."""
    service = Service()
    service.settings.put_key(key)
    return service


def ports_of(service: Service) -> AnswerPorts:
    """Return the ports."""
    return AnswerPorts(service.sending, service.settings)


def a_submission(**changes: Any) -> Submission:
    """Return a submission that is accepted, with the changes."""
    values: dict[str, Any] = {"key_hash": KEY.hash, "mail_from": LOGIN, "content": CONTENT}
    return Submission(recipients=(SubmissionRecipient("ann@example.net"),), **(values | changes))


def test_an_accepted_submission_is_answered_with_its_ids() -> None:
    """Of the first delivery, and the Message-ID; the use of the key is noted."""
    service = a_service()
    facts: dict[str, object] = {}
    submitted = answer_submission(ports_of(service), a_submission(), facts)

    assert submitted == Submitted(submitted.id, "<1@client.example>")
    assert service.delivery(submitted.id).recipient == "ann@example.net"
    assert (facts["account"], facts["recipients"]) == (ACCOUNT, 1)
    known = service.settings.key(KEY.hash)
    assert known is not None
    assert known.last_used_at == NOW


def test_a_refusal_has_the_code_and_the_sentence() -> None:
    """The listener makes a reply of them."""
    submitted = answer_submission(ports_of(a_service()), a_submission(mail_from="x@elsewhere.example"))

    assert (submitted.code, submitted.id) == (Trouble.BAD_SENDER, 0)
    assert "MAIL FROM" in submitted.message


@pytest.mark.parametrize("key", [replace(KEY, hash="6" * 64), replace(KEY, scope=Scope.READ)])
def test_a_key_that_may_not_send_is_refused(key: ApiKey) -> None:
    """Revoked after the login, or of another scope."""
    assert answer_submission(ports_of(a_service(key)), a_submission()).code == Trouble.NO_LOGIN


def test_a_disabled_account_submits_nothing() -> None:
    """Its session may be older than that."""
    service = a_service()
    service.change_account(disabled=True)

    assert answer_submission(ports_of(service), a_submission()).code == Trouble.NO_LOGIN


@pytest.mark.parametrize(("mail_from", "code"), [(LOGIN, ""), ("x@elsewhere.example", Trouble.BAD_SENDER)])
def test_staged_content_is_read_and_removed(mail_from: str, code: str) -> None:
    """Whatever the answer is."""
    service = a_service()
    service.blobs.put(STAGING + "1", CONTENT)
    submitted = answer_submission(ports_of(service), a_submission(content=b"", key=STAGING + "1", mail_from=mail_from))

    assert submitted.code == code
    assert service.blobs.get(STAGING + "1") is None


def test_the_same_key_and_content_is_the_same_submission_however_it_came() -> None:
    """Inline the first time, staged the second."""
    service = a_service()
    content = b"Egret-Idempotency-Key: 17\r\n" + CONTENT
    first = answer_submission(ports_of(service), a_submission(content=content))
    service.blobs.put(STAGING + "1", content)

    assert answer_submission(ports_of(service), a_submission(content=b"", key=STAGING + "1")) == first
    assert service.stored_count == 1


def test_a_storage_that_does_not_answer_is_told_apart() -> None:
    """From a refusal: the client is to come again."""

    class Silent(MemoryBlobs):
        def get(self, key: str) -> bytes | None:
            raise Unavailable(detail=key)

        def delete(self, key: str) -> None:
            raise Unavailable(detail=key)

    service = a_service()
    service.blobs = Silent()
    submitted = answer_submission(ports_of(service), a_submission(content=b"", key=STAGING + "1"))

    assert submitted.code == Trouble.UNAVAILABLE


def test_the_function_speaks_json() -> None:
    """As Lambda gives the event and takes the answer: content is base64."""
    service = a_service()
    event = msgspec.json.decode(encode(a_submission(content=CONTENT + b"\xff\r\n")))
    result = answer(ports_of(service), event)
    submitted = decode_submitted(msgspec.json.encode(result))
    stored = service.store.content(ACCOUNT, submitted.id)

    assert stored is not None
    assert stored.endswith(b"\xff\r\n")
    assert answer(ports_of(service), msgspec.json.decode(encode(a_submission(mail_from="x@y.example"))))["code"] == (
        Trouble.BAD_SENDER
    )


def test_the_contract_survives_its_wire_form() -> None:
    """Every field, in both directions; what is newer is ignored."""
    submission = a_submission(ret="HDRS", envid="ü 1", future_release="for;60", require_tls=True, smtputf8=True)
    newer = encode(submission)[:-1] + b',"news":1}'

    assert decode_submission(encode(submission)) == submission == decode_submission(newer)
    assert decode_submitted(encode(Submitted(code=ErrorCode.BAD_FROM))) == Submitted(code="badFrom")
