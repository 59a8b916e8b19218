"""The contract of `Mailboxes`: mail of an account, newest first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from egret.contracts.records import StoredMail
from tests.integration.contract.backends import Backend
from tests.samples import (
    CONTENT,
    NOON,
    acceptance,
    completed,
    mail,
    message,
    message_number,
    reservation,
)


def _all(backend: Backend, account: str, mailbox: str = "", limit: int = 100) -> list[StoredMail]:
    """Return every mail of a mailbox; fails when a page is too large or the listing does not end."""
    found: list[StoredMail] = []
    cursor = ""
    for _ in range(100):
        page = backend.mailboxes.list(account, mailbox, cursor, limit)
        assert len(page.items) <= limit
        found += page.items
        cursor = page.cursor
        if not cursor:
            return found
    pytest.fail("the listing does not end")


def test_mail_comes_back_as_it_was(backend: Backend, account: str) -> None:
    """With every field, from a get and from the listing."""
    bare = StoredMail(account, message_number(2), "Sent", "content/2", 0, NOON)

    assert backend.mailboxes.put(mail(account))
    assert backend.mailboxes.put(bare)
    assert mail(account) == backend.mailboxes.get(account, message_number(1))
    assert [bare, mail(account)] == _all(backend, account)


def test_same_source_is_stored_once(backend: Backend, account: str) -> None:
    """A mail that is processed again does not appear twice; one to another recipient does."""
    again = replace(mail(account), id=message_number(2))
    to_another = replace(again, rcpt_to="second@example.com")
    backend.mailboxes.put(mail(account))

    assert not backend.mailboxes.put(again)
    assert backend.mailboxes.get(account, message_number(2)) is None
    assert backend.mailboxes.put(to_another)
    assert [to_another, mail(account)] == _all(backend, account)


def test_mails_without_source_are_all_stored(backend: Backend, account: str) -> None:
    """Saved mail has none: it is never a repeat."""
    saved = [replace(mail(account, number), source="") for number in (1, 2)]

    assert [backend.mailboxes.put(each) for each in saved] == [True, True]


@pytest.mark.parametrize("source", ["", "inbound-2"])
def test_taken_id_is_refused(backend: Backend, account: str, source: str) -> None:
    """Nothing is overwritten, and the source of what was refused is not used up."""
    late = replace(mail(account), source=source, subject="late")
    backend.mailboxes.put(mail(account))

    assert not backend.mailboxes.put(late)
    assert mail(account) == backend.mailboxes.get(account, message_number(1))
    assert backend.mailboxes.put(replace(late, id=message_number(3)))


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_mailbox_is_listed_newest_first(backend: Backend, account: str, limit: int) -> None:
    """Page by page; "" means every mailbox."""
    mails = [mail(account, number, ("Inbox", "Sent", "Inbox/Sub")[number % 3]) for number in range(9)]
    for each in (*mails[4:], *mails[:4]):
        backend.mailboxes.put(each)

    assert mails[::-1] == _all(backend, account, "", limit)
    assert [m for m in mails[::-1] if m.mailbox == "Inbox"] == _all(backend, account, "Inbox", limit)
    assert _all(backend, account, "Trash", limit) == []


def test_accounts_know_nothing_of_each_other(backend: Backend, account: str, other: str) -> None:
    """The same source, id and mailbox in another account are free, and stay unseen."""
    backend.mailboxes.put(mail(account))

    assert backend.mailboxes.get(other, message_number(1)) is None
    assert _all(backend, other) == []
    assert backend.mailboxes.put(mail(other))
    assert [mail(account)] == _all(backend, account)


@pytest.mark.parametrize("recipients", [1, 3])
def test_copy_of_sent_mail_comes_with_the_acceptance(backend: Backend, account: str, recipients: int) -> None:
    """One write accepts the message and puts the copy; a repeat puts no second one."""
    sent = replace(mail(account, 1, "Sent"), source="")
    wanted = replace(acceptance(account, recipients=recipients), sent=sent)
    before = _all(backend, account)
    for _ in range(2):
        if recipients == 1:
            backend.store.put_message(message(account), CONTENT)
            assert backend.store.accept(wanted)
        else:
            assert backend.store.accept_several(wanted, CONTENT, NOON)

    assert before == []
    assert [sent] == _all(backend, account, "Sent")
    assert sent == backend.mailboxes.get(account, sent.id)


@pytest.mark.parametrize("recipients", [1, 3])
def test_refused_acceptance_leaves_no_copy(backend: Backend, account: str, recipients: int) -> None:
    """Without its reservation nothing is written."""
    sent = replace(mail(account, 1, "Sent"), source="")
    wanted = replace(acceptance(account, recipients=recipients), sent=sent, idempotency=completed(reservation(account)))
    if recipients == 1:
        backend.store.put_message(message(account), CONTENT)
        assert backend.store.accept(wanted) is False
    else:
        assert backend.store.accept_several(wanted, CONTENT, NOON) is False

    assert _all(backend, account) == []
