"""Put addresses on the suppression list that events say are dead, and take strikes off those that were reached.

Called for every event, whether or not the account has a webhook. Idempotent by event id: the same event processed again
gives the same answer, and never puts back what a person has taken off since.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from egret.contracts.ports import Suppressions
from egret.contracts.settings import Suppression
from egret.core.address import Address
from egret.core.cut import cut
from egret.core.delivery import Attempt, Delivery
from egret.core.events import Event, EventKind, event_id, webhook_number
from egret.core.failure import FailureClass, classify
from egret.core.outcome import NOWHERE, Bounced, Deferred, Outcome
from egret.core.reply import Reply
from egret.core.suppression import Strikes, SuppressVerdict, Voice, add, reaches_limit, retract, succeed, verdict
from egret.usecases.strikes import Key, change_strikes

log = logging.getLogger(__name__)

NULL_MX = "5.1.10"
"""RFC 7505 section 4.2."""
MAX_EVIDENCE_BYTES = 500
"""Of what an entry quotes, in UTF-8: it is read for every recipient of every message."""


@dataclass(frozen=True, slots=True)
class Happening:
    """An event and the delivery it belongs to."""

    delivery: Delivery
    event: Event

    @property
    def id(self) -> str:
        """The event's id."""
        return event_id(self.delivery.account, self.delivery.id, self.event.seq)

    @property
    def key(self) -> Key:
        """Account and base address of the recipient."""
        return self.delivery.account, str(Address.parse(self.delivery.recipient).base_address())

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that caused it, None when none did."""
        number, attempts = self.event.attempt, self.delivery.attempts
        return attempts[number - 1] if 0 < number <= len(attempts) else None

    @property
    def finding(self) -> str:
        """What ended the delivery without a server being asked, one clause; "" when one was, or a DSN told it."""
        outcome = self.attempt.outcome if self.attempt is not None else None
        return outcome.reason if isinstance(outcome, Bounced) and outcome.remote == NOWHERE else ""

    @property
    def voice(self) -> Voice:
        """Who says what the event tells."""
        if self.event.dsn:
            return Voice.REPORT
        return Voice.SMARTHOST if self.attempt is not None and self.attempt.trace.is_relayed else Voice.SERVER


def failure_of(event: Event) -> str:
    """Return the class of what failed or was delayed, "" for other events and where nothing was said."""
    is_trouble = event.kind in (EventKind.FAILED, EventKind.DELAYED)
    if not is_trouble or not (event.code or event.enhanced_code or event.reply):
        return ""
    return event.failure or classify(event.code, event.enhanced_code, " ".join(event.reply)).value


def suppress(suppressions: Suppressions, happenings: Iterable[Happening]) -> set[str]:
    """Judge events in order; return the ids of those that put their address on the list (now or when seen before).

    Raises Unavailable; all of it may then be done again.
    """
    interesting = [one for one in happenings if _concerns_the_list(one)]
    strikes = suppressions.find_strikes(sorted({one.key for one in interesting}))
    return {one.id for one in interesting if _judge(suppressions, one, strikes)}


def _concerns_the_list(one: Happening) -> bool:
    if one.event.by_message_id:
        return False
    match one.event.kind:
        case EventKind.DELIVERED | EventKind.COMPLAINED | EventKind.UNSUBSCRIBED:
            return True
        case EventKind.FAILED:
            return _verdict(one) is not SuppressVerdict.IGNORE
        case _:
            return False


def _verdict(one: Happening) -> SuppressVerdict:
    """Judge a failure; what a server said of us or of the message is not about the recipient, whatever its code.

    Nor is one answer of a resolver, which may be broken or asked in the wrong network, enough that there is no such
    domain. A null MX is the domain's own word (RFC 7505).
    """
    event, attempt = one.event, one.attempt
    if attempt is not None and not _names_recipient(attempt.outcome):
        return SuppressVerdict.IGNORE
    known = FailureClass(event.failure) if event.failure else None
    found = verdict(event.code, event.enhanced_code, " ".join(event.reply), one.voice, known)
    if found is SuppressVerdict.SUPPRESS and one.finding and event.enhanced_code != NULL_MX:
        return SuppressVerdict.STRIKE
    return found


def _names_recipient(outcome: Outcome) -> bool:
    """Say whether an outcome may be about the address; a 5yz that was put off was not taken for the last word on it."""
    match outcome:
        case Bounced():
            return outcome.names_recipient
        case Deferred(reply=Reply() as reply):
            return not reply.is_permanent
        case _:
            return True


def _judge(suppressions: Suppressions, one: Happening, strikes: dict[Key, Strikes]) -> bool:
    """Return whether the event put the address on the list; `strikes` is kept up to date with what is stored."""
    match one.event.kind:
        case EventKind.COMPLAINED:
            return _put(suppressions, one, "complaint", "the recipient complained")
        case EventKind.UNSUBSCRIBED:
            return _put(suppressions, one, "unsubscribe", "the recipient unsubscribed")
        case EventKind.DELIVERED:
            _clear_strikes(suppressions, one, strikes)
            return False
        case _:
            return _judge_failure(suppressions, one, strikes)


def _clear_strikes(suppressions: Suppressions, one: Happening, strikes: dict[Key, Strikes]) -> None:
    def cleared(known: Strikes) -> Strikes:
        return succeed(known, one.event.at) if known.kept else known

    if one.key in strikes and not one.event.dsn:
        _, strikes[one.key] = change_strikes(suppressions, one.key, strikes[one.key], cleared)


def _judge_failure(suppressions: Suppressions, one: Happening, strikes: dict[Key, Strikes]) -> bool:
    event, finding = one.event, one.finding
    said = " ".join(part for part in (str(event.code or ""), event.enhanced_code) if part)
    if _verdict(one) is SuppressVerdict.SUPPRESS:
        reason = finding or f"{one.voice.value} says that the address is dead ({said})"
        return _put(suppressions, one, "bounce", reason)
    strike_id = _strike_id(one)
    taken_at = _taken_at(one)

    def with_strike(known: Strikes) -> Strikes:
        return add(known if taken_at is None else retract(known, taken_at), strike_id, event.at)

    known, struck = change_strikes(suppressions, one.key, strikes.get(one.key, Strikes()), with_strike)
    strikes[one.key] = struck
    is_new = struck != known
    # Seen before, the last strike may have died before its entry was written; the others did not suppress.
    if reaches_limit(struck) and (is_new or struck.kept[-1].event_id == strike_id):
        last = f"since {finding}" if finding else f"with {said}"
        return _put(suppressions, one, "bounce", f"three deliveries in a row failed, the last one {last}")
    return not is_new and _was_put_by(suppressions, one)


def _strike_id(one: Happening) -> str:
    """Return the id of the delivery's first failure: several reports about one delivery are one strike.

    All that the DNS alone told within a day are one as well: a resolver that is broken for hours is one mishap.
    """
    delivery = one.delivery
    if one.finding:
        return f"dns_{one.event.at:%Y-%m-%d}"
    first = next((event for event in delivery.events if event.kind is EventKind.FAILED), one.event)
    return event_id(delivery.account, delivery.id, first.seq)


def _taken_at(one: Happening) -> datetime | None:
    """Return when the next hop took what a report says has failed: that was no success. None for other failures."""
    taken = (event.at for event in one.delivery.events if event.kind is EventKind.DELIVERED and not event.dsn)
    return next(taken, None) if one.event.dsn else None


def _was_put_by(suppressions: Suppressions, one: Happening) -> bool:
    entry = suppressions.find([one.key]).get(one.key)
    return entry is not None and entry.source_event == one.id


def _put(suppressions: Suppressions, one: Happening, kind: str, reason: str) -> bool:
    account, base_address = one.key
    entry = Suppression(
        account=account,
        id=webhook_number(one.id),
        base_address=base_address,
        original_address=one.delivery.recipient,
        created_at=one.event.at,
        reason=reason,
        kind=kind,
        source_event=one.id,
        evidence=cut(" ".join(one.event.reply), MAX_EVIDENCE_BYTES),
    )
    known = suppressions.put_new(entry)
    if known is None:
        log.info("address suppressed", extra={"account": account, "event": one.id, "kind": kind})
    return known is None or known.source_event == one.id
