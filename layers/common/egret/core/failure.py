"""Say why a delivery failed.

Implements: RFC 3463 and RFC 5248 with its registry (what enhanced codes mean), and the words of `failure_rules` and
`stage_rules`. Where code and words differ, the words are believed, for servers use the codes loosely; only vague words
yield to a code. Does not decide what to do about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from egret.core.failure_class import FailureClass
from egret.core.failure_rules import RULES
from egret.core.stage_rules import AT_DATA, AT_MAIL, AT_RCPT, StageMark
from egret.core.wording import Phrases, split_phrases, words

__all__ = ["SENDER_DETAILS", "FailureClass", "classify", "status_of"]

_DETAIL = re.compile(r"[245]\.(\d{1,3})\.(\d{1,3})")

# Cisco ESA puts its own wording of the status before the server's reply: `5.1.0 - Unknown address error 550-'…'`.
_QUOTED_REPLY = re.compile(r"^[245]\.\d\.\d - [^']{1,80}(?=\b[245]\d\d[- ]')")


def _any_of(marks: Iterable[StageMark]) -> re.Pattern[str]:
    return re.compile("|".join(mark.pattern for mark in marks), re.IGNORECASE)


_MAIL, _RCPT, _DATA = map(_any_of, (AT_MAIL, AT_RCPT, AT_DATA))

_ABOUT_RECIPIENT = (FailureClass.ADDRESS_DEAD, FailureClass.MAILBOX_DISABLED, FailureClass.MAILBOX_FULL)
"""What a code says so clearly that words of relaying, senders and policy beside it are believed to be the habit."""
_NOT_ADDRESS = ("2", "3", "6", "7")
"""Subjects of codes that are not about the address."""
SENDER_DETAILS = frozenset({"1.7", "1.8"})
"""subject.detail of: bad sender address, in syntax and in system (RFC 3463 section 3.2)."""
_BY_DETAIL = {
    "1.0": FailureClass.UNKNOWN,
    "1.1": FailureClass.ADDRESS_DEAD,
    "1.2": FailureClass.ADDRESS_DEAD,
    "1.3": FailureClass.ADDRESS_DEAD,
    "1.6": FailureClass.ADDRESS_DEAD,
    "1.7": FailureClass.POLICY,
    "1.8": FailureClass.POLICY,
    "1.10": FailureClass.ADDRESS_DEAD,
    "2.1": FailureClass.MAILBOX_DISABLED,
    "2.2": FailureClass.MAILBOX_FULL,
    "2.3": FailureClass.SIZE,
    "3.4": FailureClass.SIZE,
    "4.7": FailureClass.EXPIRED,
    "5.3": FailureClass.RATE,
    "7.5": FailureClass.AUTHENTICATION,
    "7.8": FailureClass.AUTHENTICATION,
    "7.9": FailureClass.AUTHENTICATION,
    "7.10": FailureClass.AUTHENTICATION,
    "7.11": FailureClass.AUTHENTICATION,
    "7.13": FailureClass.MAILBOX_DISABLED,
    "7.17": FailureClass.RECIPIENT_REFUSES,
    "7.18": FailureClass.RECIPIENT_REFUSES,
    "7.20": FailureClass.AUTHENTICATION,
    "7.21": FailureClass.AUTHENTICATION,
    "7.22": FailureClass.AUTHENTICATION,
    "7.23": FailureClass.AUTHENTICATION,
    "7.24": FailureClass.AUTHENTICATION,
    "7.25": FailureClass.REPUTATION,
    "7.26": FailureClass.AUTHENTICATION,
    "7.27": FailureClass.POLICY,
    "7.28": FailureClass.RATE,
    "7.29": FailureClass.AUTHENTICATION,
    "7.30": FailureClass.AUTHENTICATION,
}
"""subject.detail that mean one class: RFC 3463 section 3, 5248, 7293, 7372, 7505, 8617 (ARC), 8689 (REQUIRETLS)."""
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


def is_surely_dead(text: str) -> bool:
    """Say whether the words of a text mean a dead address whoever says them: no such domain, not in the directory."""
    return words(text) in _SURELY_DEAD


def is_about_recipient(text: str) -> bool:
    """Say whether a text tells that the server said so when it was asked for the recipient."""
    return _RCPT.search(text) is not None


def stage_of(text: str) -> str:
    """Return how a text names the stage of the conversation at which it failed: the recipient before all, or ""."""
    found = _RCPT.search(text) or _DATA.search(text) or _MAIL.search(text)
    return found[0] if found else ""


def _by_words_and_code(text: str, subject: str, detail: str) -> FailureClass:
    told = _BY_DETAIL.get(detail) or _BY_SUBJECT.get(subject, FailureClass.UNKNOWN)
    said = words(_QUOTED_REPLY.sub("", text)) if text else ""
    if told is FailureClass.ADDRESS_DEAD and said in _DEAD:
        return told
    number = _PHRASES.first(said)
    rule = None if number is None else _RULES[number]
    if rule is None or (rule.is_vague and told is not FailureClass.UNKNOWN):
        return told
    if told in _ABOUT_RECIPIENT and rule.failure is FailureClass.POLICY:
        return told
    if rule.failure is not FailureClass.ADDRESS_DEAD:
        return rule.failure
    # The code, or the stage of the conversation, may tell that it is the sender's address that is unknown.
    if detail in SENDER_DETAILS or (_MAIL.search(text) and not is_about_recipient(text)):
        return FailureClass.POLICY
    if rule.is_sure or not _is_alive(text, subject, detail):
        return rule.failure
    return told if told is FailureClass.MAILBOX_DISABLED else FailureClass.RECIPIENT_REFUSES


def _is_alive(text: str, subject: str, detail: str) -> bool:
    """Say whether an "unknown user" is one that the server knows.

    A code x.2.y is about a mailbox that is there; x.3.y, x.6.y and x.7.y are about something else, unless it was said
    at RCPT (RFC 3463 section 2). Who says so after the content has taken the recipient before: filters of mailbox
    owners answer so, those of mobile providers for one.
    """
    if detail in ("", "0.0"):
        return _DATA.search(text) is not None and not is_about_recipient(text)
    return (subject == "2" and detail != "2.1") or (subject in _NOT_ADDRESS and not is_about_recipient(text))


_RULES = tuple(rule for rule in RULES for _ in split_phrases(rule.phrases))
_PHRASES = Phrases(phrase for rule in RULES for phrase in split_phrases(rule.phrases))
_DEAD = Phrases(
    phrase for rule in RULES if rule.failure is FailureClass.ADDRESS_DEAD for phrase in split_phrases(rule.phrases)
)
_SURELY_DEAD = Phrases(phrase for rule in RULES if rule.is_sure for phrase in split_phrases(rule.phrases))
