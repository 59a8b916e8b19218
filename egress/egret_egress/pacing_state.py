"""What `pacing` remembers of providers, in memory and on disk. Instants are Unix seconds."""

from __future__ import annotations

import msgspec

from egret_egress.governors import Connections, Rate, Turns
from egret_egress.warmup import DayCount


class Trouble(msgspec.Struct):
    """What a provider asked for. None: that limit is as always. is_stop: nothing at all may begin."""

    until: float
    reason: str
    is_stop: bool = False
    connections: int | None = None
    message_rate: float | None = None
    connection_rate: float | None = None
    messages_per_connection: int | None = None


class LaneState(msgspec.Struct):
    """What is remembered of a lane. complaint: the newest one, at complained_at."""

    rate: Rate
    connections: Connections
    messages: Turns
    openings: Turns
    days: DayCount
    stop: Trouble | None = None
    slow: Trouble | None = None
    refusals: int = 0
    pauses: int = 0
    complaint: str = ""
    complained_at: float = 0.0
    used_at: float = 0.0


class Saved(msgspec.Struct):
    """All of it. lanes: by provider and source address. recipients: (provider, recipient, until, reason)."""

    lanes: dict[str, dict[str, LaneState]]
    everywhere: dict[str, Trouble]
    recipients: list[tuple[str, str, float, str]]
    version: int = 1


encode = msgspec.json.Encoder().encode
"""Returns a `Saved` as JSON."""
decode = msgspec.json.Decoder(Saved).decode
"""Returns what `encode` was given; raises ValueError."""
