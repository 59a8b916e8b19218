"""The simulator: the real use cases on ports in memory, one seed, and everything that can go wrong.

A run has a wild phase, in which the dice choose who does the next step and what fails, and a calm one, in which nothing
fails and time passes until all is told. Then the promises are checked. The same seed gives the same run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from random import Random
from typing import Final

from egret.contracts.handoff import Transaction
from egret.contracts.ports import Egress
from egret.contracts.queues import Call, Hint
from egret.contracts.records import UNIT_GONE_AFTER
from egret.contracts.settings import Account, Installation, RetryPolicy, SendingDomain, WebhookSettings
from egret.core.delivery import Delivery, Lease, State
from egret.core.errors import Unavailable
from egret.core.outcome import Unknown
from egret.core.secrets import derive, fromid_keys
from egret.memory.blobs import MemoryBlobs
from egret.memory.calls import MemoryCalls, MemoryPoster
from egret.memory.clock import FakeClock
from egret.memory.counters import MemoryCounters
from egret.memory.mailboxes import MemoryMailboxes
from egret.memory.queue import MemoryQueue
from egret.memory.settings import MemoryKeyWrapper, MemorySettings
from egret.memory.store import MemoryMailStore
from egret.memory.suppressions import MemorySuppressions
from egret.memory.table import MailTable
from egret.memory.units import MemoryEgress, MemoryUnits
from egret.usecases.accept import SendPorts
from egret.usecases.deliver import DeliverPorts
from egret.usecases.deliveries import DeliveryPorts
from egret.usecases.holds import HoldPorts
from egret.usecases.ingest import IngestPorts
from egret.usecases.notify import NotifyPorts
from egret.usecases.post_webhook import PostPorts
from egret.usecases.publish import PublishPorts
from egret.usecases.record_outcome import Ended, RecordPorts, record_outcome, record_outcomes, release
from egret.usecases.replay import ReplayPorts
from egret.usecases.signing import SigningKeys
from egret.usecases.suppressions import SuppressionPorts
from egret.usecases.sweep import SweepPorts
from egret_egress.ledger import AttemptKey
from tests.fault import builds, checks
from tests.fault.actors import Clients, Functions, Mischief, People, Postmasters, Receivers
from tests.fault.faults import Build, Crash, Faults, HastyEgress, Odds, Violation, faulty, pick
from tests.fault.fleet import Fleet, Surroundings

START: Final = datetime(2026, 3, 4, 23, 30, tzinfo=UTC)
"""Shortly before midnight, so that a day ends during most runs."""
STEPS: Final = 250
CALM_ROUNDS: Final = 600
SECRETS: Final = derive("a secret of the simulated installation", fromid_keys("another one of the simulation"))
WRAPPER: Final = MemoryKeyWrapper(b"k" * 32)
PAUSES: Final = tuple(
    timedelta(seconds=s) for s in (1, 1, 5, 20, 20, 61, 95, 95, 180, 460, 460, 900, 1860, 2460, 4000, 9000)
)


class SimDice:
    """The `Dice` of the product, from the seed. Few bits, so that ids collide."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def number(self) -> float:
        return self._rng.random()

    def bits(self, count: int) -> int:
        return self._rng.getrandbits(min(count, 2))

    def octets(self, count: int) -> bytes:
        return self._rng.randbytes(count)


class Book:
    """Where units record: the use cases, bound to their ports."""

    def __init__(self, ports: RecordPorts) -> None:
        self._ports = ports

    def record(self, account: str, delivery_id: int, attempt: object) -> None:
        record_outcome(self._ports, account, delivery_id, attempt)  # type: ignore[arg-type]

    def record_all(self, ended: Sequence[Ended]) -> None:
        record_outcomes(self._ports, ended)

    def release(
        self, account: str, delivery_id: int, lease: Lease, until: datetime | None = None, waiting: str = ""
    ) -> None:
        release(self._ports, account, delivery_id, lease, until, waiting)


