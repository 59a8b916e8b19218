"""Replay: derive events again from deliveries and mail, for receivers that lost them, or after a fault of ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from egret.contracts.ports import CallQueue, Clock, Mailboxes, MailStore, SettingsWriter, Suppressions
from egret.contracts.queues import Call
from egret.contracts.records import DeliveryFilter, MailFilter
from egret.contracts.settings import Account
from egret.usecases.publish import call_for, call_for_mail, wants, wants_mail
from egret.usecases.suppress import Happening, suppress

log = logging.getLogger(__name__)

PAGE = 100


@dataclass(frozen=True, slots=True)
class ReplayPorts:
    """What replay needs."""

    store: MailStore
    mailboxes: Mailboxes
    settings: SettingsWriter
    suppressions: Suppressions
    call_queue: CallQueue
    clock: Clock


def replay(ports: ReplayPorts, since: datetime, account: str = "") -> int:
    """Run every event since an instant through `suppress` again and queue its call, and those of mail that came in.

    Returns how many calls were queued.

    account: id of the one to replay, "" = all. Events keep their ids, so that receivers drop what they know; what a
    person took off the suppression list stays off. Deliveries past their retention are gone. Raises Unavailable; then
    it may be run again.
    """
    queued = 0
    for one in ports.settings.accounts():
        if account in ("", one.id):
            queued += sum(_replay_page(ports, one, page) for page in _pages(ports, one.id, since))
            queued += _replay_mail(ports, one, since)
    log.info("replayed", extra={"since": since.isoformat(), "calls": queued})
    return queued


def _pages(ports: ReplayPorts, account: str, since: datetime) -> Iterator[list[Happening]]:
    """Yield an account's events since the instant, page by page.

    Every delivery is looked at: a DSN may come weeks after the message was queued.
    """
    cursor = ""
    while True:
        page = ports.store.list(account, DeliveryFilter(), cursor, PAGE, ports.clock.now())
        yield [Happening(delivery, event) for delivery in page.items for event in delivery.events if event.at >= since]
        if not page.cursor:
            return
        cursor = page.cursor


def _replay_page(ports: ReplayPorts, account: Account, happenings: list[Happening]) -> int:
    suppressing = suppress(ports.suppressions, happenings)
    queued_at = ports.clock.now().isoformat()
    calls: list[Call] = [
        call_for(one, queued_at, suppressing=one.id in suppressing) for one in happenings if wants(account, one)
    ]
    if calls:
        ports.call_queue.put(calls)
    return len(calls)


def _replay_mail(ports: ReplayPorts, account: Account, since: datetime) -> int:
    """Queue the calls of mail that came in since the instant and is still there; return how many."""
    if not wants_mail(account):
        return 0
    now, cursor, queued = ports.clock.now(), "", 0
    while True:
        page = ports.mailboxes.list(account.id, MailFilter(since=since), cursor, PAGE, now)
        calls = [call_for_mail(mail, now.isoformat()) for mail in page.items if mail.is_news]
        if calls:
            ports.call_queue.put(calls)
        queued += len(calls)
        cursor = page.cursor
        if not cursor:
            return queued
