"""Which provider an MX host belongs to.

A provider with a row in the shaping table is recognised by the names of its MX hosts. For any other host the provider
is the organisation that its name shows: the last two labels, three where the last two are a registry's ("co.uk"). That
is a guess without a list of public suffixes: where it joins two organisations, they share limits that are learned;
below the names that the table calls `separate`, and for IP addresses, every host is its own.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from egret.core.tls_policy import TlsKind
from egret_egress.shaping import Limits, Row, Rule, Shaping, Warmup

REMEMBERED = 20_000
"""MX hosts whose provider is kept; it is found out anew in microseconds."""
_REGISTRIES = frozenset({
    "ac", "asso", "co", "com", "edu", "go", "gob", "gouv", "gov", "gv", "ltd", "me", "mil", "ne", "net", "nhs", "nom",
    "or", "org", "plc", "res", "sch", "web",
})  # fmt: skip
"""Second labels below which registries of countries give names away."""


@dataclass(frozen=True, slots=True, eq=False)
class Provider:
    """One provider, with the rules that may apply to it. limits: None = lifted."""

    name: str
    title: str
    limits: Limits | None
    rules: tuple[Rule, ...] = ()
    tls: TlsKind | None = None
    warmup: Warmup | None = None
    idle_s: float = 60.0


class Providers:
    """All providers that were met, and those of the table."""

    def __init__(self, shaping: Shaping) -> None:
        self._shaping = shaping
        self._known = {row.name: self._made(row.name, row.title, row) for row in shaping.rows}
        self._suffixes = {host: self._known[row.name] for row in shaping.rows for host in row.hosts}
        self._general = tuple(rule for rule in shaping.rules if not rule.provider)
        self._of: OrderedDict[str, Provider] = OrderedDict()

    def of(self, mx_host: str) -> Provider:
        """Return the provider of an MX host, given by name in lower case or by IP address."""
        found = self._of.get(mx_host)
        if found is None:
            found = self._of[mx_host] = self._find(mx_host)
            if len(self._of) > REMEMBERED:
                self._of.popitem(last=False)
        return found

    def named(self, name: str) -> Provider:
        """Return a provider by its name, as `Provider.name` gives it."""
        return self._known.get(name) or self._made(name, name.strip("[]"), self._shaping.default, self._general)

    def _find(self, mx_host: str) -> Provider:
        name = mx_host.rstrip(".")
        labels = name.split(".")
        for start in range(len(labels)):
            if (row := self._suffixes.get(".".join(labels[start:]))) is not None:
                return row
        return self.named(organisation(name, self._shaping.separate))

    def _made(self, name: str, title: str, row: Row, rules: tuple[Rule, ...] | None = None) -> Provider:
        if rules is None:
            rules = tuple(rule for rule in self._shaping.rules if rule.provider in ("", row.name))
        return Provider(name, title, row.limits, rules, row.tls, row.warmup, row.idle_s)


def organisation(mx_host: str, separate: frozenset[str] = frozenset()) -> str:
    """Return the part of a host's name that stands for whoever runs it."""
    if _is_address(mx_host):
        return mx_host
    labels = mx_host.split(".")
    if any(".".join(labels[start:]) in separate for start in range(len(labels))):
        return mx_host
    is_below_registry = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _REGISTRIES
    return ".".join(labels[-3 if is_below_registry else -2 :])


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
