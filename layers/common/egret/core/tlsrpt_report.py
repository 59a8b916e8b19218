"""TLS reports as values, and their JSON as we write it.

Implements: RFC 8460 sections 4.4 (the JSON) and 5.1 to 5.3 (file name, subject). Reading is `core.tlsrpt_reading`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import unquote

from egret.core.address import Address, AddressError
from egret.core.tlsrpt import AppliedPolicy, FailureDetail, Tally, TlsResult

HEADERS = ("TLS-Report-Domain", "TLS-Report-Submitter")
"""Fields of its mail that say what it is (RFC 8460 section 5.3)."""


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """What became of sessions under one policy of a domain. Types as in the JSON; those of strangers are any text."""

    policy_type: str
    policy_domain: str
    policy_strings: tuple[str, ...] = ()
    mx_hosts: tuple[str, ...] = ()
    successes: int = 0
    failures: int = 0
    details: tuple[tuple[FailureDetail, int], ...] = ()


@dataclass(frozen=True, slots=True)
class TlsReport:
    """A report. end: the last second that it is about."""

    organization: str
    contact: str
    report_id: str
    begin: datetime
    end: datetime
    policies: tuple[PolicyResult, ...]

    @property
    def failures(self) -> int:
        """Sessions that failed."""
        return sum(policy.failures for policy in self.policies)


def day_range(day: date) -> tuple[datetime, datetime]:
    """Return the first and the last second of a UTC day."""
    begin = datetime.combine(day, time.min, UTC)
    return begin, begin + timedelta(days=1, seconds=-1)


def merged(results: Iterable[TlsResult]) -> tuple[PolicyResult, ...]:
    """Return one result for each recipient domain and policy, counts added up, in an order of their own.

    A result about one MX host stands under the recipient domain, too: its policy names the host.
    """
    sums: dict[tuple[str, AppliedPolicy], Tally] = {}
    for result in results:
        key = result.key.recipient_domain, result.key.policy
        sums[key] = sums.get(key, Tally()) + result.tally
    ordered = sorted(
        sums.items(), key=lambda each: (each[0][0], each[0][1].type, each[0][1].mx_hosts, each[0][1].strings)
    )
    return tuple(_result(domain, policy, tally) for (domain, policy), tally in ordered)


def _result(domain: str, policy: AppliedPolicy, tally: Tally) -> PolicyResult:
    return PolicyResult(
        policy_type=policy.type.value,
        policy_domain=domain,
        policy_strings=policy.strings,
        mx_hosts=policy.mx_hosts,
        successes=tally.successes,
        failures=tally.failures,
        details=tuple(sorted(tally.details.items())),
    )


def mail_addresses(uris: Iterable[str]) -> tuple[Address, ...]:
    """Return the addresses of `mailto:` URIs, each once, in order."""
    found: dict[str, Address] = {}
    for uri in uris:
        scheme, _, rest = uri.partition(":")
        try:
            address = Address.parse(unquote(rest.partition("?")[0]))
        except AddressError:
            continue
        if scheme.lower() == "mailto" and not address.needs_smtputf8:
            found.setdefault(str(address).lower(), address)
    return tuple(found.values())


def file_name(report: TlsReport, sender: str, domain: str) -> str:
    """Return the name of the compressed report (RFC 8460 section 5.1)."""
    return f"{sender}!{domain}!{int(report.begin.timestamp())}!{int(report.end.timestamp())}.json.gz"


def compose_json(report: TlsReport) -> str:
    """Return the JSON of a report (RFC 8460 section 4.4)."""
    data = {
        "organization-name": report.organization,
        "date-range": {"start-datetime": _instant(report.begin), "end-datetime": _instant(report.end)},
        "contact-info": report.contact,
        "report-id": report.report_id,
        "policies": [_policy(policy) for policy in report.policies],
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _policy(result: PolicyResult) -> dict[str, Any]:
    policy: dict[str, Any] = {"policy-type": result.policy_type, "policy-domain": result.policy_domain}
    if result.policy_strings:
        policy["policy-string"] = list(result.policy_strings)
    if result.mx_hosts:
        policy["mx-host"] = list(result.mx_hosts)
    counts = {"total-successful-session-count": result.successes, "total-failure-session-count": result.failures}
    whole: dict[str, Any] = {"policy": policy, "summary": counts}
    if result.details:
        whole["failure-details"] = [_detail(detail, count) for detail, count in result.details]
    return whole


def _detail(detail: FailureDetail, count: int) -> dict[str, Any]:
    known = {
        "result-type": detail.result_type.value,
        "sending-mta-ip": detail.sending_ip,
        "receiving-mx-hostname": detail.receiving_mx,
        "receiving-mx-helo": detail.receiving_helo,
        "receiving-ip": detail.receiving_ip,
        "additional-information": detail.additional_information,
        "failure-reason-code": detail.reason_code,
    }
    return {name: value for name, value in known.items() if value} | {"failed-session-count": count}


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
