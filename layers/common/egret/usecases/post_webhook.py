"""Tell an account's webhooks what became of its deliveries, and what mail came in.

One call record is written per try. A call that a newer event of the same delivery overtakes is not made (unless the
account asks for every event in order). A URL that keeps failing is left alone for a while by its breaker.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

import msgspec

from egret.contracts.ports import (
    Blobs,
    Calls,
    Clock,
    Dice,
    Mailboxes,
    MailStore,
    SettingsReader,
    SettingsWriter,
    WebhookPoster,
)
from egret.contracts.queues import Call
from egret.contracts.records import Breaker, CallRecord, CallResult, PostAnswer, StoredMail
from egret.contracts.settings import Account, WebhookSettings
from egret.core.errors import ContractError, EgretError, InvalidRequest, Unavailable
from egret.core.events import Event, incoming_id, is_wanted
from egret.core.retry import WEBHOOK_LONGEST_PAUSE, WebhookRetry, next_webhook_attempt
from egret.usecases.incoming_call import incoming_payload
from egret.usecases.mail_objects import raw_of
from egret.usecases.own_reports import is_own_report
from egret.usecases.suppress import Happening
from egret.usecases.webhook_call import TIMEOUT, headers, is_gone, is_success, payload, retry_after

log = logging.getLogger(__name__)

BREAKER_TRIES = 5
"""Failures in a row after which a URL is left alone."""
BREAKER_FIRST = timedelta(seconds=30)
BREAKER_LONGEST = timedelta(minutes=15)
ORDER_PAUSE = timedelta(minutes=1)
"""How long at least a call waits before it looks again whether the event before it was told."""
UNSEEN_PATIENCE = timedelta(hours=6)
"""An event whose call nobody has seen by then was never queued (the webhook was set later), and holds up no other."""
CALL_LIFETIME = timedelta(hours=36)
"""Longer than the whole schedule of retries: a call that only waited for so long is given up."""
ORDER_PATIENCE = CALL_LIFETIME
"""An event that was not told by then holds up the next one no longer."""

DELIVERED, FAILED, WAITING = "delivered", "failed", "waiting"
SUPERSEDED, CANCELED = "superseded", "canceled"
INCOMING = "incoming"
"""The event of a call about mail."""
LARGE_BYTES = 2 << 20
"""Of a mail: larger ones are read under `PostPorts.reading_large`."""

SideBySide = Callable[[Callable[[list[Call]], list[Call]], Iterable[list[Call]]], Iterable[list[Call]]]
"""Runs one job per account: `map`, or that of a thread pool."""


@dataclass(frozen=True, slots=True)
class PostPorts:
    """What posting needs.

    reading_large: held while a large mail is read, so that jobs side by side do not read more than fits into memory.
    """

    store: MailStore
    mailboxes: Mailboxes
    blobs: Blobs
    calls: Calls
    settings: SettingsReader
    settings_writer: SettingsWriter
    poster: WebhookPoster
    clock: Clock
    dice: Dice
    side_by_side: SideBySide
    retry: WebhookRetry = field(default_factory=WebhookRetry)
    reading_large: AbstractContextManager[object] = field(default_factory=nullcontext)


@dataclass(slots=True)
class _Endpoint:
    """A webhook of an account while its calls are made. is_incoming: the one that hears of mail."""

    account: Account
    webhook: WebhookSettings
    breaker: Breaker
    is_incoming: bool
    is_gone: bool = False


@dataclass(frozen=True, slots=True)
class _Told:
    """Everything about one call.

    id: of the event. kind: its name. events: all of its delivery, () for mail. write: makes the body.
    """

    call: Call
    queued_at: datetime
    id: str
    kind: str
    events: tuple[Event, ...]
    write: Callable[[], bytes]


def post_webhooks(ports: PostPorts, calls: Sequence[Call]) -> list[Call]:
    """Make calls; return those that could not be dealt with because storage failed, to be queued again.

    A receiver that refuses or does not answer is dealt with: the call record says when it is tried again.
    """
    by_webhook: dict[tuple[str, bool], list[Call]] = defaultdict(list)
    for call in calls:
        by_webhook[call.account, call.is_mail].append(call)
    return [call for left in ports.side_by_side(lambda own: _run(ports, own), by_webhook.values()) for call in left]


def _run(ports: PostPorts, calls: list[Call]) -> list[Call]:
    """Make the calls of a webhook one after the other; a failure of storage leaves that call and the rest for later."""
    try:
        endpoint = _endpoint(ports, calls[0])
        told = _load_mails(ports, calls) if calls[0].is_mail else _load(ports, calls)
    except Unavailable:
        log.exception("webhook calls cannot be read", extra={"account": calls[0].account})
        return calls
    except EgretError:
        log.exception("webhook calls dropped", extra={"account": calls[0].account, "calls": len(calls)})
        return []
    for position, call in enumerate(calls):
        try:
            _deal_with(ports, endpoint, call, told.get(call))
        except Unavailable:
            log.exception("webhook call cannot be recorded", extra=_ids(call))
            return calls[position:]
        except EgretError:
            log.exception("webhook call dropped", extra=_ids(call))
    return []


def _ids(call: Call) -> dict[str, object]:
    return {"account": call.account, "delivery": call.delivery_id, "event": call.seq, "attempt": call.attempts + 1}


def _endpoint(ports: PostPorts, call: Call) -> _Endpoint | None:
    """Return where a call goes, None when it is no longer wanted."""
    account = ports.settings.account(call.account)
    webhook = _webhook(account, is_incoming=call.is_mail)
    if account is None or webhook is None or webhook.disabled:
        return None
    # Mails have no order among each other.
    webhook = replace(webhook, in_order=False) if call.is_mail else webhook
    return _Endpoint(account, webhook, ports.calls.breaker(account.id, webhook.url), call.is_mail)


def _webhook(account: Account | None, *, is_incoming: bool) -> WebhookSettings | None:
    if account is None:
        return None
    return account.incoming_webhook if is_incoming else account.webhook


def _load(ports: PostPorts, calls: Sequence[Call]) -> dict[Call, _Told]:
    """Read deliveries and messages of all calls at once; some are left out.

    What has been forgotten, what cannot be read, and reports of our own.
    """
    keys = sorted({(call.account, call.delivery_id) for call in calls})
    try:
        deliveries = ports.store.get_many(keys, ports.clock.now())
        messages = ports.store.messages(sorted({(d.account, d.message_id) for d in deliveries.values()}))
    except ContractError:
        if len(calls) == 1:
            log.exception("delivery of a webhook call cannot be read", extra=_ids(calls[0]))
            return {}
        return {key: told for call in calls for key, told in _load(ports, [call]).items()}
    found = {}
    for call in calls:
        delivery = deliveries.get((call.account, call.delivery_id))
        event = next((e for e in delivery.events if e.seq == call.seq), None) if delivery else None
        message = messages.get((delivery.account, delivery.message_id)) if delivery else None
        queued_at = _queued_at(call)
        if delivery and event and message and queued_at and not is_own_report(message):
            one = Happening(delivery, event)
            write = partial(payload, call, one, message)
            found[call] = _Told(call, queued_at, one.id, event.kind.value, delivery.events, write)
    return found


def _load_mails(ports: PostPorts, calls: Sequence[Call]) -> dict[Call, _Told]:
    """Read the mails of all calls, without their contents; what was removed, or cannot be read, is left out."""
    found = {}
    for call in calls:
        try:
            mail = ports.mailboxes.get(call.account, call.delivery_id, ports.clock.now())
        except ContractError:
            log.exception("mail of a webhook call cannot be read", extra=_ids(call))
            continue
        queued_at = _queued_at(call)
        if mail and queued_at:
            write = partial(_incoming_body, ports, mail)
            found[call] = _Told(call, queued_at, incoming_id(mail.account, mail.id), INCOMING, (), write)
    return found


def _incoming_body(ports: PostPorts, mail: StoredMail) -> bytes:
    with ports.reading_large if mail.size_bytes > LARGE_BYTES else nullcontext():
        return incoming_payload(mail, raw_of(ports.blobs, mail), incoming_id(mail.account, mail.id))


def _queued_at(call: Call) -> datetime | None:
    try:
        at = datetime.fromisoformat(call.queued_at)
    except ValueError:
        return None
    return at if at.tzinfo else None


def _deal_with(ports: PostPorts, endpoint: _Endpoint | None, call: Call, told: _Told | None) -> None:
    if endpoint is None or endpoint.is_gone or told is None:
        _cancel(ports, call, "nothing to tell" if told is None else "no webhook")
    else:
        try:
            _post_one(ports, endpoint, told)
        except InvalidRequest as error:
            _cancel(ports, call, error.public)


def _cancel(ports: PostPorts, call: Call, reason: str) -> None:
    """Make no further try; a record that waits would bring the call back for ever."""
    log.info("webhook call canceled", extra={**_ids(call), "reason": reason})
    known = ports.calls.get(call.account, call.delivery_id, call.seq, ports.clock.now())
    if known is not None and known.state == WAITING:
        ports.calls.put(replace(known, state=CANCELED, due_at=None))


def _post_one(ports: PostPorts, endpoint: _Endpoint, told: _Told) -> None:
    """Make one call, or say why not, and write its record."""
    call, webhook, now = told.call, endpoint.webhook, ports.clock.now()
    known = _known(ports, webhook, call, now)
    if _was_made(call, known):
        return
    results = known.results if known else ()
    record = CallRecord(call, webhook.url, told.kind, WAITING, results, now)
    if not webhook.in_order and _is_overtaken(webhook, told):
        ports.calls.put(_ended(endpoint, record, SUPERSEDED, now))
        return
    wait_until = _wait_until(ports, endpoint, told, now)
    if wait_until is None:
        answer, result = _call(ports, webhook, told)
        ports.calls.put(_after(ports, endpoint, replace(record, results=(*results, result)), answer))
        _learn(ports, endpoint, answer)
    elif now >= told.queued_at + CALL_LIFETIME:
        ports.calls.put(_ended(endpoint, record, FAILED, now))
    else:
        ports.calls.put(_waiting(endpoint, record, wait_until))


def _known(ports: PostPorts, webhook: WebhookSettings, call: Call, now: datetime) -> CallRecord | None:
    """Return the record of earlier tries; a first call has none, and is not worth a read.

    A record of another queueing of the same event (a replay, a batch of the stream that was repeated) is not its own.
    """
    if call.attempts == 0 and not webhook.in_order:
        return None
    known = ports.calls.get(call.account, call.delivery_id, call.seq, now)
    return known if known is not None and known.call.queued_at == call.queued_at else None


def _was_made(call: Call, known: CallRecord | None) -> bool:
    """Tell whether this try is a repeat, or belongs to a queueing that another one has replaced."""
    if known is None:
        return call.attempts > 0
    return known.state != WAITING or len(known.results) != call.attempts


def _is_overtaken(webhook: WebhookSettings, told: _Told) -> bool:
    return any(event.seq > told.call.seq and is_wanted(event.kind, webhook.events) for event in told.events)


def _wait_until(ports: PostPorts, endpoint: _Endpoint, told: _Told, now: datetime) -> datetime | None:
    """Return when to look again, None when the call may be made now."""
    open_until = endpoint.breaker.open_until
    if open_until is not None and now < open_until:
        # The older a call, the more seldom it looks: else every call to a dead URL would cost writes all day.
        return max(open_until, now + (now - told.queued_at) / 2)
    return _predecessor_until(ports, endpoint.webhook, told, now) if endpoint.webhook.in_order else None


def _predecessor_until(ports: PostPorts, webhook: WebhookSettings, told: _Told, now: datetime) -> datetime | None:
    """Return when to look again whether the wanted event before this one was told, None when it holds up nothing."""
    call, events = told.call, told.events
    earlier = [event for event in events if event.seq < call.seq and is_wanted(event.kind, webhook.events)]
    if not earlier:
        return None
    record = ports.calls.get(call.account, call.delivery_id, earlier[-1].seq, now)
    if record is None:
        return now + ORDER_PAUSE if now < earlier[-1].at + UNSEEN_PATIENCE else None
    if record.state != WAITING or now >= earlier[-1].at + ORDER_PATIENCE:
        return None
    return max(now, record.due_at or now) + ORDER_PAUSE


def _call(ports: PostPorts, webhook: WebhookSettings, told: _Told) -> tuple[PostAnswer, CallResult]:
    started_at = ports.clock.now()
    body = told.write()
    answer = ports.poster.post(webhook.url, headers(webhook, told.id, told.call, started_at, body), body, TIMEOUT)
    duration = ports.clock.now() - started_at
    result = CallResult(started_at, duration, answer.status, answer.error, answer.body.decode("utf-8", "replace"))
    log.info("webhook call", extra={**_ids(told.call), "status": answer.status, "error": answer.error})
    return answer, result


def _after(ports: PostPorts, endpoint: _Endpoint, record: CallRecord, answer: PostAnswer) -> CallRecord:
    """Return the record after a try: told, given up, or waiting for the next."""
    now = ports.clock.now()
    if is_success(answer):
        return _ended(endpoint, record, DELIVERED, now)
    next_at = next_webhook_attempt(
        len(record.results), now, ports.dice.number(), not_before=retry_after(answer, now), policy=ports.retry
    )
    if next_at is None or is_gone(answer):
        return _ended(endpoint, record, FAILED, now)
    again = msgspec.structs.replace(record.call, attempts=record.call.attempts + 1)
    return _waiting(endpoint, replace(record, call=again), next_at)


def _ended(endpoint: _Endpoint, record: CallRecord, state: str, now: datetime) -> CallRecord:
    """In order, a record is needed at least until no later event can look for it."""
    needed = ORDER_PATIENCE if endpoint.webhook.in_order else timedelta(0)
    return replace(record, state=state, due_at=None, forget_at=now + max(endpoint.account.keep_calls, needed))


def _waiting(endpoint: _Endpoint, record: CallRecord, due_at: datetime) -> CallRecord:
    """A call that waits outlives every retention."""
    return replace(record, due_at=due_at, forget_at=due_at + max(endpoint.account.keep_calls, timedelta(days=7)))


def _learn(ports: PostPorts, endpoint: _Endpoint, answer: PostAnswer) -> None:
    """Note what an answer says about the URL. The call itself is recorded: a failure here must not repeat it."""
    try:
        if is_gone(answer):
            endpoint.is_gone = True
            _disable(ports, endpoint)
            return
        turned = _turned(endpoint.breaker, answer, ports.clock.now())
        if turned != endpoint.breaker:
            endpoint.breaker = turned
            ports.calls.put_breaker(endpoint.account.id, endpoint.webhook.url, turned)
    except EgretError:
        log.exception("state of a webhook not stored", extra={"account": endpoint.account.id})


def _disable(ports: PostPorts, endpoint: _Endpoint) -> None:
    """Stop calling a URL that says it is gone for good (410), until the account sets its webhook again.

    The settings are read afresh: those at hand may be a minute old, and an operator may have set another URL since.
    """
    account = ports.settings_writer.account_by_name(endpoint.account.name)
    webhook = _webhook(account, is_incoming=endpoint.is_incoming)
    if account is None or webhook is None or webhook.url != endpoint.webhook.url:
        return
    disabled = replace(webhook, disabled=True)
    changed = (
        replace(account, incoming_webhook=disabled) if endpoint.is_incoming else replace(account, webhook=disabled)
    )
    ports.settings_writer.put_account(changed)
    log.warning("webhook disabled: the receiver answered 410", extra={"account": account.id})


def _turned(breaker: Breaker, answer: PostAnswer, now: datetime) -> Breaker:
    """Return the breaker after an answer: closed by a success, opened by failures in a row or a Retry-After."""
    if is_success(answer):
        return Breaker()
    failures = breaker.failures + 1
    beyond = failures - BREAKER_TRIES
    pauses = [min(BREAKER_FIRST * (1 << min(beyond, 10)), BREAKER_LONGEST)] if beyond >= 0 else []
    asked = retry_after(answer, now)
    if asked is not None:
        pauses.append(min(asked - now, WEBHOOK_LONGEST_PAUSE))
    return Breaker(failures, now + max(pauses) if pauses else None)
