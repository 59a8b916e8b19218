"""How much of something limited each recipient domain and each account has in hand, and who has enough.

The rule: something new is taken for a domain or an account only while that has less in hand than is left over for
everybody. One alone gets half of the capacity, and two that are stuck in the long run a third each: those who have
nothing in hand yet find room, without any part being kept free for them.
(Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches", 1998.)
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple


class Full(NamedTuple):
    """A recipient domain ("*" = any) or an account ("" = any) that has its share in hand."""

    domain: str
    account: str = ""


class Holdings:
    """What is in hand, in deliveries or in bytes."""

    def __init__(self) -> None:
        self.total = 0
        self._of: Counter[Full] = Counter()

    def copy(self) -> Holdings:
        """Return the same again, to try out what would fit."""
        other = Holdings()
        other.total, other._of = self.total, self._of.copy()
        return other

    def add(self, account: str, domain: str, amount: int) -> None:
        """Count more of it; a negative amount gives back. domain: "" when it is not known any more."""
        self.total += amount
        for holder in (Full("*", account), Full(domain)):
            self._of[holder] += amount
            if not self._of[holder]:
                del self._of[holder]

    def may_add(self, account: str, domain: str, capacity: int) -> bool:
        """Say whether both have less in hand than is left over of the capacity."""
        left = capacity - self.total
        return self._of[Full("*", account)] < left and self._of[Full(domain)] < left

    def full(self, capacity: int, limit: int) -> list[Full]:
        """Return who may add nothing, those that have most in hand first, at most `limit`."""
        left = capacity - self.total
        held = self._of.most_common(limit)
        return [holder for holder, amount in held if amount >= left and holder.domain]
