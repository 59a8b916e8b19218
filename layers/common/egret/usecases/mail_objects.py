"""The object behind mail in mailboxes: read without its envelope line, and removed with the last mail that needs it.

One incoming mail is one object, whoever of its recipients keeps it, also in several accounts.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

import msgspec

from egret.contracts.ports import Blobs, Mailboxes
from egret.contracts.queues import Inbound, unpack_inbound
from egret.contracts.records import StoredMail
from egret.core.errors import ContractError, InvalidRequest

log = logging.getLogger(__name__)

INBOUND: Final = "inbound/"
"""Objects below this begin with the SMTP envelope in a line of its own."""
UNSEEN_PATIENCE: Final = timedelta(days=15)
"""A recipient who has not got the mail by then will not: its queue keeps a message for 14 days."""
ENVELOPE_BYTES: Final = 64 << 10
"""Read to find the envelope line, which is longer only with very many recipients."""


def raw_of(blobs: Blobs, mail: StoredMail) -> bytes:
    """Return a stored message, without the envelope line. Raises InvalidRequest `messageNotFound`, ContractError."""
    body = blobs.get(mail.blob)
    if body is None:
        raise InvalidRequest("messageNotFound", "The message is no longer stored.")
    return _unpacked(mail.blob, body)[1] if mail.blob.startswith(INBOUND) else body


def drop_object(mailboxes: Mailboxes, blobs: Blobs, mail: StoredMail, now: datetime) -> bool:
    """Remove the object of a mail that is gone, unless another recipient has, or may yet get, the same mail.

    Idempotent. Returns whether it is removed. One that is not ours to read stays, and is logged.
    """
    if mail.blob.startswith(INBOUND):
        try:
            envelope = _envelope(blobs, mail.blob)
            if envelope is None or _is_needed(mailboxes, envelope, mail, now):
                return False
        except ContractError:
            log.exception("object of a mail not removed", extra={"account": mail.account, "mail": mail.id})
            return False
    blobs.delete(mail.blob)
    return True


def _envelope(blobs: Blobs, key: str) -> Inbound | None:
    """Return the envelope of an object, None when it is gone. Most of it, the message, is not read."""
    beginning = blobs.beginning(key, ENVELOPE_BYTES)
    body = beginning if beginning is None or b"\n" in beginning else blobs.get(key)
    return None if body is None else _unpacked(key, body)[0]


def _is_needed(mailboxes: Mailboxes, envelope: Inbound, mail: StoredMail, now: datetime) -> bool:
    for recipient in envelope.recipients:
        held = mailboxes.holds(recipient.account, envelope.id, recipient.address, now)
        if held or (held is None and now < mail.received_at + UNSEEN_PATIENCE):
            return True
    return False


def _unpacked(key: str, body: bytes) -> tuple[Inbound, bytes]:
    try:
        return unpack_inbound(body)
    except msgspec.MsgspecError as error:
        raise ContractError(detail=f"{key} has no envelope line: {error}") from error
