"""The pool by itself: whom a lane holds up, and who hears of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from egret.core.reply import Reply
from egret_egress.pacing import Pacing
from egret_egress.pool import NotNow, Pool, PoolLimits
from egret_egress.providers import Providers
from egret_egress.shaping_file import load
from egret_egress.turns import Wish

TEN = datetime(2026, 3, 5, 10, 2, tzinfo=UTC)
NOW = TEN.timestamp()
YAHOO = "mta5.am0.yahoodns.net"
TSS04 = Reply(421, ("4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred",))


def wish(domain: str, *, is_own_way: bool = True) -> Wish:
    """Return what somebody wants to send to Yahoo."""
    return Wish((YAHOO, 25), YAHOO, domain, "account", is_own_way=is_own_way)


def test_what_holds_up_a_route_is_not_announced_for_mail_without_one() -> None:
    """Domains whose mail only came here because a route led it, such as to a relay, are not suspended: the relay is."""

    async def run() -> list[tuple[str, str]]:
        pacing = Pacing(Providers(load()))
        pool = Pool(pacing=pacing, now=lambda: NOW)
        pool.give(await pool.take(wish("led.example", is_own_way=False)))
        turn = await pool.take(wish("yahoo.com"))
        pool.turned_down(turn, TSS04)
        pool.give(turn)
        return [(one.domain, one.host) for one in pacing.suspensions(TEN, ("",))]

    assert asyncio.run(run()) == [("", YAHOO), ("yahoo.com", "")]


def test_a_long_hold_empties_the_line_at_once() -> None:
    """Nobody waits out their patience for what cannot come."""

    async def run() -> tuple[float, str, int]:
        pool = Pool(pacing=Pacing(Providers(load("[provider.yahoo]\nconnections = 1"))), now=lambda: NOW)
        busy = await pool.take(wish("yahoo.com"))
        waiting = asyncio.create_task(pool.take(wish("yahoo.com")))
        await asyncio.sleep(0)
        assert pool.waiting == 1
        pool.turned_down(busy, TSS04)
        pool.give(busy)
        with pytest.raises(NotNow) as told:
            await waiting
        return told.value.until, str(told.value), pool.waiting

    until, reason, left = asyncio.run(run())

    assert (until, left) == (NOW + 2 * 3600, 0)
    assert reason == "Yahoo asked us to slow down at 10:02 (421 4.7.0 [TSS04])"


def test_who_no_longer_waits_gets_no_turn() -> None:
    """A task that is canceled still stands in the line until it runs again: what is given back then is not lost."""

    async def run() -> tuple[int, int]:
        pool = Pool(PoolLimits(per_host=1))
        busy = await pool.take(wish("a.example"))
        gone, next_one = (asyncio.create_task(pool.take(wish("a.example"))) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        pool.give(busy)
        with pytest.raises(asyncio.CancelledError):
            await gone
        turn = await asyncio.wait_for(next_one, 5)
        open_then = pool.open_connections
        pool.give(turn)
        return open_then, pool.waiting

    assert asyncio.run(run()) == (1, 0)


def test_a_turn_that_comes_at_the_moment_of_a_cancellation_is_given_back() -> None:
    """Else the host would have one connection less for good."""

    async def run() -> int:
        pool = Pool(PoolLimits(per_host=1))
        busy = await pool.take(wish("a.example"))
        gone = asyncio.create_task(pool.take(wish("a.example")))
        await asyncio.sleep(0)
        pool.give(busy)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return pool.open_connections

    assert asyncio.run(run()) == 0


def test_turning_away_reaches_who_is_canceled_at_that_moment() -> None:
    """Nothing is raised, and nothing is left."""

    async def run() -> int:
        pool = Pool(PoolLimits(per_host=1))
        busy = await pool.take(wish("a.example"))
        gone = asyncio.create_task(pool.take(wish("a.example")))
        await asyncio.sleep(0)
        gone.cancel()
        pool.turn_away()
        with pytest.raises(asyncio.CancelledError):
            await gone
        pool.give(busy)
        return pool.open_connections + pool.waiting

    assert asyncio.run(run()) == 0
