"""An installation in memory for the functions: every port, one account with a webhook, one unit, one delivery."""

from __future__ import annotations

from dataclasses import dataclass, field

from egret.contracts.handoff import Handoff, HandoffAnswer
from egret.contracts.queues import Call, Hint, Inbound, InboundRecipient, encode_queue_body, pack_inbound
from egret.contracts.records import Acceptance, Unit
from egret.contracts.settings import RetryPolicy, WebhookSettings
from egret.core.delivery import Delivery
from egret.core.ids import delivery_id
from egret.memory.blobs import MemoryBlobs
from egret.memory.calls import MemoryCalls, MemoryPoster
from egret.memory.clock import FakeClock
from egret.memory.dice import SeededDice
from egret.memory.due import MemoryDueIndex
from egret.memory.mailboxes import MemoryMailboxes
from egret.memory.queue import MemoryQueue
from egret.memory.settings import MemorySettings
from egret.memory.store import MemoryMailStore
from egret.memory.suppressions import MemorySuppressions
from egret.memory.units import MemoryEgress, MemoryUnits
from egret.usecases.deliver import DeliverPorts
from egret.usecases.ingest import IngestPorts
from egret.usecases.post_webhook import PostPorts
from egret.usecases.record_outcome import RecordPorts, record_outcome
from egret.usecases.sweep import SweepPorts
from functions.deliver import handler as deliver_function
from tests.aws_events import sqs_event
from tests.unit.builders import ACCOUNT, MESSAGE_ID, NOW, OK, a_delivery, a_message, a_unit, an_attempt
from tests.unit.sending import SECRETS, an_account

SECRET = "hunter2-hunter2"
HOOK = WebhookSettings("https://hooks.example.com/egret", authorization=f"Bearer {SECRET}")


@dataclass
class World:
    """An installation in memory with one account, one unit and one delivery."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    blobs: MemoryBlobs = field(default_factory=MemoryBlobs)
    suppressions: MemorySuppressions = field(default_factory=MemorySuppressions)
    settings: MemorySettings = field(default_factory=MemorySettings)
    units: MemoryUnits = field(default_factory=MemoryUnits)
    hints: MemoryQueue[Hint] = field(default_factory=MemoryQueue)
    calls: MemoryQueue[Call] = field(default_factory=MemoryQueue)
    poster: MemoryPoster = field(default_factory=MemoryPoster)
    handed: list[Handoff] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = MemoryMailStore(blobs=self.blobs)
        self.units.put(a_unit())
        self.settings.put_account(an_account(webhook=HOOK))
        self.accept(0)

    def accept(self, index: int, account: str = ACCOUNT) -> Hint:
        """Accept a message of its own, and return the hint."""
        id_ = delivery_id(MESSAGE_ID + (index << 10), 0)
        message = a_message(id=id_, account=account)
        self.store.put_message(message, b"content")
        self.store.accept(Acceptance(message, (a_delivery(id=id_, account=account),)))
        return Hint(account, [id_])

    def get(self, id_: int = MESSAGE_ID) -> Delivery:
        """Return a delivery as stored."""
        found = self.store.get(ACCOUNT, id_, self.clock.now())
        assert found is not None
        return found

    def hand(self, _: Unit, handoff: Handoff) -> HandoffAnswer:
        """Take everything."""
        self.handed.append(handoff)
        return HandoffAnswer([True] * len(handoff.transactions), 100)

    @property
    def delivering(self) -> DeliverPorts:
        """The ports of deliver."""
        egress = MemoryEgress(self.hand)
        return DeliverPorts(self.store, self.suppressions, self.settings, self.units, egress, self.clock, RetryPolicy())

    @property
    def posting(self) -> PostPorts:
        """The ports of the webhook poster."""
        return PostPorts(
            self.store,
            MemoryMailboxes(self.store.table),
            self.blobs,
            MemoryCalls(self.store.table),
            self.settings,
            self.settings,
            self.poster,
            self.clock,
            SeededDice(),
            map,
        )

    @property
    def ingesting(self) -> IngestPorts:
        """The ports of ingest."""
        return IngestPorts(
            self.store, self.blobs, MemoryMailboxes(self.store.table), self.clock, self.settings, SECRETS
        )

    @property
    def sweeping(self) -> SweepPorts:
        """The ports of the sweep."""
        return SweepPorts(
            self.store,
            MemoryDueIndex(self.store.table),
            MemoryCalls(self.store.table),
            self.calls,
            self.hints,
            self.units,
            self.clock,
        )


def delivered(world: World, account: str = ACCOUNT) -> Call:
    """Bring the account's delivery to its end and return the call that tells of it."""
    deliver_function.run(world.delivering, sqs_event(encode_queue_body(world.accept(0, account))))
    record_outcome(RecordPorts(world.store, world.clock, RetryPolicy()), account, MESSAGE_ID, an_attempt(1, OK))
    return Call(account, MESSAGE_ID, 1, NOW.isoformat())


def mail_of(world: World, key: str) -> None:
    """Store an incoming mail."""
    envelope = Inbound("in-1", NOW.isoformat(), "", [InboundRecipient("app@example.com", ACCOUNT)])
    world.blobs.put(key, pack_inbound(envelope, b"From: a@example.net\r\nSubject: hello\r\n\r\nhello\r\n"))
