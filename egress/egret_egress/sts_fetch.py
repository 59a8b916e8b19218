"""Fetches MTA-STS policies over HTTPS, from public addresses only.

Implements: RFC 8461 section 3.3: the certificate is the policy host's, no redirect is followed, and nothing counts but
200 with text/plain. The host is chosen by whoever owns the recipient domain, so it is believed nothing: its addresses
go through the same guard as those of MX hosts, and what it answers is bounded in size and time.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler

from egret.core.mtasts import MAX_BYTES
from egret.core.tlsrpt import ResultType
from egret_egress.certificates import TlsFailure
from egret_egress.destinations import DnsTrouble, Resolver
from egret_egress.mta_sts import NotFetched
from egret_egress.sts_slots import NoSlot, Slots

PATH = "/.well-known/mta-sts.txt"
TIME_S = 60.0
"""For all of it once there is a slot, however slowly the bytes come (RFC 8461 section 3.3)."""
CONNECT_S = 10.0
"""Of this, for TCP and TLS over all addresses: who is there at all needs less."""
MAX_ADDRESSES = 4
"""Tried of one host."""
MAX_RECEIVED = 4 * MAX_BYTES
"""Bytes read of an answer, headers, interim answers and the wrapping of chunks included: they have no other bound."""


@dataclass(frozen=True, slots=True)
class Fetching:
    """How policy hosts are reached. trust: certificates to believe, None = the system's. port: 443 but in tests."""

    resolver: Resolver
    trust: ssl.SSLContext | None = None
    port: int = 443
    time_s: float = TIME_S
    source_address: str = ""
    connect_s: float = CONNECT_S


class HttpsFetch:
    """The `mta_sts.Fetch` of production. Connections are not kept: a policy is asked for once a day."""

    def __init__(self, fetching: Fetching, slots: Slots | None = None) -> None:
        self._fetching = fetching
        self._slots = slots or Slots()
        self._trust = fetching.trust or _trust()

    async def __call__(self, domain: str) -> bytes | NotFetched:
        """Return the body, or why there is none."""
        try:
            addresses = await self._addresses(f"mta-sts.{domain}")
            async with (
                self._slots.held(addresses),
                asyncio.timeout(self._fetching.time_s),
                self._client(addresses) as client,
            ):
                return await self._get(client, domain)
        except NoSlot:
            return replace(_not_fetched("busy", "too many policy hosts do not answer"), was_asked=False)
        except aiohttp.ClientConnectorCertificateError as error:
            cause = error.certificate_error
            code = f"x509-{cause.verify_code}" if isinstance(cause, ssl.SSLCertVerificationError) else ""
            return NotFetched(TlsFailure(ResultType.STS_WEBPKI_INVALID, code), "its certificate is not valid")
        except TimeoutError:
            return _not_fetched("timeout", "the policy host does not answer")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return _not_fetched("connection", f"the policy host cannot be asked ({type(error).__name__})")

    async def _addresses(self, host: str) -> list[str]:
        """Return the addresses to try, IPv4 first: a host may have no route for IPv6. Raises OSError."""
        try:
            found = (await self._fetching.resolver.addresses(host)).records
        except DnsTrouble as trouble:
            raise OSError(str(trouble)) from trouble
        if not found:
            raise OSError("the policy host has no address")
        return sorted(found, key=lambda address: ":" in address)[:MAX_ADDRESSES]

    def _client(self, addresses: Sequence[str]) -> aiohttp.ClientSession:
        fetching = self._fetching
        connector = aiohttp.TCPConnector(
            resolver=_Addresses(addresses),
            ssl=self._trust,
            use_dns_cache=False,
            force_close=True,
            local_addr=(fetching.source_address, 0) if fetching.source_address else None,
        )
        bounded = cast("partial[ResponseHandler]", partial(_Bounded, loop=asyncio.get_running_loop()))
        connector._factory = bounded  # noqa: SLF001 (there is no other way)
        jar = aiohttp.DummyCookieJar()
        bounds = aiohttp.ClientTimeout(connect=fetching.connect_s)
        return aiohttp.ClientSession(
            connector=connector, cookie_jar=jar, trust_env=False, auto_decompress=False, timeout=bounds
        )

    async def _get(self, client: aiohttp.ClientSession, domain: str) -> bytes | NotFetched:
        url = f"https://mta-sts.{domain}:{self._fetching.port}{PATH}"
        headers = {"User-Agent": "egret", "Accept": "text/plain", "Accept-Encoding": "identity"}
        async with client.get(url, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                return _not_fetched(f"http-{response.status}", f"the policy host answered {response.status}")
            if response.content_type != "text/plain":
                return _not_fetched("media-type", "the policy host answered with something else than text/plain")
            try:
                await response.content.readexactly(MAX_BYTES + 1)
            except asyncio.IncompleteReadError as read:
                return read.partial
            return _not_fetched("too-long", f"the policy is longer than {MAX_BYTES} bytes")


class _Bounded(ResponseHandler):
    """A connection that ends when too much has come: a host that floods us would keep the loop from all others."""

    _received = 0

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received <= MAX_RECEIVED:
            super().data_received(data)
        elif self.transport is not None:
            self.transport.abort()


def _trust() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.hostname_checks_common_name = False  # RFC 8461 section 3.3
    return context


def _not_fetched(code: str, reason: str) -> NotFetched:
    return NotFetched(TlsFailure(ResultType.STS_POLICY_FETCH_ERROR, code), reason)


class _Addresses(AbstractResolver):
    """The addresses that were found before there was a slot, as aiohttp wants to have them."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return them."""
        return [_result(host, address, port) for address in self._addresses]

    async def close(self) -> None:
        """Nothing is open."""


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
