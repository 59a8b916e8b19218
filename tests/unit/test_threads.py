"""Promises of egret.usecases.threads."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from egret.memory.mailboxes import MemoryMailboxes
from egret.usecases.threads import MAX_REFERENCES, thread_of
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT


def thread(mailboxes: MemoryMailboxes, message_id: str, *references: str) -> str:
    """Return the thread of a mail."""
    return thread_of(mailboxes, ACCOUNT, message_id, references, NOW)


def test_a_mail_that_refers_to_nothing_begins_a_thread() -> None:
    """Two have two; the same mail again has the same."""
    mailboxes = MemoryMailboxes()

    threads = [thread(mailboxes, one) for one in ("<a@x>", "<b@x>", "<a@x>")]

    assert threads[0] == threads[2] != threads[1]


def test_a_reply_is_in_the_thread_of_what_it_answers() -> None:
    """Whether that is stored or not, and however its Message-ID is written."""
    mailboxes = MemoryMailboxes()
    root = thread(mailboxes, "<A@x>")

    assert thread(mailboxes, "<b@x>", "<a@X >") == root
    assert thread(MemoryMailboxes(), "<b@x>", "<A@x>") == root


def test_a_chain_finds_its_beginning() -> None:
    """Each names only its parent."""
    mailboxes = MemoryMailboxes()
    threads = {thread(mailboxes, f"<{number}@x>", *([f"<{number - 1}@x>"] if number else [])) for number in range(6)}

    assert len(threads) == 1


def test_a_chain_whose_beginning_nobody_has_is_one_thread() -> None:
    """The oldest that is known counts, before what only one of them names."""
    mailboxes = MemoryMailboxes()
    first = thread(mailboxes, "<b@x>", "<a@x>")

    assert thread(mailboxes, "<c@x>", "<z@x>", "<a@x>") == first
    assert thread(mailboxes, "<d@x>", "<b@x>") == first


@given(st.permutations(range(4)))
def test_whole_chains_are_one_thread_in_any_order(order: list[int]) -> None:
    """With all References, the order in which mail arrives does not matter."""
    mailboxes = MemoryMailboxes()
    chain = [f"<{number}@x>" for number in range(4)]

    assert len({thread(mailboxes, chain[number], *chain[:number]) for number in order}) == 1


def test_mail_that_has_nothing_to_be_known_by_has_no_thread() -> None:
    """It is not thrown together with other such mail."""
    assert thread(MemoryMailboxes(), "", "", " ") == ""


def test_many_references_are_bounded() -> None:
    """The oldest and the newest are looked up, so that a long list costs no more."""
    mailboxes = MemoryMailboxes()
    many = [f"<{number}@x>" for number in range(500)]
    root = thread(mailboxes, many[0])

    assert thread(mailboxes, "<new@x>", *many) == root
    assert len(mailboxes.table.threads) <= MAX_REFERENCES


def test_accounts_have_threads_of_their_own() -> None:
    """What one has met is not known to another."""
    mailboxes = MemoryMailboxes()
    thread(mailboxes, "<b@x>", "<a@x>")

    assert thread_of(mailboxes, OTHER_ACCOUNT, "<c@x>", ["<b@x>"], NOW) != thread(mailboxes, "<c@x>", "<b@x>")


def test_processing_again_changes_nothing() -> None:
    """In whatever order mails are repeated."""
    mails = (("<a@x>",), ("<b@x>", "<a@x>"), ("<c@x>", "<b@x>"))
    for order in permutations(mails):
        mailboxes = MemoryMailboxes()
        before = [thread(mailboxes, *one) for one in order]
        assert [thread(mailboxes, *one) for one in order] == before
