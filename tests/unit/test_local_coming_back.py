"""What the local sink sends back is what our own readers know."""

from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes

import pytest

from egret.core.failure import FailureClass
from egret.core.recognise import MailKind, recognise
from egret_local.coming_back import Return, Taken, coming_back
from egret_local.script import Afterwards, afterwards

CONTENT = b"From: App <app@example.com>\r\nMessage-ID: <1@example.com>\r\nSubject: Hello\r\n\r\nHello.\r\n"


def back(what: Afterwards, content: bytes = CONTENT) -> Return:
    """Return what comes back for a message to Ann."""
    at = datetime(2026, 3, 4, tzinfo=UTC)
    return coming_back(what, Taken("7", "x@bounces.example.com", "ann@example.net", content, at))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ann.bounce@example.net", Afterwards.BOUNCE),
        ("COMPLAINT@example.net", Afterwards.COMPLAINT),
        ("reply@example.net", Afterwards.REPLY),
        ("reply.ann@example.net", None),
        ("ann@bounce", None),
    ],
)
def test_a_local_part_asks_for_what_comes_back(address: str, expected: Afterwards | None) -> None:
    """By the word that it ends in."""
    assert afterwards(address) is expected


def test_a_bounce_says_that_the_address_is_dead() -> None:
    """A DSN to the reverse-path, from nobody."""
    mail = back(Afterwards.BOUNCE)
    found = recognise(mail.raw)

    assert (mail.mail_from, mail.rcpt_to) == ("", "x@bounces.example.com")
    assert (found.kind, found.original_message_id) == (MailKind.BOUNCE, "<1@example.com>")
    assert [(one.address, one.code, one.status, one.failure) for one in found.recipients] == [
        ("ann@example.net", 550, "5.1.1", FailureClass.ADDRESS_DEAD)
    ]


def test_a_complaint_names_who_complains() -> None:
    """A report of RFC 5965 to the reverse-path."""
    mail = back(Afterwards.COMPLAINT)
    found = recognise(mail.raw)

    assert mail.rcpt_to == "x@bounces.example.com"
    assert (found.kind, found.feedback_type) == (MailKind.COMPLAINT, "abuse")
    assert [one.address for one in found.recipients] == ["ann@example.net"]


@pytest.mark.parametrize("field", ["From: App <app@example.com>", "Reply-To: app@example.com"])
def test_an_answer_goes_to_who_wrote(field: str) -> None:
    """To Reply-To, else to From, in the same conversation."""
    content = CONTENT if field.startswith("From") else f"{field}\r\n".encode() + CONTENT.replace(b"app@", b"other@", 1)
    mail = back(Afterwards.REPLY, content)
    reply = message_from_bytes(mail.raw)

    assert (mail.mail_from, mail.rcpt_to) == ("ann@example.net", "app@example.com")
    assert (reply["Subject"], reply["In-Reply-To"]) == ("Re: Hello", "<1@example.com>")
    assert recognise(mail.raw).kind is MailKind.OTHER
