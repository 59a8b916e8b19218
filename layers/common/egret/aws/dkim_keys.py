"""Makes DKIM keys from the machine's randomness."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

RSA_BITS = 2048
"""The most that fits one UDP answer of every resolver; RFC 8301 3.2 recommends it."""


def make_dkim_key(algorithm: str) -> RSAPrivateKey | Ed25519PrivateKey:
    """Return a fresh key: "rsa" or "ed25519"."""
    if algorithm == "ed25519":
        return Ed25519PrivateKey.generate()
    return generate_private_key(public_exponent=65537, key_size=RSA_BITS)
