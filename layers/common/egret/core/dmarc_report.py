"""DMARC aggregate reports as values, and their XML as we write it.

Implements: RFC 9990 sections 3.1 (the XML, namespace dmarc-2.0) and 3.5 (report id, file name, subject). Reading, of
this form and of RFC 7489's, is `core.dmarc_reading`.
"""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0"
INTERVALS_H = (24, 12, 8, 6, 4, 3, 2, 1)
"""Hours that a report may be about; each divides the UTC day, so that reports end at whole hours."""
MAX_DKIM_RESULTS = 100  # RFC 9990 section 3.1.3
MAX_TEXT = 1000
"""Characters of a text in a report that a stranger wrote."""

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, order=True)
class PublishedPolicy:
    """The policy that a report is about (RFC 9990 section 3.1.1.4); "" = not said.

    domain: where the record was found. testing: y or n. discovery_method: treewalk or psl. pct: of RFC 7489 alone.
    """

    domain: str
    p: str
    sp: str = ""
    np: str = ""
    adkim: str = ""
    aspf: str = ""
    fo: str = ""
    testing: str = ""
    discovery_method: str = ""
    pct: str = ""


@dataclass(frozen=True, slots=True, order=True)
class DkimAuth:
    """The result of one signature (RFC 9990 section 3.1.1.9)."""

    domain: str
    selector: str
    result: str
    human_result: str = ""


@dataclass(frozen=True, slots=True, order=True)
class SpfAuth:
    """The result of SPF (RFC 9990 section 3.1.1.10). scope: mfrom; helo in old reports; "" = not said."""

    domain: str
    result: str
    scope: str = ""
    human_result: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Override:
    """Why the policy was not applied (RFC 9990 section 3.1.6)."""

    type: str
    comment: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """What equal messages have in common (RFC 9990 section 3.1.1.6, record).

    disposition: none, pass, quarantine or reject. dkim, spf: pass or fail, of the aligned identifier. envelope_from,
    envelope_to: domains, "" = not said.
    """

    source_ip: str
    disposition: str
    dkim: str
    spf: str
    header_from: str
    envelope_from: str = ""
    envelope_to: str = ""
    reasons: tuple[Override, ...] = ()
    dkim_results: tuple[DkimAuth, ...] = ()
    spf_results: tuple[SpfAuth, ...] = ()


@dataclass(frozen=True, slots=True)
class AggregateReport:
    """A report. end: the last second that it is about. rows: each once, with how many messages it stands for."""

    org_name: str
    email: str
    report_id: str
    begin: datetime
    end: datetime
    policy: PublishedPolicy
    rows: tuple[tuple[Row, int], ...]
    extra_contact_info: str = ""
    errors: tuple[str, ...] = ()
    generator: str = ""

    @property
    def messages(self) -> int:
        """How many messages it is about."""
        return sum(count for _, count in self.rows)


def merged(rows: Iterable[Row]) -> tuple[tuple[Row, int], ...]:
    """Return each row once with its count, in an order that depends on nothing but the rows."""
    return tuple(sorted(Counter(rows).items()))


def interval_hours(seconds: int) -> int:
    """Return the hours that reports for a record with this `ri` are about: no more than it asks for, 1 to 24."""
    return next((hours for hours in INTERVALS_H if hours * 3600 <= seconds), INTERVALS_H[-1])


def intervals_ending(end: datetime) -> list[tuple[datetime, int]]:
    """Return (begin, hours) of the intervals that end at a whole UTC hour."""
    hour = end.astimezone(UTC).hour or 24
    return [(end - timedelta(hours=hours), hours) for hours in INTERVALS_H if hour % hours == 0]


def file_name(report: AggregateReport, receiver: str) -> str:
    """Return the name of the compressed report (RFC 9990 section 3.5.2)."""
    return f"{receiver}!{report.policy.domain}!{_epoch(report.begin)}!{_epoch(report.end)}.xml.gz"


def subject(domain: str, submitter: str, report_id: str) -> str:
    """Return the subject of its mail (RFC 9990 section 3.5.2)."""
    return f"Report Domain: {domain} Submitter: {submitter} Report-ID: <{report_id}>"


def compressed(text: str) -> bytes:
    """Return a text in UTF-8, gzipped; the same text gives the same octets."""
    return gzip.compress(text.encode(), mtime=0)


def compose_xml(report: AggregateReport) -> str:
    """Return the XML of a report in the order of elements that RFC 9990 section 3.1 asks for."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<feedback xmlns="{NAMESPACE}">', "<version>1.0</version>"]
    lines += _element("report_metadata", _metadata(report))
    lines += _element("policy_published", _policy(report.policy))
    for row, count in report.rows:
        lines += _element("record", _record(row, count))
    return "\n".join([*lines, "</feedback>", ""])


def _metadata(report: AggregateReport) -> Iterator[str]:
    yield _text("org_name", report.org_name)
    yield _text("email", report.email)
    yield from _given("extra_contact_info", report.extra_contact_info)
    yield _text("report_id", report.report_id)
    yield from _element(
        "date_range", [_text("begin", str(_epoch(report.begin))), _text("end", str(_epoch(report.end)))]
    )
    yield from _given("error", "; ".join(report.errors))
    yield from _given("generator", report.generator)


def _policy(policy: PublishedPolicy) -> Iterator[str]:
    yield _text("domain", policy.domain)
    yield from _given("discovery_method", policy.discovery_method)
    yield _text("p", policy.p)
    for name in ("sp", "np", "fo", "adkim", "aspf", "testing"):
        yield from _given(name, getattr(policy, name))


def _record(row: Row, count: int) -> Iterator[str]:
    evaluated = [_text("disposition", row.disposition), _text("dkim", row.dkim), _text("spf", row.spf)]
    for reason in row.reasons:
        evaluated += _element("reason", [_text("type", reason.type), *_given("comment", reason.comment)])
    counted = [_text("source_ip", row.source_ip), _text("count", str(count))]
    yield from _element("row", [*counted, *_element("policy_evaluated", evaluated)])
    identifiers = [_text("header_from", row.header_from), *_given("envelope_from", row.envelope_from)]
    yield from _element("identifiers", [*identifiers, *_given("envelope_to", row.envelope_to)])
    yield from _element("auth_results", _auth_results(row))


def _auth_results(row: Row) -> Iterator[str]:
    for dkim in row.dkim_results[:MAX_DKIM_RESULTS]:
        named = [_text("domain", dkim.domain), _text("selector", dkim.selector), _text("result", dkim.result)]
        yield from _element("dkim", [*named, *_given("human_result", dkim.human_result)])
    for spf in row.spf_results[:1]:
        named = [_text("domain", spf.domain), *_given("scope", spf.scope), _text("result", spf.result)]
        yield from _element("spf", [*named, *_given("human_result", spf.human_result)])


def _element(name: str, inner: Iterable[str]) -> list[str]:
    return [f"<{name}>", *(f" {line}" for line in inner), f"</{name}>"]


def _given(name: str, text: str) -> list[str]:
    return [_text(name, text)] if text else []


def _text(name: str, text: str) -> str:
    """Return an element of text; what no XML may have in it is left out."""
    plain = _NO_XML.sub("", text[:MAX_TEXT]).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<{name}>{plain}</{name}>"


def _epoch(at: datetime) -> int:
    return int(at.timestamp())
