"""Log lines as JSON, one object a line, on standard error; cheap enough for a line per attempt at any speed."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

import msgspec

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_encode = msgspec.json.Encoder(enc_hook=str).encode
MOST_LINES = 500
"""Lines that may wait for the end of the loop's turn."""


class JsonFormatter(logging.Formatter):
    """Writes time, level, logger, message, what was given as `extra`, and the traceback."""

    def __init__(self) -> None:
        super().__init__()
        self._second = (0, "")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; values that JSON does not know are written as text."""
        line: dict[str, object] = {
            "time": self._time(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({name: value for name, value in vars(record).items() if name not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return _encode(line).decode()
        except (UnicodeEncodeError, TypeError, ValueError):
            return json.dumps(line, default=str)  # text that is not Unicode, numbers beyond 64 bits

    def _time(self, created: float) -> str:
        """Return ISO 8601 with milliseconds; the part before them is made once a second."""
        second, text = self._second
        if int(created) != second:
            second = int(created)
            text = datetime.fromtimestamp(second, UTC).isoformat()[:19]
            self._second = second, text
        return f"{text}.{int(created % 1 * 1000):03d}+00:00"


class TurnHandler(logging.Handler):
    """Writes what is logged within one turn of the event loop at once; warnings, and what threads log, immediately."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, now or at the end of the turn."""
        try:
            self._lines.append(self.format(record))
            loop = _running_loop() if record.levelno < logging.WARNING else None
            if loop is None or len(self._lines) >= MOST_LINES:
                self.flush()
            elif len(self._lines) == 1:
                loop.call_soon(self.flush)
        except Exception:  # noqa: BLE001 (as every handler: logging must not break what is logged)
            self.handleError(record)

    def flush(self) -> None:
        """Write what waits."""
        self.acquire()
        try:
            lines, self._lines = self._lines, []
            if lines:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()
        finally:
            self.release()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def tell(log: logging.Logger, message: str, fields: Mapping[str, object]) -> None:
    """Log at INFO as `log.info(message, extra=fields)` does, without looking for the place in the source.

    fields: none of a record's own names.
    """
    record = logging.LogRecord(log.name, logging.INFO, "", 0, message, None, None)
    vars(record).update(fields)
    log.handle(record)


def set_up(level: int = logging.INFO) -> None:
    """Make every logger of the process write JSON lines; libraries only from WARNING on."""
    handler = TurnHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # No line tells thread, process or place in the source, so that nobody needs to find them out.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in ("mail.log", "mail.debug", "aiohttp.access", "botocore", "urllib3", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
