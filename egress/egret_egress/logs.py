"""Log lines as JSON, one object a line, on standard error; cheap enough for a line per attempt at any speed."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

import msgspec

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_encode = msgspec.json.Encoder(enc_hook=str).encode
MOST_LINES = 500
"""Lines that may wait to be written together."""
TOGETHER_S = 0.02
"""How long they wait: a busy loop writes them some fifty times a second instead of thousands of times."""


class JsonFormatter(logging.Formatter):
    """Writes time, level, logger, message, what was given as `extra`, and the traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._made = (-1, "")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; values that JSON does not know are written as text."""
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return self.line(record.created, record.levelname, record.name, record.getMessage(), fields).decode()

    def line(self, created: float, level: str, logger: str, message: str, fields: Mapping[str, object]) -> bytes:
        """Return the line of what was logged as UTF-8, without the way through a record. created: Unix seconds."""
        line: dict[str, object] = {
            "time": self._time(created),
            "level": level,
            "logger": logger,
            "message": message,
            **fields,
        }
        try:
            return _encode(line)
        except (UnicodeEncodeError, TypeError, ValueError):
            return json.dumps(line, default=str).encode()  # text that is not Unicode, numbers beyond 64 bits

    def _time(self, created: float) -> str:
        """Return ISO 8601 with milliseconds, made once for each."""
        at = int(created * 1000)
        if at != self._made[0]:
            text = datetime.fromtimestamp(at // 1000, UTC).isoformat()[:19]
            self._made = at, f"{text}.{at % 1000:03d}+00:00"
        return self._made[1]


class TogetherHandler(logging.Handler):
    """Writes together what is logged while an event loop runs; warnings, and what threads log, immediately."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, now or soon."""
        try:
            self._lines.append(self.format(record).encode("utf-8", "backslashreplace"))
            self._flush_by(_running_loop() if record.levelno < logging.WARNING else None)
        except Exception:  # noqa: BLE001 (as every handler: logging must not break what is logged)
            self.handleError(record)

    def write_soon(self, line: bytes) -> None:
        """Write a line soon; for the thread of a running loop."""
        self._lines.append(line)
        self._flush_by(asyncio.get_running_loop())

    def _flush_by(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Have the loop write soon, unless it will do so; without one, or with many lines, write now."""
        if loop is None or len(self._lines) >= MOST_LINES:
            self.flush()
        elif self._loop is not loop:
            self._loop = loop
            loop.call_later(TOGETHER_S, self.flush)

    def flush(self) -> None:
        """Write what waits."""
        self.acquire()
        try:
            lines, self._lines, self._loop = self._lines, [], None
            if lines:
                self._stream.write(b"\n".join(lines).decode() + "\n")
                self._stream.flush()
        finally:
            self.release()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def tell(log: logging.Logger, message: str, fields: Mapping[str, object]) -> None:
    """Log at INFO as `log.info(message, extra=fields)` does, at a fraction of its cost; for the event loop's thread.

    fields: none of a record's own names.
    """
    handler = _only_handler(log)
    if isinstance(handler, TogetherHandler) and isinstance(handler.formatter, JsonFormatter):
        handler.write_soon(handler.formatter.line(time.time(), "INFO", log.name, message, fields))
    else:
        log.info(message, extra=dict(fields))


def _only_handler(log: logging.Logger) -> logging.Handler | None:
    """Return who alone gets what is logged there, as `logging` itself finds them; None when it is not one."""
    found: logging.Handler | None = None
    asked: logging.Logger | None = log
    while asked is not None:
        if asked.handlers:
            if found is not None or len(asked.handlers) > 1:
                return None
            found = asked.handlers[0]
        asked = asked.parent if asked.propagate else None
    return found


def set_up(level: int = logging.INFO) -> None:
    """Make every logger of the process write JSON lines; libraries only from WARNING on."""
    handler = TogetherHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # No line tells thread, process or place in the source, so that nobody needs to find them out.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in ("mail.log", "mail.debug", "aiohttp.access", "botocore", "urllib3", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