class World:
    """One installation, everybody who uses it, and the dice."""

    def __init__(self, seed: int, build: Build = Build.SOUND, steps: int = STEPS) -> None:
        self.seed, self.build, self.steps = seed, build, steps
        self.rng = Random(seed)
        self.has_strangers = seed % 3 == 0
        """People write to the accounts who have nothing to do with a delivery."""
        self.trace: list[str] = []
        self.clock = FakeClock(START)
        rate = pick(self.rng, (0.002, 0.01, 0.03))
        self.faults = Faults(self.rng, self.clock, Odds(rate, rate, pick(self.rng, (0.01, 0.05))))
        self.faults.note, self.faults.interleave = self.note, self._interleave
        self.most_wishes = 2 + int(self.rng.random() * 5)
        self.received: dict[AttemptKey, str] = {}
        """Attempts by which a remote server took a message, and the unit that made them."""
        self.ever: dict[tuple[str, int], Delivery] = {}
        """Every delivery as it was last seen, dropped ones included."""
        self.first_asked: dict[int, datetime] = {}
        self.secrets, self.started_at = SECRETS, START
        self._seen = 0
        self._make_storage()
        self._make_accounts()
        self._make_people()
        self._make_ports()
        self._menu = self._make_menu()
        self._weights = list(accumulate(weight for weight, _ in self._menu))
        for _ in range(2):
            self.fleet.start()

    # --- making

    def _make_storage(self) -> None:
        self.table = MailTable()
        self.memory_blobs = MemoryBlobs()
        self.store = MemoryMailStore(self.table, self.memory_blobs)
        self.memory_calls = MemoryCalls(self.table)
        self.suppressions = MemorySuppressions()
        self.counters = MemoryCounters()
        self.mailboxes = MemoryMailboxes(self.table)
        self.settings = MemorySettings()
        self.units = MemoryUnits()
        self.hints: MemoryQueue[Hint] = MemoryQueue()
        self.call_queue: MemoryQueue[Call] = MemoryQueue()
        self.inbound: MemoryQueue[str] = MemoryQueue()

    def _make_accounts(self) -> None:
        in_order = self.rng.random() < 0.5
        self.accounts = [
            self._account("abcdefgh", "acme", uses_fromid=True, in_order=in_order),
            self._account("ijklmnop", "other", uses_fromid=False, in_order=not in_order),
        ]

    def _account(self, id_: str, name: str, *, uses_fromid: bool, in_order: bool) -> Account:
        events = frozenset({"delivered", "failed", "complained"}) if self.rng.random() < 0.3 else frozenset[str]()
        account = Account(
            id=id_,
            name=name,
            addresses=(f"app@{name}.example",),
            uses_fromid=uses_fromid,
            keep_deliveries=timedelta(days=30 if self.rng.random() < 0.5 else 0),
            webhook=WebhookSettings(f"https://hooks.example/{id_}", events=events, in_order=in_order),
            incoming_webhook=WebhookSettings(f"https://hooks.example/mail/{id_}"),
        )
        self.settings.put_account(account)
        self.settings.put_domain(SendingDomain(f"{name}.example", id_, f"bounces.{name}.example"))
        return account

    def _make_people(self) -> None:
        self.clients, self.functions = Clients(self), Functions(self)
        self.people, self.mischief = People(self), Mischief(self)
        self.receivers, self.postmasters = Receivers(self), Postmasters(self)

    def _make_ports(self) -> None:
        faults, clock, retry = self.faults, self.clock, RetryPolicy()
        sound = faulty(self.store, "store", faults)
        store = builds.store(self, sound)
        suppressions = faulty(builds.suppressions(self), "suppressions", faults)
        hints, calls = faulty(self.hints, "hints", faults), faulty(self.call_queue, "call queue", faults)
        records = faulty(self.memory_calls, "calls", faults)
        blobs = faulty(self.memory_blobs, "blobs", faults)
        dice = SimDice(self.rng)
        recording = RecordPorts(sound, clock, retry)
        self.fleet = Fleet(
            Surroundings(
                self.rng,
                clock,
                faults,
                self.units,
                Book(recording),
                self._has_content,
                self._receive,
                self.note,
                self.build,
            )
        )
        egress: Egress = faulty(MemoryEgress(self.fleet.hand), "egress", faults)
        if self.build is Build.HASTY_RELEASE:
            egress = HastyEgress(egress)
        mailboxes = faulty(self.mailboxes, "mailboxes", faults)
        self.sending = SendPorts(
            store=store,
            idempotency=sound,
            counters=faulty(self.counters, "counters", faults),
            suppressions=suppressions,
            blobs=blobs,
            mailboxes=mailboxes,
            settings=self.settings,
            hints=hints,
            clock=clock,
            dice=dice,
            keys=SigningKeys(WRAPPER),
            secrets=SECRETS,
            installation=Installation("mail.egret.example"),
            user_agent="egret",
        )
        units = faulty(self.units, "units", faults)
        self.delivering = DeliverPorts(store, suppressions, self.settings, units, egress, clock, retry)
        self.sweeping = SweepPorts(sound, sound, records, calls, hints, units, clock)
        notifying = NotifyPorts(sound, blobs, mailboxes, self.settings, "mail.egret.example", retry, _no_mail)
        self.publishing = PublishPorts(sound, mailboxes, blobs, suppressions, self.settings, calls, clock, notifying)
        poster = faulty(MemoryPoster(self.receivers.answer), "poster", faults)
        self.posting = PostPorts(
            sound, mailboxes, blobs, records, self.settings, self.settings, poster, clock, dice, map
        )
        self.ingesting = IngestPorts(sound, blobs, mailboxes, clock, self.settings, SECRETS)
        self.arriving = faulty(self.memory_blobs, "port 25", faults)
        self.steering = DeliveryPorts(sound, self.settings, units, hints, clock, SECRETS.cursor)
        self.suppressing = SuppressionPorts(suppressions, clock, dice)
        self.replaying = ReplayPorts(sound, mailboxes, self.settings, suppressions, calls, clock)
        self.holding = HoldPorts(self.settings, self.settings, sound, clock, dice)

    # --- what is seen

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.clock.now():%d %H:%M:%S.%f} {'  ' * self.faults.depth}{text}")

    def _has_content(self, transaction: Transaction) -> bool:
        content = transaction.content
        return content.inline is not None or self.memory_blobs.get(content.key) is not None

    def _receive(self, key: AttemptKey, unit: str) -> None:
        """A remote server takes a message: never twice by one attempt, and again only after an unknown one."""
        self.note(f"RECEIVED {key} by {unit}")
        if key in self.received:
            raise Violation(f"received twice by {key}: by {self.received[key]} and by {unit}")
        delivery = self.table.deliveries.get((key.account, key.delivery_id))
        for earlier in [one for one in self.received if one[:2] == key[:2]]:
            tried = delivery.attempts[earlier.attempt - 1 :] if delivery else ()
            if not tried or not isinstance(tried[0].outcome, Unknown):
                raise Violation(f"received again by {key} although {earlier} is not recorded as unknown")
        self.received[key] = unit

    # --- steps

    def _make_menu(self) -> list[tuple[int, Callable[[], object]]]:
        return [
            (10, self.clients.send),
            (4, self.clients.ask_again),
            (14, self.functions.deliver),
            (7, self.functions.sweep),
            (14, self.functions.stream),
            (12, self.functions.post),
            (4, self.functions.ingest),
            (45, self._engine),
            (2, self.fleet.arrive),
            (14, self._pause),
            (2, self._kill),
            (2, self._drain),
            (3, self._start),
            (2, self._cut),
            (2, self.mischief.loses),
            (2, self.mischief.duplicates),
            (2, self.mischief.delays),
            (4, self.postmasters.write),
            (3, self.postmasters.send_again),
            (3, self.people.steer),
            (2, self.people.unsuppress),
            (1, self.people.suppress),
            (1, self.people.hold),
            (1, self.people.replay),
            (1, self._drop),
        ]

    def step(self) -> None:
        """Let the dice choose who does the next step; a crash ends that step, and only that."""
        (chosen,) = self.rng.choices(self._menu, cum_weights=self._weights)
        self._attempt(chosen[1])
        self._look()

    def _interleave(self) -> None:
        for _ in range(1 + int(self.rng.random() * 6)):
            (chosen,) = self.rng.choices(self._menu, cum_weights=self._weights)
            self._attempt(chosen[1])

    def _attempt(self, step: Callable[[], object]) -> None:
        try:
            step()
        except (Crash, Unavailable):
            return

    def _engine(self) -> None:
        if not self.fleet.running:
            return
        process = pick(self.rng, list(self.fleet.running.values()))
        try:
            process.step()
        except Crash:
            self.fleet.kill(process)

    def _pause(self) -> None:
        """Let time pass: mostly seconds, now and then more than a lease."""
        self.pass_time(pick(self.rng, PAUSES))

    def pass_time(self, duration: timedelta) -> None:
        """Let time pass for everybody."""
        self.note(f"time passes: {duration}")
        self.clock.advance(duration)
        self.fleet.tick()
        builds.age(self)

    def _kill(self) -> None:
        dice = self.rng.random()
        if self.fleet.running:
            victim = pick(self.rng, list(self.fleet.running.values()))
            self.fleet.kill(victim, power=dice < 0.4, volume=dice < 0.85)

    def _start(self) -> None:
        if self.fleet.down and self.rng.random() < 0.8:
            self.fleet.restart(pick(self.rng, sorted(self.fleet.down)))
        elif len(self.fleet.running) < 2:
            self.fleet.start()

    def _drain(self) -> None:
        """Let a unit drain; when it already does, end it: withdrawn if it has nothing left."""
        draining = [process for process in self.fleet.processes() if process.is_draining]
        if not draining:
            if self.fleet.running:
                pick(self.rng, list(self.fleet.running.values())).drain()
            return
        process = draining[0]
        process.stop()
        if process.is_idle and not process.ledger.in_hand:
            self.note(f"{process.id} withdraws")
            self.units.remove(process.id)
            self.fleet.kill(process)
            self.fleet.down.pop(process.id)
        else:
            self.fleet.kill(process)

    def _cut(self) -> None:
        """Cut a unit off from the table, or connect it again."""
        if self.fleet.running:
            process = pick(self.rng, list(self.fleet.running.values()))
            process.is_cut_off = not process.is_cut_off
            self.note(f"{process.id} is {'cut off' if process.is_cut_off else 'connected again'}")

    def _drop(self) -> None:
        self.store.drop_forgotten(self.clock.now())

    def _look(self) -> None:
        stream = self.store.stream
        for record in stream[self._seen :]:
            self.ever[record.delivery.account, record.delivery.id] = record.delivery
        self._seen = len(stream)
        checks.always(self)

    # --- the two phases

    def run(self) -> None:
        """Run both phases and check. Raises Violation."""
        for _ in range(self.steps):
            self.step()
        self._calm_down()
        self._settle()
        checks.before_replay(self)
        self.people.replay()
        self._settle()
        self._look()
        checks.at_the_end(self)
        self._forget()
        checks.forgotten(self)

    def _calm_down(self) -> None:
        """Repair everything; nothing fails from here on."""
        self.note("CALM")
        self.faults.enabled = False
        self.receivers.are_well = True
        for process in self.fleet.processes():
            process.is_cut_off = False
            if process.is_draining:
                process.stop()
                self.fleet.kill(process)
        for unit_id in sorted(self.fleet.down):
            self.fleet.restart(unit_id)
        if not self.fleet.running:
            self.fleet.start()
        self.fleet.tick()
        while self.fleet.late:
            self.fleet.arrive()
        while any(not mail.is_taken for mail in self.postmasters.mails):
            self.postmasters.send_again()
        self.people.let_go()
        builds.flush(self)

    def _settle(self) -> None:
        for _ in range(CALM_ROUNDS):
            self.functions.sweep()
            self._drain_queues()
            self._answer_clients()
            self.people.let_go()
            if self._is_settled():
                return
            self.pass_time(self._next_pause())
        raise Violation(f"not settled after {CALM_ROUNDS} rounds: {checks.open_things(self)}")

    def _drain_queues(self) -> None:
        while len(self.hints):
            self.functions.deliver()
        for process in self.fleet.processes():
            while not process.is_idle:
                process.step()
        for _ in range(3):
            while len(self.inbound):
                self.functions.ingest()
            while self.functions.stream():
                pass
            while len(self.call_queue):
                self.functions.post()

    def _answer_clients(self) -> None:
        for wish in self.clients.wishes:
            if wish.key and not wish.answers and not wish.is_over:
                self.clients.ask(wish)

    def _is_settled(self) -> bool:
        return not checks.open_things(self)

    def _next_pause(self) -> timedelta:
        """Return how long to wait until something is due, at least a moment."""
        now = self.clock.now()
        instants = [now + timedelta(minutes=10)] if checks.has_open_wishes(self) else [now + timedelta(hours=6)]
        for delivery in self.table.deliveries.values():
            instants += [
                one for one in (delivery.due_at, delivery.not_before) if one and not delivery.state.is_terminal
            ]
            if delivery.lease is not None:
                row = self.units.get(delivery.lease.unit)
                instants += [delivery.lease.until, row.valid_until + UNIT_GONE_AFTER] if row else []
        instants += [submission.repair_at for submission in self.table.submissions.values()]
        instants += [record.due_at for record in self.table.calls.values() if record.due_at is not None]
        return min(instant for instant in instants if instant > now) - now + timedelta(milliseconds=1)

    def _forget(self) -> None:
        """Let every retention pass."""
        self.pass_time(timedelta(days=62))
        self.store.drop_forgotten(self.clock.now())
        while self.functions.stream():
            pass


def _no_mail(*mail: object, **_: object) -> None:
    raise Violation(f"nobody asked for a notification by SMTP: {mail}")


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to. violation: "" when every promise was kept."""

    seed: int
    violation: str
    trace: list[str]


def simulate(seed: int, build: Build = Build.SOUND, steps: int = STEPS) -> Result:
    """Run one seed."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    world = World(seed, build, steps)
    try:
        world.run()
    except Violation as violation:
        return Result(seed, str(violation), world.trace)
    finally:
        logging.disable(before)
    return Result(seed, "", world.trace)


__all__ = ["STEPS", "Build", "Result", "State", "World", "simulate"]
