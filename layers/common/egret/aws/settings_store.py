"""Settings in DynamoDB: one partition for each kind of thing, so that a kind is listed by one query.

    ACCOUNT  <id>         NAME     <account name>        -> account id
                          ADDRESS  <login address>       -> account id
    KEY      <hash>
    DOMAIN   <domain>     RPATH    <return-path domain>  -> domain
    HOLD     <rule id>

`d` is JSON, for whoever looks at the table; `o`: the owner that an entry of uniqueness points to. They are few and
change seldom: what they cost does not matter, that two of them never claim the same does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from egret.aws.table import ABSENT, PRESENT, Condition, Item, Key, Range, Table, key_of, s, text
from egret.contracts.settings import Account, ApiKey, HoldRule, SendingDomain
from egret.core.errors import Conflict, ContractError, InvalidRequest

T = TypeVar("T")
TOUCH_EVERY = timedelta(hours=1)
MAX_PARTS = 100
"""Parts of one transaction."""


class SettingsTable:
    """Uncached reads by key, for the reader and the writer."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def account(self, account_id: str) -> Account | None:
        """Return an account by id."""
        return self._read(("ACCOUNT", account_id), Account)

    def account_by_name(self, name: str) -> Account | None:
        """Return an account by its name."""
        return self._of_owner(("NAME", name), self.account)

    def account_of_address(self, address: str) -> Account | None:
        """Return the account of a login address."""
        return self._of_owner(("ADDRESS", address), self.account)

    def key(self, key_hash: str) -> ApiKey | None:
        """Return an API key by hash."""
        return self._read(("KEY", key_hash), ApiKey)

    def domain(self, domain: str) -> SendingDomain | None:
        """Return a sending domain."""
        return self._read(("DOMAIN", domain), SendingDomain)

    def domain_of_return_path(self, domain: str) -> SendingDomain | None:
        """Return the sending domain that uses a return-path domain."""
        return self._of_owner(("RPATH", domain), self.domain)

    def hold_rules(self) -> tuple[HoldRule, ...]:
        """Return every hold rule, oldest id first."""
        return tuple(self.all("HOLD", HoldRule))

    def all(self, kind: str, type_: type[T]) -> Iterator[T]:
        """Yield everything of a kind, by key."""
        return (_decoded(item, type_) for item in self.table.query(Range(kind)))

    def _read(self, key: Key, type_: type[T]) -> T | None:
        item = self.table.get(key) if key[1] else None  # no key is empty
        return None if item is None else _decoded(item, type_)

    def _of_owner(self, key: Key, find: Callable[[str], T | None]) -> T | None:
        item = self.table.get(key) if key[1] else None
        return None if item is None else find(text(item, "o"))


