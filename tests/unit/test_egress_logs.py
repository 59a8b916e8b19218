"""Log lines cost little, and none is lost or out of its place."""

from __future__ import annotations

import asyncio
import io
import json
import logging

from egret_egress.logs import JsonFormatter, TurnHandler, tell


def test_lines_of_one_turn_are_written_together() -> None:
    """A busy unit makes one write of many lines; a warning does not wait, and nothing changes its place."""

    class Counting(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            return super().write(text)

    stream = Counting()
    handler = TurnHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("egret.test.turn")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)

    async def run() -> tuple[int, int]:
        tell(logger, "one", {"delivery": 1})
        tell(logger, "two", {"delivery": 2})
        before = stream.writes
        await asyncio.sleep(0)
        tell(logger, "three", {"delivery": 3})
        logger.warning("four")
        return before, stream.writes

    writes = asyncio.run(run())
    logger.removeHandler(handler)

    assert writes == (0, 2)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in lines] == ["one", "two", "three", "four"]
    assert lines[1]["delivery"] == 2


def test_text_that_is_not_unicode_is_logged_all_the_same() -> None:
    """A lone surrogate, or a huge number, does not cost the line."""
    record = logging.makeLogRecord({"msg": "x", "path": "\udc80", "number": 1 << 70})

    assert json.loads(JsonFormatter().format(record))["number"] == 1 << 70
