"""The webhook of an account, as the operator sets it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from egret.contracts.encoding import encode_webhook
from egret.contracts.ports import WebhookPoster
from egret.contracts.queues import Call
from egret.contracts.records import PostAnswer
from egret.contracts.settings import Account, WebhookSettings
from egret.contracts.webapi import OutgoingEvent
from egret.core.errors import InvalidRequest
from egret.core.events import EventKind
from egret.core.netguard import Refusal, UrlPolicy, check_url
from egret.core.signature import secret_from_bytes
from egret.usecases.accounts import OperatorPorts, account_named
from egret.usecases.webhook_call import TIMEOUT, headers

SECRET_BYTES: Final = 32
KEPT_SECRETS: Final = 2
"""After a rotation the newest and the one before sign, until the next rotation."""
MAX_AUTHORIZATION_CHARACTERS: Final = 1024


@dataclass(frozen=True, slots=True)
class WebhookWish:
    """What an operator asks for; see `WebhookSettings`."""

    url: str
    authorization: str = ""
    events: frozenset[str] = frozenset()
    in_order: bool = False


def webhook_set(ports: OperatorPorts, account_name: str, wish: WebhookWish, policy: UrlPolicy) -> WebhookSettings:
    """Set an account's webhook, its secrets kept or, the first time, made; a disabled one is called again.

    Raises InvalidRequest `user` for a URL that must not be called, an unknown event or a malformed header value.
    """
    account = account_named(ports.settings, account_name)
    url = check_url(wish.url, policy)
    if isinstance(url, Refusal):
        raise InvalidRequest("user", url.reason)
    unknown = sorted(wish.events - {kind.value for kind in EventKind})
    if unknown:
        raise InvalidRequest("user", f"Unknown events: {', '.join(unknown)}.")
    _check_authorization(wish.authorization)
    secrets = account.webhook.secrets if account.webhook else ()
    made = WebhookSettings(
        url=url.url,
        authorization=wish.authorization,
        events=wish.events,
        secrets=secrets or (_new_secret(ports),),
        in_order=wish.in_order,
    )
    ports.settings.put_account(replace(account, webhook=made))
    return made


def webhook_rotate(ports: OperatorPorts, account_name: str) -> WebhookSettings:
    """Add a new signing secret before the old one; until the next rotation both sign. Raises InvalidRequest `user`."""
    account = account_named(ports.settings, account_name)
    webhook = _webhook(account)
    rotated = replace(webhook, secrets=(_new_secret(ports), *webhook.secrets)[:KEPT_SECRETS])
    ports.settings.put_account(replace(account, webhook=rotated))
    return rotated


def webhook_disable(ports: OperatorPorts, account_name: str) -> WebhookSettings:
    """Stop calling an account's webhook until it is set again, its secrets kept. Raises InvalidRequest `user`."""
    account = account_named(ports.settings, account_name)
    disabled = replace(_webhook(account), disabled=True)
    ports.settings.put_account(replace(account, webhook=disabled))
    return disabled


def webhook_clear(ports: OperatorPorts, account_name: str) -> None:
    """Remove an account's webhook; calls that wait are dropped when their time comes."""
    account = account_named(ports.settings, account_name)
    ports.settings.put_account(replace(account, webhook=None))


def webhook_test(ports: OperatorPorts, poster: WebhookPoster, account_name: str) -> tuple[PostAnswer, timedelta]:
    """Post an invented `delivered` event to an account's webhook, signed as real ones are; return answer and duration.

    Its delivery id is 0, which no real event has. Raises InvalidRequest `user` when there is no webhook.
    """
    account = account_named(ports.settings, account_name)
    webhook, started_at = _webhook(account), ports.clock.now()
    event_id = f"evt_{account.id}_test_{ports.dice.octets(5).hex()}"
    event = OutgoingEvent(
        event=EventKind.DELIVERED.value,
        message_id="<test@egret.invalid>",
        subject="A test of the webhook",
        webhook_queued=started_at,
        recipient="recipient@example.com",
        attempt=1,
        remote_mx="mx.example.com",
        reply=("250 2.0.0 this is a test",),
        event_id=event_id,
    )
    body = encode_webhook(event)
    call = Call(account.id, 0, 0, started_at.isoformat())
    answer = poster.post(webhook.url, headers(webhook, event_id, call, started_at, body), body, TIMEOUT)
    return answer, ports.clock.now() - started_at


def _webhook(account: Account) -> WebhookSettings:
    if account.webhook is None:
        raise InvalidRequest("user", f"The account {account.name!r} has no webhook.")
    return account.webhook


def _new_secret(ports: OperatorPorts) -> str:
    return secret_from_bytes(ports.dice.octets(SECRET_BYTES))


def _check_authorization(value: str) -> None:
    if len(value) > MAX_AUTHORIZATION_CHARACTERS or not (value.isascii() and value.isprintable()):
        limit = MAX_AUTHORIZATION_CHARACTERS
        raise InvalidRequest("user", f"Authorization has at most {limit} printable ASCII characters.")
