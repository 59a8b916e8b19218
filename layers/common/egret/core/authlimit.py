"""Slow down whoever guesses passwords and keys: limits of failed logins by client address.

Each failure counts in six windows: one minute and one day, for the address itself, its neighbourhood and its provider's
block (IPv4 /32, /26, /21; IPv6 /64, /48, /32). Whoever logs in clears what their own address has failed.
Windows are fixed (they start at a multiple of their length), so a counter is a number under a key, in memory or in a
table: this module says which keys, which limits and which changes; whoever stores them applies the changes atomically.
Consult it only after a login has failed to be found in a cache, so that a customer who logs in is never slowed down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_network

IPAddress = IPv4Address | IPv6Address

PREFIXES_V4 = (32, 26, 21)
PREFIXES_V6 = (64, 48, 32)
"""An IPv6 customer has a /64, a site a /48, a provider a /32."""

LIMITS = ((timedelta(minutes=1), (10, 30, 90)), (timedelta(days=1), (50, 150, 450)))
"""Window, and how many failures it bears for each prefix: ten typing errors a minute, fifty a day."""

MAX_COUNTERS = 12_000
"""How many counters a value keeps, those that changed last: thousands of addresses, a few megabytes."""


@dataclass(frozen=True, slots=True)
class Counter:
    """One number of failures. key: `<window seconds>/<window start, Unix seconds>/<network>`."""

    key: str
    limit: int
    expires_at: datetime
    is_exact: bool
    """Whether it counts the address itself (IPv6: its /64) and not a wider block."""
    window: timedelta


def counters(address: IPAddress, at: datetime) -> tuple[Counter, ...]:
    """Return the six counters of an address at a moment (aware), by window, the narrowest prefix first.

    An IPv4 address mapped into IPv6 counts as the IPv4 address.
    """
    address = _unmap(address)
    prefixes = PREFIXES_V4 if isinstance(address, IPv4Address) else PREFIXES_V6
    return tuple(
        _counter(address, at, window, prefix, limit, is_exact=prefix == prefixes[0])
        for window, limits in LIMITS
        for prefix, limit in zip(prefixes, limits, strict=True)
    )


def is_allowed(of: Iterable[Counter], counts: Mapping[str, int]) -> bool:
    """Tell whether one more failure would stay within every limit.

    counts: current numbers by key; a missing one is 0, also where its window is over.
    """
    return all(counts.get(counter.key, 0) < counter.limit for counter in of)


def changes_after_failure(of: Iterable[Counter]) -> dict[str, int]:
    """Return what to add to each counter after a failed login."""
    return {counter.key: 1 for counter in of}


def changes_after_success(of: Iterable[Counter], counts: Mapping[str, int]) -> dict[str, int]:
    """Return what to add after a successful login: the exact counter goes to 0, its share leaves the wider ones.

    A wider counter never falls below 0, whatever counters were lost.
    """
    known = list(of)
    own = {counter.window: counts.get(counter.key, 0) for counter in known if counter.is_exact}
    changes = {counter.key: -min(own[counter.window], counts.get(counter.key, 0)) for counter in known}
    return {key: change for key, change in changes.items() if change}


@dataclass(frozen=True, slots=True)
class AuthFailures:
    """All counters of one process, as a value: number and end of the window by key."""

    counts: Mapping[str, int] = field(default_factory=dict)
    expirations: Mapping[str, datetime] = field(default_factory=dict)

    def allows(self, address: IPAddress, at: datetime) -> bool:
        """Tell whether an attempt from this address is let through."""
        return is_allowed(counters(address, at), self.counts)

    def failed(self, address: IPAddress, at: datetime) -> AuthFailures:
        """Return the value after a failed login."""
        of = counters(address, at)
        return self._with(of, changes_after_failure(of), at)

    def succeeded(self, address: IPAddress, at: datetime) -> AuthFailures:
        """Return the value after a successful login; the same object where nothing changes."""
        of = counters(address, at)
        changes = changes_after_success(of, self.counts)
        return self._with(of, changes, at) if changes else self

    def _with(self, of: Iterable[Counter], changes: Mapping[str, int], at: datetime) -> AuthFailures:
        expirations = {**self.expirations, **{counter.key: counter.expires_at for counter in of}}
        counts = {**self.counts}
        for key, change in changes.items():
            # Taken out and put in again: the order of the keys is that of their last change.
            counts[key] = counts.pop(key, 0) + change
        live = [key for key, count in counts.items() if count > 0 and expirations[key] > at]
        kept = live[-MAX_COUNTERS:]
        return AuthFailures({key: counts[key] for key in kept}, {key: expirations[key] for key in kept})


def _unmap(address: IPAddress) -> IPAddress:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _counter(
    address: IPAddress, at: datetime, window: timedelta, prefix: int, limit: int, *, is_exact: bool
) -> Counter:
    length_s = int(window.total_seconds())
    start_s = int(at.timestamp() // length_s) * length_s
    network = ip_network((address.packed, prefix), strict=False)
    return Counter(
        key=f"{length_s}/{start_s}/{network}",
        limit=limit,
        expires_at=datetime.fromtimestamp(start_s + length_s, UTC),
        is_exact=is_exact,
        window=window,
    )
