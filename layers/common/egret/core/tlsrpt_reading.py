"""Read TLS reports that strangers sent (RFC 8460 section 4.4), leniently; nothing raises for what a sender wrote."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from egret.core.dmarc_reading import MAX_COUNT, Unreadable
from egret.core.tlsrpt import FailureDetail, ResultType
from egret.core.tlsrpt_report import PolicyResult, TlsReport

MAX_OCTETS = 4 << 20
"""Of a report: what JSON stands for takes up to 25 times its size in memory."""
MAX_POLICIES = 1000
MAX_DETAILS = 1000
"""Of a policy."""
MAX_STRINGS = 100
MAX_TEXT = 256
"""Characters of a text."""

_RESULTS = {result.value: result for result in ResultType}


def read_tls(data: bytes) -> TlsReport | Unreadable:
    """Return the report that JSON is. A result type that nobody knows counts as `validation-failure`."""
    if len(data) > MAX_OCTETS:
        return Unreadable("it is too large")
    try:
        whole = msgspec.json.decode(data.decode("utf-8-sig", "replace").strip().encode("utf-8", "replace"))
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        return Unreadable(f"it is no JSON: {error}")
    policies = _list(_dict(whole).get("policies"))
    if not policies:
        return Unreadable("it is no TLS report: there are no policies in it")
    span = _dict(_dict(whole).get("date-range"))
    begin, end = _instant(span.get("start-datetime")), _instant(span.get("end-datetime"))
    if begin is None or end is None:
        return Unreadable("it does not say which time it is about")
    found = tuple(_policy(_dict(each)) for each in policies[:MAX_POLICIES])
    return TlsReport(
        organization=_text(whole.get("organization-name")),
        contact=_text(whole.get("contact-info")),
        report_id=_text(whole.get("report-id")),
        begin=begin,
        end=end,
        policies=tuple(each for each in found if each.policy_domain),
    )


def _policy(whole: dict[str, Any]) -> PolicyResult:
    policy, summary = _dict(whole.get("policy")), _dict(whole.get("summary"))
    details: dict[FailureDetail, int] = {}
    for each in map(_dict, _list(whole.get("failure-details"))[:MAX_DETAILS]):
        detail = _detail(each)
        details[detail] = min(details.get(detail, 0) + _count(each.get("failed-session-count")), MAX_COUNT)
    return PolicyResult(
        policy_type=_text(policy.get("policy-type")).lower(),
        policy_domain=_text(policy.get("policy-domain")).lower().rstrip("."),
        policy_strings=_texts(policy.get("policy-string")),
        mx_hosts=_texts(policy.get("mx-host")),
        successes=_count(summary.get("total-successful-session-count")),
        failures=_count(summary.get("total-failure-session-count")),
        details=tuple(details.items()),
    )


def _detail(each: dict[str, Any]) -> FailureDetail:
    word = _text(each.get("result-type")).lower()
    return FailureDetail(
        result_type=_RESULTS.get(word, ResultType.VALIDATION_FAILURE),
        sending_ip=_text(each.get("sending-mta-ip")),
        receiving_mx=_text(each.get("receiving-mx-hostname")),
        receiving_helo=_text(each.get("receiving-mx-helo")),
        receiving_ip=_text(each.get("receiving-ip")),
        additional_information=_text(each.get("additional-information") or each.get("additional-info-uri")),
        reason_code=_text(each.get("failure-reason-code")) or ("" if word in _RESULTS else word),
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    text = value[:MAX_TEXT] if isinstance(value, str) else ""
    return "".join(character if character.isprintable() else " " for character in text)


def _texts(value: Any) -> tuple[str, ...]:
    """Return a list of texts; some senders write one alone."""
    values = [value] if isinstance(value, str) else _list(value)
    return tuple(filter(None, map(_text, values[:MAX_STRINGS])))


def _count(value: Any) -> int:
    return min(max(value, 0), MAX_COUNT) if isinstance(value, int) else 0


def _instant(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(_text(value))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
