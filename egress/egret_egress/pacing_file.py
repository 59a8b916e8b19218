"""Keeps what was learned of providers in a small file beside the journal, written seldom: seconds of it may be lost."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Executor
from pathlib import Path

from egret.contracts.ports import Clock
from egret_egress.pacing import Pacing

log = logging.getLogger(__name__)

NAME = "pacing.json"
SAVE_EVERY_S = 60.0


class PacingFile:
    """The file. Trouble with it is logged and does no harm but that providers are learned anew."""

    def __init__(self, directory: Path, pacing: Pacing, clock: Clock) -> None:
        self._path = directory / NAME
        self._pacing = pacing
        self._clock = clock
        self._saved = b""

    def load(self) -> None:
        """Go on from the last run, if there was one."""
        try:
            saved = self._path.read_bytes()
            self._pacing.load(saved, self._clock.now().timestamp())
        except FileNotFoundError:
            return
        except (OSError, ValueError):
            log.exception("what was learned of providers cannot be read, and is learned anew")

    def save(self) -> None:
        """Write it, unless nothing has changed."""
        self._write(self._state())

    def _state(self) -> bytes:
        self._pacing.forget(self._clock.now().timestamp())
        return self._pacing.dump()

    def _write(self, state: bytes) -> None:
        if state == self._saved:
            return
        beside = self._path.with_suffix(".new")
        try:
            beside.write_bytes(state)
            beside.replace(self._path)
        except OSError:
            log.exception("what was learned of providers cannot be written")
            return
        self._saved = state

    async def keep_saving(self, executor: Executor, every_s: float = SAVE_EVERY_S) -> None:
        """Save for ever; cancel to stop."""
        while True:
            await asyncio.sleep(every_s)
            await asyncio.get_running_loop().run_in_executor(executor, self._write, self._state())
