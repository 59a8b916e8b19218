"""What a delivery waits for, in a sentence."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from egret.contracts.records import Suspension
from egret.contracts.settings import HoldRule
from egret.core.delivery import Lease, State
from egret.usecases.waiting import BUSY, DUE, NO_UNIT, PORT25_CLOSED, Surroundings, explain
from egret.usecases.way import Way
from tests.unit.builders import (
    ACCOUNT,
    HOUR,
    LATER,
    NOBODY_KNOWS,
    NOW,
    OTHER_ACCOUNT,
    a_delivery,
    a_message,
    a_unit,
    an_attempt,
)

SUSPENDED = Suspension("example.net", NOW + HOUR, "too many deferrals")
SECOND = a_unit(id="unit-2")
NOTHING = Surroundings()
TOO_OLD = (
    "Due now, but every egress unit is too old to send over the transport relay: the operator of Egret has to update "
    "them."
)


@pytest.mark.parametrize(
    ("units", "sentence"),
    [
        ([], NO_UNIT),
        ([a_unit(valid_until=NOW)], NO_UNIT),
        ([a_unit(port25=False)], PORT25_CLOSED),
        (
            [a_unit(port25=False), replace(SECOND, valid_until=NOW)],
            PORT25_CLOSED,
        ),
        ([a_unit(room=0)], BUSY),
        (
            [a_unit(suspensions=(SUSPENDED,))],
            "waiting: too many deferrals; next try about 06:06 UTC",
        ),
        ([a_unit(suspensions=(SUSPENDED,)), SECOND], DUE),
        ([a_unit(suspensions=(replace(SUSPENDED, domain="example.org"),))], DUE),
        ([a_unit(suspensions=(replace(SUSPENDED, until=NOW),))], DUE),
        ([a_unit(suspensions=(replace(SUSPENDED, domain="*", account=OTHER_ACCOUNT),))], DUE),
        ([a_unit(port25=False), SECOND], DUE),
        ([a_unit(room=0), SECOND], DUE),
        ([a_unit()], DUE),
    ],
)
def test_a_due_delivery_says_what_the_units_lack(units: list[Any], sentence: str) -> None:
    """The most general reason first."""
    assert explain(a_delivery(), a_message(), Surroundings(units), NOW) == sentence


@pytest.mark.parametrize(
    ("unit", "sentence"),
    [
        (
            a_unit(),
            TOO_OLD,
        ),
        (a_unit(handoff_version=2), DUE),
        (a_unit(handoff_version=2, port25=False), DUE),
        (a_unit(handoff_version=2, room=0), BUSY),
    ],
)
def test_what_goes_over_a_smarthost_needs_no_port_25_but_a_unit_that_knows_transports(unit: Any, sentence: str) -> None:
    """As deliver chooses units."""
    way = Way("relay", needs_port25=False)

    assert explain(a_delivery(), a_message(), Surroundings((unit,), way=way), NOW) == sentence


def test_what_goes_over_a_smarthost_does_not_wait_for_the_domains_own_servers() -> None:
    """As deliver chooses units."""
    unit = a_unit(handoff_version=2, suspensions=(replace(SUSPENDED, only_direct=True),))
    way = Way("relay", needs_port25=False)

    assert explain(a_delivery(), a_message(), Surroundings((unit,), way=way), NOW) == DUE


def test_one_that_was_put_off_says_why() -> None:
    """The sentence of the unit, and when it is looked at again: no unit says when the wait ends."""
    reason = "Yahoo asked us to slow down at 10:02 (421 4.7.0 [TSS04])"
    delivery = a_delivery(not_before=NOW + HOUR, attempts=(an_attempt(1, LATER),), waiting=reason)

    assert explain(delivery, a_message(), NOTHING, NOW) == f"waiting: {reason}; Egret looks again about 06:06 UTC"


def test_one_that_was_put_off_waits_for_the_end_of_the_suspension() -> None:
    """It is looked at again before, in case the suspension ends early; that is no try."""
    delivery = a_delivery(not_before=NOW + HOUR, waiting="too many deferrals")
    units = [a_unit(suspensions=(replace(SUSPENDED, until=NOW + 30 * HOUR),))]

    assert explain(delivery, a_message(), Surroundings(units), NOW) == (
        "waiting: too many deferrals; next try about 2026-03-05 11:06 UTC"
    )


@pytest.mark.parametrize("not_before", [NOW, NOW + HOUR / 4, NOW + HOUR / 2])
def test_all_that_waits_for_a_smarthost_is_told_the_same_time(not_before: Any) -> None:
    """Not when each of them is looked at again; mail on another way does not wait for it."""
    unit = a_unit(handoff_version=2, suspensions=(Suspension("", NOW + HOUR, "slow down", host="relay.example"),))
    delivery = a_delivery(not_before=not_before, waiting="slow down")
    ways = (Way("relay", needs_port25=False, smarthost="relay.example"), Way("mx"), Way("other", smarthost="b.example"))
    told = [explain(delivery, a_message(), Surroundings((unit,), way=way), NOW) for way in ways]

    assert told[0] == "waiting: slow down; next try about 06:06 UTC"
    assert not [sentence for sentence in told[1:] if "06:06" in sentence]


def test_the_suspension_that_ends_first_counts() -> None:
    """Of several units; within one unit the one that ends last."""
    first = a_unit(suspensions=(SUSPENDED, replace(SUSPENDED, domain="*", until=NOW + 3 * HOUR, reason="long")))
    second = replace(SECOND, suspensions=(replace(SUSPENDED, until=NOW + 2 * HOUR, reason="short"),))

    assert "waiting: short" in explain(a_delivery(), a_message(), Surroundings([first, second]), NOW)


def test_a_later_one_says_when() -> None:
    """FutureRelease."""
    delivery = a_delivery(not_before=NOW + HOUR)

    assert explain(delivery, a_message(), NOTHING, NOW) == "To be sent not before 2026-03-04 06:06:07 UTC."


def test_a_retry_says_when_and_why() -> None:
    """The attempts show the reason itself."""
    delivery = a_delivery(not_before=NOW + HOUR, attempts=(an_attempt(1, LATER),))

    assert explain(delivery, a_message(), NOTHING, NOW) == (
        "Attempt 2 of 8 follows at 2026-03-04 06:06:07 UTC, since attempt 1 failed: the server put the recipient off, "
        "transient: 451 4.3.0 try later."
    )


def test_a_retry_does_not_say_twice_that_it_is_transient() -> None:
    """The outcome's own words, once each."""
    refused = msgspec.structs.replace(LATER, reason="the server refused the recipient")
    delivery = a_delivery(not_before=NOW + HOUR, attempts=(an_attempt(1, refused),))

    said = explain(delivery, a_message(), NOTHING, NOW)

    assert said.endswith(", since attempt 1 failed: the server refused the recipient, transient: 451 4.3.0 try later.")


