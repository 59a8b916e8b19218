"""The items of the settings table: one partition for each kind of thing, so that a kind is listed by one query.

    ACCOUNT  <id>         NAME     <account name>        -> account id
                          ADDRESS  <login address>       -> account id
    KEY      <hash>
    DOMAIN   <domain>     RPATH    <return-path domain>  -> domain
    HOLD     <rule id>
    ROUTE    <route id>   TRANSPORT  <name>

Each field is an attribute of its own, for whoever looks at the table; one that an older version did not write has the
default of the field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
    UnicodeSetAttribute,
    UTCDateTimeAttribute,
)
from pynamodb.connection import Connection
from pynamodb.expressions.condition import Condition

from egret.aws.clients import Clients
from egret.aws.mapper import DurationAttribute, ScopeAttribute, bound, connect
from egret.aws.routing_items import RouteItem, TransportItem
from egret.aws.settings_base import Setting
from egret.contracts.settings import (
    Account,
    ApiKey,
    HoldRule,
    SendingDomain,
    StoredDkimKey,
    WebhookSettings,
)


class ClaimItem(Setting):
    """A name that is taken. owner: key of the account or domain that has it."""

    owner = UnicodeAttribute()

    @classmethod
    def is_of(cls, owner: str) -> Condition:
        """Return the condition that the name is the owner's."""
        return cls.owner == owner


class NameClaim(ClaimItem):
    """The name of an account."""

    KIND = "NAME"


class AddressClaim(ClaimItem):
    """A login address of an account."""

    KIND = "ADDRESS"


class ReturnPathClaim(ClaimItem):
    """The return-path domain of a sending domain."""

    KIND = "RPATH"


class WebhookMap(MapAttribute[str, Any]):
    """Where an account hears of its deliveries."""

    url = UnicodeAttribute()
    authorization = UnicodeAttribute(default="")
    events = UnicodeSetAttribute()
    secrets: ListAttribute[str] = ListAttribute(of=cast("type[str]", UnicodeAttribute), default=list)
    in_order = BooleanAttribute(default=False)
    disabled = BooleanAttribute(default=False)

    @classmethod
    def of(cls, webhook: WebhookSettings) -> WebhookMap:
        """Return the map of a webhook."""
        return cls(
            url=webhook.url,
            authorization=webhook.authorization,
            events=set(webhook.events),
            secrets=list(webhook.secrets),
            in_order=webhook.in_order,
            disabled=webhook.disabled,
        )

    def value(self) -> WebhookSettings:
        """Return the webhook."""
        return WebhookSettings(
            url=self.url,
            authorization=self.authorization,
            events=frozenset(_or_empty(self.events)),
            secrets=tuple(self.secrets),
            in_order=self.in_order,
            disabled=self.disabled,
        )


class AccountItem(Setting):
    """An account, by id."""

    KIND = "ACCOUNT"
    name = UnicodeAttribute()
    full_name = UnicodeAttribute(default="")
    addresses: ListAttribute[str] = ListAttribute(of=cast("type[str]", UnicodeAttribute), default=list)
    uses_fromid = BooleanAttribute(default=True)
    messages_per_day = NumberAttribute()
    keep_deliveries = DurationAttribute(default=Account("", "").keep_deliveries)
    keep_calls = DurationAttribute(default=Account("", "").keep_calls)
    idempotency_window = DurationAttribute(default=Account("", "").idempotency_window)
    webhook = WebhookMap(null=True)  # type: ignore[no-untyped-call]
    incoming_webhook = WebhookMap(null=True)  # type: ignore[no-untyped-call]
    keep_mail = DurationAttribute(default=Account("", "").keep_mail)
    dsn_to_mailbox = BooleanAttribute(default=True)
    unsubscribe = BooleanAttribute(default=False)
    keeps_extra_headers = BooleanAttribute(default=False)
    is_postmaster = BooleanAttribute(default=False)
    disabled = BooleanAttribute(default=False)
    created_at = UTCDateTimeAttribute(null=True)

    @classmethod
    def of(cls, account: Account) -> AccountItem:
        """Return the item of an account."""
        return cls.at(
            account.id,
            name=account.name,
            full_name=account.full_name,
            addresses=list(account.addresses),
            uses_fromid=account.uses_fromid,
            messages_per_day=account.messages_per_day,
            keep_deliveries=account.keep_deliveries,
            keep_calls=account.keep_calls,
            idempotency_window=account.idempotency_window,
            webhook=WebhookMap.of(account.webhook) if account.webhook else None,
            incoming_webhook=WebhookMap.of(account.incoming_webhook) if account.incoming_webhook else None,
            keep_mail=account.keep_mail,
            dsn_to_mailbox=account.dsn_to_mailbox,
            unsubscribe=account.unsubscribe,
            keeps_extra_headers=account.keeps_extra_headers,
            is_postmaster=account.is_postmaster,
            disabled=account.disabled,
            created_at=account.created_at,
        )

    def value(self) -> Account:
        """Return the account."""
        webhook: WebhookMap | None = self.webhook
        incoming: WebhookMap | None = self.incoming_webhook
        return Account(
            id=self.key,
            name=self.name,
            full_name=self.full_name,
            addresses=tuple(self.addresses),
            uses_fromid=self.uses_fromid,
            messages_per_day=int(self.messages_per_day),
            keep_deliveries=self.keep_deliveries,
            keep_calls=self.keep_calls,
            idempotency_window=self.idempotency_window,
            webhook=None if webhook is None else webhook.value(),
            incoming_webhook=None if incoming is None else incoming.value(),
            keep_mail=self.keep_mail,
            dsn_to_mailbox=self.dsn_to_mailbox,
            unsubscribe=self.unsubscribe,
            keeps_extra_headers=self.keeps_extra_headers,
            is_postmaster=self.is_postmaster,
            disabled=self.disabled,
            created_at=self.created_at,
        )


