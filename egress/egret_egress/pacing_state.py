"""What `pacing` remembers of providers, in memory and on disk. Instants are Unix seconds."""

from __future__ import annotations

import msgspec

from egret_egress.governors import LONGEST_CONNECTION_PROBE_S, LONGEST_PROBE_S, ROUND_S, Connections, Rate, Turns
from egret_egress.kept_numbers import Count, Few, Moment, PerSecond, Positive
from egret_egress.warmup import DAY_S, DayCount


class Trouble(msgspec.Struct):
    """What a provider asked for. None: that limit is as always. is_stop: nothing at all may begin."""

    until: Moment
    reason: str
    is_stop: bool = False
    connections: Positive | None = None
    message_rate: PerSecond | None = None
    connection_rate: PerSecond | None = None
    messages_per_connection: Positive | None = None

    def end_by(self, latest: float) -> None:
        """Let it last no longer."""
        self.until = min(self.until, latest)


class LaneState(msgspec.Struct):
    """What is remembered of a lane. complaint: the newest one, at complained_at."""

    rate: Rate
    connections: Connections
    messages: Turns
    openings: Turns
    days: DayCount
    stop: Trouble | None = None
    slow: Trouble | None = None
    refusals: Count = 0
    pauses: Few = 0
    complaint: str = ""
    complained_at: Moment = 0.0
    used_at: Moment = 0.0

    def settle(self, now: float, longest_s: float) -> None:
        """Let nothing that was read last longer than if it had begun now. longest_s: what can be asked for."""
        today = int(now // DAY_S)
        learned: tuple[tuple[Rate | Connections, float], ...] = (
            (self.rate, LONGEST_PROBE_S),
            (self.connections, LONGEST_CONNECTION_PROBE_S),
        )
        for one, probe_s in learned:
            one.quiet_until = min(one.quiet_until, now + ROUND_S)
            one.grown_at = min(one.grown_at, now + ROUND_S)
            one.probe_at = min(one.probe_at, now + probe_s)
            one.probe_s = min(one.probe_s, probe_s)
        for turns in (self.messages, self.openings):
            turns.next_at = min(turns.next_at, now + longest_s)
        for trouble in (self.stop, self.slow):
            if trouble is not None:
                trouble.end_by(now + longest_s)
        self.days.day, self.days.first_day = min(today, self.days.day), min(today, self.days.first_day)
        self.complained_at = min(now, self.complained_at)


class Saved(msgspec.Struct):
    """All of it. lanes: by provider and source address. recipients: (provider, recipient, until, reason)."""

    lanes: dict[str, dict[str, LaneState]]
    everywhere: dict[str, Trouble]
    recipients: list[tuple[str, str, Moment, str]]
    version: int = 1


encode = msgspec.json.Encoder().encode
"""Returns a `Saved` as JSON."""
decode = msgspec.json.Decoder(Saved).decode
"""Returns what `encode` was given; raises ValueError, also for numbers that cannot have been given."""
