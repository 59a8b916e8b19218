"""A clock that stands still until it is told to go on."""

from __future__ import annotations

from datetime import datetime, timedelta


class FakeClock:
    """The `Clock` of tests and of the simulator."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        """Return the instant that the clock was last set to."""
        return self._now

    def advance(self, duration: timedelta) -> datetime:
        """Go on by `duration` and return the new instant."""
        self._now += duration
        return self._now

    def set(self, now: datetime) -> None:
        """Go to an instant, which may lie in the past: clocks are corrected, too."""
        self._now = now
