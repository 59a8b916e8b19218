"""How TLS went with a recipient domain, in the words of its reports (RFC 8460 section 4.3).

A result is noted for each session, and for each host that was given up before there was one.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ResultType(enum.StrEnum):
    """What failed: the registry of RFC 8460 section 4.3."""

    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"
    STS_POLICY_FETCH_ERROR = "sts-policy-fetch-error"
    STS_POLICY_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"


class PolicyType(enum.StrEnum):
    """Which kind of policy a result is about (RFC 8460 section 4.2)."""

    STS = "sts"
    TLSA = "tlsa"
    NONE = "no-policy-found"


@dataclass(frozen=True, slots=True)
class TlsFailure:
    """What failed. code: a short word of ours that tells cases of one type apart (failure-reason-code), or ""."""

    type: ResultType
    code: str = ""


@dataclass(frozen=True, slots=True)
class TlsResult:
    """One session, judged by one policy.

    policy_domain: whose policy (the recipient domain for MTA-STS and without policy, the TLSA base name for DANE).
    recipient_domain: A-label. policy: its lines as in policy-string. mx_host, address: the server, "" when none was
    reached. failure: None for a success. is_ignored: the mail went on in spite of it.
    """

    policy_type: PolicyType
    policy_domain: str
    recipient_domain: str
    mx_host: str
    address: str = ""
    failure: TlsFailure | None = None
    policy: tuple[str, ...] = ()
    is_ignored: bool = False
