"""Change one delivery, whoever else is changing it: load, decide, write on condition that nobody was faster."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from egret.contracts.ports import MailStore
from egret.core.changes import Change
from egret.core.delivery import Delivery
from egret.core.errors import Unavailable
from egret.core.lifecycle import Refusal, apply

MAX_TRIES: Final = 8
"""Writers of one delivery are few (a unit, a DSN, a person); losing this often means that storage is ill."""

Make = Callable[[Delivery], Change | Delivery | Refusal]
"""Decides on the delivery as loaded: a change of the life cycle, the delivery itself to leave it alone, or why not.

It runs again after every lost race, on what the winner wrote, so it must have no effects.
"""


def change(store: MailStore, account: str, delivery_id: int, make: Make, now: datetime) -> Delivery | Refusal | None:
    """Apply to a stored delivery the change that `make` decides on.

    Returns the delivery as it is stored afterwards, the reason why nothing changed, or None when there is no such
    delivery in the account. Raises Unavailable when the race is lost `MAX_TRIES` times.
    """
    for _ in range(MAX_TRIES):
        old = store.get(account, delivery_id, now)
        if old is None:
            return None
        new = _decide(old, make(old))
        if isinstance(new, Refusal) or new.rev == old.rev or store.replace(old, new):
            return new
    raise Unavailable(detail=f"delivery {delivery_id} of {account} changed {MAX_TRIES} times while it was written")


def _decide(old: Delivery, decision: Change | Delivery | Refusal) -> Delivery | Refusal:
    if isinstance(decision, (Delivery, Refusal)):
        return decision
    return apply(old, decision)
