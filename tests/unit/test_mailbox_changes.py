"""The mailbox methods that change mail, find it, and take it apart."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.contracts.records import StoredMail
from egret.contracts.webapi import MAX_ANSWER_BYTES, ErrorCode, MessageListRequest, RawContent
from egret.core.errors import InvalidRequest, Unavailable
from egret.core.ids import MAX_ID
from egret.core.mailbox import MAX_FLAGS, STANDARD, flags_of, in_order, mailbox_name
from egret.memory.mailboxes import MemoryMailboxes
from egret.usecases import mailbox
from egret.usecases.mailbox import (
    MAX_MAILBOXES,
    MAX_THREADS,
    mailbox_create,
    mailbox_delete,
    mailbox_list,
    message_delete,
    message_flags_add,
    message_flags_remove,
    message_get,
    message_list,
    message_move,
    message_part_get,
)
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT
from tests.unit.sending import Service
from tests.unit.test_mailbox import RAW, code_of, ports, receive

MULTIPART = (
    b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n'
    b"--c\r\n\r\none\r\ntwo\r\n--c--\r\n--b\r\nContent-Transfer-Encoding: base64\r\n\r\n/w==\r\n--b--\r\n"
)


def flags(service: Service, mail_id: int) -> tuple[str, ...]:
    """Return the flags of a mail as they are shown."""
    return message_get(ports(service), ACCOUNT, mail_id).meta.flags


def found(service: Service, **search: Any) -> list[int]:
    """Return the ids of what a search finds."""
    return [mail.msg_id for mail in message_list(ports(service), ACCOUNT, MessageListRequest(**search)).messages]


# --- flags


def test_flags_are_added_and_removed_in_any_case_and_order() -> None:
    """The reference's flags come first, in its order, then keywords; to do it again changes nothing."""
    service = Service()
    mail = receive(service)
    for _ in range(2):
        message_flags_add(ports(service), ACCOUNT, mail, [r"\Seen", "zebra", "$Forwarded", "Apple", r"\Answered"])
    added = flags(service, mail)
    revisions = len(service.store.table.mail_stream)
    for _ in range(2):
        message_flags_remove(ports(service), ACCOUNT, mail, [r"\SEEN", "zebra", "never-set"])

    assert added == ("$forwarded", r"\answered", r"\seen", "apple", "zebra")
    assert flags(service, mail) == ("$forwarded", r"\answered", "apple")
    assert (revisions, len(service.store.table.mail_stream)) == (2, 3)


def test_no_flags_change_nothing() -> None:
    """A null list is a success."""
    service = Service()
    mail = receive(service)
    message_flags_add(ports(service), ACCOUNT, mail, [])

    assert len(service.store.table.mail_stream) == 1


@pytest.mark.parametrize("flag", ["", "a b", "a(b", "é", r"\recent", r"\*", "a\\b", "a\r", "]", "k" * 101])
def test_what_is_no_flag_is_refused(flag: str) -> None:
    """Before anything is looked up."""
    service = Service()
    for change in (message_flags_add, message_flags_remove):
        assert code_of(change, ports(service), ACCOUNT, 1, [flag]) == ErrorCode.USER


def test_a_mail_has_a_bounded_number_of_flags() -> None:
    """They are stored in its item."""
    service = Service()
    mail = receive(service)
    message_flags_add(ports(service), ACCOUNT, mail, [f"k{number}" for number in range(MAX_FLAGS)])

    assert code_of(message_flags_add, ports(service), ACCOUNT, mail, ["more"]) == ErrorCode.USER
    message_flags_remove(ports(service), ACCOUNT, mail, ["k1"])
    message_flags_add(ports(service), ACCOUNT, mail, ["more"])


atoms = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters='(){%*"\\]'), min_size=1)


@given(st.frozensets(st.one_of(atoms.filter(lambda word: len(word) <= 100), st.sampled_from([r"\Seen", "$Junk"]))))
def test_flags_in_order_are_the_same_flags(words: frozenset[str]) -> None:
    """Each once, in lower case, and written the same when read again."""
    known = flags_of(words)

    assert set(in_order(known)) == known == {word.lower() for word in words}
    assert in_order(flags_of(in_order(known))) == in_order(known)


# --- moving, removing


