"""Sign messages with DKIM.

Implements: RFC 6376 (signing), RFC 8301 (RSA with SHA-256, no short keys), RFC 8463 (Ed25519), RFC 8616 (IDN domains as
A-labels). Canonicalisation is relaxed/relaxed. Every signed header is named once more than it occurs, so that none can
be added on the way ("oversigning", RFC 6376 8.15). Keys are made elsewhere: making one needs randomness.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from egret.core.address import Address, canonical_domain

Algorithm = Literal["rsa-sha256", "ed25519-sha256"]

MIN_RSA_BITS = 1024  # RFC 8301 3.2: signers must not use less
# Signed whether they occur or not: nobody may add one.
SEALED_HEADERS = (
    "From",
    "To",
    "Cc",
    "Bcc",
    "Reply-To",
    "References",
    "In-Reply-To",
    "Subject",
    "Date",
    "Message-Id",
    "Content-Type",
)
# Signed, and then sealed too, only where they occur.
SIGNED_IF_PRESENT = (
    "MIME-Version",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "Feedback-ID",
    "TLS-Required",
    "TLS-Report-Domain",
    "TLS-Report-Submitter",
)
_SEALED = tuple((name, name.lower().encode()) for name in SEALED_HEADERS)
_IF_PRESENT = tuple((name, name.lower().encode()) for name in SIGNED_IF_PRESENT)

_SELECTOR = re.compile(
    r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*", re.IGNORECASE
)
_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_SPACE = re.compile(rb"[ \t]{2,}|\t")
_FOLDED_SPACE = re.compile(rb"[ \t\r\n]+")
_LINE_CHARACTERS = 72
_HEADERS_PER_LINE = 5
# RFC 6376 2.11 with RFC 6376 3.5 "i=": what a local part may show unescaped.
_PLAIN_IDENTITY = re.compile(r"[A-Za-z0-9!#$%&'*+/?^_`{|}~.-]+")


class DkimKeyError(ValueError):
    """The key or its selector cannot be used for DKIM; the message is one sentence that may be shown to the caller."""


@dataclass(frozen=True, slots=True)
class DkimKey:
    """A signing key.

    domain: the signing domain (d=), lower-case A-labels. selector: s=, so the record is at
    `<selector>._domainkey.<domain>`. Raises DkimKeyError or AddressError for values that cannot be published.
    """

    domain: str
    selector: str
    algorithm: Algorithm
    private_key: RSAPrivateKey | Ed25519PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what a verifier would refuse."""
        if self.domain != canonical_domain(self.domain):
            raise DkimKeyError("The signing domain must be in lower-case A-label form.")
        if not _SELECTOR.fullmatch(self.selector):
            raise DkimKeyError("A selector must be one or more DNS labels.")
        if self.algorithm != _algorithm(self.private_key):
            raise DkimKeyError("The private key is not of the kind that the algorithm needs.")

    @classmethod
    def from_pkcs8(cls, domain: str, selector: str, der: bytes) -> DkimKey:
        """Load a key from unencrypted PKCS #8 DER; its kind decides the algorithm.

        Raises DkimKeyError for bytes that are no such key, or a key of another kind or too short.
        """
        try:
            private_key = load_der_private_key(der, password=None)
        except (ValueError, TypeError) as error:
            raise DkimKeyError("The private key cannot be read: it must be unencrypted PKCS #8 in DER.") from error
        if not isinstance(private_key, RSAPrivateKey | Ed25519PrivateKey):
            raise DkimKeyError("A DKIM key must be RSA or Ed25519.")
        return cls(domain, selector, _algorithm(private_key), private_key)

    def sign(self, data: bytes) -> bytes:
        """Return the signature of the canonical header data. RFC 6376 3.3, RFC 8463 3."""
        if isinstance(self.private_key, RSAPrivateKey):
            return self.private_key.sign(data, PKCS1v15(), SHA256())
        return self.private_key.sign(hashlib.sha256(data).digest())


def sign(
    headers: bytes, body: bytes, keys: Sequence[DkimKey], *, signed_at: datetime, identity: Address | None = None
) -> bytes:
    """Return one DKIM-Signature field for each key, in order, to stand above the headers.

    headers: complete fields with CRLF, without the empty line. body: CRLF line ends. The body is hashed once.
    identity: the header_from address for i=; left out of signatures of a domain that is not above it.
    RFC 6376 5.
    """
    fields = _relaxed_fields(headers)
    names, data = _select(fields)
    body_hash = base64.b64encode(hashlib.sha256(relaxed_body(body)).digest()).decode()
    signatures = []
    for key in keys:
        unsigned = _signature_field(key, names, body_hash, (int(signed_at.timestamp()), identity))
        signature = key.sign(data + _relaxed(unsigned.encode())[1])
        signatures.append(f"{unsigned}{_wrapped(signature)}\r\n")
    return "".join(signatures).encode()


