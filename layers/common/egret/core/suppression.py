"""Judge what a failed delivery says about the recipient's address.

An address that does not exist, or whose mailbox was disabled, is suppressed at once. A refusal for policy, reputation,
authentication, the rate of mail or a bad sender address is the sender's fault: it never suppresses and is no strike.
Every other failure that ended a delivery is a strike; three strikes in a row for one account and address suppress it.
Why it failed says `failure`; where the enhanced code says nothing, who speaks decides what the reply code is worth.

Does not fold addresses and keeps no list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from egret.core.failure import SENDER_DETAILS, FailureClass, classify

SECOND_HAND_DETAILS = frozenset({"1.1", "1.6", "1.10", "2.1"})
"""subject.detail of what counts from a smarthost too: bad mailbox, moved, null MX (RFC 7505), mailbox disabled. What it
finds in the DNS, or can write, may be its own trouble."""

DEAD_CODES = frozenset({521, 550, 551, 553, 556})
"""Replies that may say the same when no enhanced code says more (RFC 5321 4.2.3; 521 and 556: RFC 7504)."""

STRIKE_LIMIT = 3
"""Failures in a row that suppress: one can be a mishap of a server, two a weekend."""

STRIKES_KEPT = 8
"""More than the limit, so that late replays of older strikes are still recognised; bounds the stored item."""

STRIKE_LIFE = timedelta(days=90)
"""Failures that lie further apart are not in a row: who is written to so seldom has not failed three times lately."""

_MOMENT = timedelta(microseconds=1)

_ENHANCED_CODE = re.compile(r"[245]\.(\d{1,3}\.\d{1,3})")
_TEMPORARY = re.compile(r"temporar|gr[ae]y-?list|\bsaid: 4\d\d\b", re.IGNORECASE)

ABOUT_SENDER = frozenset(
    {FailureClass.POLICY, FailureClass.REPUTATION, FailureClass.AUTHENTICATION, FailureClass.RATE, FailureClass.RELAYED}
)
"""Classes that say nothing about the recipient, whatever the code is."""


class SuppressVerdict(Enum):
    """What to do with the address after a delivery to it failed for good."""

    SUPPRESS = "suppress"
    """The address is dead: suppress it now."""
    STRIKE = "strike"
    """Count a strike; suppress at the third in a row."""
    IGNORE = "ignore"
    """Nothing is said about the address: not the recipient's fault, or no answer of a server at all."""


class Voice(Enum):
    """Who says it, and so how much is believed that no enhanced code says."""

    SERVER = "the receiving server"
    """Asked at RCPT: a bare 550 is about the address unless its words say otherwise."""
    REPORT = "a DSN"
    """Nobody knows what it answered: the words have to speak of the address."""
    SMARTHOST = "the smarthost"
    """Most of what it refuses is about its customer: only an enhanced code counts."""


def verdict(
    code: int, enhanced_code: str, text: str = "", voice: Voice = Voice.SERVER, known: FailureClass | None = None
) -> SuppressVerdict:
    """Judge the reply that ended a delivery.

    known: the class, where a report has given it.
    code: the reply code, or 0 if no server answered. enhanced_code: `5.1.1`, or "" if unknown. text: of the reply.
    With code 0 the class of the enhanced code stands in (a DSN without a Diagnostic-Code has only its Status).
    A temporary reply (the delivery expired) can only be a strike. Success is IGNORE.
    """
    failure = known or classify(code, enhanced_code, text)
    found = verdict_on(failure, code, enhanced_code, voice)
    # Who says "temporarily disabled" will not be asked for good, nor who could not find out whether there is a user.
    is_brief = found is SuppressVerdict.SUPPRESS and _TEMPORARY.search(text) is not None
    return SuppressVerdict.STRIKE if is_brief else found


def verdict_on(failure: FailureClass, code: int, enhanced_code: str, voice: Voice) -> SuppressVerdict:
    """Judge a failure whose class is known; the codes are those of `verdict`."""
    match = _ENHANCED_CODE.fullmatch(enhanced_code)
    detail = match[1] if match else ""
    reply_class = code // 100 or (int(enhanced_code[0]) if match else 0)
    if reply_class not in (4, 5) or detail.startswith("7.") or detail in SENDER_DETAILS or failure in ABOUT_SENDER:
        return SuppressVerdict.IGNORE
    if detail in ("", "0.0"):
        return _by_class(failure, code, voice)
    is_dead = failure is FailureClass.ADDRESS_DEAD or (failure is FailureClass.MAILBOX_DISABLED and detail == "2.1")
    is_known = voice is not Voice.SMARTHOST or detail in SECOND_HAND_DETAILS
    return SuppressVerdict.SUPPRESS if reply_class == 5 and is_dead and is_known else SuppressVerdict.STRIKE


