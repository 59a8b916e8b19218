"""Group commit: who asked is told how it went, whatever went wrong."""

from __future__ import annotations

import asyncio

import pytest

from egret_egress.commit import GroupCommit


def outcomes(write_error: Exception | None, sync_error: Exception | None) -> tuple[list[str], int]:
    """Return what three who ask at once and one who asks later are told, and how many writes it took."""
    writes = 0

    def write() -> None:
        nonlocal writes
        writes += 1
        if write_error is not None:
            raise write_error

    def sync() -> None:
        if sync_error is not None:
            raise sync_error

    async def run() -> list[str]:
        commit = GroupCommit(write, sync)
        async with asyncio.timeout(5):
            together = await asyncio.gather(*(commit.commit() for _ in range(3)), return_exceptions=True)
            later = await asyncio.gather(commit.commit(), return_exceptions=True)
        commit.close()
        return [repr(told) for told in (*together, *later)]

    return asyncio.run(run()), writes


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("a bug")])
@pytest.mark.parametrize("is_written", [True, False])
def test_everybody_who_waits_hears_of_the_error(error: Exception, *, is_written: bool) -> None:
    """Also of one that is a bug: a dot that waits for ever would keep its connection and its worker."""
    told, writes = outcomes(None if is_written else error, error if is_written else None)

    assert told == [repr(error)] * 4
    assert writes == 2


def test_who_asks_at_once_shares_a_write() -> None:
    """And hears nothing but that it is done."""
    assert outcomes(None, None) == (["None"] * 4, 2)
