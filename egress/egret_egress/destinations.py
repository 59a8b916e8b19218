"""Where mail for a domain goes: MX hosts in order, or one fixed next hop.

Implements: RFC 5321 section 5.1, RFC 7505 (null MX). DNS is a port, `Resolver`; `dns` is its adapter.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Protocol

from egret.core.netguard import is_public
from egret.core.outcome import Bounced, Deferred
from egret.core.reply import Reply
from egret.core.tls_policy import OPPORTUNISTIC, TlsPolicy
from egret_egress.session import Credentials, Endpoint

MAX_HOSTS = 16
"""MX hosts tried in one attempt; a domain with more of them is not worth more of our time."""
MAX_ADDRESSES = 8
"""Addresses tried of one host."""


class DnsTrouble(Exception):
    """No answer can be had now: SERVFAIL, timeout, refused, bogus. The message is one sentence without the name."""


@dataclass(frozen=True, slots=True)
class MxRecord:
    """One MX record; host in lower case without trailing dot, "" for the root."""

    preference: int
    host: str


class Resolver(Protocol):
    """DNS as delivery needs it. Names are A-labels without trailing dot; CNAMEs are followed."""

    async def mx(self, domain: str) -> tuple[MxRecord, ...] | None:
        """Return the MX records, () when the name has none, None when the name does not exist. Raises DnsTrouble."""
        ...

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Return the IP addresses, the families in turns, IPv6 first, () when there are none. Raises DnsTrouble."""
        ...


class Numbers(Protocol):
    """The dice, as far as they are needed here."""

    def number(self) -> float:
        """Return a float in [0, 1)."""
        ...


@dataclass(frozen=True, slots=True)
class Host:
    """One next hop. addresses: known beforehand (IP literal), else () and looked up when its turn comes."""

    name: str
    port: int = 25
    policy: TlsPolicy = OPPORTUNISTIC
    credentials: Credentials | None = None
    addresses: tuple[str, ...] = ()

    def endpoint(self, address: str) -> Endpoint:
        """Return where to connect for one of its addresses."""
        return Endpoint(self.name, address, self.port, self.policy, self.credentials)


NextHops = tuple[Host, ...] | Bounced | Deferred


class Router(Protocol):
    """Decides where mail for a domain goes."""

    async def next_hops(self, domain: str) -> NextHops:
        """Return the hosts in the order in which they are to be asked, or why there are none."""
        ...

    async def addresses(self, host: Host) -> tuple[str, ...]:
        """Return the addresses of a host in order. Raises DnsTrouble."""
        ...


class Direct:
    """To the MX hosts of the recipient's domain, on port 25 unless a test says otherwise."""

    def __init__(self, resolver: Resolver, dice: Numbers, port: int = 25) -> None:
        self._resolver = resolver
        self._dice = dice
        self._port = port

    async def next_hops(self, domain: str) -> NextHops:
        """Look up the MX hosts; without any the domain itself is the host (RFC 5321 section 5.1)."""
        if domain.startswith("["):
            return self._literal(domain)
        try:
            records = await self._resolver.mx(domain)
            if records is None:
                return Bounced(
                    "the recipient's domain does not exist", Reply(550, ("5.1.2 The domain does not exist",))
                )
            if records:
                return self._hosts(records)
            return await self._implicit(domain)
        except DnsTrouble as trouble:
            return Deferred(f"the MX hosts of {domain} could not be looked up: {trouble}")

    async def addresses(self, host: Host) -> tuple[str, ...]:
        """Return a host's addresses, at most MAX_ADDRESSES."""
        return host.addresses or (await self._resolver.addresses(host.name))[:MAX_ADDRESSES]

    def _literal(self, domain: str) -> NextHops:
        text = domain.strip("[]")
        text = text[5:] if text.lower().startswith("ipv6:") else text
        try:
            address = str(ipaddress.ip_address(text))
        except ValueError:
            return Bounced("the recipient's address literal is not an IP address")
        return (Host(domain, self._port, addresses=(address,)),)

    def _hosts(self, records: tuple[MxRecord, ...]) -> NextHops:
        """Order by preference, at random among equals. "." alone is null MX, beside others it is no host (RFC 7505)."""
        real = [record for record in records if record.host]
        if not real:
            return Bounced("the recipient's domain takes no mail", Reply(556, ("5.1.10 The domain has a null MX",)))
        ranked = sorted((record.preference, self._dice.number(), record.host) for record in real)
        names = dict.fromkeys(name for _, _, name in ranked)
        return tuple(Host(name, self._port) for name in names)[:MAX_HOSTS]

    async def _implicit(self, domain: str) -> NextHops:
        addresses = await self._resolver.addresses(domain)
        if not addresses:
            words = "5.1.2 The domain has neither MX nor address records"
            return Bounced("the recipient's domain has no mail server", Reply(550, (words,)))
        return (Host(domain, self._port, addresses=addresses[:MAX_ADDRESSES]),)


class PublicOnly:
    """A `Resolver` that keeps to itself the addresses that are not public.

    Whoever owns a domain chooses its MX hosts: without this they could have us speak to a neighbour in the VPC that
    trusts us, or to ourselves, and read what it answers. allow_loopback: local mode.
    """

    def __init__(self, resolver: Resolver, *, allow_loopback: bool = False) -> None:
        self._resolver = resolver
        self._allow_loopback = allow_loopback

    async def mx(self, domain: str) -> tuple[MxRecord, ...] | None:
        """Return what the resolver says."""
        return await self._resolver.mx(domain)

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Return the public addresses; raises DnsTrouble when a host has only others."""
        found = await self._resolver.addresses(host)
        kept = tuple(address for address in found if self._may_reach(address))
        if found and not kept:
            raise DnsTrouble("it has no public address")
        return kept

    def _may_reach(self, text: str) -> bool:
        address = ipaddress.ip_address(text)
        return is_public(address) or (self._allow_loopback and address.is_loopback)


class Fixed:
    """Everything to one host: a smarthost, or the sink of local mode. host: name or IP address."""

    def __init__(self, host: Host, resolver: Resolver) -> None:
        self._host = _with_address(host)
        self._resolver = resolver

    async def next_hops(self, domain: str) -> NextHops:
        """Return the one host."""
        return (self._host,)

    async def addresses(self, host: Host) -> tuple[str, ...]:
        """Return its addresses, looked up anew when it was given by name."""
        return host.addresses or (await self._resolver.addresses(host.name))[:MAX_ADDRESSES]


def _with_address(host: Host) -> Host:
    try:
        address = str(ipaddress.ip_address(host.name))
    except ValueError:
        return host
    return Host(host.name, host.port, host.policy, host.credentials, (address,))
