"""Say why a delivery failed: one class for each reason that calls for a different answer.

Implements: RFC 3463, RFC 5248 and RFC 7505 (what enhanced codes mean). Does not decide what to do about it.
"""

from __future__ import annotations

import re
from enum import StrEnum


class FailureClass(StrEnum):
    """Why mail was not delivered."""

    ADDRESS_DEAD = "address-dead"
    """There is no such mailbox, or no such domain, and there will not be: mail to the address is pointless."""
    MAILBOX_FULL = "mailbox-full"
    """The mailbox exists and is over its quota."""
    MAILBOX_CLOSED = "mailbox-closed"
    """The mailbox exists and takes no mail at present: suspended, inactive, or closed to this sender by its owner."""
    POLICY = "policy"
    """The receiving side does not want such mail, or mail by this way: relaying, access rules, sender address."""
    REPUTATION = "reputation"
    """The sending host or domain is listed, or not trusted for what it did before or how its DNS looks."""
    AUTHENTICATION = "authentication"
    """SPF, DKIM, DMARC, a login or the protection of the connection was missing or failed."""
    RATE = "rate"
    """Too much mail, too many connections or recipients, or greylisted: later it may be taken."""
    SIZE = "size"
    """The message is too large."""
    CONTENT = "content"
    """The message itself is refused: spam, virus, broken syntax."""
    NETWORK = "network"
    """No server could be reached or the conversation broke off: connections, routing, DNS."""
    SYSTEM = "system"
    """The receiving system has trouble of its own: disk, configuration, a program that failed."""
    PROTOCOL = "protocol"
    """The two servers did not understand each other."""
    EXPIRED = "expired"
    """It was tried until there was no more time."""
    RELAYED = "relayed"
    """No failure: delivered, handed on to a system that reports no more, or expanded to several recipients."""
    UNKNOWN = "unknown"
    """Nothing says why."""


_DETAIL = re.compile(r"[245]\.(\d{1,3})\.(\d{1,3})")
_BY_DETAIL = {
    "1.1": FailureClass.ADDRESS_DEAD,
    "1.2": FailureClass.ADDRESS_DEAD,
    "1.3": FailureClass.ADDRESS_DEAD,
    "1.6": FailureClass.ADDRESS_DEAD,
    "1.10": FailureClass.ADDRESS_DEAD,
    "2.1": FailureClass.ADDRESS_DEAD,
    "2.2": FailureClass.MAILBOX_FULL,
    "2.3": FailureClass.SIZE,
    "3.4": FailureClass.SIZE,
    "4.7": FailureClass.EXPIRED,
}
_BY_SUBJECT = {
    "3": FailureClass.SYSTEM,
    "4": FailureClass.NETWORK,
    "5": FailureClass.PROTOCOL,
    "6": FailureClass.CONTENT,
    "7": FailureClass.POLICY,
}


def classify(code: int, enhanced_code: str, text: str) -> FailureClass:
    """Say why a server refused.

    code: the reply code, or 0. enhanced_code: `5.1.1`, or "". text: of the reply or report, on one line.
    """
    del text
    match = _DETAIL.fullmatch(enhanced_code)
    if match is None or 200 <= code < 400 or enhanced_code.startswith("2"):
        return FailureClass.UNKNOWN
    known = _BY_DETAIL.get(f"{match[1]}.{match[2]}")
    return known or _BY_SUBJECT.get(match[1], FailureClass.UNKNOWN)
