"""Where mail for a domain goes: MX hosts in order, or one fixed next hop.

Implements: RFC 5321 section 5.1, RFC 7505 (null MX). DNS is a port, `Resolver`; `dns` is its adapter. Every answer says
whether it is authentic, for `security` to know what an attacker between us and the name servers could have made up.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from egret.core.netguard import is_public
from egret.core.outcome import Bounced, Deferred
from egret.core.reply import Reply
from egret.core.tls_policy import OPPORTUNISTIC, Tlsa, TlsPolicy
from egret_egress.session import Credentials, Endpoint

T = TypeVar("T")

MAX_HOSTS = 16
"""MX hosts tried in one attempt; a domain with more of them is not worth more of our time."""
MAX_ADDRESSES = 8
"""Addresses tried of one host."""


_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*(?![0-9]+$){_LABEL}")
"""Letters, digits, hyphens, and the underscores that exist; the last label is no number, or it would be an address."""


class DnsTrouble(Exception):
    """No answer can be had now: SERVFAIL, timeout, refused, bogus. The message is one sentence without the name.

    is_bogus: the resolver says that the answer fails DNSSEC validation.
    """

    def __init__(self, reason: str, *, is_bogus: bool = False) -> None:
        super().__init__(reason)
        self.is_bogus = is_bogus


class Unusable(DnsTrouble):
    """A host has addresses, none of which we may or can speak to."""


def without_address(host: str, trouble: DnsTrouble) -> str:
    """Return why there is no address of a host to go to, one sentence without its end."""
    if isinstance(trouble, Unusable):
        return f"the mail server {host} cannot be used: {trouble}"
    return f"the address of {host} could not be looked up in the DNS: {trouble}"


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What DNS has for a name. records: () when there are none of the kind.

    expanded: the name that CNAMEs lead to, else the name itself. is_authentic: DNSSEC vouches for all, for aliases
    and absence too. exists: False when there is no such name (NXDOMAIN).
    """

    records: tuple[T, ...] = ()
    expanded: str = ""
    is_authentic: bool = False
    exists: bool = True


@dataclass(frozen=True, slots=True)
class MxRecord:
    """One MX record; host in lower case without trailing dot, "" for the root."""

    preference: int
    host: str


class Texts(Protocol):
    """DNS as those need it who look for what a domain says of itself."""

    async def txt(self, name: str) -> Answer[str]:
        """Return the TXT records, the strings of each joined. Raises DnsTrouble."""
        ...


class Resolver(Texts, Protocol):
    """DNS as delivery needs it. Names are A-labels without trailing dot; CNAMEs are followed. All raise DnsTrouble."""

    async def mx(self, domain: str) -> Answer[MxRecord]:
        """Return the MX records."""
        ...

    async def addresses(self, host: str) -> Answer[str]:
        """Return the IP addresses, the families in turns, IPv6 first."""
        ...

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        """Return the TLSA records of a name such as `_25._tcp.mx.example.org`."""
        ...


class Numbers(Protocol):
    """The dice, as far as they are needed here."""

    def number(self) -> float:
        """Return a float in [0, 1)."""
        ...


@dataclass(frozen=True, slots=True)
class Host:
    """One next hop. addresses: of a smarthost given by IP address, else () and looked up when its turn comes.

    policy: asked of it whatever its domain says (a smarthost, a sink); None = `security` decides.
    """

    name: str
    port: int = 25
    policy: TlsPolicy | None = None
    credentials: Credentials | None = None
    addresses: tuple[str, ...] = ()

    def endpoint(self, address: str, policy: TlsPolicy = OPPORTUNISTIC) -> Endpoint:
        """Return where to connect for one of its addresses, with the policy decided for it unless it has its own."""
        return Endpoint(self.name, address, self.port, self.policy or policy, self.credentials)


@dataclass(frozen=True, slots=True)
class Hops:
    """Where mail for a domain goes: hosts in the order in which they are to be asked.

    expanded: the name that the domain's CNAMEs lead to. is_authentic: DNSSEC vouches that these are the domain's hosts.
    is_tied: the dice have chosen the first among equals.
    """

    domain: str
    expanded: str
    is_authentic: bool
    hosts: tuple[Host, ...]
    is_tied: bool = False


NextHops = Hops | Bounced | Deferred


class Router(Protocol):
    """Decides where mail for a domain goes."""

    async def next_hops(self, domain: str) -> NextHops:
        """Return the hosts, or why there are none."""
        ...

    async def addresses(self, host: Host) -> Answer[str]:
        """Return the addresses of a host in order. Raises DnsTrouble."""
        ...


