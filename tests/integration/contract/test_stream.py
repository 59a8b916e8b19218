"""The contract of the change stream: every write of a delivery is in it, as it was and as it is."""

from __future__ import annotations

from datetime import timedelta

from msgspec.structs import replace

from egret.contracts.stream import StreamRecord
from egret.core.changes import Claim, Record
from egret.core.delivery import Attempt, Delivery
from egret.core.events import EventKind
from egret.core.lifecycle import apply
from egret.core.outcome import Bounced
from egret.core.reply import Reply
from tests.integration.contract.backends import Backend
from tests.samples import CONTENT, HOUR, NOON, acceptance, busy, delivery, message


def test_every_write_of_a_delivery_is_streamed(backend: Backend, account: str) -> None:
    """The insert without an old image, then each replacement with both; in order, and nothing else."""
    backend.store.put_message(message(account), CONTENT)
    backend.store.accept(acceptance(account))
    changed = replace(busy(account), rev=2)
    backend.store.replace(delivery(account), changed)
    backend.store.replace(delivery(account), replace(changed, reverse_path="late"))
    backend.store.expand([delivery(account)])

    assert [StreamRecord(None, delivery(account)), StreamRecord(delivery(account), changed)] == backend.stream()


def test_plans_are_not_streamed_as_deliveries(backend: Backend, account: str) -> None:
    """Deliveries of a submission of several appear when they are expanded."""
    wanted = acceptance(account, recipients=2)
    backend.store.accept_several(wanted, CONTENT, NOON)
    before = backend.stream()
    backend.store.expand(wanted.deliveries)
    backend.store.close(account, wanted.message.id)

    assert before == []
    assert [StreamRecord(None, d) for d in wanted.deliveries] == sorted(
        backend.stream(), key=lambda record: record.delivery.id
    )


def test_outcome_and_event_are_one_record(backend: Backend, account: str) -> None:
    """The write that records an outcome brings its event; the claim before it brings none."""
    queued = delivery(account)
    backend.store.expand([queued])
    claimed = apply(queued, Claim("unit-a", NOON + HOUR, NOON + 2 * HOUR))
    assert isinstance(claimed, Delivery)
    outcome = Bounced("refused", Reply(550, ("5.1.1 no such user",)))
    ended = apply(claimed, Record(Attempt(1, NOON + HOUR, timedelta(seconds=1), outcome), None, NOON + HOUR))
    assert isinstance(ended, Delivery)
    backend.store.replace(queued, claimed)
    backend.store.replace(claimed, ended)

    assert [[event.kind for event in record.new_events] for record in backend.stream()] == [[], [], [EventKind.FAILED]]
