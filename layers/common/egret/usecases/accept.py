"""Take a message that is composed and signed into the queue: store, commit, hint. There is no other way in.

What was accepted is never lost: the delivery (one recipient) or the submission (several) is one write, with the
idempotency record and the copy for the mailbox in the same transaction; hints are only the fast way, the sweep is the
sure one.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from egret.contracts.ports import (
    Blobs,
    Clock,
    Counters,
    Dice,
    HintQueue,
    Idempotency,
    Mailboxes,
    MailStore,
    SettingsReader,
    Suppressions,
)
from egret.contracts.queues import Hint
from egret.contracts.records import Acceptance, OwnFromId, StoredMail
from egret.contracts.settings import Account, Installation
from egret.contracts.submission import Trouble
from egret.contracts.webapi import ErrorCode, SendResult
from egret.core.delivery import Delivery, Message, State
from egret.core.errors import Conflict, InvalidRequest, Unavailable
from egret.core.ids import SENT_INDEX, delivery_id
from egret.core.mailbox import SENT
from egret.core.secrets import Secrets
from egret.usecases.deliveries import hint
from egret.usecases.idempotency import Reservation, in_flight
from egret.usecases.signing import SigningKeys
from egret.usecases.threads import thread_of

log = logging.getLogger(__name__)

SENT_FLAGS: Final = frozenset({"$notjunk", r"\seen"})
MAX_TO: Final = 100
"""Recipients in a mailbox's item, for searches."""
REPAIR_AFTER: Final = timedelta(seconds=90)
"""When the sweep takes over the expansion of a submission whose process died."""
MAX_ID_TRIES: Final = 6
"""Ids of one account collide only within 125 ms, and then once in 512."""


@dataclass(frozen=True, slots=True)
class SendPorts:
    """What everything that queues mail needs. user_agent: value of that header of composed messages."""

    store: MailStore
    idempotency: Idempotency
    counters: Counters
    suppressions: Suppressions
    blobs: Blobs
    mailboxes: Mailboxes
    settings: SettingsReader
    hints: HintQueue
    clock: Clock
    dice: Dice
    keys: SigningKeys
    secrets: Secrets
    installation: Installation
    user_agent: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """A message with an id, composed and signed, and its deliveries.

    content: as it goes over the wire. copy: what to keep in the mailbox Sent, None for nothing. result: the answer that
    the idempotency record keeps. own_fromid: the submitter's, None without one. references: Message-IDs that it refers
    to, oldest first, for the thread of the copy.
    """

    message: Message
    deliveries: tuple[Delivery, ...]
    content: bytes
    result: SendResult
    copy: bytes | None = None
    own_fromid: OwnFromId | None = None
    references: tuple[str, ...] = ()


def charge(ports: SendPorts, account: Account, now: datetime, count: int) -> None:
    """Count recipients; last of all checks, since nothing is given back. Raises InvalidRequest beyond the limit."""
    if not ports.counters.add(account.id, now.strftime("%Y-%m-%d"), count, account.messages_per_day):
        raise InvalidRequest(
            ErrorCode.MESSAGE_LIMIT_REACHED,
            f"The account's limit of {account.messages_per_day} messages a day (UTC) would be exceeded.",
        )


def accept(ports: SendPorts, ready: Ready, again: Callable[[], Ready], reservation: Reservation | None) -> Ready:
    """Commit a message and hint at it; return it as it was accepted.

    again: makes it anew, with another id, should the id be taken. reservation: completed with the result, in the same
    transaction. Raises InvalidRequest: `idempotencyInFlight` when the reservation is lost, `fromidUsed`; Unavailable
    when storage does not answer, and then it is not known whether the message was accepted.
    """
    for _ in range(MAX_ID_TRIES):
        match _commit(ports, ready, reservation):
            case True:
                _hint(ports, ready)
                return ready
            case False:
                raise in_flight()
            case None:
                ready = again()
    raise Unavailable(detail=f"{MAX_ID_TRIES} ids in a row were taken in account {ready.message.account}")


def encode_result(result: SendResult) -> str:
    """Return a result as the idempotency record keeps it."""
    return msgspec.json.encode(result).decode()


def decode_result(text: str) -> SendResult:
    """Return the result of an earlier acceptance."""
    return msgspec.json.decode(text, type=SendResult)


