"""What only the store on AWS has: two items where memory has one, objects, and crashes in between."""

from __future__ import annotations

import os
from dataclasses import replace

import msgspec
import pytest

from egret.aws.app import App
from egret.aws.keys import ttl
from egret.aws.mail_items import message_item
from egret.aws.mail_store import DynamoMailStore
from egret.aws.table import ABSENT, Table, number
from egret.contracts.records import Acceptance, DeliveryFilter
from egret.core.delivery import State
from egret.core.suppression import STRIKE_LIFE, Strike, Strikes
from tests.aws_resources import Resources, create_resources, emulator_clients
from tests.samples import (
    CONTENT,
    MINUTE,
    NOON,
    acceptance,
    completed,
    delivery,
    message,
    message_number,
    reservation,
)
from tests.unit.builders import ACCOUNT

pytestmark = pytest.mark.emulator
LARGE = os.urandom(30_000)
REPAIR_AT = NOON + 2 * MINUTE
NUMBER = message_number(1)


@pytest.fixture(params=["moto_endpoint", "ministack_endpoint"])
def endpoint(request: pytest.FixtureRequest) -> str:
    """The URL of each emulator in turn."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def resources(endpoint: str) -> Resources:
    """New tables, queues, bucket and key."""
    return create_resources(endpoint)


@pytest.fixture
def app(endpoint: str, resources: Resources) -> App:
    """The app over them."""
    made = App.from_environment(resources.environment(endpoint))
    made.clients = emulator_clients(endpoint)
    return made


def _objects(app: App, resources: Resources) -> list[str]:
    listing = app.clients.s3.list_objects_v2(Bucket=resources.bucket)
    return [one["Key"] for one in listing.get("Contents", [])]


def test_submission_cut_short_before_its_commit_can_be_repeated(app: App, resources: Resources) -> None:
    """The message alone is nothing: the same acceptance again finds it, and commits."""
    wanted = acceptance(ACCOUNT, recipients=3)
    item = message_item(wanted.message, CONTENT)
    assert item is not None
    Table(app.clients, resources.mail_table).put_if(item, ABSENT)
    before = app.store.planned(ACCOUNT, wanted.message.id)

    assert app.store.accept_several(wanted, CONTENT, REPAIR_AT) is True
    assert (before, app.store.planned(ACCOUNT, wanted.message.id)) == ((), wanted.deliveries)


def test_closed_submission_is_not_opened_again(app: App) -> None:
    """A repeat that comes after everything is done does not bring back the plan."""
    wanted = acceptance(ACCOUNT, recipients=3)
    app.store.accept_several(wanted, CONTENT, REPAIR_AT)
    app.store.expand(wanted.deliveries)
    app.store.close(ACCOUNT, wanted.message.id)

    assert app.store.accept_several(wanted, CONTENT, REPAIR_AT) is None
    assert app.store.planned(ACCOUNT, wanted.message.id) == ()


@pytest.mark.parametrize("content", [CONTENT, LARGE], ids=["item", "object"])
def test_lost_reservation_leaves_neither_item_nor_object(app: App, resources: Resources, content: bytes) -> None:
    """What was written before the commit is taken back."""
    lost = replace(acceptance(ACCOUNT, recipients=3), idempotency=completed(reservation(ACCOUNT)))

    assert app.store.accept_several(lost, content, REPAIR_AT) is False
    assert app.store.message(ACCOUNT, NUMBER) is None
    assert _objects(app, resources) == []


def test_taken_id_leaves_one_object(app: App, resources: Resources) -> None:
    """The second message's object is removed, the first one's is not."""
    app.store.put_message(message(ACCOUNT), LARGE)

    assert not app.store.put_message(msgspec.structs.replace(message(ACCOUNT), subject="another"), LARGE[::-1])
    assert app.store.content(ACCOUNT, NUMBER) == LARGE
    assert len(_objects(app, resources)) == 1


def test_object_lies_under_its_account(app: App, resources: Resources) -> None:
    """Its key begins with the purpose, then the account; `contents` tells it."""
    app.store.put_message(message(ACCOUNT), LARGE)
    (key,) = _objects(app, resources)

    assert key.startswith(f"content/{ACCOUNT}/{NUMBER}.")
    assert app.store.contents([(ACCOUNT, NUMBER)])[ACCOUNT, NUMBER][1] == key


def test_reaped_message_takes_its_object_along(app: App, resources: Resources) -> None:
    """Nothing is left in the bucket."""
    app.store.put_message(message(ACCOUNT), LARGE)

    assert app.store.reap(ACCOUNT, NUMBER, NOON)
    assert _objects(app, resources) == []


def test_thousand_of_the_longest_addresses_fit(app: App) -> None:
    """64 octets before the @ and about 253 behind it (RFC 5321 4.5.3.1), all different and hard to compress."""
    recipients = tuple(f"{os.urandom(32).hex()}@{os.urandom(126).hex()}" for _ in range(1000))
    facts = msgspec.structs.replace(message(ACCOUNT), recipients=recipients)
    deliveries = tuple(
        msgspec.structs.replace(delivery(ACCOUNT, index=index), recipient=address, domain=address.rpartition("@")[2])
        for index, address in enumerate(recipients)
    )

    assert app.store.accept_several(Acceptance(facts, deliveries), CONTENT, REPAIR_AT) is True
    assert app.store.planned(ACCOUNT, facts.id) == deliveries


def test_listing_by_a_rare_filter_gives_up_and_goes_on(app: App, resources: Resources) -> None:
    """A page may be short, even empty; its cursor leads on to what is wanted."""
    deliveries = [delivery(ACCOUNT, number=number) for number in range(1, 10)]
    oldest = msgspec.structs.replace(deliveries[0], state=State.HELD, due_at=None)
    app.store.expand([oldest, *deliveries[1:]])
    store = DynamoMailStore(Table(app.clients, resources.mail_table), app.blobs, examined=4)
    held = DeliveryFilter(states=frozenset({State.HELD}))

    pages = [store.list(ACCOUNT, held, "", 5, NOON)]
    while pages[-1].cursor:
        pages.append(store.list(ACCOUNT, held, pages[-1].cursor, 5, NOON))

    assert [page.items for page in pages] == [(), (), (oldest,)]


def test_a_listing_by_time_reads_nothing_else(app: App, resources: Resources) -> None:
    """However much mail is newer or older: it is not looked at, so that a page is full and comes at once."""
    deliveries = [delivery(ACCOUNT, number=number) for number in range(1, 10)]
    app.store.expand(deliveries)
    store = DynamoMailStore(Table(app.clients, resources.mail_table), app.blobs, examined=3)
    wanted = DeliveryFilter(since=deliveries[3].queued_at, until=deliveries[5].queued_at)

    page = store.list(ACCOUNT, wanted, "", 5, NOON)

    assert (page.items, page.cursor) == ((deliveries[4], deliveries[3]), "")


def test_strikes_are_removed_by_dynamodb_when_they_are_over(app: App, resources: Resources) -> None:
    """90 days after the newest failure, or after the success that cleared them."""
    struck = Strikes((Strike(NOON, "evt_1"), Strike(NOON + MINUTE, "evt_2")))
    table, key = Table(app.clients, resources.mail_table), (f"A#{ACCOUNT}", "K#bob@example.net")
    times = []
    for old, new in [(Strikes(), struck), (struck, Strikes((), NOON + 2 * MINUTE))]:
        app.suppressions.put_strikes(ACCOUNT, "bob@example.net", old, new)
        times.append(number(table.get(key) or {}, "ttl"))

    assert times == [ttl(NOON + MINUTE + STRIKE_LIFE), ttl(NOON + 2 * MINUTE + STRIKE_LIFE)]
