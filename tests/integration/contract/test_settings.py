"""The contracts of `SettingsReader` and `SettingsWriter`: what is set is read, and what must be unique is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from egret.contracts.settings import (
    Account,
    ApiKey,
    Direct,
    Fail,
    HoldRule,
    Scope,
    SendingDomain,
    Smarthost,
    SmarthostTls,
    StoredDkimKey,
    Transport,
    WebhookSettings,
)
from egret.core.errors import Conflict
from egret.core.routing import Route
from tests.integration.contract.backends import Backend
from tests.samples import EXACT, HOUR, MINUTE, NOON


def _account(account: str, **changes: object) -> Account:
    full = Account(
        id=account,
        name=f"shop-{account}",
        full_name="Zürcher Laden",
        addresses=(f"login@{account}.example", f"second@{account}.example"),
        uses_fromid=False,
        messages_per_day=5,
        keep_deliveries=timedelta(days=3),
        keep_calls=timedelta(0),
        idempotency_window=timedelta(days=7),
        webhook=WebhookSettings(
            "https://hooks.example.com/",
            "Bearer ü",
            frozenset({"failed", "delivered"}),
            ("whsec_b", "whsec_a"),
            True,
            True,
        ),
        is_postmaster=True,
        disabled=True,
        created_at=NOON + EXACT,
    )
    return replace(full, **changes)  # type: ignore[arg-type]


def _key(account: str, number: int = 1) -> ApiKey:
    created_at = NOON + number * HOUR + EXACT
    return ApiKey(f"{account}-{9 - number:064x}", account, "login@example.com", Scope.SEND, f"ci {number}", created_at)


def _domain(account: str, domain: str = "", return_path_domain: str = "") -> SendingDomain:
    name = domain or f"{account}.example"
    keys = (
        StoredDkimKey("egret1", "rsa", b"\x00\xff" * 700, "v=DKIM1; p=AAAA"),
        StoredDkimKey("egret2", "ed25519", b"", ""),
    )
    return SendingDomain(name, account, return_path_domain or f"bounces.{name}", keys, "+", True)


# --- accounts


def test_account_is_found_by_id_name_and_each_address(backend: Backend, account: str) -> None:
    """With every field."""
    backend.writer.put_account(_account(account))

    assert _account(account) == backend.reader.account(account)
    assert _account(account) == backend.writer.account_by_name(f"shop-{account}")
    for address in _account(account).addresses:
        assert _account(account) == backend.reader.account_of_address(address)


def test_plain_account_comes_back_as_it_was(backend: Backend, account: str) -> None:
    """Defaults survive, too: no webhook, no addresses, no time of creation."""
    plain = Account(account, f"plain-{account}")
    backend.writer.put_account(plain)

    assert plain == backend.reader.account(account)


def test_absent_settings_are_none(backend: Backend, account: str) -> None:
    """No account, key or domain of that name."""
    assert backend.reader.account(account) is None
    assert backend.reader.account_of_address(f"login@{account}.example") is None
    assert backend.reader.key("0" * 64) is None
    assert backend.reader.domain(f"{account}.example") is None
    assert backend.reader.domain_of_return_path(f"bounces.{account}.example") is None
    assert backend.writer.account_by_name(f"shop-{account}") is None
    assert backend.writer.keys(account) == []
    assert backend.writer.domains(account) == []
    assert list(backend.reader.hold_rules()) == []
    assert list(backend.reader.routes()) == []
    assert list(backend.reader.transports()) == []


def test_all_accounts_are_listed_by_name(backend: Backend, account: str, other: str) -> None:
    """In the order of their names."""
    backend.writer.put_account(_account(account, name="zebra"))
    backend.writer.put_account(_account(other, name="ant"))

    assert [other, account] == [each.id for each in backend.writer.accounts()]


def test_replaced_account_frees_what_it_gave_up(backend: Backend, account: str, other: str) -> None:
    """Its old name and the address it dropped can be another's; what it kept stays its own."""
    backend.writer.put_account(_account(account))
    kept, dropped = _account(account).addresses
    renamed = _account(account, name=f"new-{account}", addresses=(kept,))
    backend.writer.put_account(renamed)
    taker = _account(other, name=f"shop-{account}", addresses=(dropped,))
    backend.writer.put_account(taker)

    assert renamed == backend.reader.account_of_address(kept)
    assert taker == backend.reader.account_of_address(dropped)
    assert taker == backend.writer.account_by_name(f"shop-{account}")
    assert renamed == backend.writer.account_by_name(f"new-{account}")