def _commit(ports: SendPorts, ready: Ready, reservation: Reservation | None) -> bool | None:
    """Store and commit: True. False: the idempotency reservation is lost. None: the id is taken."""
    record = reservation.completed(encode_result(ready.result)) if reservation else None
    acceptance = Acceptance(ready.message, ready.deliveries, record, own_fromid=ready.own_fromid)
    if len(ready.deliveries) > 1:
        return _commit_several(ports, ready, acceptance)
    if not ports.store.put_message(ready.message, ready.content):
        return None
    acceptance = _with_copy(ports, ready, acceptance)
    try:
        if ports.store.accept(acceptance):
            return True
    except Conflict as error:
        _undo(ports, acceptance)
        raise InvalidRequest(Trouble.FROMID_USED, "The fromid in the reverse-path was used before.") from error
    _undo(ports, acceptance)
    return False


def _undo(ports: SendPorts, acceptance: Acceptance) -> None:
    message = acceptance.message
    _tidy(lambda: ports.store.reap(message.account, message.id, message.queued_at), acceptance)
    _drop_copy(ports, acceptance)


def _commit_several(ports: SendPorts, ready: Ready, acceptance: Acceptance) -> bool | None:
    acceptance = _with_copy(ports, ready, acceptance)
    accepted = ports.store.accept_several(acceptance, ready.content, ready.message.queued_at + REPAIR_AFTER)
    if accepted:
        _expand(ports.store, ready)
    else:
        _drop_copy(ports, acceptance)
    return accepted


def _drop_copy(ports: SendPorts, acceptance: Acceptance) -> None:
    """Remove the copy for the mailbox: what is not accepted has none."""
    sent = acceptance.sent
    if sent is not None:
        _tidy(lambda: ports.blobs.delete(sent.blob), acceptance)


def _tidy(work: Callable[[], object], acceptance: Acceptance) -> None:
    """Remove what was stored before the commit that did not come; a storage that does not answer changes no answer."""
    try:
        work()
    except Unavailable as error:
        message = acceptance.message
        ids = {"account": message.account, "submission": message.id}
        log.warning("left behind: what was not accepted", extra={**ids, "error": str(error)})


def _expand(store: MailStore, ready: Ready) -> None:
    """Write the deliveries one by one. It is accepted already: what fails here, the sweep repairs."""
    message = ready.message
    try:
        store.expand(ready.deliveries)
        store.close(message.account, message.id)
    except Unavailable as error:
        log.warning("not expanded", extra={"account": message.account, "submission": message.id, "error": str(error)})


def _with_copy(ports: SendPorts, ready: Ready, acceptance: Acceptance) -> Acceptance:
    """Add the copy for the mailbox, if asked for. Its object is stored first; without the acceptance nobody sees it."""
    if ready.copy is None:
        return acceptance
    message = ready.message
    account = ports.settings.account(message.account)
    thread = thread_of(ports.mailboxes, message.account, message.message_id, ready.references, message.queued_at)
    # The id may yet turn out to be taken, by a message that has a copy of its own.
    blob = f"content/{message.account}/{message.id}-sent-{ports.dice.octets(5).hex()}"
    ports.blobs.put(blob, ready.copy)
    sent = StoredMail(
        account=message.account,
        id=delivery_id(message.id, SENT_INDEX),
        mailbox=SENT,
        blob=blob,
        size_bytes=len(ready.copy),
        received_at=message.queued_at,
        header_from=message.header_from,
        subject=message.subject,
        message_id=message.message_id,
        flags=SENT_FLAGS,
        to=message.recipients[:MAX_TO],
        thread=thread,
        expires_at=message.queued_at + account.keep_mail if account and account.keep_mail else None,
    )
    return replace(acceptance, sent=sent)


def _hint(ports: SendPorts, ready: Ready) -> None:
    """Hint at what may go now, one hint for each recipient domain, so that it travels in one transaction."""
    now = ready.message.queued_at
    by_domain: dict[str, list[int]] = defaultdict(list)
    for delivery in ready.deliveries:
        if delivery.state is State.QUEUED and delivery.not_before <= now:
            by_domain[delivery.domain].append(delivery.id)
    hint(ports.hints, [Hint(ready.message.account, ids) for ids in by_domain.values()])
