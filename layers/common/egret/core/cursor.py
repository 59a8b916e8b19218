"""Cursors of listings: opaque to the caller, and good only for the account and the filter they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

_MAC_BYTES = 12


def seal(key: bytes, scope: str, cursor: str) -> str:
    """Return the text that is shown for a store's cursor, "" for "". scope: account and filter, any text."""
    if not cursor:
        return ""
    inner = cursor.encode()
    return base64.urlsafe_b64encode(_mac(key, scope, inner) + inner).rstrip(b"=").decode("ascii")


def unseal(key: bytes, scope: str, text: str) -> str | None:
    """Return the store's cursor, "" for "", None unless `seal` made the text with the same key and scope."""
    if not text:
        return ""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        inner = raw[_MAC_BYTES:]
        genuine = hmac.compare_digest(raw[:_MAC_BYTES], _mac(key, scope, inner))
        return inner.decode() if genuine else None
    except (binascii.Error, ValueError):
        return None


def _mac(key: bytes, scope: str, inner: bytes) -> bytes:
    scope_hash = hashlib.sha256(scope.encode("utf-8", "surrogatepass")).digest()
    return hmac.digest(key, scope_hash + inner, hashlib.sha256)[:_MAC_BYTES]
