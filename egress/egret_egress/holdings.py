"""How much of something limited each recipient domain and each account has in hand, and who has enough.

The rule: something new is taken for a domain or an account only while that has less in hand than is left over for
everybody. One alone gets half of the capacity, and two that are stuck in the long run a third each: those who have
nothing in hand yet find room, without any part being kept free for them.
(Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998.)
"""

from __future__ import annotations

import heapq
from typing import NamedTuple


class Full(NamedTuple):
    """A recipient domain ("*" = any) or an account ("" = any) that has its share in hand."""

    domain: str
    account: str = ""


class Holdings:
    """What is in hand, in deliveries or in bytes."""

    def __init__(self) -> None:
        self.total = 0
        self._accounts: dict[str, int] = {}
        self._domains: dict[str, int] = {}

    def add(self, account: str, domain: str, amount: int) -> None:
        """Count more of it; a negative amount gives back. domain: "" when it is not known any more."""
        self.total += amount
        accounts, domains = self._accounts, self._domains
        if held := accounts.get(account, 0) + amount:
            accounts[account] = held
        else:
            accounts.pop(account, None)
        if held := domains.get(domain, 0) + amount:
            domains[domain] = held
        else:
            domains.pop(domain, None)

    def may_add(self, account: str, domain: str, capacity: int) -> bool:
        """Say whether both have less in hand than is left over of the capacity."""
        left = capacity - self.total
        return self._accounts.get(account, 0) < left and self._domains.get(domain, 0) < left

    def full(self, capacity: int, limit: int) -> list[Full]:
        """Return who may add nothing, those that have most in hand first, at most `limit`."""
        left = capacity - self.total
        held = [(amount, Full("*", account)) for account, amount in self._accounts.items() if amount >= left]
        held += [(amount, Full(domain)) for domain, amount in self._domains.items() if amount >= left and domain]
        return [holder for _, holder in heapq.nlargest(limit, held, key=lambda one: one[0])]
