"""Hold rules: mail that is to wait until an operator releases it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from egret.contracts.ports import Clock, Dice, MailStore, SettingsReader, SettingsWriter
from egret.contracts.records import DeliveryFilter
from egret.contracts.settings import HoldRule
from egret.core.changes import Hold
from egret.core.delivery import Delivery, Message, State
from egret.core.errors import InvalidRequest
from egret.usecases.accounts import domain_name, login_address
from egret.usecases.change import change

log = logging.getLogger(__name__)

PAGE = 100


@dataclass(frozen=True, slots=True)
class HoldPorts:
    """What managing hold rules needs."""

    settings: SettingsWriter
    reader: SettingsReader
    store: MailStore
    clock: Clock
    dice: Dice


def hold_add(ports: HoldPorts, rule: HoldRule) -> tuple[HoldRule, int]:
    """Add a rule (its id and time are given here) and hold what waits and matches; return both rule and number held.

    rule.account: account id. New mail is held from the moment each process has read the rule, within a minute; deliver
    looks at the rules again before each attempt, so that nothing slips through between. Raises InvalidRequest for
    a sender or recipient that is neither address nor domain.
    """
    now = ports.clock.now()
    made = replace(
        rule,
        id=ports.dice.octets(5).hex(),
        sender=_pattern(rule.sender),
        recipient=_pattern(rule.recipient),
        created_at=now,
    )
    ports.settings.put_hold_rule(made)
    held = sum(_hold(ports, waiting, now) for waiting in _matching(ports, made, now))
    log.info("hold rule added", extra={"rule": made.id, "account": made.account, "held": held})
    return made, held


def hold_remove(ports: HoldPorts, rule_id: str) -> None:
    """Remove a rule; what it holds stays held until it is released. Raises InvalidRequest `user` when absent."""
    if not ports.settings.remove_hold_rule(rule_id):
        raise InvalidRequest("user", f"There is no hold rule {rule_id!r}.")


def hold_list(ports: HoldPorts) -> list[HoldRule]:
    """Return every rule, oldest first."""
    return sorted(ports.reader.hold_rules(), key=lambda rule: (str(rule.created_at or ""), rule.id))


def _pattern(text: str) -> str:
    """Return an address or a domain in the form that rules compare: lower-case, A-labels; "" stays."""
    if not text:
        return ""
    return login_address(text) if "@" in text else domain_name(text)


def _matching(ports: HoldPorts, rule: HoldRule, now: datetime) -> Iterator[Delivery]:
    accounts = [rule.account] if rule.account else [account.id for account in ports.settings.accounts()]
    for account in accounts:
        for page in waiting_pages(ports.store, account, now):
            keys = {(account, delivery.message_id) for delivery in page}
            facts = ports.store.messages(sorted(keys)) if rule.sender else {}
            yield from (delivery for delivery in page if _is_held_by(rule, delivery, facts))


def _is_held_by(rule: HoldRule, delivery: Delivery, facts: dict[tuple[str, int], Message]) -> bool:
    message = facts.get((delivery.account, delivery.message_id))
    return rule.matches(delivery.account, message.header_from if message else "", delivery.recipient)


def waiting_pages(store: MailStore, account: str, now: datetime) -> Iterator[tuple[Delivery, ...]]:
    """Yield an account's queued deliveries, newest first, page by page."""
    cursor = ""
    while True:
        page = store.list(account, DeliveryFilter(states=frozenset({State.QUEUED})), cursor, PAGE, now)
        yield page.items
        if not page.cursor:
            return
        cursor = page.cursor


def _hold(ports: HoldPorts, waiting: Delivery, now: datetime) -> bool:
    return isinstance(change(ports.store, waiting.account, waiting.id, lambda _: Hold(now), now), Delivery)
