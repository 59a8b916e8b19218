"""What the connections have to say in one turn of the event loop, sent in one burst at its end.

A write to a socket wakes up whoever waits for it, a process or a device, and that costs as much as all else that the
system does for the write. What goes out in one burst finds them awake (ADR 24).
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Writer(Protocol):
    """Who has something to send."""

    def flush(self) -> None:
        """Send it. Raises nothing."""
        ...


class Burst:
    """Of all connections of one event loop."""

    def __init__(self) -> None:
        self._waiting: list[Writer] = []

    def add(self, writer: Writer) -> None:
        """Flush it once everything else of this turn of the loop is done."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(writer)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for writer in waiting:
            writer.flush()
