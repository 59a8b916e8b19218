"""What queues mail on AWS: which ports of the app it gets."""

from __future__ import annotations

from typing import Final

from egret.aws.app import App
from egret.usecases.accept import SendPorts
from egret.usecases.signing import SigningKeys

USER_AGENT: Final = "egret/0.1"
"""That header of composed messages."""


def send_ports_of(app: App) -> SendPorts:
    """Return what everything that queues mail needs of an installation."""
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
