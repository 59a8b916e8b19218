"""What the DNS says about the certificates of an MX host: TLSA records, if DNSSEC vouches for the whole way to them.

Implements: RFC 7672 section 2.2. Which records can be used and what they match is `core.dane`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from egret.core import dane
from egret.core.tls_policy import Tlsa, TlsKind, TlsPolicy
from egret_egress.destinations import Answer, Hops, Host, Resolver

NAME = "dane"
UNUSABLE = "dane, no usable record"


@dataclass(frozen=True, slots=True)
class Records:
    """The TLSA records of a host. base: the host name below which they were found. found: all of them, as they came."""

    base: str
    found: tuple[Tlsa, ...]

    @property
    def strings(self) -> tuple[str, ...]:
        """The records as TLS reports have them (RFC 8460 section 4.2)."""
        return tuple(f"{r.usage} {r.selector} {r.matching_type} {r.data.hex()}" for r in self.found)


async def gather(resolver: Resolver, hops: Hops, host: Host, addresses: Answer[str]) -> Records | None:
    """Return the TLSA records of a host of the domain, None when there are none that anybody vouches for.

    addresses: of the host. Everything that led to it must be authentic (section 2.2.1), else whoever could forge that
    could send us to a host of his own with records of his own. Of a host that is an alias, the name that it leads to
    comes first, then its own (section 2.2.2). Raises DnsTrouble: whether there are records cannot be known, so that
    the host must not be used now.
    """
    if not (hops.is_authentic and addresses.is_authentic):
        return None
    for base in dict.fromkeys((addresses.expanded, host.name)):
        answer = await resolver.tlsa(f"_{host.port}._tcp.{base}")
        if answer.is_authentic and answer.records:
            return Records(base, answer.records)
    return None


def policy_of(records: Records, hops: Hops, host: Host) -> TlsPolicy:
    """Return what the records ask for: a certificate that fits, or TLS with anybody when none can be used.

    The domain's own names count as names of the host, where names matter (section 3.2.2).
    """
    usable = dane.usable(records.found)
    if not usable:
        return TlsPolicy(TlsKind.ENCRYPTED, UNUSABLE, (records.base,))
    names = [records.base]
    if any(record.usage == dane.DANE_TA for record in usable):
        names += [host.name, hops.domain, hops.expanded]
    return TlsPolicy(TlsKind.DANE, NAME, tuple(dict.fromkeys(names)), usable)
