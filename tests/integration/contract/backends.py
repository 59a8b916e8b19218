"""What the suites run on: every port at once, in memory or on an emulator of AWS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from egret.contracts.ports import (
    AuthFailures,
    Blobs,
    CallQueue,
    Calls,
    Clock,
    Counters,
    Dice,
    DueIndex,
    HintQueue,
    Idempotency,
    KeyWrapper,
    Mailboxes,
    MailStore,
    OwnFromIds,
    SettingsReader,
    SettingsWriter,
    Suppressions,
    Units,
)
from egret.contracts.queues import Call, Hint
from egret.contracts.reports import DmarcEvaluations, ReceivedReports, ReportSuppressions
from egret.contracts.stream import MailRecord, StreamRecord
from egret.contracts.tls import DomainTls, StsPolicies, TlsResults
from egret.memory.blobs import MemoryBlobs
from egret.memory.calls import MemoryCalls
from egret.memory.clock import FakeClock
from egret.memory.counters import MemoryAuthFailures, MemoryCounters
from egret.memory.dice import SeededDice
from egret.memory.mailboxes import MemoryMailboxes
from egret.memory.own_fromids import MemoryOwnFromIds
from egret.memory.queue import MemoryQueue
from egret.memory.reports import MemoryDmarcEvaluations, MemoryReceivedReports, MemoryReportSuppressions
from egret.memory.settings import MemoryKeyWrapper, MemorySettings
from egret.memory.store import MemoryMailStore
from egret.memory.suppressions import MemorySuppressions
from egret.memory.tls import MemoryDomainTls, MemoryStsPolicies, MemoryTlsResults
from egret.memory.units import MemoryUnits
from tests.samples import NOON

T = TypeVar("T")


@dataclass(frozen=True)
class Backend:
    """The ports over one storage, and the far ends of those that only write.

    name: memory, moto or ministack.
    take_hints, take_calls: what waits in the queues, removed from there. stream, mail_stream: every change of
    a delivery, of a mail in a mailbox, so far.
    upload: PUT to a URL, True when it was taken. download: GET a URL, None when there is nothing.
    """

    name: str
    store: MailStore
    due: DueIndex
    idempotency: Idempotency
    own_fromids: OwnFromIds
    calls: Calls
    counters: Counters
    suppressions: Suppressions
    hints: HintQueue
    call_queue: CallQueue
    units: Units
    blobs: Blobs
    mailboxes: Mailboxes
    sts_policies: StsPolicies
    domain_tls: DomainTls
    tls_results: TlsResults
    dmarc_evaluations: DmarcEvaluations
    report_suppressions: ReportSuppressions
    received_reports: ReceivedReports
    reader: SettingsReader
    writer: SettingsWriter
    wrapper: KeyWrapper
    auth_failures: AuthFailures
    clock: Clock
    dice: Dice
    take_hints: Callable[[], list[Hint]]
    take_calls: Callable[[], list[Call]]
    stream: Callable[[], list[StreamRecord]]
    mail_stream: Callable[[], list[MailRecord]]
    upload: Callable[[str, bytes], bool]
    download: Callable[[str], bytes | None]

    def content(self, stored: bytes | str) -> bytes | None:
        """Return a content of `MailStore.contents`, from the blobs when it is there."""
        return self.blobs.get(stored) if isinstance(stored, str) else stored


def memory_backend() -> Backend:
    """Return new ports in memory."""
    blobs, settings = MemoryBlobs(), MemorySettings()
    store = MemoryMailStore(blobs=blobs)
    hints, calls = MemoryQueue[Hint](), MemoryQueue[Call]()

    return Backend(
        name="memory",
        store=store,
        due=store,
        idempotency=store,
        own_fromids=MemoryOwnFromIds(store.table),
        calls=MemoryCalls(store.table),
        counters=MemoryCounters(),
        suppressions=MemorySuppressions(),
        hints=hints,
        call_queue=calls,
        units=MemoryUnits(),
        blobs=blobs,
        mailboxes=MemoryMailboxes(store.table),
        sts_policies=MemoryStsPolicies(),
        domain_tls=MemoryDomainTls(),
        tls_results=MemoryTlsResults(),
        dmarc_evaluations=MemoryDmarcEvaluations(),
        report_suppressions=MemoryReportSuppressions(),
        received_reports=MemoryReceivedReports(),
        reader=settings,
        writer=settings,
        wrapper=MemoryKeyWrapper(bytes(32)),
        auth_failures=MemoryAuthFailures(),
        clock=FakeClock(NOON),
        dice=SeededDice(1),
        take_hints=lambda: _drain(hints),
        take_calls=lambda: _drain(calls),
        stream=lambda: list(store.stream),
        mail_stream=lambda: list(store.table.mail_stream),
        upload=blobs.upload,
        download=blobs.download,
    )


def _drain(queue: MemoryQueue[T]) -> list[T]:
    taken = queue.take(len(queue))
    queue.delete(*(record.receipt for record in taken))
    return [record.body for record in taken]
