"""MTA-STS: the TXT record that announces a policy, the policy's text, and which MX hosts it allows.

Implements: RFC 8461 sections 3.1, 3.2 and 4.1. Fetching and keeping policies is the egress's.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass

MAX_BYTES = 64 * 1024
"""A policy may have so much; the longest that is seen has a few hundred bytes."""
MAX_PATTERNS = 100
"""A policy is remembered by every unit and looked through for every host; a domain has a handful of them."""
MAX_MAX_AGE_S = 31_557_600
"""One year (RFC 8461 section 3.2)."""

_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_FIELD = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]{0,31})[ \t]*=[ \t]*([!-:<>-~][!-:<-~]*)")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")


class StsMode(enum.StrEnum):
    """What the domain asks senders to do."""

    ENFORCE = "enforce"
    """Deliver to matching hosts with verified TLS, or not at all."""
    TESTING = "testing"
    """Deliver as if there were no policy, and report what would have failed."""
    NONE = "none"
    """No policy any more."""


@dataclass(frozen=True, slots=True)
class PolicyText:
    """What a policy file says. mx: patterns in lower case, "*." first for any one leftmost label."""

    mode: StsMode
    max_age_s: int
    mx: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Invalid:
    """A record or policy that cannot be used. reason: one sentence."""

    reason: str


def parse_record(texts: Iterable[str]) -> str | Invalid | None:
    """Return the id of the policy that TXT records at `_mta-sts.<domain>` announce; None when they announce none.

    texts: one for each record, its character-strings joined. Two records of MTA-STS count as none (section 3.1).
    """
    records = [text for text in texts if text.partition(";")[0].rstrip(" \t") == "v=STSv1"]
    if not records:
        return None
    if len(records) > 1:
        return Invalid("there are several MTA-STS records")
    fields = [field.strip(" \t") for field in records[0].split(";")[1:]]
    if fields and not fields[-1]:
        fields.pop()  # a delimiter may end the record
    matches = [_FIELD.fullmatch(field) for field in fields]
    ids = [match[2] for match in matches if match is not None and match[1] == "id"]
    if None in matches or len(ids) != 1 or not _ID.fullmatch(ids[0]):
        return Invalid("the MTA-STS record has no valid id")
    return ids[0]


def parse_policy(body: bytes) -> PolicyText | Invalid:
    """Return what a policy file says (section 3.2). Unknown keys are ignored, so are repetitions of all but mx."""
    if len(body) > MAX_BYTES:
        return Invalid("the policy is too long")
    fields: dict[str, str] = {}
    patterns: list[str] = []
    for line in _lines(body):
        key, colon, value = line.partition(":")
        if not colon or not _KEY.fullmatch(key):
            return Invalid("a line of the policy is not of the form key: value")
        if key == "mx":
            patterns.append(value.strip(" \t").lower())
        else:
            fields.setdefault(key, value.strip(" \t"))
    return _policy(fields, tuple(dict.fromkeys(patterns)))


def _lines(body: bytes) -> list[str]:
    """Return the lines that are not empty; they end with CRLF or LF. Values may be UTF-8 in keys nobody knows yet."""
    lines = (line.rstrip(" \t\r") for line in body.decode("utf-8", "replace").split("\n"))
    return [line for line in lines if line]


def _policy(fields: dict[str, str], patterns: tuple[str, ...]) -> PolicyText | Invalid:
    if fields.get("version") != "STSv1":
        return Invalid("the policy's version is not STSv1")
    try:
        mode = StsMode(fields.get("mode", ""))
    except ValueError:
        return Invalid("the policy's mode is none of enforce, testing and none")
    age = fields.get("max_age", "")
    if not re.fullmatch(r"[0-9]{1,10}", age) or int(age) > MAX_MAX_AGE_S:
        return Invalid(f"the policy's max_age is not a number of seconds up to {MAX_MAX_AGE_S}")
    if mode is not StsMode.NONE and not patterns:
        return Invalid("the policy names no MX host")
    if len(patterns) > MAX_PATTERNS:
        return Invalid(f"the policy names more than {MAX_PATTERNS} MX hosts")
    if any(len(pattern) > 255 or not _PATTERN.fullmatch(pattern) for pattern in patterns):
        return Invalid("the policy has an mx that is no host name")
    return PolicyText(mode, int(age), patterns)


def allows(patterns: Iterable[str], mx_host: str) -> bool:
    """Tell whether one of the patterns covers a host; a wildcard stands for exactly one label (section 4.1)."""
    host = mx_host.lower().removesuffix(".")
    label, dot, parent = host.partition(".")
    wildcard = f"*.{parent}" if label and dot and parent else ""
    return any(pattern in (host, wildcard) for pattern in patterns if pattern)
