"""Promises of egret.usecases.mail_objects: an object lives as long as the last mail that needs it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from egret.contracts.queues import Inbound, InboundRecipient, pack_inbound
from egret.contracts.settings import Account
from egret.memory.blobs import MemoryBlobs
from egret.memory.clock import FakeClock
from egret.memory.queue import MemoryQueue
from egret.usecases.ingest import IngestPorts, ingest
from egret.usecases.mail_objects import ENVELOPE_BYTES, UNSEEN_PATIENCE, drop_object
from egret.usecases.mailbox import message_delete
from egret.usecases.publish import PublishPorts, publish
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT
from tests.unit.sending import SECRETS, Service
from tests.unit.test_mailbox import RAW, ports

KEY = "inbound/2026-03-04/1"


def receive(service: Service, *, taken_in: bool = True) -> None:
    """Let one mail come in for two accounts."""
    recipients = [InboundRecipient("app@example.com", ACCOUNT), InboundRecipient("app@example.org", OTHER_ACCOUNT)]
    service.blobs.put(KEY, pack_inbound(Inbound("in1", NOW.isoformat(), "ann@example.net", recipients), RAW))
    if taken_in:
        ingest(
            IngestPorts(service.store, service.blobs, service.mailboxes, service.clock, service.settings, SECRETS), KEY
        )


def tell(service: Service) -> None:
    """Publish every change of mail so far."""
    bundle = PublishPorts(
        service.store,
        service.mailboxes,
        service.blobs,
        service.suppressions,
        service.settings,
        MemoryQueue(),
        service.clock,
        service.notifying,
    )
    publish(bundle, service.store.table.mail_stream)


def mail_of(service: Service, account: str) -> int:
    """Return the id of the account's mail."""
    return next(id_ for owner, id_ in service.store.table.mails if owner == account)


def test_the_object_goes_with_the_last_recipients_mail() -> None:
    """Not before, though the accounts know nothing of each other."""
    service = Service()
    receive(service)
    message_delete(ports(service), ACCOUNT, mail_of(service, ACCOUNT))
    tell(service)
    first = KEY in service.blobs.objects
    message_delete(ports(service), OTHER_ACCOUNT, mail_of(service, OTHER_ACCOUNT))
    tell(service)

    assert (first, KEY in service.blobs.objects) == (True, False)
    tell(service)


def test_mail_whose_time_is_over_leaves_no_object() -> None:
    """Storage drops its item some time or other; the object goes then."""
    service = Service()
    for account in (ACCOUNT, OTHER_ACCOUNT):
        service.settings.put_account(_keeping(service, account))
    receive(service)
    service.clock.advance(timedelta(days=1))
    tell(service)
    before = KEY in service.blobs.objects
    service.store.drop_forgotten(service.clock.now())
    tell(service)

    assert (before, KEY in service.blobs.objects) == (True, False)


def _keeping(service: Service, account: str) -> Account:
    return replace(service.caller(account).account, keep_mail=timedelta(days=1))


def test_a_recipient_whose_mail_is_still_to_come_keeps_the_object() -> None:
    """Taking in may have been cut short between two recipients; after two weeks nothing comes any more."""
    service = Service()
    receive(service)
    mail = service.store.table.mails.pop((ACCOUNT, mail_of(service, ACCOUNT)))
    service.store.table.mails.clear()
    service.store.table.mail_sources.pop((OTHER_ACCOUNT, "in1", "app@example.org"))

    assert not drop_object(service.mailboxes, service.blobs, mail, NOW)
    assert drop_object(service.mailboxes, service.blobs, mail, NOW + UNSEEN_PATIENCE)
    assert KEY not in service.blobs.objects


class Reading(MemoryBlobs):
    """Objects that note how many bytes of them were read."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__()
        self.objects = objects
        self.read: list[int] = []

    def get(self, key: str) -> bytes | None:
        """Note the whole."""
        self.read.append(len(self.objects[key]))
        return super().get(key)

    def beginning(self, key: str, size_bytes: int) -> bytes | None:
        """Note what was asked for."""
        self.read.append(size_bytes)
        return self.objects[key][:size_bytes]


def test_of_a_large_mail_only_the_envelope_is_read() -> None:
    """A hundred of them may be over at once; an envelope that is longer than usual is read whole."""
    service = Service()
    receive(service)
    mail = service.store.table.mails[ACCOUNT, mail_of(service, ACCOUNT)]
    long = Inbound("in1", NOW.isoformat(), "a" * ENVELOPE_BYTES, [InboundRecipient("app@example.com", ACCOUNT)])
    large = service.blobs.objects[KEY] + b"x" * (1 << 20)

    blobs = Reading({KEY: large})
    assert not drop_object(service.mailboxes, blobs, mail, NOW)
    assert blobs.read == [ENVELOPE_BYTES]
    blobs = Reading({KEY: pack_inbound(long, RAW)})
    assert not drop_object(service.mailboxes, blobs, mail, NOW)
    assert blobs.read == [ENVELOPE_BYTES, len(blobs.objects[KEY])]


def test_a_sent_copy_takes_its_object_along() -> None:
    """Nobody else has it."""
    service = Service()
    service.send(save_sent=True)
    (mail,) = service.store.table.mails.values()
    message_delete(ports(service), ACCOUNT, mail.id)
    tell(service)

    assert mail.blob not in service.blobs.objects


def test_an_object_that_is_not_ours_stays() -> None:
    """It is logged, and holds up nothing."""
    service = Service()
    service.clock = FakeClock(NOW)
    receive(service)
    mail = service.store.table.mails[ACCOUNT, mail_of(service, ACCOUNT)]
    service.blobs.put(KEY, b"no envelope")

    assert not drop_object(service.mailboxes, service.blobs, mail, NOW)
    assert KEY in service.blobs.objects
