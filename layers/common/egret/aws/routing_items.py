"""The items of routes and transports in the settings table."""

from __future__ import annotations

from typing import assert_never, cast

from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    ListAttribute,
    NumberAttribute,
    UnicodeAttribute,
)

from egret.aws.settings_base import Setting
from egret.contracts.settings import Direct, Fail, Smarthost, SmarthostTls, Transport
from egret.core.errors import ContractError
from egret.core.routing import Route

DIRECT, SMARTHOST, FAIL = "direct", "smarthost", "fail"


class RouteItem(Setting):
    """A route, by id."""

    KIND = "ROUTE"
    transport = UnicodeAttribute()
    account = UnicodeAttribute(default="")
    domain = UnicodeAttribute(default="")
    from_domains: ListAttribute[str] = ListAttribute(of=cast("type[str]", UnicodeAttribute), default=list)
    to_domains: ListAttribute[str] = ListAttribute(of=cast("type[str]", UnicodeAttribute), default=list)
    minimum_attempts = NumberAttribute(default=0)
    order = NumberAttribute(default=0)

    @classmethod
    def of(cls, route: Route) -> RouteItem:
        """Return the item of a route."""
        return cls.at(
            route.id,
            transport=route.transport,
            account=route.account,
            domain=route.domain,
            from_domains=list(route.from_domains),
            to_domains=list(route.to_domains),
            minimum_attempts=route.minimum_attempts,
            order=route.order,
        )

    def value(self) -> Route:
        """Return the route."""
        return Route(
            id=self.key,
            transport=self.transport,
            account=self.account,
            domain=self.domain,
            from_domains=tuple(self.from_domains),
            to_domains=tuple(self.to_domains),
            minimum_attempts=int(self.minimum_attempts),
            order=int(self.order),
        )


class TransportItem(Setting):
    """A transport, by name. way: which of the other attributes count."""

    KIND = "TRANSPORT"
    way = UnicodeAttribute()
    disable_ipv4 = BooleanAttribute(null=True)
    disable_ipv6 = BooleanAttribute(null=True)
    host = UnicodeAttribute(null=True)
    port = NumberAttribute(null=True)
    tls = UnicodeAttribute(null=True)
    user = UnicodeAttribute(null=True)
    password = BinaryAttribute(null=True, legacy_encoding=False)
    code = NumberAttribute(null=True)
    message = UnicodeAttribute(null=True)

    @classmethod
    def of(cls, transport: Transport) -> TransportItem:
        """Return the item of a transport."""
        match transport.way:
            case Direct(disable_ipv4, disable_ipv6):
                return cls.at(transport.name, way=DIRECT, disable_ipv4=disable_ipv4, disable_ipv6=disable_ipv6)
            case Smarthost(host, port, tls, user, password):
                login = {"user": user, "password": password} if user else {}
                return cls.at(transport.name, way=SMARTHOST, host=host, port=port, tls=tls.value, **login)
            case Fail(code, message):
                return cls.at(transport.name, way=FAIL, code=code, message=message)
            case _:
                assert_never(transport.way)

    def value(self) -> Transport:
        """Return the transport; ContractError when it is of a kind that a newer version made."""
        try:
            return Transport(self.key, self._way())
        except (TypeError, ValueError) as error:
            raise ContractError(detail=f"transport {self.key} cannot be read: {error}") from error

    def _way(self) -> Direct | Smarthost | Fail:
        if self.way == DIRECT:
            return Direct(bool(self.disable_ipv4), bool(self.disable_ipv6))
        if self.way == SMARTHOST:
            password = self.password if self.user else None
            return Smarthost(self.host, int(self.port), SmarthostTls(self.tls), self.user or "", password or b"")
        if self.way == FAIL:
            return Fail(int(self.code), self.message or "")
        raise ValueError(f"unknown way {self.way!r}")
