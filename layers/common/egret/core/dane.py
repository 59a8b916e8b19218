"""DANE for SMTP: which TLSA records can be used, and whether they vouch for a server's certificates.

Implements: RFC 7672 section 3.1, RFC 6698 section 2.1, RFC 7671 sections 5.1 and 5.2. Pure: the instant is an argument.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import ExtensionOID, NameOID

from egret.core.tls_policy import Tlsa

DANE_TA = 2
DANE_EE = 3
MAX_CHAIN = 10
"""Certificates of a server that are looked at, and steps of a chain."""
MAX_IN_FULL = 4
"""Trust anchors that stand in full in the DNS of which use is made; digests cost nothing."""
MAX_SIGNATURES = 16
"""Checked for one server: who chooses both keys and certificates could else keep us busy for seconds."""
MAX_ELEMENTS = 16
"""Of one sequence in a certificate, as far as the key; there are eight before it."""
_DIGEST_BYTES = {1: 32, 2: 64}
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion)


def usable(records: Iterable[Tlsa]) -> tuple[Tlsa, ...]:
    """Return the records that can authenticate an SMTP server, in an order that does not depend on the DNS's.

    Usages 0 and 1 are of no use on port 25 (RFC 7672 section 3.1.3), nor are unknown parameters and digests whose
    length is wrong. Of trust anchors in full (usage 2, matching type 0) the first MAX_IN_FULL are taken.
    """
    found = sorted({record for record in records if _is_usable(record)})
    surplus = set([record for record in found if _is_anchor_in_full(record)][MAX_IN_FULL:])
    return tuple(record for record in found if record not in surplus)


def _is_anchor_in_full(record: Tlsa) -> bool:
    return record.usage == DANE_TA and record.matching_type == 0


def _is_usable(record: Tlsa) -> bool:
    if record.usage not in (DANE_TA, DANE_EE) or record.selector not in (0, 1):
        return False
    if record.matching_type in _DIGEST_BYTES:
        return len(record.data) == _DIGEST_BYTES[record.matching_type]
    return record.matching_type == 0 and _can_be_read(record)


def _can_be_read(record: Tlsa) -> bool:
    """Tell whether full data is what its selector says; a key that stands there in full may be of any kind."""
    return _certificate(record.data) is not None if record.selector == 0 else record.data[:1] == b"\x30"


def verify(records: Iterable[Tlsa], chain: Sequence[bytes], names: Sequence[str], now: datetime) -> bool:
    """Tell whether one of the usable records vouches for a server that presented this chain (DER, its own first).

    names: reference identifiers, for usage 2 only: a key that the domain itself names (usage 3) needs no name and
    may have expired (RFC 7672 section 3.1.1). No more than MAX_SIGNATURES signatures are checked; whoever cannot be
    found to be vouched for with them is not.
    """
    if not chain:
        return False
    chain = chain[:MAX_CHAIN]
    if any(record.usage == DANE_EE and _matches(record, chain[0]) for record in records):
        return True
    anchors = [record for record in records if record.usage == DANE_TA]
    return bool(anchors) and _is_below_an_anchor(anchors, chain, names, now)


def _matches(record: Tlsa, der: bytes) -> bool:
    data: bytes | None = der
    if record.selector == 1:
        data = _public_key(der)
    if data is None:
        return False
    if record.matching_type == 1:
        data = hashlib.sha256(data).digest()
    elif record.matching_type == 2:
        data = hashlib.sha512(data).digest()
    return hmac.compare_digest(data, record.data)


def _certificate(der: bytes) -> x509.Certificate | None:
    try:
        return x509.load_der_x509_certificate(der)
    except _UNREADABLE:
        return None


def _public_key(der: bytes) -> bytes | None:
    """Return the SubjectPublicKeyInfo of a certificate as it stands in it, of whatever kind it is (RFC 5280 4.1)."""
    try:
        certificate = _elements(der)[0]
        to_be_signed = _elements(certificate.content)[0]
        fields = _elements(to_be_signed.content)
        if fields[0].tag == _VERSION:
            del fields[0]
        return fields[_PUBLIC_KEY].whole
    except IndexError:
        return None


_VERSION = 0xA0
_PUBLIC_KEY = 5
"""After serial number, signature algorithm, issuer, validity and subject."""


@dataclass(frozen=True, slots=True)
class _Element:
    tag: int
    whole: bytes
    content: bytes


def _elements(der: bytes) -> list[_Element]:
    """Return the DER elements that lie one after the other; raises IndexError where one is cut short."""
    elements: list[_Element] = []
    start = 0
    while start < len(der) and len(elements) <= MAX_ELEMENTS:
        length, content = der[start + 1], start + 2
        if length & 0x80:
            octets = length & 0x7F
            length, content = int.from_bytes(der[content : content + octets], "big"), content + octets
        end = content + length
        if end > len(der):
            raise IndexError
        elements.append(_Element(der[start], der[start:end], der[content:end]))
        start = end
    return elements


@dataclass(slots=True)
class _Checks:
    """How many signatures may still be checked."""

    left: int = MAX_SIGNATURES


def _is_below_an_anchor(anchors: Sequence[Tlsa], chain: Sequence[bytes], names: Sequence[str], now: datetime) -> bool:
    """Walk up from the server's certificate until a trust anchor is met (RFC 7671 section 5.2).

    The server has to send the anchor's certificate too, since a digest cannot check a signature; an anchor that stands
    in full in the DNS may be missing.
    """
    leaf = _certificate(chain[0])
    if leaf is None or not _is_valid(leaf, now) or not any(has_name(leaf, name) for name in names):
        return False
    others = [certificate for der in chain[1:] if (certificate := _certificate(der)) is not None]
    others += [known for anchor in anchors if (known := _anchor_in_full(anchor)) is not None]
    keys = [key for anchor in anchors if (key := _key_in_full(anchor)) is not None]
    level, checks = [leaf], _Checks()
    for depth in range(MAX_CHAIN):
        if any(_matches(anchor, found.public_bytes(Encoding.DER)) for anchor in anchors for found in level):
            return True
        if any(_is_signed_with(found, key, checks) for key in keys for found in level):
            return True
        level = [other for other in others if any(_has_issued(other, found, depth, now, checks) for found in level)]
        others = [other for other in others if other not in level]
    return False


def _anchor_in_full(anchor: Tlsa) -> x509.Certificate | None:
    return _certificate(anchor.data) if (anchor.selector, anchor.matching_type) == (0, 0) else None


def _key_in_full(anchor: Tlsa) -> CertificatePublicKeyTypes | None:
    if (anchor.selector, anchor.matching_type) != (1, 0):
        return None
    try:
        key = load_der_public_key(anchor.data)
    except _UNREADABLE:
        return None
    is_known = isinstance(key, (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey))
    return key if is_known else None  # type: ignore[return-value]


def _is_signed_with(certificate: x509.Certificate, key: CertificatePublicKeyTypes, checks: _Checks) -> bool:
    """Tell whether the key signed the certificate; no, too, when no signature may be checked any more."""
    if not checks.left:
        return False
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    try:
        how, digest = certificate.signature_algorithm_parameters, certificate.signature_hash_algorithm
        if isinstance(key, rsa.RSAPublicKey) and isinstance(how, (padding.PKCS1v15, padding.PSS)) and digest:
            key.verify(signature, signed, how, digest)
        elif isinstance(key, ec.EllipticCurvePublicKey) and isinstance(how, ec.ECDSA):
            key.verify(signature, signed, how)
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            return False
    except _UNREADABLE:
        return False
    except InvalidSignature:
        checks.left -= 1
        return False
    return True


def _has_issued(
    issuer: x509.Certificate, certificate: x509.Certificate, depth: int, now: datetime, checks: _Checks
) -> bool:
    """Tell whether a valid certificate of an authority signed another one. depth: authorities below it.

    No, too, when no signature may be checked any more. Those between whom the names say no are not checked.
    """
    try:
        if not checks.left or not _is_valid(issuer, now) or not _is_authority(issuer, depth):
            return False
        certificate.verify_directly_issued_by(issuer)
    except _UNREADABLE:
        return False
    except InvalidSignature:
        checks.left -= 1
        return False
    checks.left -= 1
    return True


def _is_authority(certificate: x509.Certificate, depth: int) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        if not constraints.ca or (constraints.path_length is not None and constraints.path_length < depth):
            return False
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound as missing:
        return missing.oid == ExtensionOID.KEY_USAGE


def _is_valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def has_name(certificate: x509.Certificate, name: str) -> bool:
    """Tell whether a certificate is for a host name; "*" stands for one leftmost label (RFC 6125 section 6.4)."""
    host = name.lower().removesuffix(".")
    parent = host.partition(".")[2]
    wildcard = f"*.{parent}" if "." in parent else ""
    return any(known.lower().removesuffix(".") in (host, wildcard) for known in _names(certificate) if known)


def _names(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names; without any, the common names (RFC 7672 section 3.2.2)."""
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = alternative.get_values_for_type(x509.DNSName)
    except (*_UNREADABLE, x509.ExtensionNotFound):
        names = []
    return names or _common_names(certificate)


def _common_names(certificate: x509.Certificate) -> list[str]:
    """Return the common names of the subject, none when it cannot be read."""
    try:
        found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except _UNREADABLE:
        return []
    return [str(common.value) for common in found]
