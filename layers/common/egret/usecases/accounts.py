"""Accounts and their API keys, as the operator manages them."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from egret.contracts.ports import Clock, Dice, SettingsWriter
from egret.contracts.settings import Account, ApiKey, Scope
from egret.core.address import Address, AddressError, canonical_domain
from egret.core.apikey import RANDOM_BYTES, key_hash, key_text
from egret.core.errors import Conflict, InvalidRequest

MAX_RETENTION: Final = timedelta(days=400)
"""A year and a month: beyond that an archive is meant, which the table is not."""
MAX_IDEMPOTENCY_WINDOW: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class OperatorPorts:
    """What the operator's use cases need."""

    settings: SettingsWriter
    clock: Clock
    dice: Dice


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What to change of an account; None leaves it as it is. addresses: the whole new list, the main one first."""

    name: str | None = None
    full_name: str | None = None
    addresses: tuple[str, ...] | None = None
    uses_fromid: bool | None = None
    messages_per_day: int | None = None
    keep_deliveries: timedelta | None = None
    keep_calls: timedelta | None = None
    idempotency_window: timedelta | None = None
    keep_mail: timedelta | None = None
    dsn_to_mailbox: bool | None = None
    unsubscribe: bool | None = None
    keeps_extra_headers: bool | None = None
    is_postmaster: bool | None = None
    disabled: bool | None = None


def login_address(text: str) -> str:
    """Return the canonical form of a login address: lower-case, A-label domain. Raises InvalidRequest `badAddress`."""
    try:
        return str(Address.parse(text)).lower()
    except AddressError as error:
        raise InvalidRequest("badAddress", str(error)) from error


def domain_name(text: str) -> str:
    """Return the canonical form of a domain: lower-case A-labels. Raises InvalidRequest `badAddress`."""
    try:
        return canonical_domain(text)
    except AddressError as error:
        raise InvalidRequest("badAddress", f"{text[:255]!r} is not a valid domain name.") from error


def account_create(ports: OperatorPorts, name: str, wanted: AccountChange) -> Account:
    """Create an account; what `wanted` leaves open has its default.

    Raises InvalidRequest for values that cannot be, Conflict, which says by whom, when the name or an address is taken.
    """
    id_text = base64.b32encode(ports.dice.octets(5)).decode("ascii").lower()
    blank = Account(id=id_text, name=name, created_at=ports.clock.now())
    account = _changed(blank, replace(wanted, name=name))
    _put(ports, account)
    return account


def account_update(ports: OperatorPorts, name: str, wanted: AccountChange) -> Account:
    """Change an account and return it as it is now. Errors as of `account_create`."""
    account = _changed(account_named(ports.settings, name), wanted)
    _put(ports, account)
    return account


def account_list(ports: OperatorPorts) -> list[Account]:
    """Return every account, by name."""
    return ports.settings.accounts()


def account_named(settings: SettingsWriter, name: str) -> Account:
    """Return the account of that name. Raises InvalidRequest `user` when there is none."""
    account = settings.account_by_name(name)
    if account is None:
        raise InvalidRequest("user", f"There is no account named {name!r}.")
    return account


def _put(ports: OperatorPorts, account: Account) -> None:
    try:
        ports.settings.put_account(account)
    except Conflict as error:
        raise Conflict(_taken(account_list(ports), account) or error.public, detail=error.detail) from error


def _taken(accounts: list[Account], wanted: Account) -> str:
    """Return a sentence about what of an account another one has, "" when there is nothing."""
    for other in accounts:
        if other.id == wanted.id:
            continue
        if other.name == wanted.name:
            return f"The name {wanted.name!r} is taken."
        for address in wanted.addresses:
            if address in other.addresses:
                return f"The address {address} is taken: the account {other.name!r} has it."
    return ""


def _changed(account: Account, wanted: AccountChange) -> Account:
    given = {field: value for field in AccountChange.__slots__ if (value := getattr(wanted, field)) is not None}
    if wanted.addresses is not None:
        given["addresses"] = tuple(dict.fromkeys(login_address(address) for address in wanted.addresses))
    changed = replace(account, **given)
    _check(changed)
    return changed


def _check(account: Account) -> None:
    if not account.name or not account.name.isprintable() or account.name != account.name.strip():
        raise InvalidRequest("user", "An account needs a name of printable characters, without space around it.")
    if not account.full_name.isprintable():
        raise InvalidRequest("user", "The full name has control characters.")
    if account.messages_per_day < 0:
        raise InvalidRequest("user", "Messages per day must not be negative.")
    periods = (account.keep_deliveries, account.keep_calls, account.keep_mail)
    if not all(timedelta(0) <= period <= MAX_RETENTION for period in periods):
        raise InvalidRequest("user", f"A retention is between 0 and {MAX_RETENTION.days} days.")
    if not timedelta(hours=1) <= account.idempotency_window <= MAX_IDEMPOTENCY_WINDOW:
        raise InvalidRequest("user", "An idempotency window is between 1 hour and 7 days.")


@dataclass(frozen=True, slots=True)
class NewKey:
    """An API key that was just made. text: shown once, now; it is stored nowhere."""

    text: str
    key: ApiKey


def key_create(ports: OperatorPorts, account_name: str, key: ApiKey | None = None, *, text: str = "") -> NewKey:
    """Make an API key of an account and return its text, this once.

    key: login, scope and name are taken from it; a login of "" (or no key) means the account's main address.
    text: a given text instead of a random one, for local mode. Raises InvalidRequest when the login is another's.
    """
    account = account_named(ports.settings, account_name)
    wanted = key or ApiKey(hash="", account="", login="", scope=Scope.FULL)
    login = login_address(wanted.login) if wanted.login else next(iter(account.addresses), "")
    if not account.addresses:
        raise InvalidRequest("user", f"The account {account_name} has no address to log in with: give it one first.")
    if login not in account.addresses:
        raise InvalidRequest("user", "The login of a key must be one of the account's addresses.")
    text = text or key_text(ports.dice.octets(RANDOM_BYTES))
    made = replace(wanted, hash=key_hash(text), account=account.id, login=login, created_at=ports.clock.now())
    ports.settings.put_key(made)
    return NewKey(text, made)


def key_list(ports: OperatorPorts, account_name: str) -> list[ApiKey]:
    """Return an account's keys, oldest first."""
    return ports.settings.keys(account_named(ports.settings, account_name).id)


def key_revoke(ports: OperatorPorts, account_name: str, hash_prefix: str) -> ApiKey:
    """Revoke the one key of an account whose hash begins so; it stops working within a minute.

    Raises InvalidRequest `user` unless exactly one key matches.
    """
    matches = [key for key in key_list(ports, account_name) if key.hash.startswith(hash_prefix.lower())]
    if not matches:
        raise InvalidRequest("user", f"No key of the account begins with {hash_prefix!r}.")
    if len(matches) > 1 or not hash_prefix:
        raise InvalidRequest("user", f"{len(matches)} keys of the account begin with {hash_prefix!r}: give more of it.")
    ports.settings.remove_key(matches[0].hash)
    return matches[0]
