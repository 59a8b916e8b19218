"""Tell an account's webhook what became of its deliveries.

One call record is written per try. A call that a newer event of the same delivery overtakes is not made (unless the
account asks for every event in order). A URL that keeps failing is left alone for a while by its breaker.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec

from egret.contracts.ports import (
    Breaker,
    CallRecord,
    CallResult,
    Calls,
    Clock,
    Dice,
    MailStore,
    PostAnswer,
    SettingsReader,
    SettingsWriter,
    WebhookPoster,
)
from egret.contracts.queues import Call
from egret.contracts.settings import Account, WebhookSettings
from egret.contracts.webapi import OutgoingEvent, encode_webhook
from egret.core.delivery import Delivery, Message
from egret.core.errors import EgretError, Unavailable
from egret.core.events import Event, EventKind, is_wanted, webhook_number
from egret.core.outcome import Remote
from egret.core.retry import WebhookRetry, next_webhook_attempt
from egret.core.signature import sign, timestamp_header
from egret.usecases.suppress import Happening

log = logging.getLogger(__name__)

TIMEOUT = timedelta(seconds=30)
"""For a whole call, as Standard Webhooks advises; connecting may take 10 s of it."""
USER_AGENT = "egret/0.1 (webhook)"
BREAKER_TRIES = 5
"""Failures in a row after which a URL is left alone."""
BREAKER_FIRST = timedelta(seconds=30)
BREAKER_LONGEST = timedelta(minutes=15)
ORDER_PAUSE = timedelta(minutes=1)
"""How long a call waits before it looks again whether the event before it was told."""
ORDER_PATIENCE = timedelta(hours=36)
"""An event that was not told within the whole schedule of retries holds up the next one no longer."""

DELIVERED, FAILED, WAITING, SUPERSEDED = "delivered", "failed", "waiting", "superseded"


@dataclass(frozen=True, slots=True)
class PostPorts:
    """What posting needs. side_by_side: runs jobs for different URLs, e.g. `map`, or that of a thread pool."""

    store: MailStore
    calls: Calls
    settings: SettingsReader
    settings_writer: SettingsWriter
    poster: WebhookPoster
    clock: Clock
    dice: Dice
    side_by_side: Callable[[Callable[[_Job], list[Call]], Iterable[_Job]], Iterable[list[Call]]]
    retry: WebhookRetry = field(default_factory=WebhookRetry)


@dataclass(frozen=True, slots=True)
class _Job:
    """The calls of one account, one after the other."""

    account: Account
    webhook: WebhookSettings
    calls: list[Call]


@dataclass(frozen=True, slots=True)
class _Told:
    """Everything about one call: the event, its delivery and its message."""

    call: Call
    one: Happening
    message: Message


def post_webhooks(ports: PostPorts, calls: Sequence[Call]) -> list[Call]:
    """Make calls; return those that could not be dealt with because storage failed, to be queued again.

    A receiver that refuses or does not answer is dealt with: the call record says when it is tried again.
    """
    by_account: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_account[call.account].append(call)
    jobs: list[_Job] = []
    for account_id, own in by_account.items():
        account = ports.settings.account(account_id)
        if account is None or account.webhook is None or account.webhook.disabled:
            log.info("webhook gone", extra={"account": account_id, "calls": len(own)})
            continue
        jobs.append(_Job(account, account.webhook, own))
    return [call for left in ports.side_by_side(lambda job: _run(ports, job), jobs) for call in left]


def _run(ports: PostPorts, job: _Job) -> list[Call]:
    """Make an account's calls; a failure of storage leaves that call and the rest for later."""
    try:
        told = _load(ports, job)
        breaker = ports.calls.breaker(job.account.id, job.webhook.url)
    except Unavailable:
        log.exception("webhook calls cannot be read", extra={"account": job.account.id})
        return job.calls
    for position, one in enumerate(told):
        try:
            breaker = _post_one(ports, job, one, breaker)
        except Unavailable:
            log.exception("webhook call cannot be recorded", extra=_ids(one))
            return [later.call for later in told[position:]]
        except EgretError:
            log.exception("webhook call dropped", extra=_ids(one))
    return []


def _ids(told: _Told) -> dict[str, object]:
    call = told.call
    return {"account": call.account, "delivery": call.delivery_id, "event": told.one.id, "attempt": call.attempts + 1}


