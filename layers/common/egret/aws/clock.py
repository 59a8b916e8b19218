"""The clock and the dice of a real process."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

_FLOAT_BITS = 53


class SystemClock:
    """The time of day of this machine."""

    def now(self) -> datetime:
        """Return the current instant, aware, UTC."""
        return datetime.now(UTC)


class SystemDice:
    """Randomness of the operating system."""

    def number(self) -> float:
        """Return a float in [0, 1)."""
        return secrets.randbits(_FLOAT_BITS) / (1 << _FLOAT_BITS)

    def bits(self, count: int) -> int:
        """Return an integer of `count` random bits."""
        return secrets.randbits(count)

    def octets(self, count: int) -> bytes:
        """Return `count` random bytes."""
        return secrets.token_bytes(count)
