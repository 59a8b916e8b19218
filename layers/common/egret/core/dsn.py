"""Parse a delivery status notification.

Implements: RFC 3464, RFC 6533 section 3, leniently: types, actions and field names in any case, weekdays and comments
in dates, non-smtp diagnostics, a missing per-message block, blocks run together or torn apart, encoded status parts.
Every field is kept as it came. Does not classify bounces, does not guess at mail without a delivery-status part, and
does not say whose delivery it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from egret.core.dates import read_instant
from egret.core.diagnostic import reply_codes, status_code
from egret.core.mimescan import (
    Fields,
    Part,
    decode_text,
    first,
    read_fields,
    strip_comments,
)
from egret.core.report_text import original_fields

ACTIONS = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})
"""RFC 3464 section 2.3.3."""

MAX_RECIPIENTS = 1_000
MAX_BLOCKS = 4 * MAX_RECIPIENTS
MAX_STATUS_BYTES = 256 * 1024

_STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
_RECIPIENT_FIELDS = frozenset({"final-recipient", "original-recipient"})
_BLOCK_FIELDS = _RECIPIENT_FIELDS | {"action", "status"}

_TYPED = re.compile(r"\s*([A-Za-z][A-Za-z0-9._+-]*)\s*;\s*(.*)", re.DOTALL)
_TRAILING_COMMENT = re.compile(r"\s\([^()]*\)$")
_SOURCE_ROUTE = re.compile(r"@[^:\s]*:")
_EMBEDDED_UNICODE = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_FLAT_BLOCK = re.compile(
    r"^[> \t]{0,8}(?:Reporting-MTA|Final-Recipient):[ \t]*[\w-]{1,20};", re.MULTILINE | re.IGNORECASE
)
_QUOTE = re.compile(r"^[> \t]{0,8}", re.MULTILINE)
_MESSAGE_ID = re.compile(r"<[^<>\s]+>")


@dataclass(frozen=True, slots=True)
class DsnRecipient:
    """What a report says of one recipient. Texts are "" and instants None where the report is silent."""

    final_recipient: str
    """The address without type and angle brackets; `\\x{…}` of RFC 6533 decoded."""
    final_recipient_type: str
    """In lower case: `rfc822`, `utf-8`, …"""
    original_recipient: str
    original_recipient_type: str
    action: str
    """One of ACTIONS, or "" if it is missing or unknown."""
    status: str
    """The enhanced code of the Status field, without comments."""
    remote_mta: str
    """The name without type and comments."""
    diagnostic_type: str
    """In lower case: `smtp`, `x-unix`, …"""
    diagnostic_text: str
    """Everything after the type, on one line."""
    code: int
    """Three digits, from the diagnostic text, else 400 or 500 by the status; 0 if unknown."""
    enhanced_code: str
    """From the diagnostic text, else the status; its class is that of the code."""
    last_attempt_date: datetime | None
    will_retry_until: datetime | None
    fields: Fields
    """The block as it came, unfolded."""


@dataclass(frozen=True, slots=True)
class DsnReport:
    """A delivery status notification."""

    reporting_mta: str
    """The name without type and comments."""
    original_envelope_id: str
    arrival_date: datetime | None
    original_message_id: str
    """The Message-ID of the returned message with `<` and `>`, or ""."""
    original: Fields
    """The header of the returned message."""
    fields: Fields
    """The per-message block as it came, unfolded."""
    recipients: tuple[DsnRecipient, ...]
    """In order; empty if the report names none."""


def read_dsn(parts: Sequence[Part]) -> DsnReport | None:
    """Parse a delivery status notification.

    parts: the leaves of a whole message, as `mimescan` finds them.
    Returns None if no part is message/delivery-status or message/global-delivery-status.
    Never raises; looks at no more than MAX_STATUS_BYTES of the status and MAX_RECIPIENTS.
    RFC 3464 sections 2.1 to 2.3; RFC 6533 section 3.
    """
    index = next((i for i, part in enumerate(parts) if part.content_type in _STATUS_TYPES), None)
    if index is None:
        return None
    return _report(parts[index], original_fields([*parts[index + 1 :], *parts[:index]]))


def read_flat_dsn(text: str) -> DsnReport | None:
    """Parse a report whose parts somebody made one text, quoted or not; None if no recipient's block stands in it."""
    begin = _FLAT_BLOCK.search(text)
    if begin is None:
        return None
    block = text[begin.start() :]
    if text[begin.start()] == ">":
        block = _QUOTE.sub("", block)
    report = _report(Part("message/delivery-status", (), block[:MAX_STATUS_BYTES].encode("utf-8", "replace")), ())
    return report if any(recipient.status for recipient in report.recipients) else None