def _load(ports: PostPorts, job: _Job) -> list[_Told]:
    """Read deliveries and messages of all calls at once; what has been forgotten is no longer told."""
    keys = sorted({(call.account, call.delivery_id) for call in job.calls})
    deliveries = ports.store.get_many(keys, ports.clock.now())
    messages = ports.store.messages(sorted({(d.account, d.message_id) for d in deliveries.values()}))
    return [told for call in job.calls if (told := _told(call, deliveries, messages))]


def _told(
    call: Call, deliveries: dict[tuple[str, int], Delivery], messages: dict[tuple[str, int], Message]
) -> _Told | None:
    delivery = deliveries.get((call.account, call.delivery_id))
    event = next((e for e in delivery.events if e.seq == call.seq), None) if delivery else None
    message = messages.get((delivery.account, delivery.message_id)) if delivery else None
    if delivery is None or event is None or message is None:
        log.warning("webhook call without event", extra={"account": call.account, "delivery": call.delivery_id})
        return None
    return _Told(call, Happening(delivery, event), message)


def _post_one(ports: PostPorts, job: _Job, told: _Told, breaker: Breaker) -> Breaker:
    """Make one call, or say why not; write its record; return the breaker as it is then."""
    now = ports.clock.now()
    known = _known(ports, job.webhook, told, now)
    if known is not None and (known.state != WAITING or len(known.results) != told.call.attempts):
        return breaker  # a repeat: that try was made
    record = CallRecord(
        told.call, job.webhook.url, told.one.event.kind.value, WAITING, known.results if known else (), now
    )
    newer = _is_overtaken(job.webhook, told)
    if newer and not job.webhook.in_order:
        ports.calls.put(replace(record, state=SUPERSEDED, forget_at=now + job.account.keep_calls))
        return breaker
    wait_until = _wait_until(ports, job, told, breaker, now)
    if wait_until is not None:
        ports.calls.put(_waiting(job.account, record, wait_until))
        return breaker
    answer, result = _call(ports, job.webhook, told)
    ports.calls.put(_after(ports, job, replace(record, results=(*record.results, result)), answer))
    return _turn(ports, job, breaker, failed=not 200 <= answer.status < 300)


def _known(ports: PostPorts, webhook: WebhookSettings, told: _Told, now: datetime) -> CallRecord | None:
    """Return the record of earlier tries; a first call has none, and is not worth a read."""
    call = told.call
    if call.attempts == 0 and not webhook.in_order:
        return None
    return ports.calls.get(call.account, call.delivery_id, call.seq, now)


def _is_overtaken(webhook: WebhookSettings, told: _Told) -> bool:
    events = told.one.delivery.events
    return any(event.seq > told.call.seq and is_wanted(event.kind, webhook.events) for event in events)


def _wait_until(ports: PostPorts, job: _Job, told: _Told, breaker: Breaker, now: datetime) -> datetime | None:
    """Return when to look again, None when the call may be made now."""
    if breaker.open_until is not None and now < breaker.open_until:
        return breaker.open_until
    if job.webhook.in_order and _has_untold_predecessor(ports, job.webhook, told, now):
        return now + ORDER_PAUSE
    return None


def _has_untold_predecessor(ports: PostPorts, webhook: WebhookSettings, told: _Told, now: datetime) -> bool:
    earlier = [
        event
        for event in told.one.delivery.events
        if event.seq < told.call.seq and is_wanted(event.kind, webhook.events) and now < event.at + ORDER_PATIENCE
    ]
    if not earlier:
        return False
    record = ports.calls.get(told.call.account, told.call.delivery_id, earlier[-1].seq, now)
    return record is None or record.state == WAITING


def _call(ports: PostPorts, webhook: WebhookSettings, told: _Told) -> tuple[PostAnswer, CallResult]:
    started_at = ports.clock.now()
    body = payload(told.call, told.one, told.message)
    answer = ports.poster.post(webhook.url, headers(webhook, told.one.id, told.call, started_at, body), body, TIMEOUT)
    duration = ports.clock.now() - started_at
    result = CallResult(started_at, duration, answer.status, answer.error, answer.body.decode("utf-8", "replace"))
    log.info("webhook call", extra={**_ids(told), "status": answer.status, "error": answer.error})
    return answer, result


