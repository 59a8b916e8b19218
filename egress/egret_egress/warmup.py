"""The daily ceiling of a source address that a provider does not know yet: it grows from day to day, then goes away."""

from __future__ import annotations

import msgspec

from egret_egress.kept_numbers import Count, Day
from egret_egress.shaping import Warmup

DAY_S = 86_400


class DayCount(msgspec.Struct):
    """What was sent today. first_day, day: days since 1970, UTC; -1 = never. sent: recipients on `day`."""

    first_day: Day = -1
    day: Day = -1
    sent: Count = 0

    def add(self, now: float, count: int) -> None:
        """Count recipients of a message that begins now; now in Unix seconds."""
        today = int(now // DAY_S)
        if today > self.day:
            self.day, self.sent = today, 0
        if self.first_day < 0:
            self.first_day = today
        self.sent += count

    def ceiling(self, warmup: Warmup, now: float) -> int | None:
        """Return how many may be sent today, None when the address is warm."""
        today = int(now // DAY_S)
        return warmup.ceiling(today - self.first_day if self.first_day >= 0 else 0)

    def is_reached(self, warmup: Warmup, now: float) -> bool:
        """Say whether nothing more may be sent today."""
        ceiling = self.ceiling(warmup, now)
        sent = self.sent if int(now // DAY_S) <= self.day else 0
        return ceiling is not None and sent >= ceiling


def tomorrow(now: float) -> float:
    """Return the next midnight UTC."""
    return float((now // DAY_S + 1) * DAY_S)
