"""One notification of each kind as Egret writes it, for other people's readers of bounces.

`python -m tests.unit.dsn_samples FOLDER` writes them there, as `<name>.eml`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from egret.core.changes import Expire, Suppress
from egret.core.compose_dsn import RecipientReport, Report, compose_dsn, mailbox_fields, reply_lines
from egret.core.delivery import Delivery, State
from egret.core.events import Event, EventKind
from egret.core.outcome import Bounced, Remote
from egret.core.reply import Reply
from egret.usecases.suppress import Happening
from tests.unit.builders import HOUR, LATER, NEVER, NOW, OK, REMOTE, a_delivery
from tests.unit.notifying import CONTENT, World, attempted, changed, newest

SENDER = "app@example.com"
MANY_LINES = Bounced(
    "the server refused the message",
    Reply(554, ("5.7.1 Our policy does not allow this.", "5.7.1 See https://example.net/policy?id=7", "5.7.1 Bye.")),
    REMOTE,
)
HOSTILE = Bounced(
    "the server refused the recipient",
    Reply(550, ("5.1.1 no\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; eve@example.org", "5.1.1 )( \\ \x00 ü")),
    REMOTE,
)


def samples() -> dict[str, bytes]:
    """Return every kind by name. Those that begin with `smtp-` are as they are queued, the others as in the Inbox."""
    return {name: make() for name, make in _MAKERS.items()}


def _inbox(delivery: Delivery, content: bytes = CONTENT, **message: object) -> bytes:
    world = World()
    world.accept(content, **message)
    world.notify(newest(delivery))
    return world.raw()


def _queued(one: Happening, content: bytes = CONTENT, **message: object) -> bytes:
    world = World()
    world.accept(content, **({"mail_from": SENDER} | message))
    world.notify(one)
    return world.queued[0][2].raw()


def _failed() -> bytes:
    return _inbox(attempted(a_delivery(), NEVER))


def _many_lines() -> bytes:
    return _inbox(attempted(a_delivery(), MANY_LINES))


def _hostile() -> bytes:
    return _inbox(attempted(a_delivery(), HOSTILE))


def _delayed() -> bytes:
    return _inbox(attempted(a_delivery(), *[LATER] * 5))


def _given_up() -> bytes:
    return _inbox(attempted(a_delivery(), *[LATER] * 8))


def _expired() -> bytes:
    return _inbox(changed(a_delivery(), Expire(NOW + 72 * HOUR)))


def _suppressed() -> bytes:
    return _inbox(changed(a_delivery(), Suppress(NOW, "the recipient is on the suppression list")))


def _submitted() -> bytes:
    delivery = a_delivery(orcpt="rfc822;Ann+2Bnews@Example.net", notify="FAILURE")
    return _inbox(attempted(delivery, NEVER), envid="QQ314159", future_release="for;600", ret="FULL")


def _international() -> bytes:
    content = "From: app@example.com\r\nMessage-ID: <1@example.com>\r\nSubject: Grüße\r\n\r\n".encode()
    return _inbox(attempted(a_delivery(recipient="jürgen@example.net"), NEVER), content, smtputf8=True)


def _smtp_failed() -> bytes:
    return _queued(newest(attempted(a_delivery(notify="FAILURE"), NEVER)))


def _smtp_international() -> bytes:
    content = "From: app@example.com\r\nMessage-ID: <1@example.com>\r\nSubject: Grüße\r\n\r\n".encode()
    delivery = a_delivery(recipient="jürgen@example.net", notify="FAILURE")
    return _queued(newest(attempted(delivery, NEVER)), content, smtputf8=True)


def _smtp_relayed() -> bytes:
    return _queued(newest(attempted(a_delivery(notify="SUCCESS"), OK)))


def _smtp_delivered() -> bytes:
    delivery = a_delivery(notify="SUCCESS", state=State.DELIVERED)
    event = Event(
        2,
        EventKind.DELIVERED,
        NOW,
        source="in1",
        dsn=True,
        code=250,
        enhanced_code="2.1.5",
        reply=("250 2.1.5 delivered",),
        remote=Remote("mx.example.net"),
    )
    return _queued(Happening(delivery, event))


def _several() -> bytes:
    refused = reply_lines(550, ("5.1.1 no such user",))
    recipients = (
        RecipientReport("ann@example.net", "failed", "5.1.1", "refused", refused, REMOTE),
        RecipientReport("bob@example.net", "delayed", "4.2.2", "the mailbox is full", will_retry_until=NOW + 9 * HOUR),
    )
    report = Report("mail.example.com", SENDER, "<dsn@mail.example.com>", NOW, recipients, NOW, original=CONTENT)
    return compose_dsn(report).raw(mailbox_fields(SENDER))


_MAKERS: dict[str, Callable[[], bytes]] = {
    "failed": _failed,
    "many-lines": _many_lines,
    "hostile": _hostile,
    "delayed": _delayed,
    "given-up": _given_up,
    "expired": _expired,
    "suppressed": _suppressed,
    "submitted": _submitted,
    "international": _international,
    "several": _several,
    "smtp-failed": _smtp_failed,
    "smtp-international": _smtp_international,
    "smtp-relayed": _smtp_relayed,
    "smtp-delivered": _smtp_delivered,
}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in samples().items():
        (folder / f"{name}.eml").write_bytes(raw)
