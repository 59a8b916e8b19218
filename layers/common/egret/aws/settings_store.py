"""Settings in DynamoDB, through pynamodb.

They are few and change seldom: what they cost does not matter, that two of them never claim the same does.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from pynamodb.exceptions import CancellationReason, TransactWriteError, UpdateError
from pynamodb.expressions.condition import Condition
from pynamodb.transactions import TransactWrite

from egret.aws.clients import Clients
from egret.aws.mapper import FAILED, mapping
from egret.aws.settings_base import Setting
from egret.aws.settings_items import ClaimItem, Items
from egret.contracts.settings import Account, ApiKey, HoldRule, SendingDomain, Transport
from egret.core.errors import Conflict, InvalidRequest
from egret.core.routing import Route

S = TypeVar("S", bound=Setting)
Claims = frozenset[tuple[type[ClaimItem], str]]
Change = tuple[Setting, Condition]
"""An item to write or remove, and the condition for it."""

TOUCH_EVERY = timedelta(hours=1)
MAX_PARTS = 100
"""Parts of one transaction."""


class DynamoSettings:
    """The `SettingsReader` port, uncached, and the `SettingsWriter` port.

    Every change is one transaction with its uniqueness checks. botocore repeats a write whose answer was lost: the
    transaction bears a token by which DynamoDB knows it for ten minutes, and its main item a mark by which we do.
    """

    def __init__(self, clients: Clients, table_name: str) -> None:
        self._items = Items.on(clients, table_name)

    # --- reading

    def account(self, account_id: str) -> Account | None:
        """Return an account by id."""
        item = _find(self._items.account, account_id)
        return item.value() if item is not None else None

    def account_by_name(self, name: str) -> Account | None:
        """Return an account by its name."""
        claim = _find(self._items.name, name)
        return self.account(claim.owner) if claim is not None else None

    def account_of_address(self, address: str) -> Account | None:
        """Return the account of a login address."""
        claim = _find(self._items.address, address)
        return self.account(claim.owner) if claim is not None else None

    def key(self, key_hash: str) -> ApiKey | None:
        """Return an API key by hash."""
        item = _find(self._items.key, key_hash)
        return item.value() if item is not None else None

    def domain(self, domain: str) -> SendingDomain | None:
        """Return a sending domain."""
        item = _find(self._items.domain, domain)
        return item.value() if item is not None else None

    def domain_of_return_path(self, domain: str) -> SendingDomain | None:
        """Return the sending domain that uses a return-path domain."""
        claim = _find(self._items.return_path, domain)
        return self.domain(claim.owner) if claim is not None else None

    def hold_rules(self) -> tuple[HoldRule, ...]:
        """Return every hold rule, oldest id first."""
        return tuple(item.value() for item in _all(self._items.hold))

    def routes(self) -> tuple[Route, ...]:
        """Return every route, by id."""
        return tuple(item.value() for item in _all(self._items.route))

    def transports(self) -> tuple[Transport, ...]:
        """Return every transport, by name."""
        return tuple(item.value() for item in _all(self._items.transport))

    # --- accounts

    def put_account(self, account: Account) -> None:
        """Create or replace an account; its name and addresses must be free or its own, else Conflict."""
        known = _find(self._items.account, account.id)
        item = self._items.account.of(account)
        before = self._claims(known.value()) if known is not None else frozenset()
        self._transact(
            saved=[(item, _unchanged(known, item)), *_claimed(self._claims(account) - before, account.id)],
            removed=_given_up(before - self._claims(account), account.id),
            conflict="Another account has that name or one of these addresses.",
        )

    def accounts(self) -> list[Account]:
        """Return all, by name."""
        return sorted((item.value() for item in _all(self._items.account)), key=lambda account: account.name)

    def _claims(self, account: Account) -> Claims:
        addresses = ((self._items.address, address) for address in account.addresses)
        return frozenset({(self._items.name, account.name), *addresses})

    # --- keys

    def put_key(self, key: ApiKey) -> None:
        """Add or replace a key."""
        _save(self._items.key.of(key))

    def keys(self, account_id: str) -> list[ApiKey]:
        """Return an account's keys, oldest first."""
        own = [item.value() for item in _all(self._items.key) if item.account == account_id]
        return sorted(own, key=lambda key: (key.created_at.timestamp() if key.created_at else 0.0, key.hash))

    def remove_key(self, key_hash: str) -> bool:
        """Revoke; False when absent."""
        return _remove(_find(self._items.key, key_hash))

    def touch_key(self, key: ApiKey, at: datetime) -> None:
        """Note that the key was used, at most one write an hour; a revoked key stays revoked."""
        if key.last_used_at is not None and at - key.last_used_at < TOUCH_EVERY:
            return
        model = self._items.key
        stale = model.is_used_before(at - TOUCH_EVERY)
        with mapping("dynamodb UpdateItem"):
            try:
                model.at(key.hash).update([model.last_used_at.set(at)], stale)
            except UpdateError as error:
                if error.cause_response_code != f"{FAILED}Exception":
                    raise  # else another process has noted it, or the key is gone

    # --- domains

    def put_domain(self, domain: SendingDomain) -> None:
        """Create or replace; Conflict when the domain is another account's or the return-path domain is in use."""
        known = _find(self._items.domain, domain.domain)
        if known is not None and known.account != domain.account:
            raise Conflict("Another account has that domain.")
        item = self._items.domain.of(domain)
        before = self._paths(known.return_path_domain if known is not None else "")
        after = self._paths(domain.return_path_domain)
        self._transact(
            saved=[(item, _unchanged(known, item)), *_claimed(after - before, domain.domain)],
            removed=_given_up(before - after, domain.domain),
            conflict="Another domain has that return-path domain.",
        )

    def domains(self, account_id: str) -> list[SendingDomain]:
        """Return an account's domains by name."""
        return [item.value() for item in _all(self._items.domain) if item.account == account_id]

    def remove_domain(self, domain: str) -> bool:
        """Remove; False when absent."""
        known = _find(self._items.domain, domain)
        if known is None:
            return False
        self._transact(
            saved=[],
            removed=[(known, known.unchanged()), *_given_up(self._paths(known.return_path_domain), domain)],
            conflict="It was changed by somebody else at the same time.",
        )
        return True

    def _paths(self, return_path_domain: str) -> Claims:
        return frozenset({(self._items.return_path, return_path_domain)} if return_path_domain else ())

    # --- hold rules

    def put_hold_rule(self, rule: HoldRule) -> None:
        """Add a rule."""
        _save(self._items.hold.of(rule))

    def remove_hold_rule(self, rule_id: str) -> bool:
        """Remove; False when absent."""
        return _remove(_find(self._items.hold, rule_id))

    # --- routes and transports

    def put_route(self, route: Route) -> None:
        """Add or replace a route."""
        _save(self._items.route.of(route))

    def remove_route(self, route_id: str) -> bool:
        """Remove; False when absent."""
        return _remove(_find(self._items.route, route_id))

    def put_transport(self, transport: Transport) -> None:
        """Add or replace a transport."""
        _save(self._items.transport.of(transport))

    def remove_transport(self, name: str) -> bool:
        """Remove; False when absent."""
        return _remove(_find(self._items.transport, name))

    # --- uniqueness

    def _transact(self, saved: Sequence[Change], removed: Sequence[Change], conflict: str) -> None:
        """Make all the changes or none; Conflict when a condition does not hold. saved: the main item first."""
        if len(saved) + len(removed) > MAX_PARTS:
            raise InvalidRequest("user", f"At most {MAX_PARTS - 1} names and addresses can change at once.")
        parts = TransactWrite(connection=self._items.connection, client_request_token=secrets.token_hex(16))
        for item, condition in removed:
            parts.delete(item, condition)
        for item, condition in saved:
            parts.save(item, condition, return_values="ALL_OLD")
        items = [item for item, _ in (*removed, *saved)]  # pynamodb sends them in this order
        with mapping("dynamodb TransactWriteItems"):
            try:
                with parts:
                    pass  # to leave is to send
            except TransactWriteError as error:
                failed = _failed(items, error)
                if not failed:
                    raise
                _refuse(failed, saved[0][0] if saved else removed[0][0], conflict)