class KeyItem(Setting):
    """An API key, by hash."""

    KIND = "KEY"
    account = UnicodeAttribute()
    login = UnicodeAttribute()
    scope = ScopeAttribute()
    name = UnicodeAttribute(default="")
    created_at = UTCDateTimeAttribute(null=True)
    last_used_at = UTCDateTimeAttribute(null=True)

    @classmethod
    def of(cls, key: ApiKey) -> KeyItem:
        """Return the item of a key."""
        return cls.at(
            key.hash,
            account=key.account,
            login=key.login,
            scope=key.scope,
            name=key.name,
            created_at=key.created_at,
            last_used_at=key.last_used_at,
        )

    @classmethod
    def is_used_before(cls, at: datetime) -> Condition:
        """Return the condition that the key exists and was not used after an instant."""
        unused = cls.last_used_at.does_not_exist() | (cls.last_used_at <= at)
        condition: Condition = cls.key.exists() & unused
        return condition

    def value(self) -> ApiKey:
        """Return the key."""
        return ApiKey(
            hash=self.key,
            account=self.account,
            login=self.login,
            scope=self.scope,
            name=self.name,
            created_at=self.created_at,
            last_used_at=self.last_used_at,
        )


class DkimKeyMap(MapAttribute[str, Any]):
    """A DKIM key."""

    selector = UnicodeAttribute()
    algorithm = UnicodeAttribute()
    wrapped = BinaryAttribute(legacy_encoding=False)
    public_record = UnicodeAttribute()

    @classmethod
    def of(cls, key: StoredDkimKey) -> DkimKeyMap:
        """Return the map of a key."""
        return cls(selector=key.selector, algorithm=key.algorithm, wrapped=key.wrapped, public_record=key.public_record)

    def value(self) -> StoredDkimKey:
        """Return the key."""
        return StoredDkimKey(self.selector, self.algorithm, self.wrapped, self.public_record)


class DomainItem(Setting):
    """A sending domain, by A-label."""

    KIND = "DOMAIN"
    account = UnicodeAttribute()
    return_path_domain = UnicodeAttribute()
    dkim_keys: ListAttribute[DkimKeyMap] = ListAttribute(of=DkimKeyMap, default=list)
    separator = UnicodeAttribute(default="")
    disabled = BooleanAttribute(default=False)

    @classmethod
    def of(cls, domain: SendingDomain) -> DomainItem:
        """Return the item of a domain."""
        return cls.at(
            domain.domain,
            account=domain.account,
            return_path_domain=domain.return_path_domain,
            dkim_keys=[DkimKeyMap.of(key) for key in domain.dkim_keys],
            separator=domain.separator,
            disabled=domain.disabled,
        )

    def value(self) -> SendingDomain:
        """Return the domain."""
        return SendingDomain(
            domain=self.key,
            account=self.account,
            return_path_domain=self.return_path_domain,
            dkim_keys=tuple(key.value() for key in self.dkim_keys),
            separator=self.separator,
            disabled=self.disabled,
        )


class HoldItem(Setting):
    """A hold rule, by id."""

    KIND = "HOLD"
    account = UnicodeAttribute(default="")
    sender = UnicodeAttribute(default="")
    recipient = UnicodeAttribute(default="")
    created_at = UTCDateTimeAttribute(null=True)

    @classmethod
    def of(cls, rule: HoldRule) -> HoldItem:
        """Return the item of a rule."""
        return cls.at(
            rule.id, account=rule.account, sender=rule.sender, recipient=rule.recipient, created_at=rule.created_at
        )

    def value(self) -> HoldRule:
        """Return the rule."""
        return HoldRule(self.key, self.account, self.sender, self.recipient, self.created_at)


@dataclass(frozen=True)
class Items:
    """The models on one settings table, and its connection."""

    connection: Connection
    account: type[AccountItem]
    name: type[NameClaim]
    address: type[AddressClaim]
    key: type[KeyItem]
    domain: type[DomainItem]
    return_path: type[ReturnPathClaim]
    hold: type[HoldItem]
    route: type[RouteItem]
    transport: type[TransportItem]

    @classmethod
    def on(cls, clients: Clients, table_name: str) -> Items:
        """Return the models on this table."""
        table = connect(clients, table_name)
        return cls(
            connection=table.connection,
            account=bound(AccountItem, table),
            name=bound(NameClaim, table),
            address=bound(AddressClaim, table),
            key=bound(KeyItem, table),
            domain=bound(DomainItem, table),
            return_path=bound(ReturnPathClaim, table),
            hold=bound(HoldItem, table),
            route=bound(RouteItem, table),
            transport=bound(TransportItem, table),
        )


def _or_empty(values: Iterable[str] | None) -> Iterable[str]:
    """Return a set as pynamodb reads it, which is None when it was empty."""
    return values or ()
