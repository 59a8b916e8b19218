"""What only mailboxes on AWS have: items beside the mail, which live as long as they are needed, and short pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import boto3
import pytest

from egret.aws.keys import ttl
from egret.aws.mailboxes import REMEMBERED, DynamoMailboxes, mail_items
from egret.aws.table import Condition, Item, Key, Table
from egret.contracts.records import MailFilter
from tests.aws_resources import Resources, create_resources, emulator_clients
from tests.emulators import client_arguments
from tests.samples import NOON, mail, message_number
from tests.unit.builders import ACCOUNT

pytestmark = pytest.mark.emulator


@pytest.fixture
def resources(moto_endpoint: str) -> Resources:
    """New tables, queues, bucket and key."""
    return create_resources(moto_endpoint)


@pytest.fixture
def table(moto_endpoint: str, resources: Resources) -> Table:
    """The mail table."""
    return Table(emulator_clients(moto_endpoint), resources.mail_table)


@pytest.fixture
def items(moto_endpoint: str, resources: Resources) -> Any:
    """Return what the table holds: attributes by the kind of item."""
    client = boto3.client("dynamodb", **client_arguments(moto_endpoint))
    return lambda: {item["sk"]["S"][:2]: item for item in client.scan(TableName=resources.mail_table)["Items"]}


def test_a_search_for_what_is_rare_gives_up_and_goes_on(table: Table) -> None:
    """A page may be short, even empty; its cursor leads on to what is wanted, in every kind of range."""
    mailboxes = DynamoMailboxes(table, examined=4)
    mails = [replace(mail(ACCOUNT, number), thread="t", subject="") for number in range(1, 10)]
    mails[0] = replace(mails[0], subject="rare")
    for each in mails:
        mailboxes.put(each)

    for wanted in (
        MailFilter(subject="rare"),
        MailFilter(subject="rare", mailbox="Inbox"),
        MailFilter(subject="rare", thread="t"),
    ):
        pages = [mailboxes.list(ACCOUNT, wanted, "", 5, NOON)]
        while pages[-1].cursor:
            pages.append(mailboxes.list(ACCOUNT, wanted, pages[-1].cursor, 5, NOON))
        assert [page.items for page in pages] == [(), (), (mails[0],)]


class Counting(Table):
    """A table that counts the mails that are looked up."""

    looked_up = 0

    def get_many(self, keys: Iterable[Key]) -> dict[Key, Item]:
        """Count, then look up."""
        wanted = [*keys]
        self.looked_up += len(wanted)
        return super().get_many(wanted)


def test_a_small_page_looks_up_few_mails(moto_endpoint: str, table: Table) -> None:
    """Whether a mail leads its thread is asked for each of a listing by threads, and a thread may have thousands."""
    counting = Counting(emulator_clients(moto_endpoint), table.name)
    mailboxes = DynamoMailboxes(counting)
    mails = [replace(mail(ACCOUNT, number), thread="t") for number in range(1, 8)]
    for each in mails:
        mailboxes.put(each)

    page = mailboxes.list(ACCOUNT, MailFilter(thread="t"), "", 1, NOON)
    assert (page.items, counting.looked_up) == ((mails[-1],), 2)


def test_items_of_a_mail_go_with_it_and_its_source_is_remembered(table: Table, items: Any) -> None:
    """By the table's time to live, each seconds after the mail is over; a queue may bring it again later."""
    mailboxes, one = DynamoMailboxes(table), mail(ACCOUNT)
    mailboxes.put(one)
    assert one.expires_at is not None

    over = str(ttl(one.expires_at))
    times = {kind: item["ttl"]["N"] for kind, item in items().items()}
    assert times == {"X#": over, "Y#": over, "U#": over, "Z#": str(ttl(one.expires_at + REMEMBERED))}


def test_what_is_left_of_removed_mail_goes_some_weeks_later(table: Table, items: Any) -> None:
    """Of mail that would have stayed for ever."""
    mailboxes, one = DynamoMailboxes(table), replace(mail(ACCOUNT), expires_at=None)
    mailboxes.put(one)
    before = {kind: item.get("ttl") for kind, item in items().items()}
    mailboxes.remove(one, NOON)

    assert before == dict.fromkeys(("X#", "Y#", "U#", "Z#"))
    assert {kind: item["ttl"]["N"] for kind, item in items().items()} == dict.fromkeys(
        ("V#", "Z#"), str(ttl(NOON + REMEMBERED))
    )


def test_an_entry_without_its_mail_is_passed_over(table: Table) -> None:
    """Time to live removes items one by one."""
    mailboxes = DynamoMailboxes(table)
    for number in (1, 2):
        mailboxes.put(mail(ACCOUNT, number))
    table.delete((f"A#{ACCOUNT}", f"X#{message_number(2):016d}"))

    page = mailboxes.list(ACCOUNT, MailFilter(mailbox="Inbox"), "", 1, NOON)
    assert (page.items, page.cursor) == ((mail(ACCOUNT, 1),), "")
    mailboxes.create(ACCOUNT, "Inbox")
    mailboxes.remove(mail(ACCOUNT, 1), NOON)
    assert mailboxes.drop(ACCOUNT, "Inbox", NOON)


def test_mail_of_an_older_version_is_changed_and_removed(table: Table) -> None:
    """Its items have no revision, and its source does not say which mail it was: nobody's object goes for that."""
    mailboxes = DynamoMailboxes(table)
    for number in (1, 2):
        one = mail(ACCOUNT, number)
        for item in mail_items(one):
            table.put({name: value for name, value in item.items() if name not in ("rev", "id", "ttl")})
    old = mailboxes.get(ACCOUNT, message_number(1), NOON)
    assert old is not None
    new = replace(old, flags=frozenset({"read"}), rev=old.rev + 1)

    assert mailboxes.holds(ACCOUNT, old.source, old.rcpt_to, NOON) is True
    assert mailboxes.replace(old, new)
    assert not mailboxes.replace(old, new)
    assert mailboxes.get(ACCOUNT, message_number(1), NOON) == new
    assert mailboxes.remove(new, NOON)
    other = mailboxes.get(ACCOUNT, message_number(2), NOON)
    assert other is not None
    assert mailboxes.remove(other, NOON)


class Interrupted(Table):
    """A table that does something else just before the next removal."""

    def delete_if(self, key: Key, condition: Condition) -> bool:
        """Let a mail move in, then remove."""
        was = mail(ACCOUNT)
        assert DynamoMailboxes(self).replace(was, replace(was, mailbox="Clients", rev=2))
        return super().delete_if(key, condition)


def test_a_mailbox_is_not_removed_while_mail_moves_in(moto_endpoint: str, table: Table) -> None:
    """Its revision tells that it is no longer what was found empty."""
    mailboxes = DynamoMailboxes(Interrupted(emulator_clients(moto_endpoint), table.name))
    mailboxes.put(mail(ACCOUNT))
    mailboxes.create(ACCOUNT, "Clients")

    assert mailboxes.drop(ACCOUNT, "Clients", NOON) is False
    assert mailboxes.own(ACCOUNT) == ["Clients"]
