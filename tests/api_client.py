"""What tests of the HTTP layer share: requests as clients make them, and a tenant to make them for."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote_plus

from egret.api.auth import AuthPorts
from egret.api.http import Headers, Request
from egret.contracts.settings import Account, ApiKey, Scope
from egret.core.apikey import key_hash
from egret.memory.clock import FakeClock
from egret.memory.counters import MemoryAuthFailures
from egret.memory.settings import MemorySettings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = "egretegret"
LOGIN = "ann@shop.example"
ACCOUNT = Account(id="shopshop", name="shop", addresses=(LOGIN, "orders@shop.example"))
URLENCODED = "application/x-www-form-urlencoded"


def auth_ports(account: Account = ACCOUNT, scope: Scope = Scope.FULL) -> AuthPorts:
    """Return ports with one account that has one key."""
    settings = MemorySettings()
    settings.put_account(account)
    settings.put_key(ApiKey(hash=key_hash(KEY), account=account.id, login=LOGIN, scope=scope, created_at=NOW))
    return AuthPorts(settings=settings, key_use=settings, failures=MemoryAuthFailures(), clock=FakeClock(NOW))


def basic(username: str, key: str) -> str:
    """Return the Authorization value of Basic."""
    return "Basic " + base64.b64encode(f"{username}:{key}".encode()).decode()


def post(
    method: str, request: str | bytes, *, authorization: str = f"Bearer {KEY}", headers: Mapping[str, str] | None = None
) -> Request:
    """Return an urlencoded call of a method; request: the JSON text."""
    body = b"request=" + quote_plus(request).encode()
    fields = {"Content-Type": URLENCODED, "Authorization": authorization} | dict(headers or {})
    return Request("POST", f"/webapi/v0/{method}", Headers(fields), body, source_ip="192.0.2.1", id="r-1")


def multipart(method: str, body: bytes, boundary: str = "xYx") -> Request:
    """Return a multipart call of a method."""
    return replace(
        post(method, ""), body=body, headers=with_header("Content-Type", f"multipart/form-data; boundary={boundary}")
    )


def with_header(name: str, value: str) -> Headers:
    """Return the headers of a good call, one of them another."""
    return Headers({**post("Send", "").headers, name.lower(): value})


def form_data(*parts: tuple[str, bytes], boundary: str = "xYx") -> bytes:
    """Return a multipart body. parts: header lines (without the final CRLF), content."""
    lines = [b"--%b\r\n%b\r\n\r\n%b\r\n" % (boundary.encode(), headers.encode(), content) for headers, content in parts]
    return b"".join(lines) + b"--%b--\r\n" % boundary.encode()


def field(name: str, content: bytes) -> tuple[str, bytes]:
    """Return a part that is no file."""
    return f'Content-Disposition: form-data; name="{name}"', content


def file(name: str, filename: str, content: bytes, *headers: str) -> tuple[str, bytes]:
    """Return a part that is a file."""
    return "\r\n".join([f'Content-Disposition: form-data; name="{name}"; filename="{filename}"', *headers]), content
