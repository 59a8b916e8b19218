"""Settings on DynamoDB: lost answers, lost races, what an item must say, and whose client it is."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from egret.aws.settings_items import Items
from egret.aws.settings_store import DynamoSettings
from egret.contracts.settings import Account, ApiKey, SendingDomain, WebhookSettings
from egret.core.errors import Conflict, ContractError, InvalidRequest, Unavailable
from tests.aws_resources import create_settings_table, emulator_clients
from tests.spoiling_proxy import Proxy, losing_first, serving

pytestmark = pytest.mark.emulator

NOW = datetime(2031, 3, 1, 12, tzinfo=UTC)
ACCOUNT = Account("abcdefgh", "shop", addresses=("a@shop.example", "b@shop.example"))
DOMAIN = SendingDomain("shop.example", "abcdefgh", "bounces.shop.example")
KEY = ApiKey("0" * 64, "abcdefgh", "a@shop.example")


def _new_table(endpoint_url: str) -> str:
    name = f"settings-{secrets.token_hex(4)}"
    create_settings_table(emulator_clients(endpoint_url).dynamodb, name)
    return name


@pytest.fixture
def proxy(moto_endpoint: str) -> Proxy:
    """A proxy to moto that passes everything on."""
    return Proxy(moto_endpoint)


@pytest.fixture
def table(proxy: Proxy) -> str:
    """A new table behind the proxy."""
    return _new_table(proxy.target)


@pytest.fixture
def settings(proxy: Proxy, table: str) -> Iterator[DynamoSettings]:
    """The settings of that table, as the proxy lets them through."""
    with serving(proxy) as url:
        yield DynamoSettings(emulator_clients(url), table)


@pytest.fixture
def others(proxy: Proxy, table: str) -> DynamoSettings:
    """The same settings, as somebody else sees them."""
    return DynamoSettings(emulator_clients(proxy.target), table)


def _tokens(proxy: Proxy) -> list[str]:
    return [body["ClientRequestToken"] for operation, body in proxy.seen if operation == "TransactWriteItems"]


# --- lost answers


@pytest.mark.parametrize("known", [(), (ACCOUNT, DOMAIN)], ids=["new", "replaced"])
def test_won_change_stays_won_when_its_answer_is_lost(
    settings: DynamoSettings, others: DynamoSettings, proxy: Proxy, known: tuple[Account, SendingDomain] | tuple[()]
) -> None:
    """The client repeats the transaction, which fails on what the first one wrote: that is no conflict."""
    if known:
        others.put_account(known[0])
        others.put_domain(known[1])
    account = replace(ACCOUNT, name="new", addresses=("b@shop.example", "c@shop.example"))
    domain = replace(DOMAIN, return_path_domain="rp.shop.example")
    changes: list[Callable[[], None]] = [lambda: settings.put_account(account), lambda: settings.put_domain(domain)]
    for change in changes:
        proxy.seen.clear()
        proxy.spoil = losing_first("TransactWriteItems")
        change()
        assert len(_tokens(proxy)) == 2
        assert len(set(_tokens(proxy))) == 1

    assert account == others.account_by_name("new") == others.account_of_address("c@shop.example")
    assert domain == others.domain_of_return_path("rp.shop.example")
    assert others.account_by_name("shop") is None


def test_removal_stays_done_when_its_answer_is_lost(ministack_endpoint: str) -> None:
    """DynamoDB knows the token of the repeated transaction; the removal of a key may be repeated."""
    proxy, table = Proxy(ministack_endpoint), _new_table(ministack_endpoint)
    with serving(proxy) as url:
        settings = DynamoSettings(emulator_clients(url), table)
        settings.put_domain(DOMAIN)
        settings.put_key(KEY)
        proxy.spoil = losing_first("TransactWriteItems")
        domain_is_removed = settings.remove_domain(DOMAIN.domain)
        proxy.spoil = losing_first("DeleteItem")
        key_is_removed = settings.remove_key(KEY.hash)

    assert (domain_is_removed, key_is_removed) == (True, True)
    assert [operation for operation, _ in proxy.seen].count("DeleteItem") == 2
    assert DynamoSettings(emulator_clients(ministack_endpoint), table).domain(DOMAIN.domain) is None


# --- lost races


def _meanwhile(change: Callable[[], object]) -> Callable[[str, bytes], bytes]:
    """Let something happen between the first reading and what follows it."""
    done: list[bool] = []

    def spoil(operation: str, body: bytes) -> bytes:
        if operation == "GetItem" and not done:
            done.append(True)
            change()
        return body

    return spoil


def _remade(others: DynamoSettings) -> None:
    others.remove_domain(DOMAIN.domain)
    others.put_domain(DOMAIN)


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda others: others.put_domain(replace(DOMAIN, disabled=True)),
        lambda others: others.put_domain(DOMAIN),
        lambda others: others.remove_domain(DOMAIN.domain),
        _remade,
    ],
    ids=["changed", "written again", "removed", "made anew"],
)
@pytest.mark.parametrize("what", ["put", "remove"])
def test_change_by_somebody_else_is_a_conflict(
    settings: DynamoSettings,
    others: DynamoSettings,
    proxy: Proxy,
    meanwhile: Callable[[DynamoSettings], None],
    what: str,
) -> None:
    """Nothing that was written after the reading is lost, though it looks the same."""
    others.put_domain(DOMAIN)
    proxy.spoil = _meanwhile(lambda: meanwhile(others))

    change: dict[str, Callable[[], object]] = {
        "put": lambda: settings.put_domain(replace(DOMAIN, separator="+")),
        "remove": lambda: settings.remove_domain(DOMAIN.domain),
    }

    with pytest.raises(Conflict, match="at the same time"):
        change[what]()


def test_noting_a_use_keeps_what_was_changed_meanwhile(settings: DynamoSettings, proxy: Proxy) -> None:
    """One request, which touches nothing else; a use that is already noted is not noted again."""
    settings.put_key(replace(KEY, name="renamed"))
    proxy.seen.clear()
    settings.touch_key(KEY, NOW)
    settings.touch_key(KEY, NOW + timedelta(minutes=59))
    operations = [operation for operation, _ in proxy.seen]

    assert operations == ["UpdateItem", "UpdateItem"]
    assert settings.key(KEY.hash) == replace(KEY, name="renamed", last_used_at=NOW)


def test_transaction_in_the_way_is_unavailable(settings: DynamoSettings, others: DynamoSettings, proxy: Proxy) -> None:
    """A collision of two transactions says nothing about who has the name: it may be tried again."""
    others.put_account(ACCOUNT)
    proxy.spoil = lambda _, body: body.replace(b"ConditionalCheckFailed", b"TransactionConflict")

    with pytest.raises(Unavailable, match="TransactionCanceledException"):
        settings.put_account(replace(ACCOUNT, id="zyxwvuts"))


def test_more_names_than_a_transaction_takes_are_refused(settings: DynamoSettings) -> None:
    """With a sentence, before anything is written."""
    addresses = tuple(f"a{number}@shop.example" for number in range(99))

    with pytest.raises(InvalidRequest, match="99 names"):
        settings.put_account(replace(ACCOUNT, addresses=addresses))
    settings.put_account(replace(ACCOUNT, addresses=addresses[1:]))
    assert settings.account_of_address("a98@shop.example") == replace(ACCOUNT, addresses=addresses[1:])


# --- items


def _write(proxy: Proxy, table: str, **item: dict[str, Any]) -> None:
    emulator_clients(proxy.target).dynamodb.put_item(TableName=table, Item=item)


def test_fields_of_a_later_version_have_their_defaults(settings: DynamoSettings, proxy: Proxy, table: str) -> None:
    """An item with nothing but what has no default, and an attribute that nobody knows."""
    webhook = {"M": {"url": {"S": "https://hooks.example/"}}}
    known: dict[str, dict[str, Any]] = {
        "name": {"S": "shop"},
        "messages_per_day": {"N": "7"},
        "webhook": webhook,
        "colour": {"S": "red"},
    }
    _write(proxy, table, pk={"S": "ACCOUNT"}, sk={"S": "abcdefgh"}, w={"S": "x"}, **known)

    assert settings.account("abcdefgh") == Account(
        "abcdefgh", "shop", messages_per_day=7, webhook=WebhookSettings("https://hooks.example/")
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"login": {"S": "a@shop.example"}, "scope": {"S": "full"}},
        {"account": {"N": "1"}, "login": {"S": "a@shop.example"}, "scope": {"S": "full"}},
        {"account": {"S": "a"}, "login": {"S": "a@shop.example"}, "scope": {"S": "everything"}},
        {"account": {"S": "a"}, "login": {"S": "a@b.example"}, "scope": {"S": "full"}, "created_at": {"S": "today"}},
    ],
    ids=["missing", "of another type", "unknown", "no date"],
)
def test_item_that_cannot_be_read_says_which(
    settings: DynamoSettings, proxy: Proxy, table: str, fields: dict[str, dict[str, str]]
) -> None:
    """Neither a default nor an outage."""
    _write(proxy, table, pk={"S": "KEY"}, sk={"S": "h"}, w={"S": "x"}, **fields)

    for read in (lambda: settings.key("h"), lambda: settings.keys("a")):
        with pytest.raises(ContractError, match="setting KEY h cannot be read"):
            read()


def test_item_is_written_attribute_by_attribute(settings: DynamoSettings, proxy: Proxy) -> None:
    """Whoever looks at the table reads it."""
    settings.put_account(replace(ACCOUNT, addresses=(), keep_calls=timedelta(days=1, microseconds=1)))
    put = next(body for operation, body in proxy.seen if operation == "TransactWriteItems")["TransactItems"][0]["Put"]

    written = {name: next(iter(value.values())) for name, value in put["Item"].items()}
    assert json.dumps(written | {"w": "mark"}, sort_keys=True) == json.dumps(
        {
            "addresses": [],
            "disabled": False,
            "dsn_to_mailbox": True,
            "full_name": "",
            "idempotency_window": "86400.000000",
            "is_postmaster": False,
            "keep_calls": "86400.000001",
            "keep_deliveries": "2592000.000000",
            "keep_mail": "0.000000",
            "keeps_extra_headers": False,
            "messages_per_day": "1000",
            "name": "shop",
            "pk": "ACCOUNT",
            "sk": "abcdefgh",
            "unsubscribe": False,
            "uses_fromid": True,
            "w": "mark",
        }
    )


# --- clients


def test_two_installations_in_one_process_share_nothing(moto_endpoint: str, ministack_endpoint: str) -> None:
    """Tables of one name in two places, and two tables in one place."""
    first = _new_table(moto_endpoint)
    create_settings_table(emulator_clients(ministack_endpoint).dynamodb, first)
    places = [(moto_endpoint, first), (moto_endpoint, _new_table(moto_endpoint)), (ministack_endpoint, first)]
    stores = [DynamoSettings(emulator_clients(url), table) for url, table in places]
    for number, store in enumerate(stores):
        store.put_account(Account(f"account{number}", "shop"))

    assert [[account.id for account in store.accounts()] for store in stores] == [
        ["account0"],
        ["account1"],
        ["account2"],
    ]


def test_settings_go_through_the_client_of_everything_else(moto_endpoint: str) -> None:
    """With its timeouts, retries, pool and credentials; pynamodb makes none."""
    clients = emulator_clients(moto_endpoint)
    client: object = Items.on(clients, "settings").connection.client

    assert client is clients.dynamodb


def test_no_endpoint_is_unavailable() -> None:
    """A connection that cannot be made is the same to the caller as a table that does not answer."""
    with pytest.raises(Unavailable, match="GetItem: EndpointConnectionError"):
        DynamoSettings(emulator_clients("http://127.0.0.1:1"), "settings").account("abcdefgh")