def _failed(items: Sequence[Setting], error: TransactWriteError) -> list[tuple[Setting, CancellationReason]]:
    """Return the items whose conditions did not hold, and what pynamodb says about them."""
    pairs = zip(items, error.cancellation_reasons, strict=False)
    return [(item, reason) for item, reason in pairs if reason and reason.code == FAILED]


def _refuse(failed: Sequence[tuple[Setting, CancellationReason]], main: Setting, conflict: str) -> None:
    """Raise Conflict, unless what stands in the way of the main item is that item itself."""
    reason = next((reason for item, reason in failed if item is main), None)
    if reason is None:
        raise Conflict(conflict)
    if not main.is_written(reason.raw_item):
        raise Conflict("It was changed by somebody else at the same time.")


def _find(model: type[S], key: str) -> S | None:
    if not key:  # no key is empty
        return None
    with mapping("dynamodb GetItem"):
        try:
            return model.get(model.KIND, key, consistent_read=True)
        except model.DoesNotExist:
            return None


def _all(model: type[S]) -> list[S]:
    """Return everything of a kind, by key."""
    with mapping("dynamodb Query"):
        return list(model.query(model.KIND, consistent_read=True))


def _save(item: Setting) -> None:
    with mapping("dynamodb PutItem"):
        item.save()


def _remove(item: Setting | None) -> bool:
    """Remove what was found. Without a condition, so that it may be repeated."""
    if item is None:
        return False
    with mapping("dynamodb DeleteItem"):
        item.delete()
    return True


def _unchanged(known: Setting | None, item: Setting) -> Condition:
    """Return the condition that what an item replaces is still what was read."""
    return item.absent() if known is None else known.unchanged()


def _claimed(claims: Claims, owner: str) -> list[Change]:
    """Return the changes that claim what is free."""
    return [
        (model.at(key, owner=owner), model.absent() | model.is_of(owner))
        for model, key in sorted(claims, key=_by_kind)
        if key
    ]


def _given_up(claims: Claims, owner: str) -> list[Change]:
    """Return the changes that give up what the owner has."""
    return [(model.at(key, owner=owner), model.is_of(owner)) for model, key in sorted(claims, key=_by_kind) if key]


def _by_kind(claim: tuple[type[ClaimItem], str]) -> tuple[str, str]:
    return claim[0].KIND, claim[1]
