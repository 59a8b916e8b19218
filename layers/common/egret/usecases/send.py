"""Send: check, compose, sign, store, commit, hint.

Nothing is kept of a request that is refused. What was answered with ids is never lost: the delivery (one recipient) or
the submission (several) is one write, with the idempotency record and the copy for the mailbox in the same transaction;
hints are only the fast way, the sweep is the sure one.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from egret.contracts.caller import Caller
from egret.contracts.ports import MailStore
from egret.contracts.queues import Hint
from egret.contracts.records import Acceptance, StoredMail
from egret.contracts.webapi import ErrorCode, SendRequest, SendResult
from egret.core import header
from egret.core.delivery import Delivery, State
from egret.core.errors import InvalidRequest, Unavailable
from egret.core.ids import SENT_INDEX, delivery_id
from egret.core.mailbox import SENT
from egret.usecases.deliveries import hint
from egret.usecases.idempotency import Reservation, in_flight, once, reserve_for
from egret.usecases.prepare import Job, Ready, SendPorts, job_of, prepare
from egret.usecases.threads import thread_of

log = logging.getLogger(__name__)

SENT_FLAGS: Final = frozenset({"$notjunk", r"\seen"})
MAX_TO: Final = 100
"""Recipients in a mailbox's item, for searches."""
REPAIR_AFTER: Final = timedelta(seconds=90)
"""When the sweep takes over the expansion of a submission whose process died."""
MAX_ID_TRIES: Final = 6
"""Ids of one account collide only within 125 ms, and then once in 512."""


def send(
    ports: SendPorts,
    caller: Caller,
    request: SendRequest,
    idempotency_key: str = "",
    facts: dict[str, object] | None = None,
) -> SendResult:
    """Accept a message for all its recipients, or refuse it for all.

    idempotency_key: "" for none. With a key, the same request again gives the same result and sends nothing.
    facts: for the caller's log, gets what is known of the message when this call accepted it, not an earlier one.
    Raises InvalidRequest with a code of the API; Unavailable when storage does not answer, and then it is not known
    whether the message was accepted: ask again, with the same key.
    """

    def work(reservation: Reservation | None) -> SendResult:
        ready = _send(ports, caller, request, reservation)
        if facts is not None:
            facts.update(_facts(ready))
        return ready.result

    if not idempotency_key:
        return work(None)
    now = ports.clock.now()
    body = msgspec.json.encode(request, order="sorted")
    reservation = reserve_for(caller, idempotency_key, body, ports.dice.octets(16).hex(), now)
    answer = once(ports.idempotency, reservation, now, lambda reservation: _encode(work(reservation)))
    return msgspec.json.decode(answer, type=SendResult)


def _encode(result: SendResult) -> str:
    return msgspec.json.encode(result).decode()


def _send(ports: SendPorts, caller: Caller, request: SendRequest, reservation: Reservation | None) -> Ready:
    job = job_of(ports, caller, request)
    ready = prepare(ports, job)
    _charge(ports, job)
    for _ in range(MAX_ID_TRIES):
        match _commit(ports, job, ready, reservation):
            case True:
                _hint(ports, ready.deliveries, job.now)
                return ready
            case False:
                raise in_flight()
            case None:
                ready = prepare(ports, job)
    raise Unavailable(detail=f"{MAX_ID_TRIES} ids in a row were taken in account {caller.account.id}")


def _charge(ports: SendPorts, job: Job) -> None:
    """Count the recipients; last of all checks, since nothing is given back."""
    account = job.caller.account
    day, count = job.now.strftime("%Y-%m-%d"), len(job.suppressed)
    if not ports.counters.add(account.id, day, count, account.messages_per_day):
        raise InvalidRequest(
            ErrorCode.MESSAGE_LIMIT_REACHED,
            f"The account's limit of {account.messages_per_day} messages a day (UTC) would be exceeded.",
        )


def _commit(ports: SendPorts, job: Job, ready: Ready, reservation: Reservation | None) -> bool | None:
    """Store and commit: True. False: the idempotency reservation is lost. None: the id is taken."""
    record = reservation.completed(_encode(ready.result)) if reservation else None
    acceptance = Acceptance(ready.message, ready.deliveries, record)
    if len(ready.deliveries) > 1:
        return _commit_several(ports, job, ready, acceptance)
    if not ports.store.put_message(ready.message, ready.content):
        return None
    acceptance = _with_copy(ports, job, ready, acceptance)
    if ports.store.accept(acceptance):
        return True
    _tidy(lambda: ports.store.reap(ready.message.account, ready.message.id, job.now), acceptance)
    _drop_copy(ports, acceptance)
    return False


def _commit_several(ports: SendPorts, job: Job, ready: Ready, acceptance: Acceptance) -> bool | None:
    acceptance = _with_copy(ports, job, ready, acceptance)
    accepted = ports.store.accept_several(acceptance, ready.content, job.now + REPAIR_AFTER)
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


def _with_copy(ports: SendPorts, job: Job, ready: Ready, acceptance: Acceptance) -> Acceptance:
    """Add the copy for the mailbox, if asked for. Its object is stored first; without the acceptance nobody sees it."""
    if not job.request.save_sent:
        return acceptance
    message = ready.message
    account = job.caller.account
    thread = thread_of(ports.mailboxes, account.id, message.message_id, job.request.references, job.now)
    bcc = header.mailboxes("Bcc", job.admitted.recipients.bcc, smtputf8=message.smtputf8).encode()
    copy = ready.composed.raw(bcc + ready.signatures)
    # The id may yet turn out to be taken, by a message that has a copy of its own.
    blob = f"content/{message.account}/{message.id}-sent-{ports.dice.octets(5).hex()}"
    ports.blobs.put(blob, copy)
    sent = StoredMail(
        account=message.account,
        id=delivery_id(message.id, SENT_INDEX),
        mailbox=SENT,
        blob=blob,
        size_bytes=len(copy),
        received_at=job.now,
        header_from=message.header_from,
        subject=message.subject,
        message_id=message.message_id,
        flags=SENT_FLAGS,
        to=message.recipients[:MAX_TO],
        thread=thread,
        expires_at=job.now + account.keep_mail if account.keep_mail else None,
    )
    return replace(acceptance, sent=sent)


def _hint(ports: SendPorts, deliveries: Sequence[Delivery], now: datetime) -> None:
    """Hint at what may go now, one hint for each recipient domain, so that it travels in one transaction."""
    by_domain: dict[str, list[int]] = defaultdict(list)
    for delivery in deliveries:
        if delivery.state is State.QUEUED and delivery.not_before <= now:
            by_domain[delivery.domain].append(delivery.id)
    hint(ports.hints, [Hint(deliveries[0].account, ids) for ids in by_domain.values()])


def _facts(ready: Ready) -> dict[str, object]:
    """Return what the log tells of an accepted message beside its result."""
    return {
        "submission": ready.message.id,
        "size_bytes": ready.message.size_bytes,
        "states": dict(Counter(delivery.state.value for delivery in ready.deliveries)),
    }
