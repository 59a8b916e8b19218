"""The webhooks of an account, as the operator sets them: one hears of deliveries, the incoming one of mail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from egret.contracts.encoding import encode_webhook
from egret.contracts.ports import WebhookPoster
from egret.contracts.queues import Call
from egret.contracts.records import PostAnswer, StoredMail
from egret.contracts.settings import Account, WebhookSettings
from egret.contracts.webapi import OutgoingEvent
from egret.core.errors import InvalidRequest
from egret.core.events import EventKind
from egret.core.mailbox import INBOX
from egret.core.netguard import Refusal, UrlPolicy, check_url
from egret.core.signature import secret_from_bytes
from egret.usecases.accounts import OperatorPorts, account_named
from egret.usecases.incoming_call import incoming_payload
from egret.usecases.webhook_call import TIMEOUT, headers

SECRET_BYTES: Final = 32
KEPT_SECRETS: Final = 2
"""After a rotation the newest and the one before sign, until the next rotation."""
MAX_AUTHORIZATION_CHARACTERS: Final = 1024


@dataclass(frozen=True, slots=True)
class WebhookWish:
    """What an operator asks for; see `WebhookSettings`. incoming: for the one that hears of mail that comes in."""

    url: str
    authorization: str = ""
    events: frozenset[str] = frozenset()
    in_order: bool = False
    incoming: bool = False


def webhook_set(ports: OperatorPorts, account_name: str, wish: WebhookWish, policy: UrlPolicy) -> WebhookSettings:
    """Set an account's webhook, its secrets kept or, the first time, made; a disabled one is called again.

    Raises InvalidRequest `user` for a URL that must not be called, an unknown event or a malformed header value, and
    for events or an order of calls about mail, which has neither.
    """
    account = account_named(ports.settings, account_name)
    url = check_url(wish.url, policy)
    if isinstance(url, Refusal):
        raise InvalidRequest("user", url.reason)
    unknown = sorted(wish.events - {kind.value for kind in EventKind})
    if unknown:
        raise InvalidRequest("user", f"Unknown events: {', '.join(unknown)}.")
    if wish.incoming and (wish.events or wish.in_order):
        raise InvalidRequest("user", "Mail that comes in has no events to choose from, and no order.")
    _check_authorization(wish.authorization)
    known = _found(account, incoming=wish.incoming)
    secrets = known.secrets if known else ()
    made = WebhookSettings(
        url=url.url,
        authorization=wish.authorization,
        events=wish.events,
        secrets=secrets or (_new_secret(ports),),
        in_order=wish.in_order,
    )
    ports.settings.put_account(_with(account, made, incoming=wish.incoming))
    return made


def webhook_rotate(ports: OperatorPorts, account_name: str, *, incoming: bool = False) -> WebhookSettings:
    """Add a new signing secret before the old one; until the next rotation both sign. Raises InvalidRequest `user`."""
    account = account_named(ports.settings, account_name)
    webhook = webhook_of(account, incoming=incoming)
    rotated = replace(webhook, secrets=(_new_secret(ports), *webhook.secrets)[:KEPT_SECRETS])
    ports.settings.put_account(_with(account, rotated, incoming=incoming))
    return rotated


def webhook_disable(ports: OperatorPorts, account_name: str, *, incoming: bool = False) -> WebhookSettings:
    """Stop calling an account's webhook until it is set again, its secrets kept. Raises InvalidRequest `user`."""
    account = account_named(ports.settings, account_name)
    disabled = replace(webhook_of(account, incoming=incoming), disabled=True)
    ports.settings.put_account(_with(account, disabled, incoming=incoming))
    return disabled


def webhook_clear(ports: OperatorPorts, account_name: str, *, incoming: bool = False) -> None:
    """Remove an account's webhook; calls that wait are dropped when their time comes."""
    account = account_named(ports.settings, account_name)
    ports.settings.put_account(_with(account, None, incoming=incoming))


def webhook_test(
    ports: OperatorPorts, poster: WebhookPoster, account_name: str, *, incoming: bool = False
) -> tuple[PostAnswer, timedelta]:
    """Post an invented event or mail to an account's webhook, signed as real ones are; return answer and duration.

    Its id is 0, which no real one has. Raises InvalidRequest `user` when there is no webhook.
    """
    account = account_named(ports.settings, account_name)
    webhook, started_at = webhook_of(account, incoming=incoming), ports.clock.now()
    event_id = f"{'msg' if incoming else 'evt'}_{account.id}_test_{ports.dice.octets(5).hex()}"
    body = _test_mail(account, event_id, started_at) if incoming else _test_event(event_id, started_at)
    call = Call(account.id, 0, 0, started_at.isoformat(), is_mail=incoming)
    answer = poster.post(webhook.url, headers(webhook, event_id, call, started_at, body), body, TIMEOUT)
    return answer, ports.clock.now() - started_at


def _test_event(event_id: str, at: datetime) -> bytes:
    event = OutgoingEvent(
        event=EventKind.DELIVERED.value,
        message_id="<test@egret.invalid>",
        subject="A test of the webhook",
        webhook_queued=at,
        recipient="recipient@example.com",
        attempt=1,
        remote_mx="mx.example.com",
        reply=("2.0.0 this is a test",),
        event_id=event_id,
    )
    return encode_webhook(event)


def _test_mail(account: Account, event_id: str, at: datetime) -> bytes:
    to = account.addresses[0] if account.addresses else ""
    raw = (
        f"From: sender@example.com\r\nTo: {to}\r\nSubject: A test of the webhook\r\n"
        "Message-ID: <test@egret.invalid>\r\n\r\nThis is a test.\r\n"
    ).encode()
    mail = StoredMail(account.id, 0, INBOX, "", len(raw), at, mail_from="sender@example.com", rcpt_to=to)
    return incoming_payload(mail, raw, event_id)


def webhook_of(account: Account, *, incoming: bool) -> WebhookSettings:
    """Return one of an account's webhooks. Raises InvalidRequest `user` when it is not set."""
    found = _found(account, incoming=incoming)
    if found is None:
        kind = "incoming webhook" if incoming else "webhook"
        raise InvalidRequest("user", f"The account {account.name!r} has no {kind}.")
    return found


def _found(account: Account, *, incoming: bool) -> WebhookSettings | None:
    return account.incoming_webhook if incoming else account.webhook


def _with(account: Account, webhook: WebhookSettings | None, *, incoming: bool) -> Account:
    return replace(account, incoming_webhook=webhook) if incoming else replace(account, webhook=webhook)


def _new_secret(ports: OperatorPorts) -> str:
    return secret_from_bytes(ports.dice.octets(SECRET_BYTES))


def _check_authorization(value: str) -> None:
    if len(value) > MAX_AUTHORIZATION_CHARACTERS or not (value.isascii() and value.isprintable()):
        limit = MAX_AUTHORIZATION_CHARACTERS
        raise InvalidRequest("user", f"Authorization has at most {limit} printable ASCII characters.")
