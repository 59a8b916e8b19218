"""Keep a mail in an account's mailbox: once, under an id that it has again whenever it is processed again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from egret.contracts.ports import Mailboxes
from egret.contracts.records import StoredMail
from egret.core.errors import Unavailable
from egret.core.events import webhook_number
from egret.core.ids import SENT_INDEX, delivery_id, message_id_number
from egret.core.mailbox import STANDARD

MAX_ID_TRIES: Final = 16
"""Ids tried for one mail; each is free with overwhelming likelihood."""


def keep(mailboxes: Mailboxes, mail: StoredMail, now: datetime) -> bool:
    """Put a mail with a source into its mailbox, which is made where it is missing; False when it was kept before.

    Its id is given here. Raises Unavailable.
    """
    if mail.mailbox not in STANDARD:
        mailboxes.create(mail.account, mail.mailbox)
    for salt in range(MAX_ID_TRIES):
        mail_id = _mail_id(mail, salt)
        if mailboxes.put(replace(mail, id=mail_id)):
            return True
        holder = mailboxes.get(mail.account, mail_id, now)
        if holder is None or (holder.source, holder.rcpt_to) == (mail.source, mail.rcpt_to):
            return False
    raise Unavailable(detail=f"no free id for {mail.source} to {mail.rcpt_to}")


def _mail_id(mail: StoredMail, salt: int) -> int:
    number = webhook_number(f"{mail.source} {mail.rcpt_to} {salt}")
    return delivery_id(message_id_number(mail.received_at, number), (number >> 32) % SENT_INDEX)