async def _takes_none(_: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Ourselves:
    """Who we are among the MX hosts. hostname: "" is nobody. is_home: whether a domain's mail ends here, in mailboxes.

    is_home is asked only of domains that name nobody better than us, and may raise Unavailable.
    """

    hostname: str = ""
    is_home: Callable[[str], Awaitable[bool]] = _takes_none

    def is_named(self, host: str) -> bool:
        """Tell whether an MX host (lower case, without trailing dot) is this installation."""
        return host == self.hostname.rstrip(".").lower()


_NOBODY = Ourselves()


class Direct:
    """To the MX hosts of the recipient's domain, on port 25 unless a test says otherwise; never round to ourselves."""

    def __init__(self, resolver: Resolver, dice: Numbers, port: int = 25, ourselves: Ourselves = _NOBODY) -> None:
        self._resolver = resolver
        self._dice = dice
        self._port = port
        self._ourselves = ourselves

    async def next_hops(self, domain: str) -> NextHops:
        """Look up the MX hosts; without any the domain itself is the host (RFC 5321 section 5.1)."""
        try:
            found = await self._resolver.mx(domain)
            if not found.exists:
                words = "5.1.2 The domain does not exist"
                return Bounced("the recipient's domain does not exist (is it spelled right?)", Reply(550, (words,)))
            if found.records:
                return await self._hosts(domain, found)
            return await self._implicit(domain, found)
        except Unusable as trouble:
            return Deferred(without_address(domain, trouble))
        except DnsTrouble as trouble:
            return Deferred(f"the mail servers (MX) of {domain} could not be looked up in the DNS: {trouble}")

    async def addresses(self, host: Host) -> Answer[str]:
        """Return a host's addresses, at most MAX_ADDRESSES."""
        return await _addresses(self._resolver, host)

    async def _hosts(self, domain: str, found: Answer[MxRecord]) -> NextHops:
        """Order by preference, at random among equals. "." alone is null MX, beside others it is no host (RFC 7505).

        Records that name no host are left out, as long as others do.
        """
        real = [record for record in found.records if record.host]
        if not real:
            words = "5.1.10 The domain has a null MX"
            return Bounced(
                "the recipient's domain says in the DNS that it takes no mail at all (null MX)", Reply(556, (words,))
            )
        valid = [record for record in real if _is_host_name(record.host)]
        if not valid:
            return Deferred(f"the MX records of {domain} in the DNS name no valid host")
        better = self._better(valid)
        if not better:
            return await self._here(domain, found)
        ranked = sorted((record.preference, self._dice.number(), record.host) for record in better)
        names = list(dict.fromkeys(name for _, _, name in ranked))[:MAX_HOSTS]
        hosts = tuple(Host(name, self._port) for name in names)
        is_tied = any(preference == ranked[0][0] and name != names[0] for preference, _, name in ranked)
        return Hops(domain, found.expanded, found.is_authentic, hosts, is_tied)

    def _better(self, records: Sequence[MxRecord]) -> Sequence[MxRecord]:
        """Return the records preferred to our own, all when there is none: RFC 5321 section 5.1 forbids the others.

        They are no nearer to the mailbox than we are, and might bring the mail back.
        """
        own = [record.preference for record in records if self._ourselves.is_named(record.host)]
        return [record for record in records if record.preference < min(own)] if own else records

    async def _here(self, domain: str, found: Answer[MxRecord]) -> NextHops:
        """Return ourselves, by way of port 25, for a domain whose mailboxes are here; else nobody takes its mail."""
        name = self._ourselves.hostname.rstrip(".").lower()
        if await self._ourselves.is_home(domain):
            return Hops(domain, found.expanded, found.is_authentic, (Host(name, self._port),))
        return Deferred(
            f"the DNS names no better mail server (MX) of {domain} than {name}, which is Egret itself, and Egret has "
            "no mailboxes of that domain: its MX records should name the server that has them"
        )

    async def _implicit(self, domain: str, found: Answer[MxRecord]) -> NextHops:
        """Return the domain, or what its CNAMEs lead to, as its own host."""
        if not _is_host_name(found.expanded):
            return Deferred(f"the alias (CNAME) of {domain} in the DNS leads to something that is no valid host")
        if not (await self._resolver.addresses(found.expanded)).records:
            words = "5.1.2 The domain has neither MX nor address records"
            return Bounced("the recipient's domain has no mail server in the DNS", Reply(550, (words,)))
        if self._ourselves.is_named(found.expanded):
            return await self._here(domain, found)
        return Hops(domain, found.expanded, found.is_authentic, (Host(found.expanded, self._port),))


def _is_host_name(name: str) -> bool:
    return len(name) <= 253 and _HOST_NAME.fullmatch(name) is not None


async def _addresses(resolver: Resolver, host: Host) -> Answer[str]:
    if host.addresses:
        return Answer(host.addresses, host.name)
    found = await resolver.addresses(host.name)
    return replace(found, records=found.records[:MAX_ADDRESSES])


class PublicOnly:
    """A `Resolver` that keeps to itself the addresses that are not public.

    Whoever owns a domain chooses its MX hosts: without this they could have us speak to a neighbour in the VPC that
    trusts us, or to ourselves, and read what it answers. allow_loopback: local mode.
    """

    def __init__(self, resolver: Resolver, *, allow_loopback: bool = False) -> None:
        self._resolver = resolver
        self._allow_loopback = allow_loopback

    async def mx(self, domain: str) -> Answer[MxRecord]:
        """Return what the resolver says."""
        return await self._resolver.mx(domain)

    async def addresses(self, host: str) -> Answer[str]:
        """Return the public addresses; raises Unusable when a host has only others."""
        found = await self._resolver.addresses(host)
        kept = tuple(address for address in found.records if self._may_reach(address))
        if found.records and not kept:
            raise Unusable("it has no public address in the DNS")
        return found if len(kept) == len(found.records) else replace(found, records=kept)

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        """Return what the resolver says."""
        return await self._resolver.tlsa(name)

    async def txt(self, name: str) -> Answer[str]:
        """Return what the resolver says."""
        return await self._resolver.txt(name)

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
        return Hops(domain, domain, is_authentic=False, hosts=(self._host,))

    async def addresses(self, host: Host) -> Answer[str]:
        """Return its addresses, looked up anew when it was given by name."""
        return await _addresses(self._resolver, host)


def _with_address(host: Host) -> Host:
    try:
        address = str(ipaddress.ip_address(host.name))
    except ValueError:
        return host
    return Host(host.name, host.port, host.policy, host.credentials, (address,))
