"""One webhook call as it goes over the wire: body, headers, and what an answer asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from egret.contracts.encoding import encode_webhook
from egret.contracts.queues import Call
from egret.contracts.records import PostAnswer
from egret.contracts.settings import WebhookSettings
from egret.contracts.webapi import OutgoingEvent
from egret.core.delivery import Message
from egret.core.events import EventKind, webhook_number
from egret.core.signature import sign, timestamp_header
from egret.usecases.suppress import Happening, failure_of

TIMEOUT = timedelta(seconds=30)
"""For a whole call, as Standard Webhooks advises; connecting may take 10 s of it."""
USER_AGENT = "egret/0.1 (webhook)"


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
            remote_mx=event.remote.mx_host,
            reply=event.reply,
            event_id=one.id,
            failure=failure_of(event),
        )
    )


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


def is_success(answer: PostAnswer) -> bool:
    """Tell whether the receiver took the event: any 2xx."""
    return 200 <= answer.status < 300


def is_gone(answer: PostAnswer) -> bool:
    """Tell whether the receiver wants no further calls, ever: 410 (RFC 9110 section 15.5.11)."""
    return answer.status == 410


def retry_after(answer: PostAnswer, now: datetime) -> datetime | None:
    """Return what a 429 or 503 asks for in Retry-After: seconds or an HTTP date (RFC 9110 section 10.2.3)."""
    value = next((v.strip() for k, v in answer.headers.items() if k.lower() == "retry-after"), "")
    if answer.status not in (429, 503) or not value:
        return None
    if value.isascii() and value.isdigit():
        return now + timedelta(seconds=int(value[:9]))
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
