"""Subkeys of the installation's secrets: a key never serves two purposes, and none leads back to another.

Implements: HKDF-Expand of RFC 5869 2.3 for one block; the secret is uniformly random, so nothing is extracted first.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from egret.core.fromid import FromIdKeys

MIN_SECRET_CHARACTERS = 16


@dataclass(frozen=True, slots=True)
class Secrets:
    """The keys of an installation.

    fromid: of reverse-paths. message_id: of Message-IDs and ENVIDs, the one that mints first.
    cursor: of the cursors of listings.
    """

    fromid: FromIdKeys
    message_id: Sequence[bytes]
    cursor: bytes


def derive(secret: str, fromids: FromIdKeys) -> Secrets:
    """Return the keys of an installation; secret: EGRET_SECRET, any text of at least 16 characters.

    Raises ValueError when it is shorter.
    """
    master = _master(secret)
    return Secrets(
        fromid=fromids,
        message_id=(subkey(master, "message-id"),),
        cursor=subkey(master, "cursor"),
    )


def fromid_keys(secret: str) -> FromIdKeys:
    """Return the keys of reverse-paths; secret: EGRET_FROMID_SECRET, any text of at least 16 characters.

    Raises ValueError when it is shorter.
    """
    return FromIdKeys({0: subkey(_master(secret), "fromid")}, 0)


def _master(secret: str) -> bytes:
    if len(secret) < MIN_SECRET_CHARACTERS:
        message = f"the installation's secrets must have at least {MIN_SECRET_CHARACTERS} characters"
        raise ValueError(message)
    return secret.encode()


def subkey(master: bytes, purpose: str) -> bytes:
    """Return the 32-byte key for one purpose."""
    return hmac.digest(master, purpose.encode() + b"\x01", hashlib.sha256)
