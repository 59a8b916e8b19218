"""Settings as the message path reads them: a cache over the settings table."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar, cast

from egret.contracts.ports import Clock, SettingsReader
from egret.contracts.settings import Account, ApiKey, HoldRule, SendingDomain, Transport
from egret.core.routing import Route

T = TypeVar("T")

KEEP = timedelta(seconds=30)
"""A change of settings works within a minute, in every process."""
KEEP_ABSENT = timedelta(seconds=5)
"""Something that was just made is asked for soon; a guesser cannot make us read for each guess."""
MAX_ENTRIES = 10_000
"""Guesses are unbounded, so the memory for them is not."""


class CachedSettings:
    """The `SettingsReader` port over another one; safe for threads. Two that miss at the same time both read.

    keep: how long an answer holds, at least 0.
    """

    def __init__(self, settings: SettingsReader, clock: Clock, keep: timedelta = KEEP) -> None:
        self._settings = settings
        self._clock = clock
        self._keep, self._keep_absent = keep, min(keep, KEEP_ABSENT)
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], tuple[datetime, object]] = {}

    def account(self, account_id: str) -> Account | None:
        """Return an account by id."""
        return self._cached("account", account_id, self._settings.account)

    def account_of_address(self, address: str) -> Account | None:
        """Return the account of a login address (canonical form)."""
        return self._cached("address", address, self._settings.account_of_address)

    def accounts(self) -> list[Account]:
        """Return all accounts, by name."""
        return self._cached("accounts", "", lambda _: self._settings.accounts())

    def key(self, key_hash: str) -> ApiKey | None:
        """Return an API key by the SHA-256 hex of its text."""
        return self._cached("key", key_hash, self._settings.key)

    def domain(self, domain: str) -> SendingDomain | None:
        """Return a sending domain by A-label."""
        return self._cached("domain", domain, self._settings.domain)

    def domain_of_return_path(self, domain: str) -> SendingDomain | None:
        """Return the sending domain that uses this return-path domain."""
        return self._cached("return path", domain, self._settings.domain_of_return_path)

    def hold_rules(self) -> Sequence[HoldRule]:
        """Return every hold rule."""
        return self._cached("hold rules", "", lambda _: self._settings.hold_rules())

    def routes(self) -> Sequence[Route]:
        """Return every route."""
        return self._cached("routes", "", lambda _: self._settings.routes())

    def transports(self) -> Sequence[Transport]:
        """Return every transport, by name."""
        return self._cached("transports", "", lambda _: self._settings.transports())

    def _cached(self, kind: str, name: str, read: Callable[[str], T]) -> T:
        now = self._clock.now()
        with self._lock:
            until, value = self._kept.get((kind, name), (now, None))
        if now < until:
            return cast("T", value)  # the kind tells the type
        found = read(name)
        with self._lock:
            if len(self._kept) >= MAX_ENTRIES:
                self._make_room(now)
            self._kept[kind, name] = (now + (self._keep_absent if found is None else self._keep), found)
        return found

    def _make_room(self, now: datetime) -> None:
        """Drop what has expired; everything, when that is not enough."""
        self._kept = {key: kept for key, kept in self._kept.items() if now < kept[0]}
        if len(self._kept) >= MAX_ENTRIES:
            self._kept.clear()
