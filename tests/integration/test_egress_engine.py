"""The engine from the handoff to the recorded outcome, over real connections on loopback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from egret.contracts.handoff import Content, Transaction
from egret.core.delivery import Attempt, Lease
from egret.core.errors import ContractError, Unavailable
from egret.core.outcome import Bounced, Deferred, Delivered, Unknown
from egret.core.tls_policy import PLAIN
from egret.core.trace import SessionTrace
from egret.memory.clock import FakeClock
from egret_egress.attempt import Attempting, Keeping
from egret_egress.destinations import Answer, Hops, Host, NextHops
from egret_egress.engine import Capacity
from egret_egress.holdings import Full
from egret_egress.ledger import AttemptKey, Ledger
from egret_egress.memory_journal import MemoryJournal
from egret_egress.pool import PoolLimits
from egret_egress.recorder import Recorder
from tests.integration.egress_rig import (
    ACCOUNT,
    LEASE,
    NOW,
    Notebook,
    Rig,
    Sink,
    Wishes,
    handoff,
    rig_for,
    sinking,
    transaction,
)


class ByDomain:
    """A router whose domains have a port each. others: the port of all that are not named."""

    def __init__(self, ports: Mapping[str, int], others: int) -> None:
        self._ports = ports
        self._others = others

    async def next_hops(self, domain: str) -> Hops:
        """Return the one host of a domain."""
        host = Host("127.0.0.1", self._ports.get(domain, self._others), PLAIN, addresses=("127.0.0.1",))
        return Hops(domain, domain, is_authentic=False, hosts=(host,))

    async def addresses(self, host: Host) -> Answer[str]:
        """Return what it has."""
        return Answer(host.addresses, host.name)


def test_a_handoff_is_delivered_and_recorded() -> None:
    """Taken, sent over SMTP once, recorded with the server's words."""

    async def run() -> tuple[Sink, Notebook]:
        async with sinking(Sink()) as sink, rig_for(sink.port) as rig:
            answer = rig.engine.take(handoff(transaction(1024, 1025), transaction(2048)))
            assert answer.taken == [True, True]
            await rig.settle()
            return sink, rig.book

    sink, book = asyncio.run(run())

    assert len(sink.bodies) == 2
    assert {(1024, 1), (1025, 1), (2048, 1)} == set(book.outcomes)
    outcome = book.outcomes[1024, 1].outcome
    assert isinstance(outcome, Delivered)
    assert outcome.reply.lines == ("2.0.0 ok",)
    assert outcome.remote.address == "127.0.0.1"


def test_connections_are_reused() -> None:
    """Messages to one host, one after the other, go over one connection."""

    async def run() -> Sink:
        async with sinking(Sink()) as sink, rig_for(sink.port) as rig:
            for number in range(5):
                rig.engine.take(handoff(transaction(1024 * (number + 1))))
                await rig.settle()
            return sink

    sink = asyncio.run(run())

    assert (len(sink.bodies), sink.connections) == (5, 1)


def test_a_connection_carries_a_bounded_number_of_messages() -> None:
    """After that many transactions a new connection is made."""

    async def run() -> Sink:
        wishes = Wishes(limits=PoolLimits(messages=2))
        async with sinking(Sink()) as sink, rig_for(sink.port, wishes) as rig:
            for number in range(5):
                rig.engine.take(handoff(transaction(1024 * (number + 1))))
                await rig.settle()
            return sink

    assert asyncio.run(run()).connections == 3


def test_connections_to_one_host_are_limited() -> None:
    """However many domains share an MX host, it sees no more connections than allowed."""

    async def run() -> Sink:
        wishes = Wishes(limits=PoolLimits(per_host=3))
        async with sinking(Sink()) as sink, rig_for(sink.port, wishes) as rig:
            for number in range(60):
                rig.engine.take(handoff(transaction(1024 * (number + 1), domain=f"d{number}.example")))
            await rig.settle()
            return sink

    sink = asyncio.run(run())

    assert len(sink.bodies) == 60
    assert sink.most_open <= 3


