"""What List-Unsubscribe says: who no longer wants mail of which account.

A token is account, delivery id and address, sealed with AES-SIV and written in lower-case base32: nobody makes one up,
nobody reads the address in a log, mail programs may change its case, and it works when the delivery is long forgotten.
It is too long for a local part, so mail comes to `unsubscribe+<short>@…`, where `short` is made as a fromid is, and
has the token as its subject.

Implements: RFC 8058 section 3.1, RFC 2369 section 3.2, RFC 6068 (mailto), RFC 5297 (through `cryptography`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from egret.core import fromid
from egret.core.address import MAX_DOMAIN_OCTETS, MAX_LOCAL_PART_OCTETS
from egret.core.fromid import FromIdKeys, Purpose
from egret.core.ids import MAX_ID
from egret.core.secrets import subkey

_ACCOUNT_BYTES = 5
_ID_BYTES = 7
_TAG_BYTES = 16
_MAX_ADDRESS_BYTES = 2 * (MAX_LOCAL_PART_OCTETS + 1) + 1 + MAX_DOMAIN_OCTETS  # quoted, each octet escaped
_MAX_CHARACTERS = (_TAG_BYTES + _ACCOUNT_BYTES + _ID_BYTES + _MAX_ADDRESS_BYTES) * 8 // 5 + 1
_PURPOSE = (b"unsubscribe",)
_TOKEN = re.compile(r"[a-z2-7]{45,}", re.IGNORECASE)
"""45 characters are tag, account and id without an address."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a genuine token says. account: 8 base32 characters. address: the recipient in wire form."""

    account: str
    delivery_id: int
    address: str


def keys_of(fromids: FromIdKeys) -> Sequence[bytes]:
    """Return the keys of tokens, the one that seals first: made of those of fromids, which prove what comes back."""
    numbers = sorted(fromids.keys, key=lambda number: number != fromids.current)
    return tuple(subkey(fromids.keys[number], "seal of unsubscribe tokens") for number in numbers)


def seal(keys: Sequence[bytes], wish: Wish) -> str:
    """Return the token; the same wish has the same token."""
    if not 0 <= wish.delivery_id <= MAX_ID:
        message = "a delivery id must stay below 2^53"
        raise ValueError(message)
    number = wish.delivery_id.to_bytes(_ID_BYTES, "big")
    plain = base64.b32decode(wish.account.upper()) + number + wish.address.encode()
    sealed = AESSIV(keys[0]).encrypt(plain, list(_PURPOSE))
    return base64.b32encode(sealed).decode("ascii").rstrip("=").lower()


def unseal(keys: Sequence[bytes], text: str) -> Wish | None:
    """Return what a token says, in any case of letters; None when it is not one of ours."""
    if len(text) > _MAX_CHARACTERS:
        return None
    try:
        sealed = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        return None
    opened = (_opened(key, sealed) for key in keys)
    plain = next((each for each in opened if each is not None), None)
    return None if plain is None else _read(plain)


def _opened(key: bytes, sealed: bytes) -> bytes | None:
    try:
        return AESSIV(key).decrypt(sealed, list(_PURPOSE))
    except InvalidTag:
        return None


def _read(plain: bytes) -> Wish:
    account, rest = plain[:_ACCOUNT_BYTES], plain[_ACCOUNT_BYTES:]
    number = int.from_bytes(rest[:_ID_BYTES], "big")
    return Wish(base64.b32encode(account).decode("ascii").lower(), number, rest[_ID_BYTES:].decode())


def wishes_in(keys: Sequence[bytes], text: str) -> Iterator[Wish]:
    """Yield what the genuine tokens in a text say; people and their programs put words around one."""
    for found in _TOKEN.finditer(text):
        wish = unseal(keys, found[0])
        if wish is not None:
            yield wish


def mailbox_of(fromids: FromIdKeys, account: str, delivery_id: int, domain: str) -> str:
    """Return the address that mail unsubscribes at; domain: A-label, one that the account's bounces come back to."""
    return f"{fromid.UNSUBSCRIBE}{fromid.mint(fromids, account, delivery_id, Purpose.UNSUBSCRIBE)}@{domain}"