@pytest.mark.parametrize("what", ["name", "address"])
def test_taken_name_or_address_is_a_conflict(backend: Backend, account: str, other: str, what: str) -> None:
    """Nothing is changed then: neither account has lost or won anything."""
    backend.writer.put_account(_account(account))
    backend.writer.put_account(_account(other))
    taken: dict[str, object] = (
        {"name": f"shop-{account}"}
        if what == "name"
        else {"addresses": (f"new@{other}.example", f"second@{account}.example"), "name": f"new-{other}"}
    )

    with pytest.raises(Conflict):
        backend.writer.put_account(_account(other, **taken))
    assert _account(account) == backend.reader.account_of_address(f"second@{account}.example")
    assert _account(other) == backend.reader.account(other)
    assert _account(other) == backend.writer.account_by_name(f"shop-{other}")
    assert backend.reader.account_of_address(f"new@{other}.example") is None
    assert backend.writer.account_by_name(f"new-{other}") is None


def test_new_account_with_a_taken_address_is_not_created(backend: Backend, account: str, other: str) -> None:
    """One atomic write, with its checks."""
    backend.writer.put_account(_account(account))

    with pytest.raises(Conflict):
        backend.writer.put_account(_account(other, addresses=_account(account).addresses[:1]))
    assert backend.reader.account(other) is None
    assert [account] == [each.id for each in backend.writer.accounts()]


def _attempt(write: Callable[[], None]) -> bool:
    try:
        write()
    except Conflict:
        return False
    return True


def test_one_of_many_writers_gets_a_name(backend: Backend, account: str) -> None:
    """Six accounts want one name at once."""
    wanted = [Account(f"{account[:7]}{letter}", f"same-{account}") for letter in "abcdef"]
    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(lambda each: _attempt(lambda: backend.writer.put_account(each)), wanted))

    assert won.count(True) == 1
    assert wanted[won.index(True)] == backend.writer.account_by_name(f"same-{account}")
    assert backend.writer.accounts() == [wanted[won.index(True)]]


# --- keys


def test_key_is_found_by_its_hash(backend: Backend, account: str) -> None:
    """With every field; replacing it changes it."""
    backend.writer.put_key(_key(account))
    found = backend.reader.key(_key(account).hash)
    newer = replace(_key(account, 2), hash=_key(account, 2).hash, scope=Scope.READ, name="", created_at=None)
    backend.writer.put_key(newer)

    assert found == _key(account)
    assert newer == backend.reader.key(newer.hash)


def test_keys_of_an_account_are_listed_oldest_first(backend: Backend, account: str, other: str) -> None:
    """By the time they were made; those of others are not among them."""
    for number in (3, 1, 2):
        backend.writer.put_key(_key(account, number))
    backend.writer.put_key(_key(other))

    assert [_key(account, number) for number in (1, 2, 3)] == backend.writer.keys(account)
    assert [_key(other)] == backend.writer.keys(other)


def test_revoked_key_is_gone(backend: Backend, account: str) -> None:
    """From both listings; revoking again says so."""
    backend.writer.put_key(_key(account))
    answers = [backend.writer.remove_key(_key(account).hash) for _ in range(2)]

    assert answers == [True, False]
    assert backend.reader.key(_key(account).hash) is None
    assert backend.writer.keys(account) == []


def test_use_of_a_key_is_noted_once_an_hour(backend: Backend, account: str) -> None:
    """Exact to an hour; everything else of the key stays."""
    backend.writer.put_key(_key(account))
    seen = []
    for minutes in (0, 30, 59, 60, 61):
        key = backend.writer.keys(account)[0]
        backend.writer.touch_key(key, NOON + minutes * MINUTE)
        seen.append(backend.writer.keys(account)[0])

    assert [replace(_key(account), last_used_at=NOON + m * MINUTE) for m in (0, 0, 0, 60, 60)] == seen


def test_use_does_not_bring_back_a_revoked_key(backend: Backend, account: str) -> None:
    """The key was read before it was revoked."""
    backend.writer.put_key(_key(account))
    backend.writer.remove_key(_key(account).hash)
    backend.writer.touch_key(_key(account), NOON)

    assert backend.reader.key(_key(account).hash) is None
    assert backend.writer.keys(account) == []


# --- domains


def test_domain_is_found_by_name_and_return_path(backend: Backend, account: str) -> None:
    """With its DKIM keys."""
    wanted = _domain(account)
    backend.writer.put_domain(wanted)

    assert wanted == backend.reader.domain(wanted.domain)
    assert wanted == backend.reader.domain_of_return_path(wanted.return_path_domain)
    assert backend.reader.domain(wanted.return_path_domain) is None
    assert backend.reader.domain_of_return_path(wanted.domain) is None


def test_domains_of_an_account_are_listed_by_name(backend: Backend, account: str, other: str) -> None:
    """And only its own."""
    names = [f"{letter}.{account}.example" for letter in "cab"]
    for name in names:
        backend.writer.put_domain(_domain(account, name))
    backend.writer.put_domain(_domain(other))

    assert sorted(names) == [domain.domain for domain in backend.writer.domains(account)]
    assert [_domain(other)] == backend.writer.domains(other)