def test_one_that_may_have_been_delivered_says_so() -> None:
    """Whoever reads it knows that a second copy may come."""
    delivery = a_delivery(not_before=NOW + HOUR, attempts=(an_attempt(1, NOBODY_KNOWS),))

    assert explain(delivery, a_message(), NOTHING, NOW) == (
        "Attempt 2 of 8 follows at 2026-03-04 06:06:07 UTC, since nobody can say whether attempt 1 has delivered it: "
        "the connection died after the final dot."
    )


def test_an_attempt_under_way_says_so() -> None:
    """With its number; the queue does not know whether its turn has come."""
    delivery = a_delivery(state=State.ATTEMPTING, lease=Lease(3, "unit-1", NOW + HOUR))

    assert explain(delivery, a_message(), NOTHING, NOW) == (
        "Attempt 3 of 8 is with an egress unit: it waits for its turn there, or is being made."
    )


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ((), "On hold until an operator releases it."),
        ((HoldRule("r1", account=OTHER_ACCOUNT),), "On hold until an operator releases it."),
        ((HoldRule("r1", sender="example.com"),), "On hold by rule r1 until an operator releases it."),
        (
            (HoldRule("r1", account=ACCOUNT, recipient="example.net"),),
            "On hold by rule r1 until an operator releases it.",
        ),
    ],
)
def test_a_held_one_names_the_rule(rules: tuple[HoldRule, ...], sentence: str) -> None:
    """If a rule still matches; its hold may be older than the rules."""
    assert explain(a_delivery(state=State.HELD), a_message(), Surroundings((), rules), NOW) == sentence


def test_a_message_that_is_gone_does_not_matter() -> None:
    """A rule by recipient still matches."""
    rules = (HoldRule("r1", recipient="example.net"),)

    assert "rule r1" in explain(a_delivery(state=State.HELD), None, Surroundings((), rules), NOW)


@pytest.mark.parametrize("state", [state for state in State if state.is_terminal])
def test_what_has_ended_waits_for_nothing(state: State) -> None:
    """No sentence."""
    delivery = a_delivery(state=state, ended_at=NOW, not_before=NOW + timedelta(days=1))

    assert explain(delivery, a_message(), NOTHING, NOW) == ""
