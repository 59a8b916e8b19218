"""fromid: the local part of the reverse-path that leads a returning DSN to its delivery.

Twenty bytes in lower-case base32 (32 characters, no padding): 5 of account, 7 of key number (3 bits) and delivery id
(53 bits), 8 of MAC (HMAC-SHA256, cut). Relays change the case of local parts, hence the alphabet; 32 characters leave
room for a local part and a separator before it within the 64 octets of RFC 5321 section 4.5.3.1.1.

Mail that unsubscribes from a delivery's list comes to an address of the same make (`Purpose`, `core.unsubscribe`).
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from egret.core.ids import MAX_ID

LENGTH = 32
UNSUBSCRIBE = "unsubscribe+"
"""Before an address of `Purpose.UNSUBSCRIBE`, in any case of letters."""
_MAC_BYTES = 8
_ID_BITS = 53


class Purpose(enum.Enum):
    """What mail to such an address means; goes into the MAC, so that none can stand for another."""

    BOUNCE = b"fromid"
    UNSUBSCRIBE = b"unsubscribe"


@dataclass(frozen=True, slots=True)
class FromId:
    """What a genuine fromid says: the account (8 base32 characters) and the delivery id."""

    account: str
    delivery_id: int


@dataclass(frozen=True, slots=True)
class FromIdKeys:
    """MAC keys by number (0 … 7); `current` mints, all verify, so that a key can be replaced without losing DSNs."""

    keys: Mapping[int, bytes]
    current: int


def _mac(key: bytes, payload: bytes, purpose: Purpose) -> bytes:
    return hmac.new(key, purpose.value + payload, hashlib.sha256).digest()[:_MAC_BYTES]


def mint(keys: FromIdKeys, account: str, delivery_id: int, purpose: Purpose = Purpose.BOUNCE) -> str:
    """Return the fromid of a delivery; account is its id, 8 characters of lower-case base32."""
    if not 0 <= delivery_id <= MAX_ID:
        message = "a delivery id must stay below 2^53"
        raise ValueError(message)
    payload = base64.b32decode(account.upper()) + (keys.current << _ID_BITS | delivery_id).to_bytes(7, "big")
    return base64.b32encode(payload + _mac(keys.keys[keys.current], payload, purpose)).decode("ascii").lower()


def verify(keys: FromIdKeys, text: str, purpose: Purpose = Purpose.BOUNCE) -> FromId | None:
    """Return what a fromid says, in any case of letters, or None when it is not one of ours; constant time."""
    if len(text) != LENGTH:
        return None
    try:
        raw = base64.b32decode(text.upper())
    except (binascii.Error, ValueError):
        return None
    payload, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    number = int.from_bytes(payload[5:], "big")
    key = keys.keys.get(number >> _ID_BITS)
    if not hmac.compare_digest(_mac(key or b"", payload, purpose), mac) or key is None:
        return None
    return FromId(base64.b32encode(payload[:5]).decode("ascii").lower(), number & MAX_ID)
