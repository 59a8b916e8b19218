"""The HTTP API on AWS: which ports of the app each of its parts gets."""

from __future__ import annotations

from typing import Final

from egret.api.auth import AuthPorts, OnceAnHour
from egret.api.router import Api
from egret.api.wiring import ApiPorts, api_of
from egret.aws.app import App
from egret.usecases.accept import SendPorts
from egret.usecases.attachments import UploadPorts
from egret.usecases.deliveries import DeliveryPorts
from egret.usecases.domain_tls import DomainTlsPorts
from egret.usecases.mailbox import MailboxPorts
from egret.usecases.signing import SigningKeys
from egret.usecases.suppressions import SuppressionPorts

USER_AGENT: Final = "egret/0.1"
"""That header of composed messages."""


def webapi(app: App) -> Api:
    """Return the API of an installation."""
    return api_of(
        ApiPorts(
            auth=AuthPorts(app.settings, OnceAnHour(app.settings_writer), app.auth_failures, app.clock),
            send=_send(app),
            uploads=UploadPorts(app.blobs, app.clock, app.dice, app.installation.max_message_bytes),
            deliveries=DeliveryPorts(app.store, app.settings, app.units, app.hint_queue, app.clock, app.secrets.cursor),
            domain_tls=DomainTlsPorts(app.domain_tls, app.clock),
            suppression=SuppressionPorts(app.suppressions, app.clock, app.dice),
            mailbox=MailboxPorts(app.mailboxes, app.blobs, app.secrets.cursor),
        )
    )


def _send(app: App) -> SendPorts:
    return SendPorts(
        store=app.store,
        idempotency=app.idempotency,
        counters=app.counters,
        suppressions=app.suppressions,
        blobs=app.blobs,
        settings=app.settings,
        hints=app.hint_queue,
        clock=app.clock,
        dice=app.dice,
        keys=SigningKeys(app.key_wrapper),
        secrets=app.secrets,
        installation=app.installation,
        user_agent=USER_AGENT,
    )
