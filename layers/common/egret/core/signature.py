"""Sign webhook calls, so that a receiver can tell ours from anybody's.

Implements: Standard Webhooks 1.0, symmetric signatures (`v1`). The signed content is `id.timestamp.body`; the timestamp
is the moment of this attempt, not of the event. Two secrets sign side by side while one replaces the other.
Does not send anything and does not choose secrets: random bytes are an argument.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from egret.core.errors import InvalidRequest

SECRET_PREFIX = "whsec_"  # noqa: S105 - the public mark of a secret, not one
SECRET_MIN_BYTES = 24
SECRET_MAX_BYTES = 64
"""Bounds of the specification: 192 to 512 bits."""

TOLERANCE = timedelta(minutes=5)
"""How far a receiver's clock may be from ours; what the reference libraries use."""


def secret_from_bytes(key: bytes) -> str:
    """Write a key of 24 to 64 random bytes as `whsec_<base64>`.

    Raises ValueError for other lengths.
    """
    if not SECRET_MIN_BYTES <= len(key) <= SECRET_MAX_BYTES:
        raise ValueError("a signing key has 24 to 64 bytes")
    return SECRET_PREFIX + base64.b64encode(key).decode("ascii")


def secret_to_bytes(secret: str) -> bytes:
    """Read a secret as the user typed it: with or without `whsec_`, with or without padding.

    Raises InvalidRequest (`user`) if it is not base64 or has not 24 to 64 bytes.
    """
    text = secret.strip().removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("user", "The signing secret must be whsec_ followed by base64.") from None
    if not SECRET_MIN_BYTES <= len(key) <= SECRET_MAX_BYTES:
        raise InvalidRequest("user", "The signing secret must have 24 to 64 bytes.")
    return key


def sign(secrets: Sequence[str], webhook_id: str, timestamp: datetime, body: bytes) -> str:
    """Return the value of the header `webhook-signature`: one `v1,<base64>` for each secret, separated by spaces.

    timestamp: aware; the header `webhook-timestamp` must carry the same moment, see `timestamp_header`.
    Raises ValueError if the id is empty or contains a full stop (it would make the signed content ambiguous).
    """
    stamp = timestamp_header(timestamp)
    return " ".join(_signature(secret_to_bytes(secret), webhook_id, stamp, body) for secret in secrets)


def timestamp_header(timestamp: datetime) -> str:
    """Return the value of the header `webhook-timestamp`: whole Unix seconds, rounded down."""
    if timestamp.tzinfo is None:
        raise ValueError("the timestamp must be aware")
    return str(int(timestamp.timestamp() // 1))


def verify(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: datetime, tolerance: timedelta = TOLERANCE
) -> bool:
    """Tell whether a call was signed with one of the secrets, not longer than `tolerance` ago or ahead.

    headers: as received, in any case. For tests of users and of our own; compares in constant time and never raises
    for what a sender wrote.
    """
    given = {name.lower(): value for name, value in headers.items()}
    webhook_id, stamp = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    if not webhook_id or "." in webhook_id or not _is_recent(stamp, now, tolerance):
        return False
    expected = [_signature(secret_to_bytes(secret), webhook_id, stamp, body).encode() for secret in secrets]
    found = False
    for offered in given.get("webhook-signature", "").encode("utf-8", "replace").split(b" "):
        for signature in expected:
            # No early exit: the time taken does not tell which secret or position matched.
            found |= hmac.compare_digest(signature, offered)
    return found


def _is_recent(stamp: str, now: datetime, tolerance: timedelta) -> bool:
    # 12 digits reach beyond year 9999; the bound keeps int() and the comparison cheap.
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        return False
    return abs(now.timestamp() - int(stamp)) <= tolerance.total_seconds()


def _signature(key: bytes, webhook_id: str, stamp: str, body: bytes) -> str:
    if not webhook_id or "." in webhook_id:
        raise ValueError("a webhook id is not empty and has no full stop")
    content = f"{webhook_id}.{stamp}.".encode("utf-8", "replace") + body
    return "v1," + base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode("ascii")
