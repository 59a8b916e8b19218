"""Authentication: which account and key a request comes from.

Implements: RFC 7617 (Basic, the key as password), RFC 6750 section 2.1 (Bearer). A request without credentials is no
failed login. The limiter is asked only after a key missed, so that a network under attack does not lock out its owner.
"""

from __future__ import annotations

import base64
import binascii
import logging
from dataclasses import dataclass
from typing import Final

from egret.api.http import Request, Response, text_response
from egret.contracts.caller import Caller
from egret.contracts.ports import AuthFailures, Clock, SettingsReader
from egret.usecases.login import KeyUse, log_in, note_use

_CHALLENGE: Final = {"WWW-Authenticate": "Basic realm=webapi"}
_logger = logging.getLogger(__name__)


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
    found = log_in(ports.settings, credentials.username, credentials.key)
    if found is None:
        return None
    key, account = found
    note_use(ports.key_use, key, ports.clock.now())
    return Caller(account, key.login, key.scope)


def _missed(ports: AuthPorts, request: Request) -> Response:
    if ports.failures.record(request.source_ip, ports.clock.now()):
        return text_response(401, "Unknown address or API key.", _CHALLENGE)
    return text_response(429, "Too many failed logins from this network. Try again later.", {"Retry-After": "60"})
