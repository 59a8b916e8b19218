"""Whether a domain lets a host send its mail, by pyspf with a DNS that is an argument.

Implements: RFC 7208, with its limits (10 terms that ask the DNS, 2 answers without records). Explanations of strangers
(exp=) are not fetched.
"""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from typing import Any, Final

import spf

from egret.core.address import MAX_DOMAIN_OCTETS, AddressError, canonical_domain
from egret_egress.destinations import DnsTrouble
from egret_egress.dns_blocking import Names

log = logging.getLogger(__name__)

RESULTS: Final = frozenset({"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"})
MAX_VOID_LOOKUPS: Final = 2
MAX_LABEL_CHARS: Final = 63


@dataclass(frozen=True, slots=True)
class Sender:
    """Whom a mail comes from, as the session tells it. mail_from: "" = null."""

    ip: str
    helo: str
    mail_from: str


@dataclass(frozen=True, slots=True)
class Spf:
    """The result for a domain. scope: mfrom, or helo where the reverse-path is null (RFC 7208 section 2.4)."""

    result: str
    domain: str
    scope: str = "mfrom"


def check_spf(names: Names, sender: Sender) -> Spf:
    """Return what the domain says of the host. Raises nothing."""
    local_part, _, written = sender.mail_from.rpartition("@")
    scope = "mfrom" if sender.mail_from else "helo"
    try:
        domain = canonical_domain(written if sender.mail_from else sender.helo.rstrip("."))
    except AddressError:  # an address literal, or no name at all
        return Spf("none", "", scope)
    if "." not in domain:
        return Spf("none", domain, scope)
    # Macros are made of the local part; what is not ASCII has no place in the DNS.
    local_part = local_part.encode("ascii", "replace").decode() or "postmaster"
    try:
        query = spf.query(i=sender.ip.partition("%")[0], s=f"{local_part}@{domain}", h=sender.helo or "unknown")
        # pyspf takes the first @ for the one before the domain; a quoted local part may have one, too.
        query.l, query.o, query.d = local_part, domain, domain
        query.dns = _Lookups(names, query)
        query.get_explanation = lambda _: None
        result = str(query.check()[0])
    except (spf.PermError, UnicodeError, ValueError):
        result = "permerror"
    except Exception:  # a record that pyspf does not survive says as much as one that it refuses
        log.exception("an SPF record cannot be evaluated", extra={"domain": domain})
        result = "permerror"
    return Spf(result if result in RESULTS else "permerror", domain, scope)


class _Lookups:
    """Takes the place of pyspf's own look-ups, which would ask the system's resolver, and counts as they do."""

    def __init__(self, names: Names, query: Any) -> None:
        self._names = names
        self._query = query

    def __call__(self, name: str, kind: str, cnames: object = None, ignore_void: bool = False) -> list[Any]:  # noqa: FBT001, FBT002 (pyspf's parameters)
        """Return the records as pyspf has them: TXT as a list of octet strings, MX as pairs."""
        host = str(name).rstrip(".").lower()
        is_name = host.isascii() and all(0 < len(label) <= MAX_LABEL_CHARS for label in host.split("."))
        if not is_name or len(host) > MAX_DOMAIN_OCTETS:
            return []
        try:
            found = self._found(host, kind)
        except DnsTrouble as trouble:
            raise spf.TempError(f"DNS {trouble}") from trouble
        if not found and not ignore_void:
            self._query.void_lookups += 1
            if self._query.void_lookups > MAX_VOID_LOOKUPS:
                raise spf.PermError("too many look-ups without an answer")
        return found

    def _found(self, host: str, kind: str) -> list[Any]:
        if kind == "TXT":
            return [[text.encode()] for text in self._names.txt(host)]
        if kind == "MX":
            return [(record.preference, record.host) for record in self._names.mx(host)]
        if kind == "PTR":
            return list(self._names.pointers(host))
        version = 6 if kind == "AAAA" else 4
        addresses = self._names.addresses(host)
        return [address for address in addresses if ipaddress.ip_address(address).version == version]