def payload(call: Call, one: Happening, message: Message) -> bytes:
    """Return the JSON body that tells an event."""
    delivery, event = one.delivery, one.event
    was_delivered = event.kind is EventKind.DELIVERED and not event.dsn
    return encode_webhook(
        OutgoingEvent(
            event=event.kind.value,
            dsn=event.dsn,
            suppressing=call.suppressing,
            queue_msg_id=delivery.id,
            from_id=delivery.fromid,
            message_id=message.message_id,
            subject=message.subject,
            webhook_queued=datetime.fromisoformat(call.queued_at),
            # The reference reports codes of errors only; the answer to a success is in `reply`.
            smtp_code=0 if was_delivered else event.code,
            smtp_enhanced_code="" if was_delivered else event.enhanced_code,
            error=event.error,
            extra=dict(message.extra),
            recipient=delivery.recipient,
            attempt=event.attempt,
            remote_mx=_mx_host(event),
            reply=event.reply,
            event_id=one.id,
        )
    )


def _mx_host(event: Event) -> str:
    remote: Remote = event.remote
    return remote.mx_host


def headers(webhook: WebhookSettings, event_id: str, call: Call, at: datetime, body: bytes) -> dict[str, str]:
    """Return the headers of a call: the reference's, and Standard Webhooks' when there is a secret to sign with."""
    result = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": USER_AGENT,
        "X-Mox-Webhook-ID": str(webhook_number(event_id)),
        "X-Mox-Webhook-Attempt": str(call.attempts + 1),
        "webhook-id": event_id,
        "webhook-timestamp": timestamp_header(at),
    }
    if webhook.secrets:
        result["webhook-signature"] = sign(webhook.secrets, event_id, at, body)
    if webhook.authorization:
        result["Authorization"] = webhook.authorization
    return result


def _after(ports: PostPorts, job: _Job, record: CallRecord, answer: PostAnswer) -> CallRecord:
    """Return the record after a try: told, given up, or waiting for the next."""
    now = ports.clock.now()
    done = replace(record, forget_at=now + job.account.keep_calls)
    if 200 <= answer.status < 300:
        return replace(done, state=DELIVERED)
    if answer.status == 410:
        _disable(ports, job)
        return replace(done, state=FAILED)
    next_at = next_webhook_attempt(
        len(record.results), now, ports.dice.number(), not_before=_retry_after(answer, now), policy=ports.retry
    )
    if next_at is None:
        return replace(done, state=FAILED)
    return _waiting(job.account, replace(record, call=_again(record.call)), next_at)


def _again(call: Call) -> Call:
    return msgspec.structs.replace(call, attempts=call.attempts + 1)


def _waiting(account: Account, record: CallRecord, due_at: datetime) -> CallRecord:
    """A call that waits outlives every retention."""
    return replace(record, due_at=due_at, forget_at=due_at + max(account.keep_calls, timedelta(days=7)))


def _disable(ports: PostPorts, job: _Job) -> None:
    """Stop calling a URL that says it is gone for good (410), until the account sets its webhook again."""
    stored = replace(job.account, webhook=replace(job.webhook, disabled=True))
    ports.settings_writer.put_account(stored)
    log.warning("webhook disabled: the receiver answered 410", extra={"account": job.account.id})


def _retry_after(answer: PostAnswer, now: datetime) -> datetime | None:
    """Return what a 429 or 503 asks for in Retry-After: seconds or an HTTP date (RFC 9110 section 10.2.3)."""
    value = next((v.strip() for k, v in answer.headers.items() if k.lower() == "retry-after"), "")
    if answer.status not in (429, 503) or not value:
        return None
    if value.isascii() and value.isdigit():
        return now + timedelta(seconds=min(int(value[:9]), 7 * 86400))
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _turn(ports: PostPorts, job: _Job, breaker: Breaker, *, failed: bool) -> Breaker:
    """Count a failure, or close the breaker; written only when something changes."""
    if not failed:
        turned = Breaker()
    else:
        failures = breaker.failures + 1
        beyond = failures - BREAKER_TRIES
        pause = min(BREAKER_FIRST * (1 << min(max(beyond, 0), 10)), BREAKER_LONGEST)
        turned = Breaker(failures, ports.clock.now() + pause if beyond >= 0 else None)
    if turned != breaker:
        ports.calls.put_breaker(job.account.id, job.webhook.url, turned)
    return turned
