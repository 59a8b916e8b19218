"""The `Resolver` of `destinations` over dnspython: asynchronous, with a cache that obeys the records' TTLs.

An answer counts as authentic only when a validating resolver on this very machine says so: the AD bit of any other
could have been set by whoever sits in between (RFC 4035 section 4.9.3, RFC 7672 section 2.1.1).
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import Any, TypeVar

import dns.asyncresolver
import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.resolver
from dns.rdata import Rdata
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.TLSA import TLSA
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from egret.contracts.metrics import Metrics, NoMetrics
from egret.core.tls_policy import Tlsa
from egret_egress.destinations import Answer, DnsTrouble, MxRecord
from egret_egress.metrics import DNS_SECONDS

T = TypeVar("T")

CACHE_ENTRIES = 10_000
CACHED_CHARS = 4096
"""Longest answer that is kept, written out: whoever owns many names could else fill the memory with 64 KB for each."""
LIFETIME_S = 10.0
"""For one look-up, over all servers and aliases."""
MAX_TTL_S = 86_400
"""Whatever a record says: who moves away after such a mistake must not lose mail for weeks (RFC 8767 section 4)."""
MAX_ABSENT_TTL_S = 3600
"""For what does not exist (RFC 2308 section 5)."""
UNPROVEN_TTL_S = 60
"""For what does not exist without a word (SOA) of how long that holds."""
MAX_RECORDS = 64
"""Kept of one answer: more MX hosts, addresses or keys than this are never looked at."""
MAX_CNAMES = 16
"""Aliases followed from one name."""
MAX_TXT_CHARS = 4096
_EDNS_BYTES = 1232
_BOGUS = range(6, 13)
"""Extended DNS errors that say that DNSSEC validation failed (RFC 8914 section 4): bogus, expired, keys missing."""


class _Silent(DnsTrouble):
    """No server answered in time."""


class DnsResolver:
    """Asks the servers of resolv.conf, or the given ones. nameservers: IP addresses; port: theirs.

    validates: they validate DNSSEC. That is believed of servers on a loopback address only. lifetime_s: for a look-up.
    """

    def __init__(
        self,
        nameservers: Sequence[str] = (),
        port: int = 53,
        *,
        validates: bool = False,
        counting: Metrics | None = None,
        lifetime_s: float = LIFETIME_S,
    ) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=not nameservers)
        if nameservers:
            self._resolver.nameservers = list(nameservers)
            self._resolver.port = port
        self._resolver.lifetime = lifetime_s
        self._lifetime_s = lifetime_s
        self._metrics = counting or NoMetrics()
        self._resolver.flags = dns.flags.RD | dns.flags.AD
        self._resolver.use_edns(0, 0, _EDNS_BYTES)
        self._validates = validates and all(map(_is_loopback, self._resolver.nameservers))
        self._cache: OrderedDict[tuple[str, str], tuple[float, Answer[Any]]] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[Answer[Any]]] = {}

    @property
    def is_believed(self) -> bool:
        """The AD bit of its servers counts."""
        return self._validates

    async def mx(self, domain: str) -> Answer[MxRecord]:
        """Return the MX records; see `Resolver`."""
        return await self._ask(domain, "MX", _mx)

    async def addresses(self, host: str) -> Answer[str]:
        """Return AAAA and A in turns, so that whoever tries only the first few tries both families.

        Trouble with one of the two does not matter when the other has an answer: neither whether it is authentic, or
        whoever can suppress one answer could have a host's TLSA records ignored.
        """
        answers: Sequence[Answer[str] | BaseException | None] = (self._known(host, "AAAA"), self._known(host, "A"))
        if None in answers:
            answers = await asyncio.gather(
                self._ask(host, "AAAA", _address), self._ask(host, "A", _address), return_exceptions=True
            )
        good = [answer for answer in answers if isinstance(answer, Answer)]
        turns = chain.from_iterable(zip_longest(*(answer.records for answer in good)))
        found = tuple(address for address in turns if address is not None)
        troubles = [answer for answer in answers if isinstance(answer, BaseException)]
        if troubles and not found:
            raise troubles[0]
        is_authentic = all(answer.is_authentic for answer in good)
        return Answer(found, good[0].expanded, is_authentic, exists=any(answer.exists for answer in good))

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        """Return the TLSA records; see `Resolver`."""
        return await self._ask(name, "TLSA", _tlsa)

    async def txt(self, name: str) -> Answer[str]:
        """Return the TXT records; see `Resolver`."""
        return await self._ask(name, "TXT", _txt)

    async def pointers(self, name: str) -> Answer[str]:
        """Return the PTR records of a name below in-addr.arpa or ip6.arpa, as host names."""
        return await self._ask(name, "PTR", _pointer)

    async def answers(self) -> bool:
        """Whether the servers answer at all now: for the root, past our own cache.

        That the root does not exist is an answer as well, of a resolver that knows only names of its own. A validating
        one whose trust anchor is wrong fails here, as it does for every name.
        """
        try:
            await self._response(dns.name.root, dns.rdatatype.NS)
        except (dns.exception.DNSException, OSError, ValueError):
            return False
        return True

    async def _ask(self, name: str, kind: str, read: Callable[[Rdata], T | None]) -> Answer[T]:
        """Answer from the cache, or join whoever asks the same already, or ask."""
        known = self._known(name, kind)
        if known is not None:
            return known
        key = name.lower(), kind
        asking = self._asking.get(key)
        if asking is None:
            asking = asyncio.get_running_loop().create_task(self._look_up(key, read))
            self._asking[key] = asking
            asking.add_done_callback(lambda _: self._asking.pop(key, None))
        # Whoever waits may be cancelled; the others still want the answer.
        answer: Answer[T] = await asyncio.shield(asking)
        return answer

    def _known(self, name: str, kind: str) -> Answer[Any] | None:
        """Return the answer if it is in the cache."""
        key = name.lower(), kind
        known = self._cache.get(key)
        if known is None or known[0] <= asyncio.get_running_loop().time():
            return None
        self._cache.move_to_end(key)
        return known[1]

    async def _look_up(self, key: tuple[str, str], read: Callable[[Rdata], T | None]) -> Answer[T]:
        began_at, result = asyncio.get_running_loop().time(), "failure"
        try:
            answer, ttl_s = await self._asked(key, read)
            result = "answer" if answer.exists else "nxdomain"
        except _Silent:
            result = "timeout"
            raise
        finally:
            self._metrics.observe(DNS_SECONDS, asyncio.get_running_loop().time() - began_at, (result,))
        if len(repr(answer.records)) > CACHED_CHARS:
            return answer
        self._cache[key] = asyncio.get_running_loop().time() + ttl_s, answer
        self._cache.move_to_end(key)
        if len(self._cache) > CACHE_ENTRIES:
            self._cache.popitem(last=False)
        return answer

    async def _asked(self, key: tuple[str, str], read: Callable[[Rdata], T | None]) -> tuple[Answer[T], int]:
        """Return the answer and for how many seconds it holds; raises DnsTrouble."""
        name, kind = key
        try:
            async with asyncio.timeout(self._lifetime_s):
                return await self._follow(dns.name.from_text(name), dns.rdatatype.from_text(kind), read)
        except dns.resolver.NoNameservers as error:
            if _is_bogus(error):
                raise DnsTrouble("the answer fails DNSSEC validation", is_bogus=True) from error
            raise DnsTrouble("the name servers fail") from error
        except (dns.exception.Timeout, TimeoutError) as error:
            raise _Silent("the name servers do not answer") from error
        except dns.message.ChainTooLong as error:
            raise DnsTrouble("its aliases (CNAME) lead nowhere") from error
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise DnsTrouble(f"the answer is no use ({type(error).__name__})") from error

    async def _follow(
        self, name: dns.name.Name, kind: dns.rdatatype.RdataType, read: Callable[[Rdata], T | None]
    ) -> tuple[Answer[T], int]:
        """Ask, and ask again where a server gave the alias alone. Returns the answer and for how many seconds it holds.

        A recursive server gives the whole chain at once, and with it one AD bit for all of it.
        """
        is_authentic, ttl_s, seen = self._validates, 2**31, {name}
        while True:
            found, exists = await self._response(name, kind)
            chained = found.resolve_chaining()
            is_authentic = is_authentic and bool(found.flags & dns.flags.AD)
            ttl_s = min(ttl_s, chained.minimum_ttl)
            target = chained.canonical_name
            is_end = chained.answer is not None or not exists or target == name or bool(found.authority)
            if is_end:
                kept = [record for rdata in (chained.answer or ()) if (record := read(rdata)) is not None]
                answer = Answer(tuple(kept[:MAX_RECORDS]), _host(target), is_authentic, exists)
                return answer, min(ttl_s, _most_s(found, is_absent=chained.answer is None))
            if target in seen or len(seen) > MAX_CNAMES:
                raise dns.message.ChainTooLong
            seen.add(target)
            name = target

    async def _response(
        self, name: dns.name.Name, kind: dns.rdatatype.RdataType
    ) -> tuple[dns.message.QueryMessage, bool]:
        """Return the response, and whether the name exists."""
        try:
            answer = await self._resolver.resolve(name, kind, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN as error:
            response: dns.message.QueryMessage = error.kwargs["responses"][name]
            return response, False
        return answer.response, True


def _is_loopback(nameserver: object) -> bool:
    try:
        return ipaddress.ip_address(str(nameserver)).is_loopback
    except ValueError:
        return False


def _most_s(response: dns.message.Message, *, is_absent: bool) -> int:
    """Return for how many seconds a response may be kept at most."""
    if not is_absent:
        return MAX_TTL_S
    has_soa = any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority)
    return MAX_ABSENT_TTL_S if has_soa else UNPROVEN_TTL_S


def _is_bogus(error: dns.resolver.NoNameservers) -> bool:
    """Tell whether a server said that it could not validate."""
    responses = (attempt[4] for attempt in error.kwargs.get("errors", ()))
    return any(
        isinstance(option, dns.edns.EDEOption) and option.code in _BOGUS
        for response in responses
        if response is not None
        for option in response.options
    )


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _mx(record: Rdata) -> MxRecord | None:
    return MxRecord(record.preference, _host(record.exchange)) if isinstance(record, MX) else None


def _address(record: Rdata) -> str | None:
    return str(record.address) if isinstance(record, (A, AAAA)) else None


def _pointer(record: Rdata) -> str | None:
    return _host(record.target) if isinstance(record, PTR) else None


def _tlsa(record: Rdata) -> Tlsa | None:
    if not isinstance(record, TLSA):
        return None
    return Tlsa(record.usage, record.selector, record.mtype, bytes(record.cert))


def _txt(record: Rdata) -> str | None:
    """Join the character-strings; one that is too long for any policy's record is left out."""
    if not isinstance(record, TXT):
        return None
    text = b"".join(record.strings).decode("utf-8", "replace")
    return text if len(text) <= MAX_TXT_CHARS else None