def test_a_silent_server_does_not_hold_up_the_next_message_for_its_domain() -> None:
    """A short queue waits for a busy worker only for a moment, since that may be stuck."""

    async def run() -> Sink:
        async with sinking(Sink(gate=asyncio.Event())) as sink, rig_for(sink.port) as rig:
            rig.engine.take(handoff(transaction(1024)))
            await sink.dots.wait()
            sink.dots.clear()
            rig.engine.take(handoff(transaction(2048)))
            async with asyncio.timeout(10):
                await sink.dots.wait()
            assert sink.gate is not None
            sink.gate.set()
            await rig.settle()
            return sink

    assert asyncio.run(run()).connections == 2


def test_an_account_whose_domains_are_all_stuck_keeps_no_other_from_a_worker() -> None:
    """It fills its share of the unit, and there are more workers than that."""

    async def run() -> tuple[int, int]:
        stuck, free = Sink(gate=asyncio.Event()), Sink()
        async with sinking(stuck), sinking(free):
            router = ByDomain({"free.example": free.port}, stuck.port)
            async with rig_for(0, Wishes(router=router)) as rig:
                dead = (transaction(1024 * n, domain=f"d{n}.example", account="stuckacc") for n in range(1, 1501))
                taken = sum(rig.engine.take(handoff(*dead)).taken)
                await stuck.dots.wait()
                assert rig.engine.take(handoff(transaction(1024 * 2000, domain="free.example"))).taken == [True]
                async with asyncio.timeout(10):
                    await free.dots.wait()
                assert stuck.gate is not None
                stuck.gate.set()
                return taken, len(free.bodies)

    taken, delivered = asyncio.run(run())

    assert taken >= 1000
    assert delivered == 1


def test_the_same_attempt_again_is_not_sent_again() -> None:
    """A handoff repeated while the attempt is under way, and after it was recorded, neither sends nor records twice."""

    async def run() -> tuple[Sink, Notebook]:
        async with sinking(Sink(gate=asyncio.Event())) as sink, rig_for(sink.port) as rig:
            rig.engine.take(handoff(transaction(1024)))
            await sink.dots.wait()
            assert rig.engine.take(handoff(transaction(1024))).taken == [True]
            assert sink.gate is not None
            sink.gate.set()
            await rig.settle()
            assert rig.engine.take(handoff(transaction(1024))).taken == [True]
            await rig.settle()
            await rig.recorder.idle()
            return sink, rig.book

    sink, book = asyncio.run(run())

    assert len(sink.bodies) == 1
    assert book.calls == 1


def test_an_outcome_is_recorded_however_often_the_table_fails() -> None:
    """Recording is tried again until it works."""

    async def run() -> Notebook:
        async with sinking(Sink()) as sink, rig_for(sink.port, Wishes(book=Notebook(failures=5))) as rig:
            rig.engine.take(handoff(transaction(1024)))
            await rig.settle()
            return rig.book

    book = asyncio.run(run())

    assert book.calls == 6
    assert isinstance(book.outcomes[1024, 1].outcome, Delivered)


class Unwilling(Notebook):
    """A table that takes neither outcome nor release of one delivery, ever."""

    def record(self, account: str, delivery_id: int, attempt: Attempt) -> None:
        """Refuse 1024."""
        self._refuse(delivery_id)
        super().record(account, delivery_id, attempt)

    def release(
        self, account: str, delivery_id: int, lease: Lease, until: datetime | None = None, waiting: str = ""
    ) -> None:
        """Refuse 1024."""
        self._refuse(delivery_id)
        super().release(account, delivery_id, lease, until, waiting)

    def _refuse(self, delivery_id: int) -> None:
        if delivery_id == 1024:
            raise ContractError(detail="dynamodb PutItem: ValidationException: one value is empty")


