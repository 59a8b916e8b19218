"""Log lines as JSON, one object a line, on standard error; see `telling` for a line per attempt."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TextIO

from egret_egress.log_lines import LineMaker, Lines

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes time, level, logger, message, what was given as `extra`, and the traceback. maker: of the lines."""

    def __init__(self) -> None:
        super().__init__()
        self.maker = LineMaker()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; values that JSON does not know are written as text."""
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return self.maker.line(record.created, record.levelname, record.name, record.getMessage(), fields).decode()


class TogetherHandler(logging.Handler):
    """Writes together what is logged while an event loop runs; warnings, and what threads log, immediately.

    lines: those that wait.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.lines = Lines(stream)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, now or soon."""
        try:
            line = self.format(record).encode("utf-8", "backslashreplace")
            self.lines.add(line, _running_loop() if record.levelno < logging.WARNING else None)
        except Exception:  # noqa: BLE001 (as every handler: logging must not break what is logged)
            self.handleError(record)

    def flush(self) -> None:
        """Write what waits."""
        self.lines.flush()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def set_up(level: int = logging.INFO) -> None:
    """Make every logger of the process write JSON lines; libraries only from WARNING on."""
    handler = TogetherHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # No line tells thread, process or place in the source, so that nobody needs to find them out.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    for name in ("mail.log", "mail.debug", "aiohttp.access", "botocore", "urllib3", "asyncio", "pynamodb"):
        logging.getLogger(name).setLevel(logging.WARNING)
