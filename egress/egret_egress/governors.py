"""What is learned of a provider: how fast it takes messages, and over how many connections.

Additive increase, multiplicative decrease (Chiu and Jain, 1989), with a memory of where it was refused: after a refusal
the next try to go beyond that point comes later each time, so that finding out costs few deferred messages.
Instants are Unix seconds. The state of both is what is written to disk.
"""

from __future__ import annotations

import msgspec

from egret_egress.kept_numbers import Count, Moment, PerSecond, PerSecondOrNone, Positive, Seconds

SMALLEST_RATE = 0.1
"""Messages per second that are tried in any case, while nothing is suspended."""
AFTER_REFUSAL = 0.85
PLATEAU = 0.93
"""Shares of the rate at which it was refused: where to go on, and where to stay."""
DOUBLING_S = 3.0
"""While nothing is known, the rate doubles in this time."""
RECOVERY_S = 20.0
PROBING = 0.01
"""Growth per second beyond the plateau, as a share of the refused rate."""
FORGOTTEN_AT = 1.25
"""So far above a refusal without another one, it means nothing any more."""
FIRST_PROBE_S = 30.0
LONGEST_PROBE_S = 3600.0
ROUND_S = 1.0
"""After a refusal nothing begins for so long: what was counted against us runs out, and what is under way ends."""


class Rate(msgspec.Struct):
    """How many messages per second. refused: the rate of the last refusal, 0 = none. quiet_until: nothing begins."""

    value: PerSecond
    refused: PerSecondOrNone = 0.0
    quiet_until: Moment = 0.0
    probe_at: Moment = 0.0
    probe_s: Seconds = FIRST_PROBE_S
    grown_at: Moment = 0.0

    def refuse(self, began_at: float, now: float) -> bool:
        """Go down; False for what began before the last time, since it says nothing new."""
        if began_at < self.quiet_until:
            return False
        if self.refused and self.value > PLATEAU * self.refused:
            self.probe_s = min(LONGEST_PROBE_S, 2 * self.probe_s)
        self.refused = self.value
        self.value = max(SMALLEST_RATE, AFTER_REFUSAL * self.value)
        self.quiet_until = self.grown_at = now + ROUND_S
        self.probe_at = now + self.probe_s
        return True

    def grow(self, now: float, most: float) -> None:
        """Go up: a message was taken while others waited for their turn. most: never above."""
        passed = min(1.0, now - self.grown_at)
        if passed <= 0:
            return
        self.grown_at = now
        plateau = PLATEAU * self.refused
        if not self.refused or self.value < AFTER_REFUSAL * self.refused:
            grown = self.value * 2 ** (passed / DOUBLING_S)
            self.value = min(grown, AFTER_REFUSAL * self.refused) if self.refused else grown
        elif self.value < plateau:
            step = (PLATEAU - AFTER_REFUSAL) * self.refused * passed / RECOVERY_S
            self.value = min(plateau, self.value + step)
        elif now >= self.probe_at:
            self.value += PROBING * self.refused * passed
            if self.value > FORGOTTEN_AT * self.refused:
                self.refused, self.probe_s = 0.0, FIRST_PROBE_S
        self.value = min(self.value, most)

    def restart(self, value: float) -> None:
        """Begin anew from a small rate, without forgetting where it was refused."""
        self.value = max(SMALLEST_RATE, min(self.value, value))


CONNECTION_EVERY_S = 2.0
FIRST_CONNECTION_PROBE_S = 300.0
LONGEST_CONNECTION_PROBE_S = 4 * 3600.0


class Connections(msgspec.Struct):
    """How many connections at a time. proved: were open at the same time. refused: that many were not, 0 = unknown."""

    limit: Positive
    proved: Positive = 1
    refused: Count = 0
    quiet_until: Moment = 0.0
    probe_at: Moment = 0.0
    probe_s: Seconds = FIRST_CONNECTION_PROBE_S
    grown_at: Moment = 0.0

    def grow(self, now: float, most: int) -> None:
        """Allow one more, now and then, where that would help; never more than `most`."""
        if self.limit >= most or now < self.grown_at + CONNECTION_EVERY_S:
            return
        if self.refused and self.limit + 1 >= self.refused and now < self.probe_at:
            return
        self.limit += 1
        self.grown_at = now

    def opened(self, count: int) -> None:
        """So many are open at the same time."""
        self.proved = max(self.proved, count)
        if self.refused and count >= self.refused:
            self.refused, self.probe_s = 0, FIRST_CONNECTION_PROBE_S

    def refuse(self, others: int, now: float) -> None:
        """One more was refused while `others` were open (at least 1)."""
        if self.refused == others + 1:
            self.probe_s = min(LONGEST_CONNECTION_PROBE_S, 2 * self.probe_s)
        self.limit = self.proved = max(1, others)
        self.refused = others + 1
        self.quiet_until = self.grown_at = now + ROUND_S
        self.probe_at = now + self.probe_s


class Turns(msgspec.Struct):
    """Spaces events evenly: in any t seconds at most `rate` x (t + slack) + 1 (generic cell rate algorithm)."""

    next_at: Moment = 0.0

    def ready_at(self, slack_s: float) -> float:
        """Return when the next event may be."""
        return self.next_at - slack_s

    def take(self, now: float, rate: float) -> None:
        """An event happens now."""
        self.next_at = max(self.next_at, now) + 1 / rate
