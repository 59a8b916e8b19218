"""Transports and routes, as the operator manages them."""

from __future__ import annotations

import ipaddress
import logging
import re
from dataclasses import dataclass, replace
from typing import assert_never

from egret.contracts.ports import Dice, KeyWrapper, SettingsReader, SettingsWriter
from egret.contracts.settings import Direct, Fail, Smarthost, Transport
from egret.core.address import Address, AddressError, canonical_domain
from egret.core.errors import InvalidRequest
from egret.core.routing import Journey, Route, choose
from egret.usecases.accounts import account_named, domain_name

log = logging.getLogger(__name__)

MAX_TEXT = 255
"""Characters of a user, a password, and the message of a failure."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, slots=True)
class RoutePorts:
    """What managing routes needs."""

    settings: SettingsWriter
    reader: SettingsReader
    wrapper: KeyWrapper
    dice: Dice


def transport_add(ports: RoutePorts, wanted: Transport, password: str = "") -> Transport:
    """Add a transport, or replace the one of that name; return it as it is kept. It is used within a minute.

    password: of the smarthost's user; it is encrypted here and never shown. Raises InvalidRequest for what cannot be.
    """
    if not _NAME.fullmatch(wanted.name):
        raise InvalidRequest("user", "A transport needs a name of lower-case letters, digits and hyphens.")
    made = replace(wanted, way=_checked(wanted.way))
    if isinstance(made.way, Smarthost):
        _check_login(made.way, password)
        wrapped = ports.wrapper.wrap(password.encode(), made.context) if made.way.user else b""
        made = replace(made, way=replace(made.way, password=wrapped))
    ports.settings.put_transport(made)
    log.info("transport set", extra={"transport": made.name})
    return made


def transport_list(ports: RoutePorts) -> list[Transport]:
    """Return every transport, by name."""
    return list(ports.reader.transports())


def transport_remove(ports: RoutePorts, name: str) -> None:
    """Remove a transport. Raises InvalidRequest `user` when there is none, or when a route names it."""
    used = [route.id for route in route_list(ports) if route.transport == name]
    if used:
        raise InvalidRequest("user", f"Routes lead to {name!r}; remove them first: {', '.join(used)}.")
    if not ports.settings.remove_transport(name):
        raise InvalidRequest("user", f"There is no transport {name!r}.")


def route_add(ports: RoutePorts, account_name: str, wanted: Route) -> Route:
    """Add a route; return it as it is kept. It is used within a minute.

    account_name: "" for a route that is not an account's. Its id is given here, domains are brought into the form that
    is compared. Raises InvalidRequest for what cannot be.
    """
    if account_name and wanted.domain:
        raise InvalidRequest("user", "A route is an account's or a sending domain's, not both.")
    if wanted.transport not in {transport.name for transport in ports.reader.transports()}:
        raise InvalidRequest("user", f"There is no transport {wanted.transport!r}; add it first.")
    if wanted.minimum_attempts < 0:
        raise InvalidRequest("user", "The number of attempts must not be negative.")
    made = replace(
        wanted,
        id=ports.dice.octets(5).hex(),
        account=account_named(ports.settings, account_name).id if account_name else "",
        domain=_sending_domain(ports, wanted.domain),
        from_domains=tuple(_pattern(text) for text in wanted.from_domains),
        to_domains=tuple(_pattern(text) for text in wanted.to_domains),
    )
    ports.settings.put_route(made)
    log.info("route added", extra={"route": made.id, "transport": made.transport, "account": made.account})
    return made


def route_list(ports: RoutePorts) -> list[Route]:
    """Return every route in the order in which they are looked at."""
    return sorted(ports.reader.routes(), key=lambda route: route.rank)


def route_remove(ports: RoutePorts, route_id: str) -> None:
    """Remove a route. Raises InvalidRequest `user` when absent."""
    if not ports.settings.remove_route(route_id):
        raise InvalidRequest("user", f"There is no route {route_id!r}.")


@dataclass(frozen=True, slots=True)
class Found:
    """Where mail would go. route: None = no route matches; transport: None = the route names one that is missing."""

    journey: Journey
    route: Route | None = None
    transport: Transport | None = None


def route_test(ports: RoutePorts, sender: str, recipient: str, attempts: int = 0, account_name: str = "") -> Found:
    """Return which route mail from one address or domain to another takes after so many attempts.

    account_name: "" = the account that has the sender. Raises InvalidRequest for what is neither address nor domain.
    """
    from_domain, to_domain = _domain_of(sender), _domain_of(recipient)
    account = account_named(ports.settings, account_name).id if account_name else _owner(ports, sender, from_domain)
    journey = Journey(account, from_domain, to_domain, attempts)
    route = choose(ports.reader.routes(), journey)
    named = {transport.name: transport for transport in ports.reader.transports()}
    return Found(journey, route, named.get(route.transport) if route else None)


def _owner(ports: RoutePorts, sender: str, domain: str) -> str:
    owned = ports.reader.domain(domain)
    if owned is not None:
        return owned.account
    account = ports.reader.account_of_address(sender.lower()) if "@" in sender else None
    return account.id if account is not None else ""


def _sending_domain(ports: RoutePorts, text: str) -> str:
    if not text:
        return ""
    domain = _domain_of(text)
    if ports.reader.domain(domain) is None:
        raise InvalidRequest("user", f"No account sends from {text!r}; to match From addresses, use from-domains.")
    return domain


def _domain_of(text: str) -> str:
    """Return the domain of an address, or a domain, as A-label."""
    if "@" not in text:
        return domain_name(text)
    try:
        return Address.parse(text).domain
    except AddressError as error:
        raise InvalidRequest("badAddress", str(error)) from error


def _pattern(text: str) -> str:
    dot = "." if text.startswith(".") else ""
    return dot + domain_name(text.removeprefix("."))


def _checked(way: Direct | Smarthost | Fail) -> Direct | Smarthost | Fail:
    match way:
        case Direct():
            if way.disable_ipv4 and way.disable_ipv6:
                raise InvalidRequest("user", "Without IPv4 and IPv6 no server can be reached.")
            return way
        case Smarthost():
            if not 0 < way.port < 65536:
                raise InvalidRequest("user", "A port is a number from 1 to 65535.")
            return replace(way, host=_host(way.host), password=b"")
        case Fail():
            if not 400 <= way.code <= 599:
                raise InvalidRequest("user", "The code of a failure is 400 to 499 (for now) or 500 to 599 (for good).")
            if not _is_text(way.message) or not way.message.isascii():
                raise InvalidRequest("user", f"The message is 1 to {MAX_TEXT} ASCII characters on one line.")
            return way
        case _:
            assert_never(way)


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        pass
    try:
        return canonical_domain(text)
    except AddressError as error:
        raise InvalidRequest("user", f"{text!r} is neither the name of a host nor an IP address.") from error


def _check_login(way: Smarthost, password: str) -> None:
    if bool(way.user) != bool(password):
        raise InvalidRequest("user", "A user needs a password, and a password a user.")
    if not way.user:
        return
    if not way.tls.is_verified:
        raise InvalidRequest("user", "A password is only sent over verified TLS: starttls or implicit.")
    if not _is_text(way.user) or not _is_text(password):
        raise InvalidRequest("user", f"User and password have at most {MAX_TEXT} characters, all printable.")


def _is_text(text: str) -> bool:
    return 0 < len(text) <= MAX_TEXT and text.isprintable()
