"""Accounts and API keys."""

from __future__ import annotations

from datetime import timedelta

import pytest

from egret.contracts.settings import Account, ApiKey, Scope
from egret.core.apikey import PREFIX, key_hash
from egret.core.errors import Conflict, InvalidRequest
from egret.memory.clock import FakeClock
from egret.memory.dice import SeededDice
from egret.memory.settings import MemorySettings
from egret.usecases.accounts import (
    AccountChange,
    OperatorPorts,
    account_create,
    account_list,
    account_update,
    key_create,
    key_list,
    key_revoke,
)
from tests.unit.builders import NOW


def some_ports() -> OperatorPorts:
    """Return ports over empty settings."""
    return OperatorPorts(MemorySettings(), FakeClock(NOW), SeededDice(1))


def test_a_new_account_has_the_defaults() -> None:
    """And an id that a fromid can carry."""
    ports = some_ports()

    account = account_create(ports, "acme", AccountChange(addresses=("App@Bücher.example",)))

    assert (len(account.id), set(account.id) <= set("abcdefghijklmnopqrstuvwxyz234567")) == (8, True)
    assert account.addresses == ("app@xn--bcher-kva.example",)
    assert (account.keep_deliveries, account.keep_calls) == (timedelta(days=30), timedelta(days=7))
    assert (account.uses_fromid, account.created_at, account_list(ports)) == (True, NOW, [account])


def test_an_update_changes_what_is_given_only() -> None:
    """None leaves a setting as it is."""
    ports = some_ports()
    created = account_create(ports, "acme", AccountChange(addresses=("a@example.com",), messages_per_day=5))

    updated = account_update(ports, "acme", AccountChange(full_name="Acme", uses_fromid=False, addresses=()))

    assert (updated.id, updated.messages_per_day, updated.full_name) == (created.id, 5, "Acme")
    assert (updated.uses_fromid, updated.addresses) == (False, ())


def test_an_account_can_be_renamed() -> None:
    """Its id, which everything hangs on, stays."""
    ports = some_ports()
    created = account_create(ports, "acme", AccountChange())

    assert account_update(ports, "acme", AccountChange(name="acme-2")).id == created.id


def test_names_and_addresses_are_unique() -> None:
    """An address belongs to one account; the operator hears what is taken, and by whom."""
    ports = some_ports()
    account_create(ports, "acme", AccountChange(addresses=("a@example.com",)))

    with pytest.raises(Conflict, match=r"^The name 'acme' is taken\.$"):
        account_create(ports, "acme", AccountChange())
    with pytest.raises(Conflict, match=r"^The address a@example.com is taken: the account 'acme' has it\.$"):
        account_create(ports, "other", AccountChange(addresses=("b@example.com", "A@EXAMPLE.com")))


class LateSettings(MemorySettings):
    """Settings whose conflict is about nothing that can be seen (any more)."""

    def put_account(self, account: Account) -> None:
        """Refuse."""
        raise Conflict("Somebody was faster.")


def test_a_conflict_that_nothing_explains_stays_what_it_is() -> None:
    """Whoever has the name may have given it up since, or the account itself was changed by another."""
    with pytest.raises(Conflict, match=r"^Somebody was faster\.$"):
        account_create(OperatorPorts(LateSettings(), FakeClock(NOW), SeededDice(1)), "acme", AccountChange())


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("", AccountChange()),
        (" acme", AccountChange()),
        ("ac\nme", AccountChange()),
        ("acme", AccountChange(full_name="A\r\nBcc: x")),
        ("acme", AccountChange(addresses=("no address",))),
        ("acme", AccountChange(messages_per_day=-1)),
        ("acme", AccountChange(keep_deliveries=timedelta(days=401))),
        ("acme", AccountChange(keep_calls=timedelta(seconds=-1))),
        ("acme", AccountChange(idempotency_window=timedelta(days=8))),
        ("acme", AccountChange(idempotency_window=timedelta(minutes=1))),
    ],
)
def test_what_cannot_be_is_refused(name: str, wanted: AccountChange) -> None:
    """And nothing is stored."""
    ports = some_ports()

    with pytest.raises(InvalidRequest):
        account_create(ports, name, wanted)
    assert account_list(ports) == []


def test_an_unknown_account_is_named() -> None:
    """The operator sees what he mistyped."""
    with pytest.raises(InvalidRequest, match="'bogus'"):
        account_update(some_ports(), "bogus", AccountChange())


# --- keys ------------------------------------------------------------------------------------------------------------


def an_account() -> OperatorPorts:
    """Return ports with one account of two addresses."""
    ports = some_ports()
    account_create(ports, "acme", AccountChange(addresses=("a@example.com", "b@example.com")))
    return ports


def test_a_key_is_shown_once_and_stored_as_its_hash() -> None:
    """Nobody can read it back."""
    ports = an_account()

    made = key_create(ports, "acme")

    assert made.text.startswith(PREFIX)
    assert (made.key.hash, made.key.login, made.key.scope) == (key_hash(made.text), "a@example.com", Scope.FULL)
    assert key_list(ports, "acme") == [made.key]
    assert made.text not in repr(made.key)


def test_keys_differ() -> None:
    """Each is random."""
    ports = an_account()

    assert key_create(ports, "acme").text != key_create(ports, "acme").text


def test_a_key_has_login_scope_and_name() -> None:
    """As wished for."""
    wish = ApiKey(hash="", account="", login="B@example.com", scope=Scope.SEND, name="shop")

    made = key_create(an_account(), "acme", wish).key

    assert (made.login, made.scope, made.name, made.created_at) == ("b@example.com", Scope.SEND, "shop", NOW)


def test_a_given_text_is_taken() -> None:
    """Local mode prints a key that is easy to type."""
    made = key_create(an_account(), "acme", text="egretegret")

    assert (made.text, made.key.hash) == ("egretegret", key_hash("egretegret"))


def test_a_login_of_somebody_else_is_refused() -> None:
    """Also when the account has no address at all."""
    ports = an_account()
    account_create(ports, "bare", AccountChange())

    with pytest.raises(InvalidRequest):
        key_create(ports, "acme", ApiKey(hash="", account="", login="x@example.com"))
    with pytest.raises(InvalidRequest, match="bare has no address to log in with"):
        key_create(ports, "bare")


def test_a_revoked_key_is_gone() -> None:
    """Found by the beginning of its hash."""
    ports = an_account()
    made, other = key_create(ports, "acme"), key_create(ports, "acme")

    assert key_revoke(ports, "acme", made.key.hash[:12].upper()) == made.key
    assert key_list(ports, "acme") == [other.key]


@pytest.mark.parametrize(("prefix", "why"), [("", "give more of it"), ("nothing", "No key of the account begins")])
def test_a_prefix_must_name_one_key(prefix: str, why: str) -> None:
    """Nothing is revoked by accident."""
    ports = an_account()
    key_create(ports, "acme")

    with pytest.raises(InvalidRequest, match=why):
        key_revoke(ports, "acme", prefix)
    assert len(key_list(ports, "acme")) == 1


def test_anothers_key_cannot_be_revoked() -> None:
    """A key belongs to its account."""
    ports = an_account()
    account_create(ports, "other", AccountChange(addresses=("o@example.org",)))
    made = key_create(ports, "other")

    with pytest.raises(InvalidRequest):
        key_revoke(ports, "acme", made.key.hash)
