"""Signatures of requests to AWS, for the one form of request that its JSON services know: a POST to `/`.

Implements: AWS Signature Version 4 with signed headers; no query, no unsigned or streamed payload.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; token: of a session, "" for a key that stays."""

    access_key_id: str
    secret_access_key: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a signature holds."""

    region: str
    service: str


def sign(credentials: Credentials, scope: Scope, headers: dict[str, str], body: bytes, at: datetime) -> dict[str, str]:
    """Return the headers of the request, signed.

    headers: everything that is to be signed, `host` included, by lower-case name. at: aware, UTC.
    """
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    signed = {**headers, "x-amz-date": stamp}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = sorted(signed)
    listed = ";".join(names)
    lines = "".join([f"{name}:{signed[name]}\n" for name in names])
    canonical = f"POST\n/\n\n{lines}\n{listed}\n{hashlib.sha256(body).hexdigest()}"
    holds = f"{stamp[:8]}/{scope.region}/{scope.service}/aws4_request"
    text = f"{ALGORITHM}\n{stamp}\n{holds}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.digest(_key(credentials.secret_access_key, holds), text.encode(), "sha256").hex()
    signed["authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key_id}/{holds}, SignedHeaders={listed}, Signature={signature}"
    )
    return signed


@lru_cache(maxsize=8)
def _key(secret_access_key: str, holds: str) -> bytes:
    """Return the key that signs within a scope: a day's worth of requests share it."""
    key = f"AWS4{secret_access_key}".encode()
    for part in holds.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
