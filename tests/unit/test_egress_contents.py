"""Large messages are fetched once and counted once, however many transactions carry them, and whenever they come."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.contracts.handoff import Content, Leg, Transaction
from egret.core.errors import Unavailable
from egret_egress.contents import Contents
from tests.unit.builders import ACCOUNT, MESSAGE_ID, NOW

LARGE = Content(1000, key="content/a/1")


class Bucket:
    """Storage that counts. answers: by key; an exception is raised. gate: reads wait for it."""

    def __init__(self, **answers: bytes | Exception) -> None:
        self.reads: list[str] = []
        self.answers = answers
        self.gate = threading.Event()
        self.gate.set()

    def fetch(self, key: str) -> bytes | None:
        """Read."""
        self.reads.append(key)
        self.gate.wait(10)
        answer = self.answers.get(key, b"x" * 1000)
        if isinstance(answer, Exception):
            raise answer
        return answer


def transaction(content: Content = LARGE, domain: str = "example.net", account: str = ACCOUNT) -> Transaction:
    """Return a transaction that carries a content."""
    return Transaction(
        account=account,
        message_id=MESSAGE_ID,
        domain=domain,
        reverse_path="",
        legs=[Leg(MESSAGE_ID, 1, f"ann@{domain}")],
        content=content,
        lease_until=NOW,
    )


def run(check: Callable[[Contents], Coroutine[Any, Any, None]], bucket: Bucket) -> None:
    """Run a check on contents over a bucket."""
    with ThreadPoolExecutor(4) as executor:
        asyncio.run(check(Contents(bucket.fetch, executor)))


def test_transactions_at_the_same_time_share_one_fetch() -> None:
    """Those that ask while it is on its way, and those that ask after."""
    bucket = Bucket()
    bucket.gate.clear()

    async def check(contents: Contents) -> None:
        carried = [transaction() for _ in range(3)]
        for one in carried:
            contents.hold(one)
        asking = [asyncio.create_task(contents.get(one.content)) for one in carried[:2]]
        await asyncio.sleep(0)
        bucket.gate.set()
        found = [*await asyncio.gather(*asking), await contents.get(LARGE)]

        assert len({id(one) for one in found}) == 1

    run(check, bucket)
    assert bucket.reads == ["content/a/1"]


def test_what_waits_keeps_the_message_of_what_is_done() -> None:
    """One connection brings them one after the other: the second waits in hand while the first is tried."""
    bucket = Bucket()

    async def check(contents: Contents) -> None:
        first, second = transaction(), transaction(domain="example.org")
        contents.hold(first)
        contents.hold(second)
        for one in (first, second):
            assert await contents.get(one.content) is not None
            contents.let_go(one)

    run(check, bucket)
    assert bucket.reads == ["content/a/1"]


def test_a_later_handoff_shares_what_an_earlier_one_brought() -> None:
    """As long as anything of it is in hand; after the last one nothing is kept."""
    bucket = Bucket()

    async def check(contents: Contents) -> None:
        first, later, last = transaction(), transaction(), transaction()
        contents.hold(first)
        await contents.get(LARGE)
        contents.hold(later)
        contents.let_go(first)
        await contents.get(LARGE)
        contents.let_go(later)
        assert contents.held.total == 0
        contents.hold(last)
        await contents.get(LARGE)
        contents.let_go(last)

    run(check, bucket)
    assert bucket.reads == ["content/a/1"] * 2


def test_a_shared_message_takes_its_bytes_of_the_budget_once() -> None:
    """Nothing more of it is refused for want of room; another message of that size is."""

    async def check(contents: Contents) -> None:
        contents.hold(transaction())
        other = transaction(Content(1000, key="content/a/2"))

        assert contents.held.total == 1000
        assert contents.fits(transaction(), 1500)
        assert contents.fits(transaction(domain="example.org"), 1500)
        assert not contents.fits(other, 1500)
        assert not contents.fits(transaction(Content(1, b"x")), 1500)

    run(check, Bucket())


def test_a_handoff_that_repeats_a_new_message_counts_it_once() -> None:
    """However many transactions bring it, and until the last of them is done."""

    async def check(contents: Contents) -> None:
        for _ in range(5):
            assert contents.fits(transaction(), 1500)
            contents.hold(transaction())
        assert contents.held.total == 1000
        for _ in range(5):
            contents.let_go(transaction())
        assert contents.held.total == 0

    run(check, Bucket())


def test_storage_trouble_is_not_kept() -> None:
    """Who asks at the time is told; who asks later gets the message."""
    bucket = Bucket(**{LARGE.key: Unavailable()})

    async def check(contents: Contents) -> None:
        contents.hold(transaction())
        contents.hold(transaction())
        with pytest.raises(Unavailable):
            await contents.get(LARGE)
        bucket.answers.clear()
        assert await contents.get(LARGE) is not None

    run(check, bucket)


def test_who_stops_waiting_takes_the_message_from_nobody() -> None:
    """The fetch belongs to all who wait for it."""
    bucket = Bucket()
    bucket.gate.clear()

    async def check(contents: Contents) -> None:
        first, second = transaction(), transaction()
        contents.hold(first)
        contents.hold(second)
        hurried, patient = (asyncio.create_task(contents.get(LARGE)) for _ in range(2))
        await asyncio.sleep(0)
        hurried.cancel()
        await asyncio.wait([hurried])
        contents.let_go(first)
        bucket.gate.set()

        assert await patient is not None

    run(check, bucket)
    assert bucket.reads == ["content/a/1"]


contents_of_mail = st.sampled_from([LARGE, Content(700, key="content/a/2"), Content(3, b"abc")])
domains, accounts = st.sampled_from(["a.example", "b.example"]), st.sampled_from(["x", "y"])
taken = st.builds(transaction, contents_of_mail, domains, accounts)


@given(st.lists(taken, max_size=12), st.randoms(use_true_random=False))
def test_the_budget_is_what_is_in_hand(transactions: list[Transaction], order: Any) -> None:
    """In whatever order they end: each message once, inline ones each, and nothing at the end."""

    async def check(contents: Contents) -> None:
        for one in transactions:
            contents.hold(one)
        left = list(transactions)
        order.shuffle(left)
        while left:
            keys = {one.content.key: one.content.size_bytes for one in left if one.content.inline is None}
            inline = sum(one.content.size_bytes for one in left if one.content.inline is not None)
            assert contents.held.total == sum(keys.values()) + inline
            contents.let_go(left.pop())
        assert contents.held.total == 0
        assert contents.held.full(1, 10) == []

    run(check, Bucket())
