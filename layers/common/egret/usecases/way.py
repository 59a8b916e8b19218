"""The way that a delivery takes: what the routes say, and what an egress unit must have to go it."""

from __future__ import annotations

from dataclasses import dataclass

from egret.contracts.ports import SettingsReader
from egret.contracts.settings import Direct, Smarthost
from egret.core.delivery import Delivery, Message
from egret.core.routing import Journey, choose


@dataclass(frozen=True, slots=True)
class Way:
    """How a delivery is to be tried.

    transport: name that the route gives, "" = the unit's own way. needs_port25: it ends at the MX hosts.
    smarthost: the host that it ends at otherwise, "" = none.
    """

    transport: str = ""
    needs_port25: bool = True
    smarthost: str = ""

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
    return OWN_WAY if route is None else _over(settings, route.transport)


def _over(settings: SettingsReader, name: str) -> Way:
    """Return the way over a transport. One that does not exist needs nothing: the unit says then what is wrong."""
    way = next((one.way for one in settings.transports() if one.name == name), None)
    return Way(name, isinstance(way, Direct), way.host if isinstance(way, Smarthost) else "")
