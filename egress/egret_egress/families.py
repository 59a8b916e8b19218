"""Which address of a host is asked first, after what earlier attempts met.

A server that greylists knows us by our address and wants to see it again; one that does not like the reputation of our
address may take the mail from the one of the other family, IPv4 or IPv6.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable, Sequence

from egret.contracts.handoff import Earlier
from egret.core.reply import Reply

HasRoute = Callable[[str], bool]
_PROBE_PORT = 25


def in_order(addresses: Sequence[str], earlier: Sequence[Earlier]) -> tuple[str, ...]:
    """Return the same addresses in the order in which they are to be asked.

    addresses: in the order of the DNS, which holds on the first attempt. earlier: attempts at this host, oldest first.
    Put off for the first time at an address (greylisting): the same address again. Refused by policy, x.7.z: the other
    family first. Everything else: as on the first attempt.
    """
    reached = [attempt for attempt in earlier if attempt.address]
    if not reached:
        return tuple(addresses)
    last = reached[-1]
    times = sum(attempt.address == last.address for attempt in reached)
    if 400 <= last.code < 500 and times == 1:
        return tuple(sorted(addresses, key=lambda address: address != last.address))
    if is_policy(last.enhanced_code):
        return tuple(sorted(addresses, key=lambda address: family(address) == family(last.address)))
    return tuple(addresses)


def is_policy(enhanced_code: str) -> bool:
    """Tell whether a status code (RFC 3463) is about security or policy: x.7.z."""
    return enhanced_code.split(".")[1:2] == ["7"]


def family(address: str) -> int:
    """Return 4 or 6."""
    return ipaddress.ip_address(address).version


def has_second_chance(reply: Reply | None, attempt: int, address: str, addresses: Sequence[str]) -> bool:
    """Tell whether a refusal deserves an attempt from the other family: the first one, by policy, of a host with both.

    addresses: of the host, as far as they can be reached from here.
    """
    if reply is None or attempt != 1 or not reply.is_permanent or not is_policy(reply.enhanced_code):
        return False
    return any(family(other) != family(address) for other in addresses)


def reachable(addresses: Sequence[str], has_route: HasRoute) -> tuple[str, ...]:
    """Return the addresses of families that this machine can reach; all of them when that is none."""
    routed: dict[int, bool] = {}
    for address in addresses:
        if family(address) not in routed:
            routed[family(address)] = has_route(address)
    return tuple(address for address in addresses if routed[family(address)]) or tuple(addresses)


def has_route(address: str) -> bool:
    """Tell whether the system knows a way to an address. Nothing is sent: to connect a UDP socket asks the routes."""
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect((address, _PROBE_PORT))
    except OSError as error:
        return error.errno not in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True
