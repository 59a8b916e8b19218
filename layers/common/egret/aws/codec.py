"""Compression of what the table stores: zlib with a preset dictionary of what mail has in common.

The first byte says how the rest is to be read: 0 = as it stands, 1, 2, … = deflated with that dictionary. A dictionary
is never changed once something was stored with it; a better one gets the next number.
"""

from __future__ import annotations

import zlib

from egret.aws.dictionary import DICTIONARIES
from egret.core.errors import ContractError

PLAIN = 0
CURRENT = max(DICTIONARIES)
LEVEL = 9


def encode(raw: bytes) -> bytes:
    """Return the stored form of some bytes: deflated when that makes them smaller."""
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zdict=DICTIONARIES[CURRENT])
    deflated = deflate.compress(raw) + deflate.flush()
    return bytes((CURRENT,)) + deflated if len(deflated) < len(raw) else bytes((PLAIN,)) + raw


def encode_above(raw: bytes, size_bytes: int) -> bytes:
    """Return the stored form, deflated only when there is more than `size_bytes`: below, time is dearer than space."""
    return encode(raw) if len(raw) > size_bytes else bytes((PLAIN,)) + raw


def decode(stored: bytes) -> bytes:
    """Return what was encoded; raises ContractError when the form is unknown or the bytes are damaged."""
    if not stored:
        raise ContractError(detail="an empty stored value")
    version = stored[0]
    if version == PLAIN:
        return stored[1:]
    dictionary = DICTIONARIES.get(version)
    if dictionary is None:
        raise ContractError(detail=f"a stored value of unknown form {version}")
    inflate = zlib.decompressobj(zlib.MAX_WBITS, zdict=dictionary)
    try:
        raw = inflate.decompress(stored[1:])
    except zlib.error as error:
        raise ContractError(detail=f"a damaged stored value: {error}") from error
    if not inflate.eof or inflate.unused_data:
        raise ContractError(detail="a stored value that is cut short or too long")
    return raw
