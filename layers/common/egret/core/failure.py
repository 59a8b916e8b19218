"""Say why a delivery failed.

Implements: RFC 3463, RFC 5248 and RFC 7505 (what enhanced codes mean), and the words of `failure_rules`. Where code
and words differ, the words are believed, for servers use the codes loosely; only vague words yield to a code. Does not
decide what to do about it.
"""

from __future__ import annotations

import re

from egret.core.failure_class import FailureClass
from egret.core.failure_rules import RULES
from egret.core.wording import holds, holds_any, phrases, words

__all__ = ["FailureClass", "classify", "status_of"]

_DETAIL = re.compile(r"[245]\.(\d{1,3})\.(\d{1,3})")

_BY_DETAIL = {
    "1.0": FailureClass.UNKNOWN,
    "1.1": FailureClass.ADDRESS_DEAD,
    "1.2": FailureClass.ADDRESS_DEAD,
    "1.3": FailureClass.ADDRESS_DEAD,
    "1.6": FailureClass.ADDRESS_DEAD,
    "1.7": FailureClass.POLICY,
    "1.8": FailureClass.POLICY,
    "1.10": FailureClass.ADDRESS_DEAD,
    "2.1": FailureClass.ADDRESS_DEAD,
    "2.2": FailureClass.MAILBOX_FULL,
    "2.3": FailureClass.SIZE,
    "3.4": FailureClass.SIZE,
    "4.7": FailureClass.EXPIRED,
    "7.5": FailureClass.AUTHENTICATION,
    "7.8": FailureClass.AUTHENTICATION,
    "7.9": FailureClass.AUTHENTICATION,
    "7.10": FailureClass.AUTHENTICATION,
    "7.11": FailureClass.AUTHENTICATION,
    "7.13": FailureClass.MAILBOX_DISABLED,
    "7.17": FailureClass.RECIPIENT_REFUSES,
    "7.20": FailureClass.AUTHENTICATION,
    "7.23": FailureClass.AUTHENTICATION,
    "7.24": FailureClass.AUTHENTICATION,
    "7.25": FailureClass.REPUTATION,
    "7.26": FailureClass.AUTHENTICATION,
    "7.27": FailureClass.POLICY,
    "7.28": FailureClass.RATE,
}
"""subject.detail of RFC 3463 section 3, RFC 5248, RFC 7372 and RFC 7505 that mean one class."""
_BY_SUBJECT = {
    "2": FailureClass.RECIPIENT_REFUSES,
    "3": FailureClass.SYSTEM,
    "4": FailureClass.NETWORK,
    "5": FailureClass.PROTOCOL,
    "6": FailureClass.CONTENT,
    "7": FailureClass.POLICY,
}
"""What a whole subject is about (RFC 3463 section 2), where the detail says no more."""
_STATUS_OF = {
    FailureClass.ADDRESS_DEAD: "1.1",
    FailureClass.MAILBOX_FULL: "2.2",
    FailureClass.MAILBOX_DISABLED: "2.1",
    FailureClass.RECIPIENT_REFUSES: "2.0",
    FailureClass.POLICY: "7.1",
    FailureClass.REPUTATION: "7.1",
    FailureClass.AUTHENTICATION: "7.0",
    FailureClass.RATE: "7.0",
    FailureClass.SIZE: "3.4",
    FailureClass.CONTENT: "6.0",
    FailureClass.NETWORK: "4.0",
    FailureClass.SYSTEM: "3.0",
    FailureClass.PROTOCOL: "5.0",
    FailureClass.EXPIRED: "4.7",
}
"""subject.detail that says as much as the class does, for reports that have only words."""
_FOR_NOW = frozenset({FailureClass.RATE, FailureClass.NETWORK, FailureClass.EXPIRED})
"""Classes that are temporary by nature, where no code tells."""


def classify(code: int, enhanced_code: str, text: str) -> FailureClass:
    """Say why a server refused.

    code: the reply code, or 0. enhanced_code: `5.1.1`, or "". text: of the reply or report, on one line.
    A temporary failure is never ADDRESS_DEAD. Success is RELAYED.
    """
    match = _DETAIL.fullmatch(enhanced_code)
    reply_class = code // 100 or (int(enhanced_code[0]) if match else 0)
    if reply_class in (2, 3):
        return FailureClass.RELAYED
    subject, detail = (match[1], f"{match[1]}.{match[2]}") if match else ("", "")
    found = _by_words_and_code(text, subject, detail)
    # What is temporary may mend itself: an unknown user by a lookup that failed for the moment.
    return FailureClass.UNKNOWN if found is FailureClass.ADDRESS_DEAD and reply_class == 4 else found


def status_of(failure: FailureClass, code: int) -> str:
    """Return the enhanced code that says as much as a class does, or "" where that is nothing; code: 0 if unknown."""
    detail = _STATUS_OF.get(failure, "")
    digit = code // 100 if code >= 400 else 4 if failure in _FOR_NOW else 5
    return f"{digit}.{detail}" if detail else ""


def _by_words_and_code(text: str, subject: str, detail: str) -> FailureClass:
    told = _BY_DETAIL.get(detail) or _BY_SUBJECT.get(subject, FailureClass.UNKNOWN)
    said = words(text) if text else ""
    if told is FailureClass.ADDRESS_DEAD and holds_any(said, _DEAD):
        return told
    rule = next((rule for phrase, rule in _RULES if holds(said, phrase)), None)
    if rule is None or (rule.is_vague and told is not FailureClass.UNKNOWN):
        return told
    return rule.failure


_RULES = tuple((phrase, rule) for rule in RULES for phrase in phrases(rule.phrases))
_DEAD = tuple(phrase for phrase, rule in _RULES if rule.failure is FailureClass.ADDRESS_DEAD)
