"""Logging in with an API key, over HTTP or SMTP: whose key it is, and whether it fits the name that was given."""

from __future__ import annotations

import hmac
import logging
from datetime import datetime, timedelta
from typing import Final, Protocol

from egret.contracts.ports import SettingsReader
from egret.contracts.settings import Account, ApiKey
from egret.core.address import Address, AddressError, strip_separator
from egret.core.apikey import key_hash
from egret.core.errors import Conflict, Unavailable

log = logging.getLogger(__name__)

TOUCH_AFTER: Final = timedelta(hours=1)
"""How exactly the last use of a key is known."""


class KeyUse(Protocol):
    """The part of the settings that notes the use of keys."""

    def touch_key(self, key: ApiKey, at: datetime) -> None:
        """Note that the key was used, at most one write an hour."""
        ...


class OnceAnHour:
    """A `KeyUse` over another one, which it asks once an hour for each key; safe for threads.

    The settings that authentication reads may be older than the note: without this, every request until they are read
    again would try to write it, too.
    """

    def __init__(self, key_use: KeyUse) -> None:
        self._key_use = key_use
        self._noted: dict[str, datetime] = {}

    def touch_key(self, key: ApiKey, at: datetime) -> None:
        """Note that the key was used, unless that was done within the hour; a failure is not remembered."""
        noted_at = self._noted.get(key.hash)
        if noted_at is None or at - noted_at >= TOUCH_AFTER:
            self._key_use.touch_key(key, at)
            self._noted[key.hash] = at


def log_in(settings: SettingsReader, username: str | None, text: str) -> tuple[ApiKey, Account] | None:
    """Return the key and its account, None when the login fails; the account may be disabled.

    username: None where only a key is given, else it must be an address of the account. text: of the key.
    """
    found = key_and_account(settings, key_hash(text))
    if found is None or not _may_log_in(settings, username, found[1], found[0]):
        return None
    return found


def key_and_account(settings: SettingsReader, hash_: str) -> tuple[ApiKey, Account] | None:
    """Return the key of that SHA-256 and its account, None when it was revoked, or never was."""
    key = settings.key(hash_)
    account = settings.account(key.account) if key else None
    return None if key is None or account is None else (key, account)


def note_use(key_use: KeyUse, key: ApiKey, now: datetime) -> None:
    """Note that a key was used, unless that is known well enough."""
    if key.last_used_at is not None and now - key.last_used_at < TOUCH_AFTER:
        return
    try:
        key_use.touch_key(key, now)
    except (Unavailable, Conflict):
        # When a key was last used is good to know, but no reason to refuse mail.
        log.warning("the use of a key was not noted", exc_info=True, extra={"account": key.account})


def _may_log_in(settings: SettingsReader, username: str | None, account: Account, key: ApiKey) -> bool:
    """Tell whether the username, if one was given, is an address of the key's account."""
    if username is None:
        return True
    try:
        address = Address.parse(username)
    except AddressError:
        return False
    domain = settings.domain(address.domain)
    separators = (domain.separator,) if domain and domain.separator else ()
    plain = Address(strip_separator(address.local_part, separators), address.domain)
    names = [str(form).lower().encode() for form in (address, plain)]
    own = [own_address.lower().encode() for own_address in {*account.addresses, key.login}]
    # Every comparison is made, so that the time taken does not tell which address was close.
    return sum(hmac.compare_digest(name, candidate) for name in names for candidate in own) > 0