class DynamoSettings(SettingsTable):
    """The `SettingsWriter` port; every change is one transaction with its uniqueness checks."""

    # --- accounts

    def put_account(self, account: Account) -> None:
        """Create or replace an account; its name and addresses must be free or its own, else Conflict."""
        known, unchanged = self._known(("ACCOUNT", account.id), Account)
        before = _claims(known) if known else frozenset()
        parts = [
            self.table.putting(_item(("ACCOUNT", account.id), account), unchanged),
            *self._change_claims(before, _claims(account), account.id),
        ]
        self._transact(parts, "Another account has that name or one of these addresses.")

    def accounts(self) -> list[Account]:
        """Return all, by name."""
        return sorted(self.all("ACCOUNT", Account), key=lambda account: account.name)

    # --- keys

    def put_key(self, key: ApiKey) -> None:
        """Add or replace a key."""
        self.table.put(_item(("KEY", key.hash), key))

    def keys(self, account_id: str) -> list[ApiKey]:
        """Return an account's keys, oldest first."""
        own = [key for key in self.all("KEY", ApiKey) if key.account == account_id]
        return sorted(own, key=lambda key: (key.created_at.timestamp() if key.created_at else 0.0, key.hash))

    def remove_key(self, key_hash: str) -> bool:
        """Revoke; False when absent."""
        return self.table.delete_if(("KEY", key_hash), PRESENT)

    def touch_key(self, key: ApiKey, at: datetime) -> None:
        """Note that the key was used, at most one write an hour; a revoked key stays revoked."""
        if not _is_stale(key, at):
            return
        known, unchanged = self._known(("KEY", key.hash), ApiKey)
        if known is not None and _is_stale(known, at):
            self.table.put_if(_item(("KEY", key.hash), replace(known, last_used_at=at)), unchanged)

    # --- domains

    def put_domain(self, domain: SendingDomain) -> None:
        """Create or replace; Conflict when the domain is another account's or the return-path domain is in use."""
        known, unchanged = self._known(("DOMAIN", domain.domain), SendingDomain)
        if known is not None and known.account != domain.account:
            raise Conflict("Another account has that domain.")
        before = frozenset({("RPATH", known.return_path_domain)}) if known else frozenset()
        after = frozenset({("RPATH", domain.return_path_domain)})
        parts = [
            self.table.putting(_item(("DOMAIN", domain.domain), domain), unchanged),
            *self._change_claims(before, after, domain.domain),
        ]
        self._transact(parts, "Another domain has that return-path domain.")

    def domains(self, account_id: str) -> list[SendingDomain]:
        """Return an account's domains by name."""
        return [domain for domain in self.all("DOMAIN", SendingDomain) if domain.account == account_id]

    def remove_domain(self, domain: str) -> bool:
        """Remove; False when absent."""
        known, unchanged = self._known(("DOMAIN", domain), SendingDomain)
        if known is None:
            return False
        parts = [
            self.table.deleting(("DOMAIN", domain), unchanged),
            *self._change_claims(frozenset({("RPATH", known.return_path_domain)}), frozenset(), domain),
        ]
        self._transact(parts, "The domain was changed at the same time.")
        return True

    # --- hold rules

    def put_hold_rule(self, rule: HoldRule) -> None:
        """Add a rule."""
        self.table.put(_item(("HOLD", rule.id), rule))

    def remove_hold_rule(self, rule_id: str) -> bool:
        """Remove; False when absent."""
        return self.table.delete_if(("HOLD", rule_id), PRESENT)

    # --- uniqueness

    def _known(self, key: Key, type_: type[T]) -> tuple[T | None, Condition]:
        """Return what is stored, and the condition that it still is: that its text is the one read."""
        item = self.table.get(key)
        if item is None:
            return None, ABSENT
        return _decoded(item, type_), Condition("d = :known", {":known": item["d"]})

    def _change_claims(self, before: frozenset[Key], after: frozenset[Key], owner: str) -> list[dict[str, Any]]:
        """Return the parts that give up what an owner no longer claims and claim what is new, if it is free."""
        mine = Condition("o = :owner", {":owner": s(owner)})
        free = Condition(f"attribute_not_exists(pk) OR {mine.expression}", mine.values)
        given_up = [self.table.deleting(key, mine) for key in sorted(before - after) if key[1]]
        claimed = [
            self.table.putting({"pk": s(pk), "sk": s(sk), "o": s(owner)}, free)
            for pk, sk in sorted(after - before)
            if sk
        ]
        return given_up + claimed

    def _transact(self, parts: list[dict[str, Any]], conflict: str) -> None:
        if len(parts) > MAX_PARTS:
            raise InvalidRequest("user", f"At most {MAX_PARTS - 1} names and addresses can change at once.")
        failed = self.table.transact(parts)
        if failed[0]:
            raise Conflict("It was changed by somebody else at the same time.")
        if any(failed):
            raise Conflict(conflict)


def _claims(account: Account) -> frozenset[Key]:
    return frozenset({("NAME", account.name), *(("ADDRESS", address) for address in account.addresses)})


def _is_stale(key: ApiKey, at: datetime) -> bool:
    return key.last_used_at is None or at - key.last_used_at >= TOUCH_EVERY


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="deterministic").decode()


def _item(key: Key, value: Any) -> Item:
    return {"pk": s(key[0]), "sk": s(key[1]), "d": s(_json(value))}


def _decoded(item: Item, type_: type[T]) -> T:
    try:
        return msgspec.json.decode(text(item, "d"), type=type_)
    except msgspec.MsgspecError as error:
        raise ContractError(detail=f"setting {' '.join(key_of(item))} cannot be read: {error}") from error