def test_replaced_domain_frees_its_return_path(backend: Backend, account: str, other: str) -> None:
    """The old return-path domain leads nowhere then, and may be another's."""
    old, new = _domain(account), _domain(account, return_path_domain=f"rp.{account}.example")
    backend.writer.put_domain(old)
    backend.writer.put_domain(new)

    assert new == backend.reader.domain_of_return_path(new.return_path_domain)
    assert backend.reader.domain_of_return_path(old.return_path_domain) is None
    taker = _domain(other, return_path_domain=old.return_path_domain)
    backend.writer.put_domain(taker)
    assert taker == backend.reader.domain_of_return_path(old.return_path_domain)


def test_domain_of_another_account_is_a_conflict(backend: Backend, account: str, other: str) -> None:
    """Nobody takes over somebody else's domain, and nothing has changed."""
    backend.writer.put_domain(_domain(account))

    with pytest.raises(Conflict):
        backend.writer.put_domain(_domain(other, _domain(account).domain, f"rp.{other}.example"))
    assert _domain(account) == backend.reader.domain(_domain(account).domain)
    assert backend.reader.domain_of_return_path(f"rp.{other}.example") is None


@pytest.mark.parametrize("same_account", [False, True])
def test_return_path_in_use_is_a_conflict(backend: Backend, account: str, other: str, same_account: bool) -> None:
    """A bounce must lead to one domain."""
    backend.writer.put_domain(_domain(account))
    taker = account if same_account else other

    with pytest.raises(Conflict):
        backend.writer.put_domain(_domain(taker, f"new.{other}.example", _domain(account).return_path_domain))
    assert _domain(account) == backend.reader.domain_of_return_path(_domain(account).return_path_domain)
    assert backend.reader.domain(f"new.{other}.example") is None


def test_removed_domain_is_free(backend: Backend, account: str, other: str) -> None:
    """With its return-path domain; removing again says so."""
    backend.writer.put_domain(_domain(account))
    answers = [backend.writer.remove_domain(_domain(account).domain) for _ in range(2)]

    assert answers == [True, False]
    assert backend.reader.domain(_domain(account).domain) is None
    assert backend.reader.domain_of_return_path(_domain(account).return_path_domain) is None
    assert backend.writer.domains(account) == []
    backend.writer.put_domain(_domain(other, _domain(account).domain, _domain(account).return_path_domain))


# --- hold rules


def test_hold_rules_come_and_go(backend: Backend, account: str) -> None:
    """Every field, the rule of everything among them; removing again says so."""
    rules = [HoldRule("r1", account, "a@example.com", "example.net", NOON + EXACT), HoldRule("r2")]
    for rule in rules:
        backend.writer.put_hold_rule(rule)
    before = sorted(backend.reader.hold_rules(), key=lambda rule: rule.id)
    answers = [backend.writer.remove_hold_rule("r1") for _ in range(2)]

    assert before == rules
    assert answers == [True, False]
    assert list(backend.reader.hold_rules()) == [rules[1]]


# --- routes and transports


def test_routes_come_and_go(backend: Backend, account: str) -> None:
    """Every field; a route put again replaces itself; removing again says so."""
    routes = [
        Route("r1", "relay", account, "", ("example.com", ".example.org"), (".example.net",), 3, -5),
        Route("r2", "relay", domain=f"{account}.example"),
        Route("r3", "direct"),
    ]
    for route in (replace(routes[0], order=9), *routes):
        backend.writer.put_route(route)
    before = sorted(backend.reader.routes(), key=lambda route: route.id)
    answers = [backend.writer.remove_route("r1") for _ in range(2)]

    assert before == routes
    assert answers == [True, False]
    assert sorted(backend.reader.routes(), key=lambda route: route.id) == routes[1:]


def test_transports_come_and_go(backend: Backend) -> None:
    """Every way for mail with every field, by name; one put again replaces itself; removing again says so."""
    transports = [
        Transport("a-direct", Direct()),
        Transport("b-ipv4", Direct(disable_ipv6=True)),
        Transport("c-ipv6", Direct(disable_ipv4=True)),
        Transport("d-relay", Smarthost("relay.example.com", 465, SmarthostTls.IMPLICIT, "ü", b"\x00\xff" * 100)),
        Transport("e-sink", Smarthost("192.0.2.1", 25, SmarthostTls.NONE)),
        Transport("f-fail", Fail(450, "Später.")),
        Transport("g-fail", Fail()),
    ]
    for transport in (Transport("a-direct", Smarthost("old.example", user="u", password=b"p")), *reversed(transports)):
        backend.writer.put_transport(transport)
    before = list(backend.reader.transports())
    answers = [backend.writer.remove_transport("c-ipv6") for _ in range(2)]

    assert before == transports
    assert answers == [True, False]
    assert list(backend.reader.transports()) == [*transports[:2], *transports[3:]]