def test_a_mail_moves_and_keeps_its_id() -> None:
    """It is found where it went; `inbox` is written in any case."""
    service = Service()
    mail = receive(service)
    message_move(ports(service), ACCOUNT, mail, "Archive")
    archived = (found(service, mailbox="Archive"), found(service, mailbox="Inbox"))
    message_move(ports(service), ACCOUNT, mail, "INBOX")

    assert archived == ([mail], [])
    assert message_get(ports(service), ACCOUNT, mail).meta.mailbox_name == "Inbox"


@pytest.mark.parametrize("name", ["Inbox", "inbox", "Bogus", "", "a//b", "x\n", "n" * 256])
def test_a_mail_goes_only_to_another_mailbox_that_exists(name: str) -> None:
    """The same, unknown ones and what is no name are the caller's fault."""
    service = Service()

    assert code_of(message_move, ports(service), ACCOUNT, receive(service), name) == ErrorCode.USER


def test_removed_mail_is_gone() -> None:
    """For reading as if it had never been; a change is told that it was removed."""
    service = Service()
    mail = receive(service)
    message_delete(ports(service), ACCOUNT, mail)

    assert found(service) == []
    for read in (message_get, mailbox.message_raw_get):
        assert code_of(read, ports(service), ACCOUNT, mail) == ErrorCode.MESSAGE_NOT_FOUND
    assert code_of(message_part_get, ports(service), ACCOUNT, mail, ()) == ErrorCode.MESSAGE_NOT_FOUND
    for change, arguments in CHANGES:
        assert code_of(change, ports(service), ACCOUNT, mail, *arguments) == ErrorCode.USER


CHANGES: list[tuple[Any, tuple[Any, ...]]] = [
    (message_delete, ()),
    (message_flags_add, (["a"],)),
    (message_flags_remove, (["a"],)),
    (message_move, ("Trash",)),
]


@pytest.mark.parametrize(("change", "arguments"), CHANGES)
@pytest.mark.parametrize(
    ("mail", "code"),
    [
        (0, ErrorCode.USER),
        (1, ErrorCode.MESSAGE_NOT_FOUND),
        (-5, ErrorCode.MESSAGE_NOT_FOUND),
        (MAX_ID + 1, ErrorCode.MESSAGE_NOT_FOUND),
        ((1 << 63) - 1, ErrorCode.MESSAGE_NOT_FOUND),
    ],
)
def test_what_never_was_cannot_be_changed(change: Any, arguments: tuple[Any, ...], mail: int, code: str) -> None:
    """Id 0 is a missing argument."""
    assert code_of(change, ports(Service()), ACCOUNT, mail, *arguments) == code


@pytest.mark.parametrize(("change", "arguments"), CHANGES)
def test_anothers_mail_cannot_be_changed(change: Any, arguments: tuple[Any, ...]) -> None:
    """Nothing tells that it is there."""
    service = Service()
    mail = receive(service)

    assert code_of(change, ports(service), OTHER_ACCOUNT, mail, *arguments) == ErrorCode.MESSAGE_NOT_FOUND
    assert found(service) == [mail]


class Racing(MemoryMailboxes):
    """Mailboxes in which somebody else is faster a few times: he sets a flag of his own."""

    def __init__(self, service: Service, times: int) -> None:
        super().__init__(service.store.table)
        self.times = times

    def _is_as(self, mail: StoredMail) -> bool:
        if self.times:
            self.times -= 1
            stored = self.table.mails[mail.account, mail.id]
            self.table.write_mail(replace(stored, flags=stored.flags | {f"his{self.times}"}, rev=stored.rev + 1))
        return super()._is_as(mail)


@pytest.mark.parametrize(("change", "arguments"), CHANGES)
def test_nobodys_change_is_lost(change: Any, arguments: tuple[Any, ...]) -> None:
    """Who was slower does it again on what the faster one wrote; against an endless race it gives up."""
    service = Service()
    mail = receive(service, flags=frozenset({"a"}) if change is message_flags_remove else frozenset())
    change(replace(ports(service), mailboxes=Racing(service, 3)), ACCOUNT, mail, *arguments)
    another = receive(service, id=mail + 1024, flags=frozenset({"a"} if change is message_flags_remove else {}))

    if change is not message_delete:
        assert {"his0", "his1", "his2"} <= set(flags(service, mail))
    with pytest.raises(Unavailable):
        change(replace(ports(service), mailboxes=Racing(service, 100)), ACCOUNT, another, *arguments)