def _by_class(failure: FailureClass, code: int, voice: Voice) -> SuppressVerdict:
    """Judge a reply whose enhanced code says nothing."""
    if voice is Voice.SMARTHOST or failure is FailureClass.CONTENT:
        return SuppressVerdict.IGNORE
    is_told = failure in (FailureClass.ADDRESS_DEAD, FailureClass.MAILBOX_DISABLED)
    # Asked at RCPT, a server that says no more answers the address.
    is_meant = voice is Voice.SERVER and failure is FailureClass.UNKNOWN
    is_dead = code in DEAD_CODES and (is_told or is_meant)
    return SuppressVerdict.SUPPRESS if is_dead else SuppressVerdict.STRIKE


@dataclass(frozen=True, slots=True)
class Strike:
    """One failed delivery that counts. Ordered in time by `at`; `event_id` tells repeats."""

    at: datetime
    event_id: str


@dataclass(frozen=True, slots=True)
class Strikes:
    """The failures in a row of one account and address, oldest first."""

    kept: tuple[Strike, ...] = ()
    """Those from before the last success, too, until there is another: it may yet turn out to be none."""
    cleared_at: datetime | None = None
    """The last success, or removal of the suppression: what happened until then no longer counts."""

    @property
    def counted(self) -> tuple[Strike, ...]:
        """Those in a row since the last success."""
        return tuple(strike for strike in self.kept if self.cleared_at is None or strike.at > self.cleared_at)

    @property
    def over_at(self) -> datetime:
        """When the newest of it no longer matters; long ago when there is nothing."""
        known = [strike.at for strike in self.kept] + ([] if self.cleared_at is None else [self.cleared_at])
        return max(known) + STRIKE_LIFE if known else datetime.min.replace(tzinfo=UTC)


def add(strikes: Strikes, event_id: str, at: datetime) -> Strikes:
    """Count a failure once, however often and in whatever order its event is processed.

    at: when the delivery failed (aware, UTC). A failure until `cleared_at` is not counted: a replay of old events
    never brings back what a success or the user has cleared. Strikes older than STRIKE_LIFE before the newest go.
    """
    if strikes.cleared_at is not None and at <= strikes.cleared_at:
        return strikes
    if any(strike.event_id == event_id for strike in strikes.kept):
        return strikes
    kept = sorted((*strikes.kept, Strike(at, event_id)), key=lambda strike: (strike.at, strike.event_id))
    alive = [strike for strike in kept if strike.at > kept[-1].at - STRIKE_LIFE]
    return replace(strikes, kept=tuple(alive[-STRIKES_KEPT:]))


def succeed(strikes: Strikes, at: datetime) -> Strikes:
    """Count no strike until `at`: the next hop took a delivery at that moment.

    They are kept until another success: a report may still say that this was none (`retract`).
    """
    if strikes.cleared_at is not None and at <= strikes.cleared_at:
        return strikes
    return Strikes(strikes.counted, at)


def retract(strikes: Strikes, at: datetime) -> Strikes:
    """Count what the success at that moment cleared, if it was the last one: a report says that it was none.

    Servers that take everything and report failures later would never fail three times in a row otherwise.
    """
    if strikes.cleared_at != at:
        return strikes
    before = [strike.at for strike in strikes.kept if strike.at <= at]
    return replace(strikes, cleared_at=min(before, default=at) - _MOMENT)


def clear(strikes: Strikes, at: datetime) -> Strikes:
    """Forget every strike until `at`: the user removed the suppression at that moment."""
    cleared_at = at if strikes.cleared_at is None else max(at, strikes.cleared_at)
    return Strikes(tuple(strike for strike in strikes.kept if strike.at > cleared_at), cleared_at)


def reaches_limit(strikes: Strikes) -> bool:
    """Tell whether the failures in a row suppress the address."""
    return len(strikes.counted) >= STRIKE_LIMIT
