"""The account that local mode starts with: made once, the same after every start."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from egret.aws.app import App
from egret.aws.dkim_keys import make_dkim_key
from egret.contracts.settings import ApiKey
from egret.core.events import EventKind
from egret.core.netguard import UrlPolicy
from egret.usecases.accounts import AccountChange, OperatorPorts, account_create, key_create
from egret.usecases.domains import DomainPorts, DomainWish, domain_add
from egret.usecases.webhooks import WebhookWish, webhook_set

ACCOUNT = "egret"
LOGIN = "egret@localhost"
KEY = "egretegret"
DOMAIN = "localhost"
RETURN_PATH_DOMAIN = "bounces.localhost"


def seed(environ: Mapping[str, str], webhook_url: str) -> None:
    """Make account, key, domain and webhooks unless they are there; the webhooks' URL follows the receiver's port.

    The receiver hears of everything that can happen.
    """
    app = App.from_environment(environ)
    operator = OperatorPorts(app.settings_writer, app.clock, app.dice)
    if app.settings_writer.account_by_name(ACCOUNT) is None:
        wish = AccountChange(
            full_name="Egret", addresses=(LOGIN,), messages_per_day=10_000_000, keep_deliveries=timedelta(days=30)
        )
        account = account_create(operator, ACCOUNT, wish)
        key_create(operator, ACCOUNT, ApiKey("", account.id, LOGIN, name="local mode"), text=KEY)
        domains = DomainPorts(operator, app.key_wrapper, make_dkim_key, app.installation.hostname)
        domain_add(domains, ACCOUNT, DomainWish(DOMAIN, return_path_domain=RETURN_PATH_DOMAIN))
    known = app.settings_writer.account_by_name(ACCOUNT)
    if known is None:
        return
    policy = UrlPolicy(allow_http=True, allow_loopback=True)
    outgoing = WebhookWish(webhook_url, events=frozenset(kind.value for kind in EventKind))
    incoming = WebhookWish(webhook_url, incoming=True)
    for hook, webhook in ((outgoing, known.webhook), (incoming, known.incoming_webhook)):
        if webhook is None or (webhook.url, webhook.events) != (webhook_url, hook.events):
            webhook_set(operator, ACCOUNT, hook, policy)
