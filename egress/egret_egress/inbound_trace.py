"""What a receiving server writes above a mail, and what it reads of the servers before it.

Implements: RFC 5321 sections 4.4 (Return-Path, Received) and 6.3 (loops), 3848 and 6531 section 4.3 (protocol words),
8601 (Authentication-Results), 8689 section 5 (the requiretls comment). Does no I/O.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from egret.contracts.verdicts import Verdicts
from egret.core.header import date_time, quoted_string

MAX_RECEIVED: Final = 100
"""RFC 5321 section 6.3: at least 100 hops are no loop."""
MAX_OWN: Final = 5
"""Times that a mail may have come by this very host."""

MAX_HEADER_BYTES: Final = 1 << 20
"""Of a header; nothing beyond it is looked at."""
MAX_ID_BYTES: Final = 1000
"""Of Authentication-Results, in which it says whose they are."""

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
_RESULTS = re.compile(rb"(?:\A|(?<=[\r\n]))authentication-results[ \t]*:", re.IGNORECASE)
_FIELD_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?![ \t])")
_EHLO = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_TOKEN = re.compile(r"[^\s;()\"]+")
_PIECE = re.compile(r"\\.|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a mail came. hostname: ours. tls: "" = none. recipient: "" unless there is exactly one."""

    id: str
    at: datetime
    hostname: str
    ip: str
    ehlo: str
    is_extended: bool
    tls: str
    smtputf8: bool
    require_tls: bool
    mail_from: str
    recipient: str = ""


def trace(arrival: Arrival, verdicts: Verdicts | None) -> bytes:
    """Return the fields to stand above the mail, with CRLF."""
    results = authentication_results(arrival.hostname, verdicts) if verdicts is not None else ""
    return f"Return-Path: <{arrival.mail_from}>\r\n{results}{received(arrival)}".encode()


def received(arrival: Arrival) -> str:
    """Return the Received field."""
    ehlo = arrival.ehlo if _EHLO.fullmatch(arrival.ehlo) else "unknown"
    tls = f" ({arrival.tls})" if arrival.tls else ""
    required = " (requiretls)" if arrival.require_tls else ""
    recipient = f"\tfor <{arrival.recipient}>;" if arrival.recipient else ""
    end = "" if recipient else ";"
    lines = [
        f"Received: from {ehlo} ({_literal(arrival.ip)})",
        f"\tby {arrival.hostname} with {protocol(arrival)}{tls}{required}",
        f"\tid {arrival.id}{end}",
        *([recipient] if recipient else []),
        f"\t{date_time(arrival.at)}",
    ]
    return "\r\n".join(lines) + "\r\n"


def protocol(arrival: Arrival) -> str:
    """Return the word behind "with"."""
    if not arrival.is_extended:
        return "SMTP"
    return ("UTF8SMTP" if arrival.smtputf8 else "ESMTP") + ("S" if arrival.tls else "")


def authentication_results(hostname: str, verdicts: Verdicts) -> str:
    """Return the Authentication-Results field. Comments and reasons are our own words."""
    identity = "smtp.mailfrom" if verdicts.spf_scope == "mfrom" else "smtp.helo"
    spf = f"spf={verdicts.spf}" + (f" {identity}={verdicts.spf_domain}" if verdicts.spf_domain else "")
    signatures = [
        f"dkim={one.result}"
        + (f" reason={quoted_string(one.reason)}" if one.reason else "")
        + (f" header.d={one.domain}" if one.domain else "")
        + (f" header.s={one.selector}" if one.selector else "")
        for one in verdicts.dkim
    ]
    policy = f" (p={verdicts.policy})" if verdicts.record is not None else ""
    author = f" header.from={verdicts.header_from}" if verdicts.header_from else ""
    results = [spf, *(signatures or ["dkim=none"]), f"dmarc={verdicts.dmarc}{policy}{author}"]
    return f"Authentication-Results: {hostname};\r\n\t" + ";\r\n\t".join(results) + "\r\n"


def is_looping(content: bytes, hostname: str) -> bool:
    """Tell whether a mail went through too many servers, or through this one too often."""
    hops = [field for name, field in _fields(content) if name == b"received"]
    by_us = re.compile(rb"\bby\s+" + re.escape(hostname.encode()) + rb"(?=[\s;(]|\Z)", re.IGNORECASE)
    return len(hops) > MAX_RECEIVED or sum(by_us.search(hop) is not None for hop in hops) >= MAX_OWN


def without_claims(content: bytes, hostname: str) -> list[memoryview]:
    """Return the mail in pieces without Authentication-Results that claim to be ours (RFC 8601 section 5).

    Any line end counts: what one reader of the mail takes for the end of a header, or of a line, another does not.
    """
    end = min(MAX_HEADER_BYTES, _header_end(content))
    view = memoryview(content)
    pieces, kept = [], 0
    for match in _RESULTS.finditer(content, 0, end):
        last = _FIELD_END.search(content, match.end())
        field_end = last.end() if last is not None else len(content)
        if match.start() >= kept and _claims(content[match.end() : field_end], hostname):
            pieces.append(view[kept : match.start()])
            kept = field_end
    return [*pieces, view[kept:]]


def header_size(content: bytes) -> int:
    """Return the octets before the empty line, lines that are no fields among them; those of fields without one."""
    end = _header_end(content)
    return end if end < len(content) else sum(len(field) for _, field in _fields(content))


def _header_end(content: bytes) -> int:
    end = 0 if content.startswith(b"\r\n") else content.find(b"\r\n\r\n") + 2
    return len(content) if end == 1 else end


def _fields(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield lower-case name and whole field, up to the first line that is none, and one too many at most."""
    at = 0
    while at <= MAX_HEADER_BYTES and (match := _FIELD.match(content, at)) is not None:
        end = content.find(b"\r\n", match.end()) + 2
        while 2 <= end < len(content) and content[end] in b" \t":
            end = content.find(b"\r\n", end) + 2
        end = end if end >= 2 else len(content)
        yield match[1].lower(), content[at:end]
        at = end


def _claims(value_octets: bytes, hostname: str) -> bool:
    """Tell whether the authserv-id is a host name, in any case; one that is hidden too well to be read counts as it."""
    value = value_octets[:MAX_ID_BYTES].decode("utf-8", "replace")
    text = _without_comments(value).strip()
    if (quoted := _QUOTED.match(text)) is not None:
        found = _QUOTED_PAIR.sub(r"\1", quoted[1])
    else:
        token = _TOKEN.match(text)
        if token is None:
            return len(value_octets) > MAX_ID_BYTES
        found = token[0]
    return found.rstrip(".").lower() == hostname.lower()


def _without_comments(value: str) -> str:
    """Return the text outside of comments, which nest; a backslash takes the next character its meaning."""
    depth, plain = 0, []
    for part in _PIECE.findall(value):
        depth += part == "("
        if not depth:
            plain.append(part)
        depth -= part == ")" and depth > 0
    return "".join(plain)


def _literal(ip: str) -> str:
    try:
        is_v6 = ipaddress.ip_address(ip.partition("%")[0]).version == 6
    except ValueError:
        return "[unknown]"
    return f"[IPv6:{ip.partition('%')[0]}]" if is_v6 else f"[{ip}]"