def dns_record(public_key: RSAPublicKey | Ed25519PublicKey) -> str:
    """Return the value of the TXT record for a key; a DNS zone may have to split it into strings of 255 octets.

    RFC 6376 3.6.1, RFC 8463 4.
    """
    if isinstance(public_key, Ed25519PublicKey):
        raw, kind = public_key.public_bytes(Encoding.Raw, PublicFormat.Raw), "ed25519"
    else:
        raw, kind = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), "rsa"
    return f"v=DKIM1; h=sha256; k={kind}; p={base64.b64encode(raw).decode()}"


def relaxed_body(body: bytes) -> bytes:
    """Return the body in relaxed canonical form (RFC 6376 3.4.4); body: CRLF line ends only."""
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"
    body = _SPACE.sub(b" ", body).replace(b" \r\n", b"\r\n").rstrip(b"\r\n")
    return body + b"\r\n" if body else b""


def _algorithm(private_key: RSAPrivateKey | Ed25519PrivateKey) -> Algorithm:
    if isinstance(private_key, Ed25519PrivateKey):
        return "ed25519-sha256"
    if private_key.key_size < MIN_RSA_BITS:
        raise DkimKeyError(f"An RSA key for DKIM must have at least {MIN_RSA_BITS} bits.")
    return "rsa-sha256"


def _relaxed(raw: bytes) -> tuple[bytes, bytes]:
    """Return the lower-case name of a field and the field in relaxed form, without CRLF. RFC 6376 3.4.2."""
    name, _, value = raw.partition(b":")
    name = name.strip().lower()
    return name, name + b":" + _FOLDED_SPACE.sub(b" ", value).strip()


def _relaxed_fields(headers: bytes) -> dict[bytes, list[bytes]]:
    """Return the relaxed fields by lower-case name, each list in the order of the message."""
    fields: dict[bytes, list[bytes]] = {}
    for raw in _FIELD_END.split(headers):
        if raw:
            name, relaxed = _relaxed(raw)
            fields.setdefault(name, []).append(relaxed)
    return fields


def _select(fields: dict[bytes, list[bytes]]) -> tuple[list[str], bytes]:
    """Return the names for h= and the canonical fields that they select, the last of equal ones first.

    Each name stands once more than it occurs: the surplus one signs its absence. RFC 6376 5.4.2.
    """
    names: list[str] = []
    data: list[bytes] = []
    present = [(name, key) for name, key in _IF_PRESENT if key in fields]
    for name, key in (*_SEALED, *present):
        occurrences = fields.get(key, [])
        names += [name] * (len(occurrences) + 1)
        data += reversed(occurrences)
    return names, b"".join(field + b"\r\n" for field in data)


def _signature_field(key: DkimKey, names: list[str], body_hash: str, when_and_who: tuple[int, Address | None]) -> str:
    """Return the DKIM-Signature field up to and with `b=`. RFC 6376 3.5."""
    timestamp, identity = when_and_who
    lines = [f"DKIM-Signature: v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain};", f"\ts={key.selector};"]
    if identity is not None and f".{identity.domain}".endswith(f".{key.domain}") and identity.local_part.isascii():
        lines.append(f"\ti={_quoted_printable(identity.local_part)}@{identity.domain};")
    lines.append(f"\tt={timestamp};")
    rows = [":".join(names[at : at + _HEADERS_PER_LINE]) for at in range(0, len(names), _HEADERS_PER_LINE)]
    lines.append("\th=" + ":\r\n\t ".join(rows) + ";")
    lines.append(f"\tbh={body_hash};")
    lines.append("\tb=")
    return "\r\n".join(lines)


def _quoted_printable(local_part: str) -> str:
    """Return a local part as dkim-quoted-printable (RFC 6376 2.11)."""
    if _PLAIN_IDENTITY.fullmatch(local_part):
        return local_part
    return "".join(c if _PLAIN_IDENTITY.fullmatch(c) else f"={ord(c):02X}" for c in local_part)


def _wrapped(signature: bytes) -> str:
    """Return a signature in base64, on lines that fit a header."""
    text = binascii.b2a_base64(signature, newline=False).decode()
    return "\r\n\t ".join(text[at : at + _LINE_CHARACTERS] for at in range(0, len(text), _LINE_CHARACTERS))
