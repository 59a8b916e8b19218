"""The whole API on ports in memory, behind the events of API Gateway."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote_plus

from egret.api.auth import AuthPorts
from egret.api.router import Api
from egret.api.wiring import ApiPorts, api_of
from egret.contracts.settings import ApiKey, Scope
from egret.core.apikey import key_hash
from egret.memory.counters import MemoryAuthFailures
from egret.usecases.attachments import UploadPorts
from egret.usecases.domain_tls import DomainTlsPorts
from egret.usecases.mailbox import MailboxPorts
from egret.usecases.reports import ReportListPorts
from egret.usecases.unsubscribe import UnsubscribePorts
from functions.send.handler import answer
from tests.unit.builders import ACCOUNT, NOW
from tests.unit.sending import LOGIN, SECRETS, Service

KEY = "egretegret"


def api_of_service(service: Service, scope: Scope = Scope.FULL) -> Api:
    """Return the API of a service in memory, whose first account has the key `KEY`."""
    service.settings.put_key(
        ApiKey(hash=key_hash(KEY), account=ACCOUNT, login=LOGIN, scope=scope, created_at=NOW, last_used_at=NOW)
    )
    return api_of(
        ApiPorts(
            auth=AuthPorts(service.settings, service.settings, MemoryAuthFailures(), service.clock),
            send=service.sending,
            uploads=UploadPorts(service.blobs, service.clock, service.dice, service.installation.max_message_bytes),
            deliveries=service.delivering,
            reports=ReportListPorts(service.received_reports, service.clock, SECRETS.cursor),
            domain_tls=DomainTlsPorts(service.domain_tls, service.clock),
            suppression=service.suppressing,
            mailbox=MailboxPorts(service.mailboxes, service.blobs, service.clock, SECRETS.cursor),
            unsubscribe=UnsubscribePorts(service.store, service.suppressions, service.clock),
        )
    )


def event(
    method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, *, as_base64: bool = False
) -> dict[str, Any]:
    """Return an event of API Gateway (HTTP API, payload format 2.0)."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "api.example.com", **{name.lower(): value for name, value in (headers or {}).items()}},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "domainName": "api.example.com",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "curl",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "02/Jan/2026:03:04:05 +0000",
            "timeEpoch": 1767323045000,
        },
        "body": base64.b64encode(body).decode() if as_base64 else body.decode(),
        "isBase64Encoded": as_base64,
    }


@dataclass
class Client:
    """Calls methods through the function, as the reference's client does."""

    api: Api
    headers: dict[str, str] = field(default_factory=lambda: {"Authorization": f"Bearer {KEY}"})

    def raw(self, method: str, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        """Post a body as it is and return what API Gateway gets."""
        return answer(
            self.api, event("POST", f"/webapi/v0/{method}", body, {**self.headers, **headers}, as_base64=True)
        )

    def post(self, method: str, request: object, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """Call a method; return the status and the decoded answer."""
        text = request if isinstance(request, str) else json.dumps(request)
        form = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
        got = self.raw(method, b"request=" + quote_plus(text).encode(), form)
        body = content(got)
        return got["statusCode"], json.loads(body) if body[:1] in (b"{", b"[") else body

    def good(self, method: str, request: object) -> Any:
        """Call a method that must succeed; return the decoded answer."""
        status, body = self.post(method, request)
        assert status == 200, (status, body)
        return body

    def refused(self, method: str, request: object) -> str:
        """Call a method that must be refused with 400; return the code."""
        status, body = self.post(method, request)
        assert status == 400, (status, body)
        assert isinstance(body, dict), body
        return str(body["Code"])


def content(got: Mapping[str, Any]) -> bytes:
    """Return the body of an answer to API Gateway."""
    return base64.b64decode(got["body"]) if got["isBase64Encoded"] else str(got["body"]).encode()
