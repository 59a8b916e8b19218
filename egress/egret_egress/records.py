"""The records of the journal: MessagePack arrays that begin with their kind. Kinds and fields are only ever added."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

import msgspec

from egret.contracts.coding import decoded

log = logging.getLogger(__name__)


class Taken(msgspec.Struct, frozen=True, array_like=True, tag="taken"):
    """The attempt was handed over and accepted; it may begin until lease_until."""

    account: str
    delivery_id: int
    attempt: int
    lease_until: datetime


class Dotted(msgspec.Struct, frozen=True, array_like=True, tag="dot"):
    """The final dot is about to go to this server."""

    account: str
    delivery_id: int
    attempt: int
    started_at: datetime
    mx_host: str = ""
    address: str = ""


class Finished(msgspec.Struct, frozen=True, array_like=True, tag="end"):
    """The outcome. name: as `outcome.name_of`. code: 0 without a reply."""

    account: str
    delivery_id: int
    attempt: int
    started_at: datetime
    duration_us: int
    name: str
    reason: str
    code: int
    lines: tuple[str, ...]
    mx_host: str
    address: str
    names_recipient: bool = True
    transport: str = ""
    policy: str = ""
    tls: str = ""
    transcript: tuple[str, ...] = ()
    takes_dsn: bool = False


class Recorded(msgspec.Struct, frozen=True, array_like=True, tag="recorded"):
    """The outcome stands in the table."""

    account: str
    delivery_id: int
    attempt: int


class Forgotten(msgspec.Struct, frozen=True, array_like=True, tag="released"):
    """The attempt was given back without having been made."""

    account: str
    delivery_id: int
    attempt: int


class Over(msgspec.Struct, frozen=True, array_like=True, tag="over"):
    """Attempts whose outcomes stand in the table: the fingerprints that `remembered` keeps, one after the other."""

    fingerprints: bytes


JournalRecord = Taken | Dotted | Finished | Recorded | Forgotten | Over

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(JournalRecord)


encode: Callable[[JournalRecord], bytes] = _encoder.encode
"""Returns the bytes of a record."""


def decode(line: bytes) -> JournalRecord | None:
    """Return the record; None, and a line in the log, for one of a kind that a later version wrote."""
    try:
        record: JournalRecord = decoded(_decoder, line)
        return record
    except msgspec.MsgspecError:
        log.exception("a record of the journal cannot be read and is left out")
        return None