# --- parts


@pytest.mark.parametrize(
    ("path", "expected"),
    [((0, 0), b"one\r\ntwo"), ((1,), b"\xff"), ((), MULTIPART.partition(b"\r\n\r\n")[2])],
)
def test_a_part_is_what_was_attached(path: tuple[int, ...], expected: bytes) -> None:
    """Without its transfer encoding; an empty path is the whole body."""
    service = Service()
    mail = receive(service, MULTIPART)

    assert message_part_get(ports(service), ACCOUNT, mail, path) == RawContent(body=expected)


@pytest.mark.parametrize("path", [(2,), (-1,), (0, 1), (0, 0, 0), (1 << 40,)])
def test_a_part_that_is_not_there_is_not_found(path: tuple[int, ...]) -> None:
    """Indexes out of range, and parts of what has none."""
    service = Service()
    mail = receive(service, MULTIPART)

    assert code_of(message_part_get, ports(service), ACCOUNT, mail, path) == ErrorCode.PART_NOT_FOUND


def test_a_large_part_is_fetched_by_url() -> None:
    """From an object that storage drops after some days."""
    service = Service()
    mail = receive(service, RAW + b"x" * MAX_ANSWER_BYTES)

    content = message_part_get(ports(service), ACCOUNT, mail, ())

    assert (content.body, "uploads/" in content.url) == (b"", True)
    assert service.blobs.download(content.url) == b"Thank you.\r\n" + b"x" * MAX_ANSWER_BYTES


# --- finding


def test_a_search_finds_by_every_criterion() -> None:
    """What is not given does not restrict."""
    service = Service()
    plain = receive(service)
    service.clock.advance(timedelta(hours=1))
    other = receive(
        service,
        mail_from="",
        header_from="carol@example.org",
        rcpt_to="x@bounces.example.com",
        to=("team@example.com",),
        subject="Undelivered",
        is_dsn=True,
        flags=frozenset({r"\seen"}),
    )
    searches: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [other, plain]),
        ({"from_": "CAROL@"}, [other]),
        ({"to": "team@"}, [other]),
        ({"to": "app@example"}, [plain]),
        ({"subject": "re:"}, [plain]),
        ({"flags": (r"\Seen",)}, [other]),
        ({"without_flags": (r"\Seen",)}, [plain]),
        ({"dsn": True}, [other]),
        ({"dsn": False}, [plain]),
        ({"since": NOW + timedelta(minutes=1)}, [other]),
        ({"until": NOW + timedelta(minutes=1)}, [plain]),
        ({"subject": "re:", "dsn": True}, []),
    ]

    assert [found(service, **search) for search, _ in searches] == [expected for _, expected in searches]


def test_a_search_with_a_bad_flag_is_refused() -> None:
    """As everywhere."""
    request = MessageListRequest(flags=("a b",))

    assert code_of(message_list, ports(Service()), ACCOUNT, request) == ErrorCode.USER


def test_grouped_by_thread_each_is_there_once() -> None:
    """With its newest mail that is found; pages join; mail without a thread stands for itself."""
    service = Service()
    made = []
    for thread in ("a", "b", "a", "", "", "b", "c"):
        made.append(receive(service, thread=thread, subject=f"in {thread}"))
        service.clock.advance(timedelta(minutes=1))
    pages: list[int] = []
    cursor = ""
    while True:
        request = MessageListRequest(group_by_thread=True, limit=2, cursor=cursor)
        page = message_list(ports(service), ACCOUNT, request)
        pages += [mail.msg_id for mail in page.messages]
        cursor = page.cursor
        if not cursor:
            break

    assert pages == [made[6], made[5], made[4], made[3], made[2]]
    until = NOW + timedelta(minutes=5)
    assert found(service, group_by_thread=True, until=until) == [made[4], made[3], made[2], made[1]]
    assert found(service, thread_id="a") == [made[2], made[0]]
    request = MessageListRequest(group_by_thread=True, limit=MAX_THREADS + 1)
    assert code_of(message_list, ports(service), ACCOUNT, request) == ErrorCode.USER


