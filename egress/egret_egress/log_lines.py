"""Log lines: objects of JSON, made at once and written together while an event loop runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TextIO

import msgspec

_encode: Callable[[object], bytes] = msgspec.json.Encoder(enc_hook=str).encode
MOST_LINES = 500
"""Lines that may wait to be written together."""
TOGETHER_S = 0.02
"""How long they wait: a busy loop writes them some fifty times a second instead of thousands of times."""


class LineMaker:
    """Makes the line of what is logged."""

    def __init__(self) -> None:
        self._made_at = -1
        self._made = ""

    def line(self, created: float, level: str, logger: str, message: str, fields: Mapping[str, object]) -> bytes:
        """Return it as UTF-8, values that JSON does not know as text. created: Unix seconds."""
        line: dict[str, object] = {"time": self._time(created), "level": level, "logger": logger, "message": message}
        line.update(fields)
        try:
            return _encode(line)
        except (UnicodeEncodeError, TypeError, ValueError):
            return json.dumps(line, default=str).encode()  # text that is not Unicode, numbers beyond 64 bits

    def _time(self, created: float) -> str:
        """Return ISO 8601 with milliseconds, made once for each."""
        at = int(created * 1000)
        if at != self._made_at:
            text = datetime.fromtimestamp(at // 1000, UTC).isoformat()[:19]
            self._made_at, self._made = at, f"{text}.{at % 1000:03d}+00:00"
        return self._made


class Lines:
    """Lines that wait to be written to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.RLock()  # what is collected in the middle of it may log as well

    def add(self, line: bytes, loop: asyncio.AbstractEventLoop | None) -> None:
        """Write a line soon, by the loop of this thread; without one, or with many lines, now."""
        self._lines.append(line)
        if loop is None or len(self._lines) >= MOST_LINES:
            self.flush()
        elif self._loop is not loop:
            self._loop = loop
            loop.call_later(TOGETHER_S, self.flush)

    def flush(self) -> None:
        """Write what waits; what cannot be written is lost, since a log must stop nothing."""
        with self._lock:
            lines, self._lines, self._loop = self._lines, [], None
            if lines:
                with contextlib.suppress(OSError, ValueError):  # nobody reads it, the disk is full, it is closed
                    self._stream.write(b"\n".join(lines).decode() + "\n")
                    self._stream.flush()