@pytest.mark.parametrize(
    ("trace", "told"),
    [
        (
            SessionTrace("relay", "smarthost", "TLSv1.3"),
            {"transport": "relay", "policy": "smarthost", "tls": "TLSv1.3"},
        ),
        (SessionTrace("", "opportunistic"), {"policy": "opportunistic"}),
        (SessionTrace(), {}),
    ],
)
def test_the_line_of_an_attempt_tells_its_way(
    trace: SessionTrace, told: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Transport, TLS policy and TLS version, as far as there are any."""

    async def run() -> None:
        clock, ledger, sent = FakeClock(NOW), Ledger("unit-1", MemoryJournal()), transaction(1024)
        ledger.take(handoff(sent), NOW)
        with ThreadPoolExecutor(1) as executor:
            recorder = Recorder(Notebook(), ledger, executor)
            attempting = Attempting(sent, Keeping(ledger, recorder, clock, lambda _: True))
            attempting.begin()
            attempting.decide(0, Deferred("not now"), trace)
            await recorder.idle()

    with caplog.at_level(logging.INFO, "egret_egress.attempt"):
        asyncio.run(run())
    (line,) = [record.__dict__ for record in caplog.records if record.message == "attempt"]

    assert {name: line[name] for name in ("transport", "policy", "tls") if name in line} == told


@pytest.mark.parametrize("may_begin", [True, False])
def test_an_outcome_that_the_table_will_never_take_is_given_up(
    may_begin: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, with what names the attempt, and its room is free again; the outcomes beside it are recorded."""

    async def run() -> Rig:
        wishes = Wishes(book=Unwilling(), may_begin=lambda _: may_begin)
        async with sinking(Sink()) as sink, rig_for(sink.port, wishes) as rig:
            rig.engine.take(handoff(transaction(1024), transaction(2048)))
            await rig.settle()
            return rig

    rig = asyncio.run(run())
    (said,) = [record for record in caplog.records if record.levelno == logging.ERROR]

    assert (rig.recorder.given_up, rig.recorder.open, rig.ledger.in_hand) == (1, 0, 0)
    assert (said.__dict__["delivery"], said.__dict__["attempt"]) == (1024, 1)
    assert (list(rig.book.outcomes) if may_begin else rig.book.released) == [(2048, 1)]


def test_an_attempt_that_may_not_begin_is_given_back() -> None:
    """Past its own announcement a unit begins nothing: the attempt is released, not sent."""

    async def run() -> tuple[Sink, Notebook]:
        async with sinking(Sink()) as sink, rig_for(sink.port, Wishes(may_begin=lambda _: False)) as rig:
            rig.engine.take(handoff(transaction(1024, 1025)))
            await rig.settle()
            return sink, rig.book

    sink, book = asyncio.run(run())

    assert sorted(book.released) == [(1024, 1), (1025, 1)]
    assert (sink.bodies, book.outcomes) == ([], {})


def test_a_lease_that_runs_out_while_waiting_is_given_back() -> None:
    """What waited for a connection until its lease was over is released, never sent."""

    async def run() -> tuple[Sink, Notebook]:
        wishes = Wishes(limits=PoolLimits(per_host=1))
        async with sinking(Sink(gate=asyncio.Event())) as sink, rig_for(sink.port, wishes) as rig:
            rig.engine.take(handoff(transaction(1024), transaction(2048, domain="b.example")))
            await sink.dots.wait()
            rig.clock.advance(LEASE + timedelta(seconds=1))
            assert sink.gate is not None
            sink.gate.set()
            await rig.settle()
            return sink, rig.book

    sink, book = asyncio.run(run())

    assert (len(sink.bodies), book.released) == (1, [(2048, 1)])
    assert {(1024, 1)} == set(book.outcomes)


def test_room_is_what_is_left() -> None:
    """A unit takes as many deliveries as it has room for and refuses the rest."""

    def other(*ids: int) -> Transaction:
        return transaction(*ids, domain="b.example", account="bbbbbbbb")

    async def run() -> tuple[list[bool], int]:
        wishes = Wishes(capacity=Capacity(deliveries=3))
        async with sinking(Sink(gate=asyncio.Event())) as sink, rig_for(sink.port, wishes) as rig:
            answer = rig.engine.take(handoff(transaction(1024, 1025), other(2048, 2049), other(3072)))
            assert sink.gate is not None
            sink.gate.set()
            await rig.settle()
            return answer.taken, answer.room

    assert asyncio.run(run()) == ([True, False, True], 0)


def test_a_domain_that_hangs_leaves_room_for_others() -> None:
    """A tarpit gets half of the capacity, the next one half of what is left; others are taken all the while."""

    async def run() -> tuple[list[int], list[Full]]:
        wishes = Wishes(capacity=Capacity(deliveries=12))
        async with sinking(Sink(gate=asyncio.Event())) as sink, rig_for(sink.port, wishes) as rig:
            taken = []
            for domain, account in (("a.example", "a"), ("b.example", "b"), ("c.example", "c")):
                many = [transaction(1024 * number, domain=domain, account=account) for number in range(1, 13)]
                taken.append(sum(rig.engine.take(handoff(*many)).taken))
            full = rig.engine.full
            assert sink.gate is not None
            sink.gate.set()
            await rig.settle()
            assert rig.engine.full == []
            return taken, full

    taken, full = asyncio.run(run())

    assert taken == [6, 3, 2]
    assert set(full) == {Full(f"{name}.example") for name in "abc"} | {Full("*", name) for name in "abc"}


def test_an_account_leaves_room_for_others_whatever_domains_it_writes_to() -> None:
    """As many tarpits as it likes do not help it; neither do a few large messages."""

    async def run(capacity: Capacity) -> list[list[bool]]:
        async with sinking(Sink(gate=asyncio.Event())) as sink, rig_for(sink.port, Wishes(capacity=capacity)) as rig:
            many = [transaction(1024 * number, domain=f"{number}.example") for number in range(1, 5)]
            answers = [rig.engine.take(handoff(*many)), rig.engine.take(handoff(transaction(9 << 10, account="b")))]
            assert sink.gate is not None
            sink.gate.set()
            await rig.settle()
            return [answer.taken for answer in answers]

    assert asyncio.run(run(Capacity(deliveries=4))) == [[True, True, False, False], [True]]
    assert asyncio.run(run(Capacity(size_bytes=4 * 22))) == [[True, True, False, False], [True]]


def test_large_contents_are_fetched_once() -> None:
    """Transactions of one message share one fetch."""
    body = b"Subject: big\r\n\r\n" + b"x" * 70 + b"\r\n" + b".dot\r\n" * 50_000
    fetched: list[str] = []

    def fetch(key: str) -> bytes:
        fetched.append(key)
        return body

    async def run() -> Sink:
        async with sinking(Sink()) as sink, rig_for(sink.port, Wishes(fetch=fetch)) as rig:
            content = Content(len(body), key="content/a/1")
            rig.engine.take(handoff(*(transaction(1024 | index, content=content) for index in range(8))))
            await rig.settle()
            return sink

    sink = asyncio.run(run())

    assert fetched == ["content/a/1"]
    assert [body.replace(b"\n.", b"\n..") + b".\r\n"] * 8 == sink.bodies


def test_a_large_message_to_many_is_fetched_once_over_all_its_handoffs() -> None:
    """One connection, so that most of them wait; together they are larger than the budget, the message is not."""
    body = b"Subject: big\r\n\r\n" + b"x" * 200_000 + b"\r\n"
    fetched: list[str] = []

    def fetch(key: str) -> bytes:
        fetched.append(key)
        return body

    async def run() -> tuple[list[bool], int, int]:
        limits = Capacity(size_bytes=3 * len(body), per_place=1, workers=1)
        sink = Sink(gate=asyncio.Event())
        async with sinking(sink), rig_for(sink.port, Wishes(capacity=limits, fetch=fetch)) as rig:
            content, taken = Content(len(body), key="content/a/1"), []
            for first in (0, 5, 10):
                handed = handoff(*(transaction(1024 | first + index, content=content) for index in range(5)))
                taken += rig.engine.take(handed).taken
                await sink.dots.wait()
            held = rig.engine._contents.held.total
            assert sink.gate is not None
            sink.gate.set()
            await rig.settle()
            return taken, held, len(sink.bodies)

    taken, held, delivered = asyncio.run(run())

    assert (taken, held, delivered) == ([True] * 15, len(body), 15)
    assert fetched == ["content/a/1"]


def test_contents_that_cannot_be_fetched_now_give_the_attempt_back() -> None:
    """Storage trouble uses no attempt; a message that is gone is deferred with a reason."""

    def unavailable(key: str) -> bytes | None:
        raise Unavailable

    async def run(fetch: object) -> Notebook:
        wishes = Wishes(fetch=unavailable if fetch else lambda _: None)
        async with sinking(Sink()) as sink, rig_for(sink.port, wishes) as rig:
            rig.engine.take(handoff(transaction(1024, content=Content(5, key="k"))))
            await rig.settle()
            return rig.book

    assert asyncio.run(run(fetch=True)).released == [(1024, 1)]
    outcome = asyncio.run(run(fetch=False)).outcomes[1024, 1].outcome
    assert Deferred("the stored message could not be found") == outcome


class Answers:
    """A `Router` that says no, or fails by a bug."""

    def __init__(self, answer: NextHops | Exception) -> None:
        self._answer = answer

    async def next_hops(self, domain: str) -> NextHops:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    async def addresses(self, host: Host) -> Answer[str]:
        return Answer((), host.name)


def test_no_next_hop_is_an_outcome_without_a_connection() -> None:
    """Null MX and DNS trouble are recorded as they are; a fault of ours counts as deferred."""
    bounced, deferred = Bounced("the recipient's domain takes no mail"), Deferred("no DNS")

    async def run(answer: NextHops | Exception) -> object:
        async with rig_for(1, Wishes(router=Answers(answer))) as rig:
            rig.engine.take(handoff(transaction(1024)))
            await rig.settle()
            return rig.book.outcomes[1024, 1].outcome

    assert bounced == asyncio.run(run(bounced))
    assert deferred == asyncio.run(run(deferred))
    assert isinstance(asyncio.run(run(KeyError("a bug"))), Deferred)


def test_no_connection_is_deferred() -> None:
    """A port where nobody listens is trouble for later."""

    async def run() -> object:
        async with sinking(Sink()) as sink:
            port = sink.port
        async with rig_for(port) as rig:
            rig.engine.take(handoff(transaction(1024)))
            await rig.settle()
            return rig.book.outcomes[1024, 1].outcome

    outcome = asyncio.run(run())

    assert isinstance(outcome, Deferred)
    assert outcome.reason.startswith("the mail server could not be connected to (")


def test_a_drain_gives_back_what_has_not_begun_and_finishes_the_rest() -> None:
    """SIGTERM: what waits goes back to the queue, what is on the wire is finished and recorded."""

    async def run() -> tuple[Sink, Notebook]:
        wishes = Wishes(capacity=Capacity(per_place=1))
        async with sinking(Sink(gate=asyncio.Event())) as sink, rig_for(sink.port, wishes) as rig:
            rig.engine.take(handoff(transaction(1024), transaction(2048)))
            await sink.dots.wait()
            assert sink.gate is not None
            asyncio.get_running_loop().call_later(0.05, sink.gate.set)
            await rig.engine.drain(5)
            return sink, rig.book

    sink, book = asyncio.run(run())

    assert (len(sink.bodies), book.released) == (1, [(2048, 1)])
    assert isinstance(book.outcomes[1024, 1].outcome, Delivered)


def test_a_drain_gives_back_who_waits_for_a_connection() -> None:
    """A transaction that waits for a busy host has not begun: it goes back at once, not when the host has time."""

    async def run() -> Notebook:
        wishes = Wishes(limits=PoolLimits(per_host=1))
        async with sinking(Sink(gate=asyncio.Event())) as sink, rig_for(sink.port, wishes) as rig:
            rig.engine.take(handoff(transaction(1024), transaction(2048, domain="b.example")))
            await sink.dots.wait()
            draining = asyncio.create_task(rig.engine.drain(5))
            async with asyncio.timeout(2):
                while not rig.book.released:  # noqa: ASYNC110 (a thread fills the book)
                    await asyncio.sleep(0.002)
            assert not rig.book.outcomes
            assert sink.gate is not None
            sink.gate.set()
            await draining
            return rig.book

    book = asyncio.run(run())

    assert book.released == [(2048, 1)]
    assert set(book.outcomes) == {(1024, 1)}


def test_a_drain_does_not_wait_for_ever() -> None:
    """A server that does not answer the dot in time leaves an unknown outcome behind."""

    async def run() -> Notebook:
        async with sinking(Sink(gate=asyncio.Event())) as sink, rig_for(sink.port) as rig:
            rig.engine.take(handoff(transaction(1024)))
            await sink.dots.wait()
            await rig.engine.drain(0.05)
            assert sink.gate is not None
            sink.gate.set()
            return rig.book

    assert isinstance(asyncio.run(run()).outcomes[1024, 1].outcome, Unknown)


def test_a_restart_makes_good_what_the_last_run_left() -> None:
    """From its journal a unit releases, records again and says unknown, without a handoff."""
    journal = MemoryJournal()

    async def run() -> Notebook:
        async with rig_for(1, Wishes(journal=journal)) as rig:
            for id_ in (1024, 2048):
                rig.ledger.take(handoff(transaction(id_)), NOW)
            rig.ledger.dot([AttemptKey(ACCOUNT, 2048, 1)], NOW)
            left = journal.crash()
            for id_ in (1024, 2048):
                rig.ledger.finish(AttemptKey(ACCOUNT, id_, 1), Deferred("x"), NOW, timedelta(0))
                rig.ledger.recorded(AttemptKey(ACCOUNT, id_, 1))
        async with rig_for(1, Wishes(journal=left)) as rig:
            await rig.settle()
            return rig.book

    book = asyncio.run(run())

    assert book.released == [(1024, 1)]
    assert isinstance(book.outcomes[2048, 1].outcome, Unknown)


class BrokenDisk(MemoryJournal):
    """A journal whose disk fails once a handoff stands in it."""

    def append(self, *records: bytes) -> None:
        if self.read_all():
            raise OSError(5, "Input/output error")
        super().append(*records)


def test_without_a_note_the_dot_does_not_go() -> None:
    """A disk that fails before the dot means that the message is not sent, and known not to be."""

    async def run() -> tuple[Sink, Notebook]:
        async with sinking(Sink()) as sink, rig_for(sink.port, Wishes(journal=BrokenDisk())) as rig:
            rig.engine.take(handoff(transaction(1024)))
            await rig.settle()
            return sink, rig.book

    sink, book = asyncio.run(run())

    assert sink.bodies == []
    assert (book.released, book.outcomes) == ([(1024, 1)], {})


def test_a_unit_that_cannot_write_its_journal_asks_for_one_at_a_time() -> None:
    """Nothing is claimed in vain but one delivery, which shows when the disk is well again."""

    async def run() -> tuple[int, int]:
        async with sinking(Sink()) as sink, rig_for(sink.port, Wishes(journal=BrokenDisk())) as rig:
            before = rig.engine.room
            rig.engine.take(handoff(transaction(1024)))
            await rig.settle()
            return before, rig.engine.room

    before, after = asyncio.run(run())

    assert before > 1
    assert after == 1


class FaultyLater(MemoryJournal):
    """A journal with a fault of its own in its first write."""

    has_failed = False

    def append(self, *records: bytes) -> None:
        if not self.has_failed:
            self.has_failed = True
            raise ValueError("a bug")
        super().append(*records)


def test_a_handoff_that_fails_holds_no_room() -> None:
    """Nothing of it is in hand, neither delivery nor content, and the same handed over again is delivered."""

    async def run() -> tuple[list[int], Notebook]:
        wishes = Wishes(journal=FaultyLater(), capacity=Capacity(size_bytes=22))
        async with sinking(Sink()) as sink, rig_for(sink.port, wishes) as rig:
            rooms = [rig.engine.room]
            with pytest.raises(ValueError, match="a bug"):
                rig.engine.take(handoff(transaction(1024)))
            rig.engine.take(handoff(transaction(1024)))
            await rig.settle()
            return [*rooms, rig.engine.room], rig.book

    (before, after), book = asyncio.run(run())

    assert before == after
    assert isinstance(book.outcomes[1024, 1].outcome, Delivered)


def test_accounts_of_a_domain_take_turns() -> None:
    """One account's many messages do not make another's single one wait for all of them."""

    async def run() -> list[int]:
        wishes = Wishes(capacity=Capacity(per_place=1))
        order: list[int] = []
        async with sinking(Sink()) as sink, rig_for(sink.port, wishes) as rig:
            many = [transaction(1024 * number) for number in range(1, 40)]
            one = transaction(1024 * 99, account="bbbbbbbb")
            rig.engine.take(handoff(*many, one))
            await rig.settle()
            order.extend(id_ for id_, _ in rig.book.outcomes)
        return order

    assert asyncio.run(run()).index(1024 * 99) < 5


def test_trouble_of_the_system_is_not_taken_for_the_journal_s() -> None:
    """TimeoutError is an OSError: what raises one unexpectedly is a fault of the egress, and uses up the attempt."""

    class Broken:
        async def next_hops(self, domain: str) -> Hops:
            raise TimeoutError

        async def addresses(self, host: Host) -> Answer[str]:
            raise AssertionError

    async def run() -> Notebook:
        async with rig_for(1, Wishes(router=Broken())) as rig:
            rig.engine.take(handoff(transaction(1024)))
            await rig.settle()
            return rig.book

    book = asyncio.run(run())

    assert book.released == []
    outcome = book.outcomes[1024, 1].outcome
    assert isinstance(outcome, Deferred)
    assert outcome.reason == "the egress failed; its operators can read why in its log"
