"""Turn changes of deliveries and mail into what follows: suppressions, DSNs, webhook calls, and the end of contents.

The change stream of the mail table is the outbox: it hands every change over at least once, in order within a delivery.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from egret.contracts.ports import Blobs, CallQueue, Clock, Mailboxes, MailStore, SettingsReader, Suppressions
from egret.contracts.queues import Call
from egret.contracts.records import StoredMail
from egret.contracts.settings import Account
from egret.contracts.stream import MailRecord, StreamRecord, TableChange
from egret.core.errors import Unavailable
from egret.core.events import is_wanted
from egret.usecases.mail_objects import drop_object
from egret.usecases.notify import NotifyPorts, notify
from egret.usecases.suppress import Happening, suppress

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublishPorts:
    """What publishing needs."""

    store: MailStore
    mailboxes: Mailboxes
    blobs: Blobs
    suppressions: Suppressions
    settings: SettingsReader
    call_queue: CallQueue
    clock: Clock
    notifying: NotifyPorts


def publish(ports: PublishPorts, changes: Sequence[TableChange]) -> int:
    """Process changes in order; return how many webhook calls were queued.

    Everything is idempotent. Raises Unavailable, then all of it may be done again.
    """
    records = [change for change in changes if isinstance(change, StreamRecord)]
    mails = [change for change in changes if isinstance(change, MailRecord)]
    happenings = [Happening(record.delivery, event) for record in records for event in record.new_events]
    suppressing = suppress(ports.suppressions, happenings)
    _notify(ports.notifying, happenings)
    calls = [call for one in happenings if (call := _call(ports, one, suppressing))]
    calls += [call for record in mails if record.is_news and (call := _incoming_call(ports, record))]
    if calls:
        ports.call_queue.put(calls)
    gone = [record.delivery for record in records if record.is_removal]
    for account, message_id in dict.fromkeys((delivery.account, delivery.message_id) for delivery in gone):
        ports.store.reap(account, message_id, ports.clock.now())
    for mail in [mail for record in mails if (mail := record.removed)]:
        drop_object(ports.mailboxes, ports.blobs, mail, ports.clock.now())
    return len(calls)


def _notify(ports: NotifyPorts, happenings: Sequence[Happening]) -> None:
    """Notify senders. What cannot be written, of whatever strangers said, holds up no event and no other account."""
    try:
        notify(ports, happenings)
    except Unavailable:
        raise
    except Exception:
        if len(happenings) == 1:
            log.exception("sender not notified", extra={"event": happenings[0].id})
            return
        for one in happenings:
            _notify(ports, [one])


def _incoming_call(ports: PublishPorts, record: MailRecord) -> Call | None:
    """Return the call that tells of mail that came in, None when the account does not want to hear of it."""
    mail = record.new
    account = ports.settings.account(mail.account) if mail else None
    if mail is None or account is None or not wants_mail(account):
        return None
    return call_for_mail(mail, ports.clock.now().isoformat())


def _call(ports: PublishPorts, one: Happening, suppressing: set[str]) -> Call | None:
    account = ports.settings.account(one.delivery.account)
    if account is None or not wants(account, one):
        return None
    return call_for(one, ports.clock.now().isoformat(), suppressing=one.id in suppressing)


def wants(account: Account, one: Happening) -> bool:
    """Tell whether the account has a webhook that is to hear of the event."""
    webhook = account.webhook
    return webhook is not None and not webhook.disabled and is_wanted(one.event.kind, webhook.events)


def wants_mail(account: Account) -> bool:
    """Tell whether the account has a webhook that is to hear of mail that comes in."""
    webhook = account.incoming_webhook
    return webhook is not None and not webhook.disabled


def call_for_mail(mail: StoredMail, queued_at: str) -> Call:
    """Return the call that tells of mail that came in."""
    return Call(mail.account, mail.id, 0, queued_at, is_mail=True)


def call_for(one: Happening, queued_at: str, *, suppressing: bool) -> Call:
    """Return the call that tells an event."""
    return Call(one.delivery.account, one.delivery.id, one.event.seq, queued_at, suppressing)
