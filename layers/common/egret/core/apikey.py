"""The text of API keys: recognisable, so that scanners find leaked ones and tell them from accidents by their checksum.

`eg_` + 41 characters of random base62 (240 bits) + 6 characters of CRC-32 in base62, the form that GitHub made common.
Only the SHA-256 of a key is ever stored; 240 random bits need no salt and no slow hash.
"""

from __future__ import annotations

import hashlib
import string
import zlib

PREFIX = "eg_"
RANDOM_BYTES = 30
_BODY_LENGTH = 41  # 240 bits in base62
_CHECK_LENGTH = 6  # 32 bits in base62
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase


def _base62(number: int, length: int) -> str:
    characters = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[digit])
    return "".join(reversed(characters))


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_LENGTH)


def key_text(random: bytes) -> str:
    """Return the text of a new key; random: `RANDOM_BYTES` octets from a cryptographic source."""
    if len(random) != RANDOM_BYTES:
        message = f"a key is made of {RANDOM_BYTES} random octets"
        raise ValueError(message)
    body = _base62(int.from_bytes(random, "big"), _BODY_LENGTH)
    return PREFIX + body + _checksum(body)


def key_hash(text: str) -> str:
    """Return the SHA-256 hex under which a key is stored and found."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
