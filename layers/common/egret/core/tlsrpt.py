"""What is told to a domain about the TLS of the sessions with its servers, as values, and how counts are put together.

Implements the vocabulary of RFC 8460 sections 4.2 to 4.4. Counted are sessions, not messages: a connection that carries
ten messages is one session. Sums are commutative and associative, so that whoever counted first makes no difference.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta

KEPT: timedelta = timedelta(days=3)
"""How long after its end a day's results are kept: long enough to send a report late."""
MAX_DETAILS = 32
"""Kinds of failure of one result, those included that stand for a result type alone."""
MAX_TEXT = 128
"""Characters kept of what a remote server, or DNS, says of itself."""
MAX_POLICY_TEXT = 4096
"""Characters kept of a policy, and of its patterns."""


class PolicyType(enum.StrEnum):
    """Which policy was applied (RFC 8460 section 4.4, policy-type)."""

    STS = "sts"
    TLSA = "tlsa"
    NONE = "no-policy-found"


class ResultType(enum.StrEnum):
    """What failed (RFC 8460 section 4.3)."""

    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    """Anything that none of the others says."""
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"
    STS_POLICY_FETCH_ERROR = "sts-policy-fetch-error"
    STS_POLICY_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"


@dataclass(frozen=True, slots=True, order=True)
class FailureDetail:
    """One kind of failure (RFC 8460 section 4.4, failure-details); "" = not known.

    receiving_helo: the name in the server's greeting. reason_code: short words joined by hyphens, for machines.
    """

    result_type: ResultType
    sending_ip: str = ""
    receiving_mx: str = ""
    receiving_helo: str = ""
    receiving_ip: str = ""
    additional_information: str = ""
    reason_code: str = ""

    @property
    def bare(self) -> FailureDetail:
        """The result type alone: what counts the failures that are too many to tell apart."""
        return FailureDetail(self.result_type)

    @property
    def bounded(self) -> FailureDetail:
        """The same with texts of a bearable length: some of them the remote server chooses."""
        return replace(
            self,
            receiving_mx=_short(self.receiving_mx),
            receiving_helo=_short(self.receiving_helo),
            additional_information=_short(self.additional_information),
            reason_code=_short(self.reason_code),
        )


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """A policy as the report repeats it (RFC 8460 section 4.4, policy).

    strings: lines of the MTA-STS policy, or TLSA records as text. mx_hosts: patterns of the MTA-STS policy; the MX host
    where the result is about one host of the domain.
    """

    type: PolicyType
    strings: tuple[str, ...] = ()
    mx_hosts: tuple[str, ...] = ()

    @property
    def bounded(self) -> AppliedPolicy:
        """The same, cut after the last whole string that fits in a bearable length."""
        return replace(self, strings=_fitting(self.strings), mx_hosts=_fitting(self.mx_hosts))


@dataclass(frozen=True, slots=True)
class ResultKey:
    """What results are collected by. Domains: A-labels in lower case. day: UTC.

    policy_domain: where the policy was looked for: the recipient domain for MTA-STS, the MX host for DANE.
    """

    policy_domain: str
    day: date
    recipient_domain: str
    policy: AppliedPolicy

    @property
    def forget_at(self) -> datetime:
        """When nobody asks for it any more."""
        return forget_at(self.day)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of sessions, and of the kinds of failure. One failed session may have several kinds."""

    successes: int = 0
    failures: int = 0
    details: Mapping[FailureDetail, int] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        details = dict(self.details)
        for detail, count in other.details.items():
            details[detail] = details.get(detail, 0) + count
        return Tally(self.successes + other.successes, self.failures + other.failures, details)

    @property
    def by_type(self) -> dict[ResultType, int]:
        """The counts of details by result type: no limit on details changes them."""
        counts: dict[ResultType, int] = {}
        for detail, count in self.details.items():
            counts[detail.result_type] = counts.get(detail.result_type, 0) + count
        return counts


@dataclass(frozen=True, slots=True)
class TlsResult:
    """What became of the sessions of a day under one policy."""

    key: ResultKey
    tally: Tally


@dataclass(frozen=True, slots=True)
class TlsSession:
    """One session that was opened, or was to be opened, under one policy.

    failures: empty = TLS as the policy asks for. Several at once are one failed session.
    """

    policy_domain: str
    recipient_domain: str
    policy: AppliedPolicy
    failures: tuple[FailureDetail, ...] = ()

    def key(self, at: datetime) -> ResultKey:
        """Return where it is counted when it took place at this instant."""
        return ResultKey(self.policy_domain, at.astimezone(UTC).date(), self.recipient_domain, self.policy.bounded)

    @property
    def tally(self) -> Tally:
        """It alone, counted."""
        if not self.failures:
            return Tally(successes=1)
        return Tally(failures=1, details={detail.bounded: 1 for detail in self.failures})


def report_addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the URIs (`mailto:`, `https:`) that TXT records at `_smtp._tls.<domain>` want reports sent to.

    texts: one for each record, its character-strings joined. () when no report is wanted: there is no record, more than
    one, or one that is malformed (RFC 8460 section 3).
    """
    records = [fields for fields in map(_fields, texts) if fields[0] == "v=TLSRPTv1"]
    if len(records) != 1 or not all(map(_FIELD.fullmatch, records[0])):
        return ()
    values = [value for name, _, value in (text.partition("=") for text in records[0]) if name == "rua"]
    uris = [uri.strip(" \t") for value in values[:1] for uri in value.split(",")]
    return tuple(uri for uri in uris if _REPORT_URI.fullmatch(uri))


def _fields(text: str) -> list[str]:
    """Return the fields of a record; a delimiter may end it."""
    fields = [each.strip(" \t") for each in text.split(";")]
    return fields[:-1] if len(fields) > 1 and not fields[-1] else fields


_FIELD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}=[!-:<-~ \t]+")
_REPORT_URI = re.compile(r"(?i:mailto:[!-~]+@[!-~]+|https://[!-~]+)")


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum."""
    return sum(tallies, Tally())


def forget_at(day: date) -> datetime:
    """Return when the results of a UTC day are dropped."""
    return datetime.combine(day, time.min, UTC) + timedelta(days=1) + KEPT


def _short(text: str) -> str:
    """Return the text without control characters, cut."""
    return "".join(character for character in text[:MAX_TEXT] if character.isprintable())


def _fitting(texts: tuple[str, ...]) -> tuple[str, ...]:
    room = MAX_POLICY_TEXT
    for count, text in enumerate(texts):
        room -= len(text)
        if room < 0:
            return texts[:count]
    return texts
