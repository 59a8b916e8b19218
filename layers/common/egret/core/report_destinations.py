"""Where DMARC aggregate reports may be sent: the addresses of `rua`, their size limits, and who agreed to get them.

Implements: RFC 9990 section 4 (external destinations) and, for the size limits, RFC 7489 section 6.2. Domains are
A-labels in lower case. DNS is an argument: `Texts` gives the TXT records at a name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from egret.core import dmarc
from egret.core.address import Address, AddressError

MAX_URIS = 10
"""URIs of one record that are looked at."""
MAX_NAME = 253
"""Octets of a domain name without the last dot."""
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_URI = re.compile(r"(?i)mailto:([^!?]+)(?:\?[^!]*)?(?:!(\d{1,12})([kmgt]?))?")

Texts = Callable[[str], "tuple[str, ...]"]
"""Returns the TXT records at a name, each with its strings joined; () for none. Raises when DNS does not answer."""


@dataclass(frozen=True, slots=True)
class Destination:
    """An address that reports are wanted at. max_bytes: of the whole message, 0 = no limit."""

    address: Address
    max_bytes: int = 0

    @property
    def key(self) -> str:
        """What equal addresses have in common."""
        return str(self.address).lower()

    def takes(self, size_bytes: int) -> bool:
        """Tell whether a message of that size may be sent there."""
        return not self.max_bytes or size_bytes <= self.max_bytes


def destinations(uris: Iterable[str]) -> tuple[Destination, ...]:
    """Return the addresses that `mailto:` URIs name, each once, in order; others are left out."""
    found: dict[str, Destination] = {}
    for uri in list(uris)[:MAX_URIS]:
        match = _URI.fullmatch(uri.strip())
        if match is None:
            continue
        try:
            address = Address.parse(unquote(match[1]))
        except AddressError:
            continue
        if address.needs_smtputf8:
            continue  # reports are 7-bit
        one = Destination(address, int(match[2] or 0) * _UNITS[(match[3] or "").lower()])
        found.setdefault(one.key, one)
    return tuple(found.values())


def agreed(policy_domain: str, wanted: Iterable[Destination], texts: Texts) -> tuple[Destination, ...]:
    """Return the destinations that may get reports about a domain, replaced where their own domain says so.

    One within the domain's own organisation may. Another must have a record of its own for it (RFC 9990 section 4),
    which may name other addresses at the same host, and nothing else. Raises what `texts` raises.
    """
    found: dict[str, Destination] = {}
    own = ""
    for one in wanted:
        host = one.address.domain
        if host != policy_domain:
            own = own or organizational_domain(policy_domain, texts)
        is_own = host == policy_domain or organizational_domain(host, texts) == own
        for allowed in (one,) if is_own else _external(policy_domain, one, texts):
            found.setdefault(allowed.key, allowed)
    return tuple(found.values())


def _external(policy_domain: str, one: Destination, texts: Texts) -> tuple[Destination, ...]:
    host = one.address.domain
    name = f"{policy_domain}._report._dmarc.{host}"
    if len(name) > MAX_NAME:
        return ()
    records = [tags for tags in map(_tags, texts(name)) if tags]
    replacing = [uri for tags in records for uri in tags.get("rua", "").split(",") if uri.strip()]
    if not replacing:
        return (one,) if records else ()
    replaced = destinations(replacing)
    return replaced if all(each.address.domain == host for each in replaced) else ()


def organizational_domain(domain: str, texts: Texts) -> str:
    """Return the organizational domain (RFC 9989 section 4.10.2); raises what `texts` raises."""

    def ask(name: str) -> dmarc.DmarcRecord | None:
        return dmarc.parse_record(name, texts(f"_dmarc.{name}"))

    return dmarc.organizational_domain(domain, dmarc.records_of(domain, ask))


def _tags(text: str) -> dict[str, str]:
    """Return the tags of a DMARC record, {} when it is none: `v=DMARC1` comes first."""
    pairs = [part.partition("=") for part in text.split(";") if part.strip()]
    tags = {name.strip().lower(): value.strip() for name, _, value in reversed(pairs)}
    first = pairs[0] if pairs else ("", "", "")
    return tags if (first[0].strip().lower(), first[2].strip()) == ("v", "DMARC1") else {}
