"""`egret transport` and `egret route`."""

from __future__ import annotations

from argparse import Namespace
from typing import assert_never

from egret.contracts.settings import Direct, Fail, Smarthost, SmarthostTls, Transport
from egret.core.errors import InvalidRequest
from egret.core.routing import Route
from egret.usecases.routes import (
    Found,
    RoutePorts,
    route_add,
    route_list,
    route_remove,
    route_test,
    transport_add,
    transport_list,
    transport_remove,
)
from egret_cli.command import Answer, Argument, Command, Ports
from egret_cli.secret import asked
from egret_cli.text import facts, table

PORTS = {SmarthostTls.IMPLICIT: 465, SmarthostTls.NONE: 25}
OF_WAY = {
    "direct": ("disable_ipv4", "disable_ipv6"),
    "smarthost": ("host", "port", "tls", "user", "password_file"),
    "fail": ("code", "message"),
}


def _bundle(ports: Ports) -> RoutePorts:
    return RoutePorts(ports.settings_writer, ports.settings, ports.key_wrapper, ports.dice)


# --- transports ------------------------------------------------------------------------------------------------------


def add_transport(ports: Ports, arguments: Namespace) -> Answer:
    """Add a transport."""
    foreign = [name for way, names in OF_WAY.items() if way != arguments.way for name in names]
    for name in foreign:
        if getattr(arguments, name):
            raise InvalidRequest("user", f"--{name.replace('_', '-')} is not for a transport that is {arguments.way}.")
    way = _way(arguments)
    password = ""
    if isinstance(way, Smarthost) and way.user:
        password = asked(f"Password of {way.user} at {way.host}: ", arguments.password_file, "--password-file")
    made = transport_add(_bundle(ports), Transport(arguments.transport, way), password)
    return Answer(_data(made), f"{_use_of(made)}, once a route leads to it.")


def _use_of(transport: Transport) -> str:
    if isinstance(transport.way, Fail):
        return f"{transport.name} fails mail with {transport.way.code} {transport.way.message}"
    return f"Mail may go over {transport.name}, {_described(transport)}"


def _way(arguments: Namespace) -> Direct | Smarthost | Fail:
    if arguments.way == "direct":
        return Direct(arguments.disable_ipv4, arguments.disable_ipv6)
    if arguments.way == "smarthost":
        tls = SmarthostTls(arguments.tls or SmarthostTls.STARTTLS)
        port = PORTS.get(tls, 587) if arguments.port is None else arguments.port
        return Smarthost(arguments.host, port, tls, arguments.user)
    usual = Fail()
    code = usual.code if arguments.code is None else arguments.code
    return Fail(code, arguments.message or usual.message)


def list_transports(ports: Ports, _: Namespace) -> Answer:
    """List every transport."""
    found = transport_list(_bundle(ports))
    rows = [{"name": transport.name, "way": _described(transport)} for transport in found]
    return Answer([_data(transport) for transport in found], table(rows, "There is no transport."))


def remove_transport(ports: Ports, arguments: Namespace) -> Answer:
    """Remove a transport."""
    transport_remove(_bundle(ports), arguments.transport)
    return Answer({"removed": arguments.transport}, f"Removed the transport {arguments.transport}.")


def _data(transport: Transport) -> dict[str, object]:
    """Return a transport for machines, without its password."""
    match transport.way:
        case Direct(disable_ipv4, disable_ipv6):
            way: dict[str, object] = {"way": "direct", "disable_ipv4": disable_ipv4, "disable_ipv6": disable_ipv6}
        case Smarthost(host, port, tls, user):
            way = {"way": "smarthost", "host": host, "port": port, "tls": tls.value, "user": user}
        case Fail(code, message):
            way = {"way": "fail", "code": code, "message": message}
        case _:
            assert_never(transport.way)
    return {"name": transport.name, **way}


def _described(transport: Transport) -> str:
    match transport.way:
        case Direct(disable_ipv4, disable_ipv6):
            only = " over IPv6 only" if disable_ipv4 else " over IPv4 only" if disable_ipv6 else ""
            return f"direct to the MX hosts{only}"
        case Smarthost(host, port, tls, user):
            place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            return f"smarthost {place} ({_PROTECTION[tls]})" + (f" as {user}" if user else "")
        case Fail(code, message):
            return f"fails with {code} {message}"
        case _:
            assert_never(transport.way)


_PROTECTION = {
    SmarthostTls.STARTTLS: "STARTTLS, verified",
    SmarthostTls.IMPLICIT: "TLS from the start, verified",
    SmarthostTls.UNVERIFIED: "STARTTLS, not verified",
    SmarthostTls.NONE: "plain text",
}


# --- routes ----------------------------------------------------------------------------------------------------------


def add_route(ports: Ports, arguments: Namespace) -> Answer:
    """Add a route."""
    wanted = Route(
        id="",
        transport=arguments.transport,
        domain=arguments.domain,
        from_domains=tuple(arguments.from_domains or ()),
        to_domains=tuple(arguments.to_domains or ()),
        minimum_attempts=arguments.minimum_attempts,
        order=arguments.order,
    )
    made = route_add(_bundle(ports), arguments.account, wanted)
    return Answer(_row(made, _names(ports)), f"Route {made.id}; it is used within a minute.")


