"""The pool by itself: whom a lane holds up, and who hears of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from egret.core.reply import Reply
from egret_egress.pacing import Pacing
from egret_egress.pool import NotNow, Pool
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