def test_a_sent_copy_and_its_reply_are_one_thread() -> None:
    """The copy that Send saves begins it."""
    service = Service()
    result = service.send(save_sent=True)
    (copy,) = message_list(ports(service), ACCOUNT, MessageListRequest()).messages
    again = service.send(save_sent=True, references=(result.message_id,))
    newest = message_list(ports(service), ACCOUNT, MessageListRequest(thread_id=copy.thread_id)).messages

    assert copy.thread_id != ""
    assert {mail.message_id for mail in newest} == {result.message_id, again.message_id}


def test_a_sent_copy_stays_as_long_as_the_account_wants() -> None:
    """As mail that comes in."""
    service = Service()
    service.change_account(keep_mail=timedelta(days=3))
    service.send(save_sent=True)
    before = found(service)
    service.clock.advance(timedelta(days=3))

    assert (len(before), found(service)) == (1, [])
    assert code_of(message_get, ports(service), ACCOUNT, before[0]) == ErrorCode.MESSAGE_NOT_FOUND
    assert code_of(message_move, ports(service), ACCOUNT, before[0], "Trash") == ErrorCode.MESSAGE_NOT_FOUND


# --- mailboxes


def test_mailboxes_are_the_standard_ones_and_ones_own() -> None:
    """Those of another account are not among them."""
    service = Service()
    for name in ("Clients/2026", "Bills"):
        mailbox_create(ports(service), ACCOUNT, name)
    mailbox_create(ports(service), OTHER_ACCOUNT, "Theirs")
    shown = mailbox_list(ports(service), ACCOUNT).mailboxes

    assert [one.name for one in shown] == [*STANDARD, "Bills", "Clients/2026"]
    assert [one.standard for one in shown] == [True] * len(STANDARD) + [False] * 2


def test_a_mailbox_is_made_once() -> None:
    """Standard ones are there; what is no name is refused."""
    service = Service()
    mailbox_create(ports(service), ACCOUNT, "Bills")

    for name in ("Bills", "Sent", "iNBOX"):
        assert code_of(mailbox_create, ports(service), ACCOUNT, name) == ErrorCode.ERROR
    for name in ("", " a", "a/", "../x", "a\u200b"):
        assert code_of(mailbox_create, ports(service), ACCOUNT, name) == ErrorCode.USER


def test_an_account_has_a_bounded_number_of_mailboxes() -> None:
    """They are listed at once."""
    service = Service()
    for number in range(MAX_MAILBOXES):
        service.mailboxes.create(ACCOUNT, f"n{number}")

    assert code_of(mailbox_create, ports(service), ACCOUNT, "one more") == ErrorCode.USER


def test_only_an_empty_mailbox_of_ones_own_is_removed() -> None:
    """Mail is never lost that way."""
    service = Service()
    mail = receive(service)
    mailbox_create(ports(service), ACCOUNT, "Bills")
    message_move(ports(service), ACCOUNT, mail, "Bills")

    assert code_of(mailbox_delete, ports(service), ACCOUNT, "Bills") == ErrorCode.USER
    assert code_of(mailbox_delete, ports(service), ACCOUNT, "Sent") == ErrorCode.USER
    assert code_of(mailbox_delete, ports(service), ACCOUNT, "Nothing") == ErrorCode.ERROR
    message_move(ports(service), ACCOUNT, mail, "Trash")
    mailbox_delete(ports(service), ACCOUNT, "Bills")
    assert code_of(message_move, ports(service), ACCOUNT, mail, "Bills") == ErrorCode.USER


@given(st.text(max_size=20))
def test_a_name_is_refused_or_written_in_one_way(text: str) -> None:
    """Normal form is a fixed point."""
    try:
        name = mailbox_name(text)
    except InvalidRequest:
        return
    assert mailbox_name(name) == name


# --- what is not as the standards want it


def test_a_pedantic_reader_says_why_it_refuses() -> None:
    """In local mode, so that one sees that one's mail is broken; otherwise the best is made of it."""
    service = Service()
    mail = receive(service, RAW.replace(b"\r\n", b"\n"))
    strict = replace(ports(service), pedantic=True)

    assert message_get(ports(service), ACCOUNT, mail).message.subject == "Re: Hello"
    with pytest.raises(InvalidRequest, match="does not end in CRLF"):
        message_get(strict, ACCOUNT, mail)
