"""Authentication: which account and key a request comes from.

Implements: RFC 7617 (Basic, the key as password), RFC 6750 section 2.1 (Bearer). A request without credentials is no
failed login. The limiter is asked only after a key missed, so that a network under attack does not lock out its owner.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from egret.api.http import Request, Response, text_response
from egret.contracts.caller import Caller
from egret.contracts.ports import AuthFailures, Clock, SettingsReader
from egret.contracts.settings import Account, ApiKey
from egret.core.address import Address, AddressError, strip_separator
from egret.core.apikey import key_hash
from egret.core.errors import Conflict, Unavailable

TOUCH_AFTER: Final = timedelta(hours=1)
"""How exactly the last use of a key is known."""

_CHALLENGE: Final = {"WWW-Authenticate": "Basic realm=webapi"}
_logger = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class AuthPorts:
    """What authentication needs."""

    settings: SettingsReader
    key_use: KeyUse
    failures: AuthFailures
    clock: Clock


@dataclass(frozen=True, slots=True)
class _Credentials:
    """username: None with Bearer."""

    username: str | None
    key: str


def authenticate(ports: AuthPorts, request: Request) -> Caller | Response:
    """Return who calls, or the answer that refuses: 401, 429 after too many failures, 500 without a client address."""
    credentials = _credentials(request.headers.get("Authorization", ""))
    if credentials is None:
        return text_response(401, "Credentials are needed: an address and its API key, or a Bearer key.", _CHALLENGE)
    if not request.source_ip:
        _logger.error("no client address", extra={"request_id": request.id})
        return text_response(500, "The address of the client is not known.")
    caller = _caller(ports, credentials)
    if caller is None:
        return _missed(ports, request)
    if caller.account.disabled:
        return text_response(401, "This account is disabled.", _CHALLENGE)
    return caller


def _credentials(header: str) -> _Credentials | None:
    scheme, _, value = header.strip().partition(" ")
    value = value.strip()
    match scheme.lower():
        case "bearer" if value:
            return _Credentials(None, value)
        case "basic":
            return _basic(value)
        case _:
            return None


def _basic(value: str) -> _Credentials | None:
    try:
        username, colon, key = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return _Credentials(username, key) if colon else None


def _caller(ports: AuthPorts, credentials: _Credentials) -> Caller | None:
    key = ports.settings.key(key_hash(credentials.key))
    account = ports.settings.account(key.account) if key else None
    if key is None or account is None or not _may_log_in(ports, credentials.username, account, key):
        return None
    _touch(ports, key)
    return Caller(account, key.login, key.scope)


def _may_log_in(ports: AuthPorts, username: str | None, account: Account, key: ApiKey) -> bool:
    """Tell whether the username, if one was given, is an address of the key's account."""
    if username is None:
        return True
    try:
        address = Address.parse(username)
    except AddressError:
        return False
    domain = ports.settings.domain(address.domain)
    separators = (domain.separator,) if domain and domain.separator else ()
    plain = Address(strip_separator(address.local_part, separators), address.domain)
    names = [str(form).lower().encode() for form in (address, plain)]
    own = [own_address.lower().encode() for own_address in {*account.addresses, key.login}]
    # Every comparison is made, so that the time taken does not tell which address was close.
    return sum(hmac.compare_digest(name, candidate) for name in names for candidate in own) > 0


def _touch(ports: AuthPorts, key: ApiKey) -> None:
    now = ports.clock.now()
    if key.last_used_at is not None and now - key.last_used_at < TOUCH_AFTER:
        return
    try:
        ports.key_use.touch_key(key, now)
    except (Unavailable, Conflict):
        # When a key was last used is good to know, but no reason to refuse mail.
        _logger.warning("the use of a key was not noted", exc_info=True, extra={"account": key.account})


def _missed(ports: AuthPorts, request: Request) -> Response:
    if ports.failures.record(request.source_ip, ports.clock.now()):
        return text_response(401, "Unknown address or API key.", _CHALLENGE)
    return text_response(429, "Too many failed logins from this network. Try again later.", {"Retry-After": "60"})
