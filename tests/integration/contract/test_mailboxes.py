"""The contract of `Mailboxes`: mail of an account, newest first, and the mailboxes that it made."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from egret.contracts.records import MailFilter, StoredMail
from egret.contracts.stream import MailRecord
from egret.core.ids import message_id_number
from tests.integration.contract.backends import Backend
from tests.samples import (
    CONTENT,
    DAY,
    HOUR,
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
    return _found(backend, account, MailFilter(mailbox=mailbox), limit)


def _found(
    backend: Backend, account: str, wanted: MailFilter, limit: int = 100, now: datetime = NOON
) -> list[StoredMail]:
    found: list[StoredMail] = []
    cursor = ""
    for _ in range(100):
        page = backend.mailboxes.list(account, wanted, cursor, limit, now)
        assert len(page.items) <= limit
        found += page.items
        cursor = page.cursor
        if not cursor:
            return found
    pytest.fail("the listing does not end")


def _get(backend: Backend, account: str, number: int = 1) -> StoredMail | None:
    return backend.mailboxes.get(account, message_number(number), NOON)


def test_mail_comes_back_as_it_was(backend: Backend, account: str) -> None:
    """With every field, from a get and from the listing."""
    bare = StoredMail(account, message_number(2), "Sent", "content/2", 0, NOON)

    assert backend.mailboxes.put(mail(account))
    assert backend.mailboxes.put(bare)
    assert mail(account) == _get(backend, account)
    assert [bare, mail(account)] == _all(backend, account)


def test_same_source_is_stored_once(backend: Backend, account: str) -> None:
    """A mail that is processed again does not appear twice; one to another recipient does."""
    again = replace(mail(account), id=message_number(2))
    to_another = replace(again, rcpt_to="second@example.com")
    backend.mailboxes.put(mail(account))

    assert not backend.mailboxes.put(again)
    assert _get(backend, account, 2) is None
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
    assert mail(account) == _get(backend, account)
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

    assert _get(backend, other) is None
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
    assert sent == backend.mailboxes.get(account, sent.id, NOON)


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


def test_a_change_is_made_once(backend: Backend, account: str) -> None:
    """Of two who read the same, one wins; the other sees that, and nothing of his is written."""
    was = mail(account)
    first = replace(was, flags=frozenset({"$junk"}), rev=2)
    second = replace(was, mailbox="Trash", rev=2)
    backend.mailboxes.put(was)

    assert [backend.mailboxes.replace(was, first), backend.mailboxes.replace(was, second)] == [True, False]
    assert _all(backend, account, "Inbox") == [first]
    assert _all(backend, account, "Trash") == []


def test_a_moved_mail_is_in_one_mailbox(backend: Backend, account: str) -> None:
    """It is listed where it is, not where it was; its thread keeps it."""
    was = mail(account)
    moved = replace(was, mailbox="Archive", rev=2)
    backend.mailboxes.put(was)

    assert backend.mailboxes.replace(was, moved)
    assert (_all(backend, account, "Inbox"), _all(backend, account, "Archive")) == ([], [moved])
    assert _found(backend, account, MailFilter(thread="thread-1")) == [moved]
    assert not backend.mailboxes.replace(was, replace(was, mailbox="Trash", rev=2))
    assert _all(backend, account, "Trash") == []


def test_what_is_absent_is_not_changed(backend: Backend, account: str) -> None:
    """A change makes no mail."""
    assert not backend.mailboxes.replace(mail(account), replace(mail(account), rev=2))
    assert not backend.mailboxes.remove(mail(account), NOON)
    assert _all(backend, account) == []


def test_removed_mail_is_gone_and_does_not_come_back(backend: Backend, account: str) -> None:
    """From everywhere; its source is remembered, and so is its id."""
    was = mail(account)
    backend.mailboxes.put(was)
    backend.mailboxes.put(mail(account, 2))

    assert not backend.mailboxes.remove(replace(was, rev=2), NOON)
    assert backend.mailboxes.remove(was, NOON)
    assert (_get(backend, account), _all(backend, account, "Inbox")) == (None, [mail(account, 2)])
    assert _found(backend, account, MailFilter(thread="thread-1")) == []
    assert not backend.mailboxes.put(was)
    assert not backend.mailboxes.put(replace(was, id=message_number(3)))
    gone = [backend.mailboxes.was_removed(account, message_number(number)) for number in (1, 2, 3)]
    assert gone == [True, False, False]


def test_the_account_tells_whether_it_holds_the_mail_of_a_source(backend: Backend, account: str, other: str) -> None:
    """Never had, has, had; over is had."""
    source = ("inbound-1", "login@example.com")
    before = backend.mailboxes.holds(account, *source, NOON)
    backend.mailboxes.put(mail(account))
    during = [backend.mailboxes.holds(one, *source, NOON) for one in (account, other)]
    over = backend.mailboxes.holds(account, *source, NOON + 40 * DAY)
    backend.mailboxes.remove(mail(account), NOON)

    assert (before, during, over) == (None, [True, None], False)
    assert backend.mailboxes.holds(account, *source, NOON) is False


def test_mail_whose_time_is_over_is_absent(backend: Backend, account: str) -> None:
    """From the very instant, whether storage has removed it or not."""
    kept = replace(mail(account, 2), expires_at=None)
    backend.mailboxes.put(mail(account))
    backend.mailboxes.put(kept)
    end = mail(account).expires_at
    assert end is not None

    assert backend.mailboxes.get(account, message_number(1), end - HOUR) is not None
    assert backend.mailboxes.get(account, message_number(1), end) is None
    assert _found(backend, account, MailFilter(mailbox="Inbox"), now=end) == [kept]


ODD = MailFilter(
    from_="LICE@", to="carol", subject="grüsse", flags=frozenset({"a"}), without=frozenset({"b"}), is_dsn=False
)


@pytest.mark.parametrize(
    "miss",
    [
        {"header_from": "Bob <bob@example.net>"},
        {"to": (), "rcpt_to": "dave@example.net"},
        {"subject": "Hello"},
        {"flags": frozenset({"c"})},
        {"flags": frozenset({"a", "b"})},
        {"is_dsn": True},
    ],
)
@pytest.mark.parametrize("limit", [1, 10])
def test_a_search_finds_what_matches_in_all(
    backend: Backend, account: str, miss: dict[str, object], limit: int
) -> None:
    """Parts of names and subject in any case; every criterion counts."""
    hits = [
        replace(
            mail(account, number),
            header_from="Alice@example.net",
            mail_from="",
            subject="Viele GRÜSSE",
            flags=frozenset({"a", "x"}),
            is_dsn=False,
        )
        for number in (1, 3)
    ]
    for each in (*hits, replace(hits[0], id=message_number(2), source="", **miss)):  # type: ignore[arg-type]
        backend.mailboxes.put(each)

    assert _found(backend, account, ODD, limit) == hits[::-1]


def test_a_search_by_time_takes_whole_instants(backend: Backend, account: str) -> None:
    """From since, up to but without until."""
    mails = [
        replace(mail(account, number), id=message_id_number(at, number), received_at=at)
        for number, at in enumerate((NOON, NOON + HOUR, NOON + 2 * HOUR))
    ]
    for each in mails:
        backend.mailboxes.put(each)

    assert _found(backend, account, MailFilter(since=NOON + HOUR)) == mails[:0:-1]
    assert _found(backend, account, MailFilter(since=NOON, until=NOON + HOUR)) == mails[:1]
    assert _found(backend, account, MailFilter(mailbox="Inbox", since=NOON + HOUR, until=NOON)) == []


def test_a_thread_is_listed_over_all_mailboxes(backend: Backend, account: str) -> None:
    """Or within one."""
    mails = [replace(mail(account, number, ("Inbox", "Sent")[number % 2]), thread="t") for number in range(3)]
    for each in (*mails, mail(account, 5)):
        backend.mailboxes.put(each)

    assert _found(backend, account, MailFilter(thread="t"), limit=2) == mails[::-1]
    assert _found(backend, account, MailFilter(thread="t", mailbox="Sent")) == [mails[1]]


def test_a_message_id_keeps_its_first_thread(backend: Backend, account: str, other: str) -> None:
    """Who comes second learns it; accounts have threads of their own."""
    until = NOON + 300 * DAY
    joined = [backend.mailboxes.join(account, "<1@x>", thread, until) for thread in ("first", "second")]
    backend.mailboxes.join(account, "<2@x>", "other", until)

    assert joined == ["first", "first"]
    known = {"<1@x>": "first", "<2@x>": "other"}
    assert backend.mailboxes.threads(account, ["<0@x>", "<1@x>", "<2@x>"]) == known
    assert backend.mailboxes.threads(other, ["<1@x>"]) == {}
    assert backend.mailboxes.threads(account, []) == {}


def test_mailboxes_are_made_and_removed(backend: Backend, account: str, other: str) -> None:
    """Each once; those of another account are not seen."""
    made = [backend.mailboxes.create(account, name) for name in ("Clients", "Clients", "Ä/b")]
    own = [*backend.mailboxes.own(account)]
    dropped = [backend.mailboxes.drop(account, "Clients", NOON) for _ in range(2)]

    assert (made, own, dropped) == ([True, False, True], ["Clients", "Ä/b"], [True, None])
    assert (backend.mailboxes.own(account), backend.mailboxes.own(other)) == (["Ä/b"], [])


def test_a_mailbox_with_mail_stays(backend: Backend, account: str) -> None:
    """What is over does not count; nothing can be moved into what is not there."""
    was = mail(account)
    moved = replace(was, mailbox="Clients", rev=2)
    backend.mailboxes.put(was)
    assert not backend.mailboxes.replace(was, moved)
    backend.mailboxes.create(account, "Clients")

    assert backend.mailboxes.replace(was, moved)
    assert backend.mailboxes.drop(account, "Clients", NOON) is False
    assert backend.mailboxes.drop(account, "Clients", NOON + 40 * DAY)


def test_every_change_of_a_mail_is_streamed(backend: Backend, account: str) -> None:
    """That it came, changed, and went; only the first is news."""
    was = mail(account)
    changed = replace(was, flags=frozenset(), rev=2)
    backend.mailboxes.put(was)
    backend.mailboxes.replace(was, changed)
    backend.mailboxes.remove(changed, NOON)

    records = backend.mail_stream()
    assert records == [MailRecord(None, was), MailRecord(was, changed), MailRecord(changed, None)]
    assert [record.is_news for record in records] == [True, False, False]
    assert [record.removed for record in records] == [None, None, changed]
