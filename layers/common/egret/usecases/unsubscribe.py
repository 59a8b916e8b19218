"""Unsubscribe: take the recipient's word, by the link of List-Unsubscribe or by mail to its address.

The address goes on the account's suppression list, and the delivery that the link came with hears of it while it
exists. Asked twice is asked once; asked again after a person took the address off the list is asked anew.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from egret.contracts.ports import Clock, MailStore, Suppressions
from egret.contracts.settings import Suppression
from egret.core.address import Address
from egret.core.changes import Report
from egret.core.delivery import Delivery
from egret.core.events import Event, EventKind, event_id, webhook_number
from egret.core.lifecycle import Refusal
from egret.core.unsubscribe import Wish, wishes_in
from egret.usecases.change import change
from egret.usecases.suppressions import suppression_key

log = logging.getLogger(__name__)

KIND: Final = "unsubscribe"
REASON: Final = "the recipient unsubscribed"
SOURCE: Final = "unsubscribe"
"""Of the event: a delivery has one, by whatever way the recipient asked, and however often."""


@dataclass(frozen=True, slots=True)
class UnsubscribePorts:
    """What unsubscribing needs."""

    store: MailStore
    suppressions: Suppressions
    clock: Clock


@dataclass(frozen=True, slots=True)
class Heard:
    """When the recipient asked, and how: one line, which the event and the entry of the list quote."""

    at: datetime
    how: str


@dataclass(frozen=True, slots=True)
class Asked:
    """Mail to the address of a delivery's List-Unsubscribe. subject: of the mail, it has the token as a rule."""

    account: str
    delivery_id: int
    subject: str
    heard: Heard


@dataclass(frozen=True, slots=True)
class MailUnsubscribe:
    """Does what mail asks. keys: of tokens (`core.unsubscribe.keys_of`)."""

    ports: UnsubscribePorts
    keys: Sequence[bytes]

    def __call__(self, asked: Asked) -> bool:
        """Return whether it was understood: by the token, or by the delivery while that exists. Raises Unavailable."""
        wish = self._by_token(asked) or self._by_delivery(asked)
        ids = {"account": asked.account, "delivery": asked.delivery_id}
        if wish is None:
            log.warning("nobody knows who unsubscribes by mail", extra=ids)
            return False
        unsubscribe(self.ports, wish, asked.heard)
        return True

    def _by_token(self, asked: Asked) -> Wish | None:
        """Return what the subject says of the delivery that the address belongs to."""
        wanted = asked.account, asked.delivery_id
        wishes = wishes_in(self.keys, asked.subject)
        return next((wish for wish in wishes if (wish.account, wish.delivery_id) == wanted), None)

    def _by_delivery(self, asked: Asked) -> Wish | None:
        delivery = self.ports.store.get(asked.account, asked.delivery_id, self.ports.clock.now())
        return None if delivery is None else Wish(asked.account, asked.delivery_id, delivery.recipient)


def unsubscribe(ports: UnsubscribePorts, wish: Wish, heard: Heard) -> bool:
    """Do what the recipient asks; return whether the address was put on the list by it.

    Raises Unavailable; it may then be asked again.
    """
    delivery = _tell(ports, wish, heard)
    event = _event_of(delivery) if delivery is not None else None
    source = event_id(wish.account, wish.delivery_id, event.seq) if event is not None else ""
    base_address = suppression_key(Address.parse(wish.address))
    known = ports.suppressions.put_new(
        Suppression(
            account=wish.account,
            id=webhook_number(source or f"unsubscribe {wish.account} {base_address}"),
            base_address=base_address,
            original_address=wish.address,
            created_at=heard.at,
            reason=REASON,
            kind=KIND,
            source_event=source,
            evidence=heard.how,
        )
    )
    if known is None:
        log.info("address suppressed", extra={"account": wish.account, "event": source, "kind": KIND})
    return known is None


def _tell(ports: UnsubscribePorts, wish: Wish, heard: Heard) -> Delivery | None:
    """Give the delivery its event, unless it has it; return it as it is then, None when it is forgotten."""
    event = Event(0, EventKind.UNSUBSCRIBED, heard.at, source=SOURCE, reply=(heard.how,))

    def decide(delivery: Delivery) -> Report | Delivery:
        return Report(event) if _event_of(delivery) is None else delivery

    told = change(ports.store, wish.account, wish.delivery_id, decide, ports.clock.now())
    return None if isinstance(told, Refusal) else told


def _event_of(delivery: Delivery) -> Event | None:
    return next((event for event in delivery.events if event.source == SOURCE), None)
