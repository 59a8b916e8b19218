"""How many logins of a network may fail in a minute and in a day, before its failures are refused without a look.

Fixed windows. The wider the network, the higher the limit: somebody who owns many addresses gains little by it.
Keeps no counts.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

IPV4_PREFIXES = (32, 26, 21)
IPV6_PREFIXES = (64, 48, 32)
"""A /64 is what one customer has at least."""

LIMITS = ((timedelta(minutes=1), (10, 30, 90)), (timedelta(days=1), (50, 150, 450)))
"""Length of the window; failures allowed in it for each of the three prefixes."""

_START = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """One count: its key, the failures allowed in it, and the instant from which nobody asks for it any more."""

    key: str
    limit: int
    ends_at: datetime


def windows_of(address: str, now: datetime) -> tuple[Window, ...]:
    """Return the counts that a failure of an IP address belongs to; an address that is none has one of its own."""
    return tuple(
        _window(network, length, limit, now)
        for length, limits in LIMITS
        for network, limit in zip(networks_of(address), limits, strict=False)
    )


def _window(network: str, length: timedelta, limit: int, now: datetime) -> Window:
    number = (now - _START) // length
    return Window(f"{network} {length // timedelta(minutes=1)}m {number}", limit, _START + (number + 1) * length)


def networks_of(address: str) -> list[str]:
    """Return the networks of an IP address, narrowest first; one name for all that are none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ["unreadable"]
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    prefixes = IPV4_PREFIXES if parsed.version == 4 else IPV6_PREFIXES
    return [str(ipaddress.ip_network((parsed, prefix), strict=False)) for prefix in prefixes]
