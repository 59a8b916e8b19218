"""The router of each transport that routes name: read from the settings, made when first needed, kept while they last.

RFC 8689 section 4.2.1: what asks for REQUIRETLS goes to no smarthost that need not prove who it is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import assert_never

from egret.contracts.handoff import Transaction
from egret.contracts.ports import KeyWrapper, SettingsReader
from egret.contracts.settings import Direct, Fail, Smarthost, SmarthostTls, Transport
from egret.core.errors import ContractError, Unavailable
from egret.core.outcome import Bounced, Deferred
from egret.core.reply import Reply
from egret.core.tls_policy import SMARTHOST, Tlsa, TlsKind, TlsPolicy
from egret_egress.course import demanded
from egret_egress.destinations import Answer, Fixed, Host, MxRecord, NextHops, Resolver, Router, Unusable
from egret_egress.exchange import NO_REQUIRETLS
from egret_egress.session import Credentials

log = logging.getLogger(__name__)

KEEP_S = 20.0
"""Seconds until the transports are looked up again; with the cache below them a change works within a minute."""

POLICIES: Mapping[SmarthostTls, TlsPolicy] = {
    SmarthostTls.STARTTLS: TlsPolicy(TlsKind.PKIX, SMARTHOST),
    SmarthostTls.IMPLICIT: TlsPolicy(TlsKind.IMPLICIT, SMARTHOST),
    SmarthostTls.UNVERIFIED: TlsPolicy(TlsKind.ENCRYPTED, f"{SMARTHOST}, unverified"),
    SmarthostTls.NONE: TlsPolicy(TlsKind.PLAIN, f"{SMARTHOST}, plain"),
}


@dataclass(frozen=True, slots=True)
class Routers:
    """How routers are made.

    own: of what no route is for. direct: makes one to MX hosts over a resolver. public: finds MX hosts. resolver: finds
    smarthosts, which may be inside. sink: takes the place of every way but failure, in local mode.
    """

    own: Router
    direct: Callable[[Resolver], Router]
    public: Resolver
    resolver: Resolver
    sink: Router | None = None


class Transports:
    """Chooses the router of a transaction. settings, wrapper: blocking, called on the executor."""

    def __init__(self, settings: SettingsReader, wrapper: KeyWrapper, routers: Routers, executor: Executor) -> None:
        self._settings = settings
        self._wrapper = wrapper
        self._routers = routers
        self._executor = executor
        self._known: dict[str, Transport] | None = None
        self._until = 0.0
        self._reading: asyncio.Task[None] | None = None
        self._made: dict[str, tuple[Transport, Router]] = {}

    async def router(self, transaction: Transaction) -> Router:
        """Return where the transaction goes. Raises Unavailable when nobody can say it."""
        name = transaction.transport
        if not name:
            return self._routers.own
        transport = (await self._transports()).get(name)
        if transport is None:
            return Nowhere(Deferred(f"the route names the transport {name}, which does not exist: {_ADVICE}"))
        if demanded(transaction) and not _protects(transport.way):
            return Nowhere(_unprotected(name))
        made = self._made.get(name)
        if made is None or made[0] != transport:
            made = self._made[name] = (transport, await self._make(transport))
        return made[1]

    async def _transports(self) -> Mapping[str, Transport]:
        """Return all by name; while they cannot be read, as they were."""
        loop = asyncio.get_running_loop()
        if self._known is None or loop.time() >= self._until:
            if self._reading is None:
                self._reading = loop.create_task(self._read())
            await asyncio.shield(self._reading)
        return self._known or {}

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._executor, self._settings.transports)
            self._known = {transport.name: transport for transport in found}
        except (Unavailable, ContractError) as error:
            if self._known is None:
                raise
            log.warning("the transports cannot be read, they stay as they were: %s", error)
        finally:
            self._reading = None
        self._until = loop.time() + KEEP_S

    async def _make(self, transport: Transport) -> Router:
        match transport.way:
            case Fail(code, message):
                return Nowhere(_failure(transport.name, Reply(code, (f"{code // 100}.7.0 {message}",))))
            case Direct() | Smarthost() if self._routers.sink is not None:
                return self._routers.sink
            case Direct() as direct:
                return self._routers.direct(_restricted(self._routers.public, direct))
            case Smarthost() as smarthost:
                return await self._relay(transport, smarthost)
            case _:
                assert_never(transport.way)

    async def _relay(self, transport: Transport, smarthost: Smarthost) -> Router:
        try:
            credentials = await self._credentials(transport, smarthost)
        except ContractError:
            log.exception("a password cannot be opened", extra={"transport": transport.name})
            return Nowhere(
                Deferred(f"the password of the transport {transport.name} cannot be decrypted: set it again")
            )
        host = Host(smarthost.host, smarthost.port, POLICIES[smarthost.tls], credentials)
        return Fixed(host, self._routers.resolver)

    async def _credentials(self, transport: Transport, smarthost: Smarthost) -> Credentials | None:
        if not smarthost.user:
            return None
        loop, wrapped = asyncio.get_running_loop(), smarthost.password
        plain = await loop.run_in_executor(self._executor, self._wrapper.unwrap, wrapped, transport.context)
        return Credentials(smarthost.user, plain.decode())


_ADVICE = "add it or remove the route"


class Nowhere:
    """The router of what goes nowhere."""

    def __init__(self, outcome: Bounced | Deferred) -> None:
        self._outcome = outcome

    async def next_hops(self, domain: str) -> NextHops:
        """Return the outcome, whatever the domain is."""
        return self._outcome

    async def addresses(self, host: Host) -> Answer[str]:
        """Return nothing: there is no host."""
        return Answer()


class OneFamily:
    """A `Resolver` that keeps to itself the addresses of the other family. ipv4: which one it tells."""

    def __init__(self, resolver: Resolver, *, ipv4: bool) -> None:
        self._resolver = resolver
        self._ipv4 = ipv4

    async def mx(self, domain: str) -> Answer[MxRecord]:
        """Return what the resolver says."""
        return await self._resolver.mx(domain)

    async def addresses(self, host: str) -> Answer[str]:
        """Return the addresses of the family; raises Unusable when a host has only others."""
        found = await self._resolver.addresses(host)
        kept = tuple(address for address in found.records if (":" not in address) == self._ipv4)
        if found.records and not kept:
            family = "IPv4" if self._ipv4 else "IPv6"
            raise Unusable(f"it has no {family} address, and the route's transport uses no other")
        return replace(found, records=kept)

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        """Return what the resolver says."""
        return await self._resolver.tlsa(name)

    async def txt(self, name: str) -> Answer[str]:
        """Return what the resolver says."""
        return await self._resolver.txt(name)


def _restricted(resolver: Resolver, way: Direct) -> Resolver:
    return OneFamily(resolver, ipv4=way.disable_ipv6) if way.disable_ipv4 or way.disable_ipv6 else resolver


def _protects(way: Direct | Smarthost | Fail) -> bool:
    """Say whether REQUIRETLS can be kept on it; of MX hosts that is decided one by one."""
    return not isinstance(way, Smarthost) or way.tls.is_verified


def _failure(name: str, reply: Reply) -> Bounced | Deferred:
    reason = f"the route leads to the transport {name}, which sends nothing"
    return Deferred(reason, reply) if reply.is_transient else Bounced(reason, reply, names_recipient=False)


def _unprotected(name: str) -> Bounced:
    return Bounced(
        f"the message asks for REQUIRETLS, and the smarthost of the transport {name} need not prove who it is",
        NO_REQUIRETLS,
        names_recipient=False,
    )