def list_routes(ports: Ports, _: Namespace) -> Answer:
    """List every route."""
    names = _names(ports)
    rows = [_row(route, names) for route in route_list(_bundle(ports))]
    shown = [{key.replace("_", " "): value for key, value in row.items()} for row in rows]
    return Answer(rows, table(shown, "There is no route: mail goes the egress units' own way."))


def remove_route(ports: Ports, arguments: Namespace) -> Answer:
    """Remove a route."""
    route_remove(_bundle(ports), arguments.route)
    return Answer({"removed": arguments.route}, f"Removed the route {arguments.route}.")


def test_route(ports: Ports, arguments: Namespace) -> Answer:
    """Say which transport mail would take."""
    found = route_test(_bundle(ports), arguments.sender, arguments.recipient, arguments.attempts, arguments.account)
    names = _names(ports)
    data = {
        "account": names.get(found.journey.account, found.journey.account),
        "from": found.journey.from_domain,
        "to": found.journey.to_domain,
        "attempts": found.journey.attempts,
        "route": found.route.id if found.route else "",
        "transport": found.route.transport if found.route else "",
    }
    way = _outcome(found)
    return Answer({**data, "way": _data(found.transport) if found.transport else None}, facts({**data, "way": way}))


def _outcome(found: Found) -> str:
    if found.route is None:
        return "no route matches: the egress unit's own way"
    if found.transport is None:
        return "none: that transport does not exist, and attempts are put off until it does or the route is removed"
    return _described(found.transport)


def _names(ports: Ports) -> dict[str, str]:
    return {account.id: account.name for account in ports.settings_writer.accounts()}


def _row(route: Route, names: dict[str, str]) -> dict[str, object]:
    return {
        "id": route.id,
        "account": names.get(route.account, route.account),
        "domain": route.domain,
        "order": route.order,
        "from": list(route.from_domains),
        "to": list(route.to_domains),
        "minimum_attempts": route.minimum_attempts,
        "transport": route.transport,
    }


TRANSPORT = Argument("transport", "name of the transport")
_TEXT = {"default": ""}
_NUMBER = {"type": int, "default": None}

COMMANDS = (
    Command(
        "transport",
        "add",
        "Add a transport, or replace the one of that name. Mail goes over it once a route leads there.",
        (
            TRANSPORT,
            Argument("way", "where mail goes on it", {"choices": list(OF_WAY)}),
            Argument("--host", "name or address of the smarthost", {**_TEXT, "metavar": "HOST"}),
            Argument("--port", "its port; 587, 465 with implicit TLS, 25 without any", {**_NUMBER, "metavar": "PORT"}),
            Argument(
                "--tls",
                "protection of the way to the smarthost; starttls if not given. starttls and implicit check its "
                "certificate, unverified encrypts for whoever answers",
                {**_TEXT, "choices": [tls.value for tls in SmarthostTls], "metavar": "TLS"},
            ),
            Argument("--user", "user to log in as at the smarthost", {**_TEXT, "metavar": "USER"}),
            Argument(
                "--password-file",
                "file with the user's password, - for standard input; asked for if not given",
                {**_TEXT, "metavar": "FILE"},
            ),
            Argument("--disable-ipv4", "direct: over IPv6 only", {"action": "store_true"}),
            Argument("--disable-ipv6", "direct: over IPv4 only", {"action": "store_true"}),
            Argument(
                "--code", "fail: SMTP code, 554; below 500 it is tried again later", {**_NUMBER, "metavar": "CODE"}
            ),
            Argument("--message", "fail: text after the code", {**_TEXT, "metavar": "TEXT"}),
        ),
        add_transport,
    ),
    Command("transport", "list", "List every transport, without passwords.", (), list_transports),
    Command("transport", "remove", "Remove a transport that no route leads to.", (TRANSPORT,), remove_transport),
    Command(
        "route",
        "add",
        "Send mail over a transport. Routes of the account are looked at first, then those of the sending domain, then "
        "those of the installation; the first that matches in everything given is taken.",
        (
            TRANSPORT,
            Argument("--account", "a route of this account", {**_TEXT, "metavar": "NAME"}),
            Argument("--domain", "a route of this sending domain", {**_TEXT, "metavar": "DOMAIN"}),
            Argument(
                "--from-domain",
                "From addresses of this domain, of it and all below with a leading dot; once for each",
                {"action": "append", "dest": "from_domains", "metavar": "DOMAIN"},
            ),
            Argument(
                "--to-domain",
                "recipients of this domain, of it and all below with a leading dot; once for each",
                {"action": "append", "dest": "to_domains", "metavar": "DOMAIN"},
            ),
            Argument(
                "--minimum-attempts",
                "only after so many attempts on another way (0)",
                {"type": int, "default": 0, "metavar": "N"},
            ),
            Argument("--order", "place among its kind, lowest first (0)", {"type": int, "default": 0, "metavar": "N"}),
        ),
        add_route,
    ),
    Command("route", "list", "List every route, in the order in which they are looked at.", (), list_routes),
    Command("route", "remove", "Remove a route.", (Argument("route", "id of the route"),), remove_route),
    Command(
        "route",
        "test",
        "Say which transport mail would take; nothing is sent.",
        (
            Argument("sender", "From address, or its domain"),
            Argument("recipient", "address of the recipient, or its domain"),
            Argument("--account", "account that sends; the one that has the sender", {**_TEXT, "metavar": "NAME"}),
            Argument("--attempts", "attempts made before (0)", {"type": int, "default": 0, "metavar": "N"}),
        ),
        test_route,
    ),
)
