"""The remote side of local mode: whose mail it takes, and into which Inbox it comes."""

from __future__ import annotations

import asyncio

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from egret.aws.app import App
from egret.contracts.queues import unpack_inbound
from egret.contracts.settings import Account
from egret.core import fromid
from egret.memory.blobs import MemoryBlobs
from egret.memory.clock import FakeClock
from egret.memory.dice import SeededDice
from egret.memory.settings import MemorySettings
from egret_local.sink import Sink
from tests.unit.builders import ACCOUNT, NOW

LOGIN = "egret@localhost"


@pytest.fixture
def app() -> App:
    """An installation in memory with one account."""
    made = App.from_environment({"EGRET_FROMID_SECRET": "0123456789abcdef"})
    settings = MemorySettings()
    settings.put_account(Account(ACCOUNT, "egret", addresses=(LOGIN,)))
    vars(made).update(settings=settings, blobs=MemoryBlobs(), clock=FakeClock(NOW), dice=SeededDice(1))
    return made


def taken(app: App, mail_from: str, rcpt_to: str, content: bytes) -> str:
    """Return the account that a mail is stored for, "" when it is refused."""

    async def give() -> str:
        envelope = Envelope()
        envelope.mail_from, envelope.rcpt_tos, envelope.content = mail_from, [rcpt_to], content
        sink = Sink(app, 1)
        return await sink.handle_DATA(SMTP(sink), Session(asyncio.get_running_loop()), envelope)

    reply = asyncio.run(give())
    if reply.startswith("554 "):
        return ""
    stored = app.blobs.get(f"inbound/{NOW:%Y-%m-%d}/{reply.rpartition(' ')[2]}")
    (recipient,) = unpack_inbound(stored or b"")[0].recipients
    return recipient.account


def test_mail_comes_to_the_account_that_sent_it(app: App) -> None:
    """Known by the reverse-path, or by From."""
    token = fromid.mint(app.fromid_keys, ACCOUNT, 7)

    assert taken(app, f"{token}@bounces.localhost", "ann@example.net", b"From: x@y\r\n\r\n") == ACCOUNT
    assert taken(app, "", "ann@example.net", b"From: Egret <EGRET@localhost>\r\n\r\n") == ACCOUNT


def test_a_notification_comes_to_the_account_that_it_is_for(app: App) -> None:
    """No account sent it; mail for nobody is refused."""
    notification = b"From: postmaster@localhost\r\n\r\n"

    assert taken(app, "", "Egret@localhost", notification) == ACCOUNT
    assert taken(app, "", "ann@example.net", notification) == ""
