"""Hold rules: adding, removing, and what waits already."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from egret.contracts.settings import HoldRule
from egret.core.changes import Claim
from egret.core.delivery import State
from egret.core.errors import InvalidRequest
from egret.usecases import holds
from egret.usecases.change import change
from egret.usecases.holds import HoldPorts, hold_add, hold_list, hold_remove
from egret.usecases.send import send
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT
from tests.unit.sending import LOGIN, OTHER_LOGIN, Service, a_request, people


def ports(service: Service) -> HoldPorts:
    """Return the ports of hold rules."""
    return HoldPorts(service.settings, service.settings, service.store, service.clock, service.dice)


def a_queue() -> tuple[Service, list[tuple[str, int]]]:
    """Return a service with three deliveries that wait: two of an account to two domains, one of another account."""
    service = Service()
    mine = service.send(to=people("ann@one.example", "bob@two.example")).submissions
    theirs = send(service.sending, service.caller(OTHER_ACCOUNT), a_request(to=people("ann@one.example"))).submissions
    return service, [*((ACCOUNT, s.queue_msg_id) for s in mine), *((OTHER_ACCOUNT, s.queue_msg_id) for s in theirs)]


@pytest.mark.parametrize(
    ("rule", "held"),
    [
        (HoldRule(""), [True, True, True]),
        (HoldRule("", account=ACCOUNT), [True, True, False]),
        (HoldRule("", recipient="one.example"), [True, False, True]),
        (HoldRule("", recipient="Bob@TWO.example"), [False, True, False]),
        (HoldRule("", sender="example.com"), [True, True, False]),
        (HoldRule("", sender=OTHER_LOGIN), [False, False, True]),
        (HoldRule("", account=ACCOUNT, sender=OTHER_LOGIN), [False, False, False]),
        (HoldRule("", account=ACCOUNT, sender=LOGIN, recipient="one.example"), [True, False, False]),
    ],
)
def test_adding_a_rule_holds_what_waits_and_matches(rule: HoldRule, held: list[bool]) -> None:
    """The fields given are ANDed; nothing else is touched."""
    service, waiting = a_queue()

    made, count = hold_add(ports(service), rule)

    states = [service.delivery(delivery_id, account).state for account, delivery_id in waiting]
    assert ([state is State.HELD for state in states], count) == (held, sum(held))
    assert hold_list(ports(service)) == [made]


def test_a_rule_holds_new_mail() -> None:
    """From the moment it is there."""
    service = Service()
    hold_add(ports(service), HoldRule("", recipient="Bücher.example"))

    (submission,) = service.send(to=people("ann@bücher.example")).submissions

    assert service.delivery(submission.queue_msg_id).state is State.HELD


def test_what_is_being_attempted_is_left_alone() -> None:
    """The rule is looked at again before the next attempt."""
    service, waiting = a_queue()
    account, delivery_id = waiting[0]
    change(service.store, account, delivery_id, lambda _: Claim("unit-1", NOW, NOW + timedelta(minutes=40)), NOW)

    _, count = hold_add(ports(service), HoldRule(""))

    assert (service.delivery(delivery_id, account).state, count) == (State.ATTEMPTING, 2)


def test_more_than_a_page_is_held() -> None:
    """The walk goes on while it changes what it walks over."""
    service = Service()
    service.change_account(messages_per_day=10_000)
    many = people(*(f"r{number}@example.net" for number in range(2 * holds.PAGE + 7)))
    service.send(to=many)

    assert hold_add(ports(service), HoldRule(""))[1] == len(many)


def test_removing_a_rule_leaves_what_it_holds() -> None:
    """Release is a step of its own."""
    service, waiting = a_queue()
    made, _ = hold_add(ports(service), HoldRule(""))

    hold_remove(ports(service), made.id)

    assert hold_list(ports(service)) == []
    assert {service.delivery(delivery_id, account).state for account, delivery_id in waiting} == {State.HELD}


def test_an_unknown_rule_cannot_be_removed() -> None:
    """The operator sees what he mistyped."""
    with pytest.raises(InvalidRequest, match="'bogus'"):
        hold_remove(ports(Service()), "bogus")


@pytest.mark.parametrize("changes", [{"sender": "a@b@c d"}, {"recipient": "no domain"}, {"sender": "192.0.2.1"}])
def test_a_pattern_that_matches_nothing_is_refused(changes: dict[str, Any]) -> None:
    """An address or a domain."""
    service = Service()

    with pytest.raises(InvalidRequest):
        hold_add(ports(service), replace(HoldRule(""), **changes))
    assert hold_list(ports(service)) == []


def test_the_rules_are_listed_oldest_first() -> None:
    """With the ids by which they are removed."""
    service = Service()
    made = []
    for domain in ("b.example", "a.example"):
        made.append(hold_add(ports(service), HoldRule("", recipient=domain))[0])
        service.clock.advance(timedelta(seconds=1))

    assert hold_list(ports(service)) == made
