"""Log lines cost little, and none is lost or out of its place."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from egret_egress.log_lines import MOST_LINES, Lines
from egret_egress.logs import JsonFormatter, TogetherHandler
from egret_egress.telling import tell
from tests.fault.providers import VirtualLoop, run_virtually


class Counting(io.StringIO):
    """A stream that counts its writes."""

    writes = 0

    def write(self, text: str) -> int:
        """Write."""
        self.writes += 1
        return super().write(text)


@pytest.fixture
def counting() -> Iterator[tuple[logging.Logger, Counting]]:
    """Return a logger of its own and where its lines go."""
    stream = Counting()
    handler = TogetherHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("egret.test.together")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    yield logger, stream
    logger.removeHandler(handler)


def test_lines_are_written_together(counting: tuple[logging.Logger, Counting]) -> None:
    """A busy unit makes one write of many lines; a warning does not wait, and nothing changes its place."""
    logger, stream = counting

    async def main(_loop: VirtualLoop) -> list[int]:
        tell(logger, "one", {"delivery": 1})
        logger.info("two", extra={"delivery": 2})
        writes = [stream.writes]
        await asyncio.sleep(1)
        writes.append(stream.writes)
        tell(logger, "three", {"delivery": 3})
        logger.warning("four")
        return [*writes, stream.writes]

    assert run_virtually(main) == [0, 1, 2]
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in lines] == ["one", "two", "three", "four"]
    assert lines[1]["delivery"] == 2


def test_a_line_that_its_loop_did_not_write_is_written_by_the_next(
    counting: tuple[logging.Logger, Counting],
) -> None:
    """None waits for ever for a loop that has ended."""
    logger, stream = counting

    async def ends(_loop: VirtualLoop) -> None:
        tell(logger, "one", {})

    async def goes_on(_loop: VirtualLoop) -> None:
        logger.info("two")
        await asyncio.sleep(1)

    run_virtually(ends)
    run_virtually(goes_on)

    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["one", "two"]


def test_text_that_is_not_unicode_is_logged_all_the_same() -> None:
    """A lone surrogate, or a huge number, does not cost the line."""
    record = logging.makeLogRecord({"name": "egret", "msg": "x", "path": "\udc80", "number": 1 << 70})

    assert json.loads(JsonFormatter().format(record))["number"] == 1 << 70


def test_libraries_are_heard_from_warnings_on() -> None:
    """What pynamodb says at its import is no word of ours: the first line of a log is about Egret."""
    code = (
        "from egret_egress import logs; logs.set_up(); import logging; from egret.aws import settings_store;"
        "logging.getLogger('egret_egress').info('ours')"
    )
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stderr

    assert [json.loads(line)["message"] for line in told.splitlines()] == ["ours"]


class Interrupted(io.StringIO):
    """A stream within whose first write objects are collected, which say something in the log as they go."""

    lines: Lines | None = None

    def write(self, text: str) -> int:
        """Write."""
        if self.lines is not None:
            lines, self.lines = self.lines, None
            lines.add(b"never retrieved", None)
        return super().write(text)


def test_what_is_logged_while_lines_are_written_stops_nothing() -> None:
    """Python collects what it likes when it likes, and asyncio's futures complain as they go."""
    stream = Interrupted()
    stream.lines = lines = Lines(stream)

    thread = threading.Thread(target=lines.add, args=(b"one", None), daemon=True)
    thread.start()
    thread.join(5)

    assert not thread.is_alive()
    assert sorted(stream.getvalue().splitlines()) == ["never retrieved", "one"]


class Broken(io.StringIO):
    """A stream that nobody reads any more."""

    def write(self, text: str) -> int:
        """Fail."""
        raise BrokenPipeError


def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    """An outcome is told on its way to the next recipient's: were it to raise here, theirs would not be known."""
    logger = logging.getLogger("egret.test.broken")
    handler = TogetherHandler(Broken())
    handler.setFormatter(JsonFormatter())
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    failures = []

    async def main(loop: VirtualLoop) -> None:
        loop.set_exception_handler(lambda _, context: failures.append(context))
        for number in range(MOST_LINES + 1):
            tell(logger, "attempt", {"delivery": number})
        await asyncio.sleep(1)

    run_virtually(main)

    assert failures == []
