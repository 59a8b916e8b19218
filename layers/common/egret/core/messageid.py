"""Message-IDs that we mint: they carry the submission, so that mail which quotes them can be matched to it.

The left side is twenty bytes in lower-case base32 (32 characters): 5 of account, 7 of message id, 8 of MAC
(HMAC-SHA256, cut). A Message-ID is seen by every recipient, so a match may emit events but never suppresses.

Implements: RFC 5322 3.6.4.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import NamedTuple

from egret.core.ids import MAX_ID

_LENGTH = 32
_MAC_BYTES = 8
_TOKEN = re.compile(rf"[a-z2-7]{{{_LENGTH}}}")


class Submission(NamedTuple):
    """What a genuine Message-ID says: the account (8 base32 characters) and the message id."""

    account: str
    message_id: int


def _mac(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, b"message-id" + payload, hashlib.sha256)[:_MAC_BYTES]


def mint_token(key: bytes, account: str, message_id: int) -> str:
    """Return the left side of a Message-ID, which serves as ENVID too; account is its id, 8 characters of base32."""
    if not 0 <= message_id <= MAX_ID:
        message = "a message id must stay below 2^53"
        raise ValueError(message)
    payload = base64.b32decode(account.upper()) + message_id.to_bytes(7, "big")
    return base64.b32encode(payload + _mac(key, payload)).decode("ascii").lower()


def mint(key: bytes, account: str, message_id: int, domain: str) -> str:
    """Return the Message-ID of a submission, with <>; domain: A-label, right of the @."""
    return f"<{mint_token(key, account, message_id)}@{domain}>"


def token_in(message_id: str) -> str:
    """Return the left side of a Message-ID that looks like ours, to be its ENVID too; "" of any other."""
    token = message_id.removeprefix("<").partition("@")[0]
    return token if _TOKEN.fullmatch(token) else ""


def verify(keys: Sequence[bytes], text: str) -> Submission | None:
    """Return the submission that a Message-ID (with or without <>) or ENVID names, None when it is not one of ours.

    Any case of letters, since relays and people change it; keys: the present one and those it replaced. Constant time.
    """
    token = text.strip().removeprefix("<").partition("@")[0]
    if len(token) != _LENGTH:
        return None
    try:
        raw = base64.b32decode(token.upper())
    except (binascii.Error, ValueError):
        return None
    payload, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    matches = [hmac.compare_digest(_mac(key, payload), mac) for key in keys]
    number = int.from_bytes(payload[5:], "big")
    if not any(matches) or number > MAX_ID:
        return None
    return Submission(base64.b32encode(payload[:5]).decode("ascii").lower(), number)
