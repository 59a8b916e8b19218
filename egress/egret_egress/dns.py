"""The `Resolver` of `destinations` over dnspython: asynchronous, with a cache that obeys the records' TTLs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain, zip_longest

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
from dns.rdata import Rdata
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from egret_egress.destinations import DnsTrouble, MxRecord

CACHE_ENTRIES = 50_000
LIFETIME_S = 10.0
"""For one question, over all servers."""


class DnsResolver:
    """Asks the servers of resolv.conf, or the given ones. nameservers: IP addresses; port: theirs."""

    def __init__(self, nameservers: Sequence[str] = (), port: int = 53) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=not nameservers)
        if nameservers:
            self._resolver.nameservers = list(nameservers)
            self._resolver.port = port
        self._resolver.lifetime = LIFETIME_S
        self._resolver.cache = dns.resolver.LRUCache(CACHE_ENTRIES)

    async def mx(self, domain: str) -> tuple[MxRecord, ...] | None:
        """Return the MX records; see `Resolver`."""
        records = await self._ask(domain, "MX")
        if records is None:
            return None
        return tuple(MxRecord(r.preference, _host(r.exchange)) for r in records if isinstance(r, MX))

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Return AAAA and A in turns, so that whoever tries only the first few tries both families.

        Trouble with one of the two does not matter when the other has an answer.
        """
        answers = await asyncio.gather(self._ask(host, "AAAA"), self._ask(host, "A"), return_exceptions=True)
        turns = chain.from_iterable(zip_longest(*(answer for answer in answers if isinstance(answer, list))))
        found = tuple(str(record.address) for record in turns if isinstance(record, (A, AAAA)))
        troubles = [answer for answer in answers if isinstance(answer, BaseException)]
        if troubles and not found:
            raise troubles[0]
        return found

    async def _ask(self, name: str, kind: str) -> list[Rdata] | None:
        """Return the records, [] when there are none of the kind, None when the name does not exist."""
        try:
            answer = await self._resolver.resolve(
                dns.name.from_text(name), dns.rdatatype.from_text(kind), search=False, raise_on_no_answer=False
            )
        except dns.resolver.NXDOMAIN:
            return None
        except dns.resolver.NoNameservers as error:
            raise DnsTrouble("the name servers fail") from error
        except dns.exception.Timeout as error:
            raise DnsTrouble("the name servers do not answer") from error
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise DnsTrouble(f"the answer is no use ({type(error).__name__})") from error
        return list(answer.rrset or ())


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""
