"""The way that a delivery takes: what the routes say, and what an egress unit must have to go it."""

from __future__ import annotations

from dataclasses import dataclass

from egret.contracts.ports import SettingsReader
from egret.contracts.settings import Direct
from egret.core.delivery import Delivery, Message
from egret.core.routing import Journey, choose


@dataclass(frozen=True, slots=True)
class Way:
    """How a delivery is to be tried.

    transport: name that the route gives, "" = the unit's own way. needs_port25: it ends at the MX hosts.
    """

    transport: str = ""
    needs_port25: bool = True

    @property
    def version(self) -> int:
        """The version of the handoff that a unit must understand."""
        return 2 if self.transport else 1


OWN_WAY = Way()


def way_of(settings: SettingsReader, delivery: Delivery, message: Message) -> Way:
    """Return the way of the next attempt. Raises Unavailable."""
    routes = settings.routes()
    if not routes:
        return OWN_WAY
    from_domain = message.header_from.rpartition("@")[2].lower()
    journey = Journey(delivery.account, from_domain, delivery.domain, len(delivery.attempts))
    route = choose(routes, journey)
    return OWN_WAY if route is None else Way(route.transport, _needs_port25(settings, route.transport))


def _needs_port25(settings: SettingsReader, name: str) -> bool:
    """Say so of direct transports. One that does not exist needs nothing: the unit says then what is wrong."""
    return any(one.name == name and isinstance(one.way, Direct) for one in settings.transports())
