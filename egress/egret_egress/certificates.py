"""What a TLS handshake showed: the peer's chain of certificates, and why a handshake failed."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from egret.core import dane
from egret.core.tls_policy import TlsPolicy
from egret.core.tlsrpt import ResultType


@dataclass(frozen=True, slots=True)
class TlsFailure:
    """What failed about TLS, in the words of reports. code: tells cases of one type apart (failure-reason-code)."""

    type: ResultType
    code: str = ""


_EXPIRED = 10
_HOST_MISMATCH = (62, 64)
_NOT_TRUSTED = (2, 18, 19, 20, 21, 23, 24, 27, 33)
"""Numbers of X509_V_ERR_… as OpenSSL's x509_vfy.h has them: issuer not found, self-signed, unverifiable, revoked …"""
NO_STARTTLS = TlsFailure(ResultType.STARTTLS_NOT_SUPPORTED)
DANE_MISMATCH = TlsFailure(ResultType.VALIDATION_FAILURE, "dane-no-match")


def chain_of(ssl_object: Any) -> list[bytes]:
    """Return the certificates that the peer presented (DER, its own first), whether anybody vouches for them or not.

    ssl_object: an SSLObject after the handshake. Python has no public way to them before 3.13.
    """
    if hasattr(ssl_object, "get_unverified_chain"):
        return list(ssl_object.get_unverified_chain() or ())
    chain = ssl_object._sslobj.get_unverified_chain() or ()  # noqa: SLF001 (see above)
    return [certificate.public_bytes(_DER) for certificate in chain]


_DER = 2
"""`_ssl.ENCODING_DER`."""


def is_vouched_for(ssl_object: Any, policy: TlsPolicy, mx_host: str, now: datetime) -> bool:
    """Tell whether a TLSA record of the policy vouches for the peer."""
    return dane.verify(policy.tlsa, chain_of(ssl_object), policy.names or (mx_host,), now)


def failure_of(error: BaseException | None) -> TlsFailure:
    """Return what a failed handshake is called in reports."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailure(_type_of(error.verify_code), f"x509-{error.verify_code}")
    if isinstance(error, TimeoutError):
        return TlsFailure(ResultType.VALIDATION_FAILURE, "timeout-during-handshake")
    if isinstance(error, ssl.SSLError) and error.reason:
        return TlsFailure(ResultType.VALIDATION_FAILURE, "tls-" + error.reason.lower().replace("_", "-")[:60])
    return TlsFailure(ResultType.VALIDATION_FAILURE, "connection-closed-during-handshake")


def _type_of(verify_code: int) -> ResultType:
    if verify_code == _EXPIRED:
        return ResultType.CERTIFICATE_EXPIRED
    if verify_code in _HOST_MISMATCH:
        return ResultType.CERTIFICATE_HOST_MISMATCH
    if verify_code in _NOT_TRUSTED:
        return ResultType.CERTIFICATE_NOT_TRUSTED
    return ResultType.VALIDATION_FAILURE
