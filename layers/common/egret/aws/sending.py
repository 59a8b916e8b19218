"""What queues mail on AWS: which ports of the app it gets.

Mail of our own with a null reverse-path needs no keys, and where it is queued there are none: that function reads the
words of strangers. Its From is at our host name, for which SPF of the name in EHLO speaks (RFC 7208 section 2.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from egret.aws.app import App
from egret.contracts.settings import SendingDomain
from egret.core.dkim import DkimKey
from egret.core.fromid import FromIdKeys
from egret.core.secrets import Secrets
from egret.usecases.accept import SendPorts
from egret.usecases.signing import SigningKeys

USER_AGENT: Final = "egret/0.1"
"""That header of composed messages."""


def send_ports(app: App) -> SendPorts:
    """Return what everything that queues mail needs of an installation."""
    return _ports(app, SigningKeys(app.key_wrapper), app.secrets)


def report_send_ports(app: App) -> SendPorts:
    """Return what `send_internal` needs for reports: the keys of DKIM and of reverse-paths, and no others."""
    return _ports(app, SigningKeys(app.key_wrapper), Secrets(app.fromid_keys, (), b""))


def unsigned_ports(app: App) -> SendPorts:
    """Return what `send_internal` needs for mail that goes unsigned with a null reverse-path: no key of any kind."""
    return _ports(app, _Unsigned(), Secrets(FromIdKeys({}, 0), (), b""))


class _Unsigned(SigningKeys):
    """Has no keys."""

    def __init__(self) -> None:
        """Need no key wrapper."""

    def of(self, domain: SendingDomain) -> Sequence[DkimKey]:
        return ()


def _ports(app: App, keys: SigningKeys, secrets: Secrets) -> SendPorts:
    return SendPorts(
        store=app.store,
        idempotency=app.idempotency,
        counters=app.counters,
        suppressions=app.suppressions,
        blobs=app.blobs,
        mailboxes=app.mailboxes,
        settings=app.settings,
        hints=app.hint_queue,
        clock=app.clock,
        dice=app.dice,
        keys=keys,
        secrets=secrets,
        installation=app.installation,
        user_agent=USER_AGENT,
    )