def _report(status: Part, original: Fields) -> DsnReport:
    message, *blocks = _groups(_blocks(status))
    return DsnReport(
        reporting_mta=mta_name(first(message, "reporting-mta")),
        original_envelope_id=first(message, "original-envelope-id"),
        arrival_date=read_instant(first(message, "arrival-date")),
        original_message_id=message_id(original),
        original=original,
        fields=message,
        recipients=tuple(_recipient(block) for block in blocks[:MAX_RECIPIENTS]),
    )


def _blocks(part: Part) -> Iterator[Fields]:
    """Return the blocks of a status part; fields that stand in the part's own header come first."""
    yield tuple(field for field in part.fields if not field[0].lower().startswith(("content-", "mime-")))
    text = decode_text(part.head(MAX_STATUS_BYTES))
    for block in re.split(r"\n[ \t]*\n\s*", text, maxsplit=MAX_BLOCKS):
        yield read_fields(block)


def _groups(blocks: Iterable[Fields]) -> list[Fields]:
    """Return the per-message fields (possibly none), then one group for each recipient.

    A recipient starts at the first field of RFC 3464 section 2.3, and again where its addresses are named once more:
    reports leave blank lines out, and add them between the fields of one recipient.
    """
    groups: list[list[tuple[str, str]]] = [[]]
    seen: set[str] = set()
    for block in blocks:
        names = {name.lower() for name, _ in block}
        # A block that names no recipient belongs to whom the one before it named.
        is_first = len(groups) == 1 and "reporting-mta" not in names
        is_next = bool(seen & _RECIPIENT_FIELDS) and bool(seen & (names | {"action"}))
        starts = bool(names & _RECIPIENT_FIELDS) and (is_first or is_next)
        for field in block:
            name = field[0].lower()
            if (len(groups) == 1 and name in _BLOCK_FIELDS) or starts or (name in _RECIPIENT_FIELDS and name in seen):
                groups.append([])
                seen, starts = set(), False
            groups[-1].append(field)
            seen.add(name)
    return [tuple(group) for group in groups]


def _recipient(block: Fields) -> DsnRecipient:
    final_type, final = _address(first(block, "final-recipient"))
    original_type, original = _address(first(block, "original-recipient"))
    diagnostic_type, diagnostic_text = typed(first(block, "diagnostic-code"))
    status = status_code(first(block, "status"))
    # A bare number of another type is the exit status of a program (x-unix), not a reply.
    is_exit_status = diagnostic_type != "smtp" and diagnostic_text.isdigit()
    code, enhanced_code = reply_codes("" if is_exit_status else diagnostic_text, status)
    return DsnRecipient(
        final_recipient=final,
        final_recipient_type=final_type,
        original_recipient=original,
        original_recipient_type=original_type,
        action=_action(first(block, "action")),
        status=status,
        remote_mta=mta_name(first(block, "remote-mta")),
        diagnostic_type=diagnostic_type,
        diagnostic_text=diagnostic_text,
        code=code,
        enhanced_code=enhanced_code,
        last_attempt_date=read_instant(first(block, "last-attempt-date")),
        will_retry_until=read_instant(first(block, "will-retry-until")),
        fields=block,
    )


def typed(value: str) -> tuple[str, str]:
    """Split `type; text`; the type is "" if there is none (RFC 3464 section 2.1.2)."""
    match = _TYPED.fullmatch(value)
    return (match[1].lower(), match[2].strip()) if match else ("", value.strip())


def mta_name(value: str) -> str:
    """Return the name of an MTA field without type and comments (RFC 3464 section 2.1.2)."""
    return strip_comments(typed(value)[1])


def _action(value: str) -> str:
    word = re.match(r"\s*([A-Za-z]*)", value)
    action = word[1].lower() if word else ""
    return action if action in ACTIONS else ""


def _address(value: str) -> tuple[str, str]:
    """Return (type, address): `rfc822; <@relay:ann@example.net> (Ann)` gives ("rfc822", "ann@example.net")."""
    kind, text = typed(value)
    text = _TRAILING_COMMENT.sub("", text)
    if text.startswith("<"):
        text = text[1:].partition(">")[0].strip()
    text = text.removesuffix(">")
    if text.startswith("@"):
        text = _SOURCE_ROUTE.sub("", text, count=1)
    if kind == "utf-8":
        text = _EMBEDDED_UNICODE.sub(_embedded_character, text)
    return kind, text


def _embedded_character(match: re.Match[str]) -> str:
    r"""Decode `\x{E9}` (RFC 6533 section 3); what could forge a line or is no character stays as it is."""
    number = int(match[1], 16)
    is_character = 0x20 <= number <= 0x10FFFF and not 0x7F <= number <= 0x9F and not 0xD800 <= number <= 0xDFFF
    return chr(number) if is_character else match[0]


def message_id(original: Fields) -> str:
    """Return the Message-ID of a returned message's header with `<` and `>`, or ""; as it stands if it is malformed."""
    value = first(original, "message-id")
    found = _MESSAGE_ID.search(value)
    return found[0] if found else value
