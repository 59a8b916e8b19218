"""The handoff: transactions that deliver asks an egress unit to make. Versioned; MessagePack on the wire.

`POST /v1/handoff` with `Authorization: Bearer <shared secret>`; body a `Handoff`, answer 202 with a `HandoffAnswer`.
Fields may be added with a default; nothing is renamed or removed within a version. Times are aware UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from egret.contracts.coding import decoded

VERSION = 2
"""2: routes, DSN parameters and the addresses that earlier attempts used. A unit of version 1 would leave them out."""
PATH = "/v1/handoff"
CONTENT_TYPE = "application/vnd.egret.handoff+msgpack"


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message of a transaction: inline as the table has it, or the S3 key of a large one.

    CRLF line ends, not dot-stuffed.
    """

    size_bytes: int
    inline: bytes | None = None
    key: str = ""
    smtputf8: bool = False
    require_tls: bool | None = None


class Earlier(msgspec.Struct, frozen=True, array_like=True):
    """An earlier attempt of the transaction: the server ("" = none was reached) and what it answered (0: nothing)."""

    mx_host: str
    address: str
    code: int
    enhanced_code: str


class Leg(msgspec.Struct, frozen=True, omit_defaults=True):
    """One recipient of a transaction: the attempt (delivery id and number) and the forward-path without <>.

    notify, orcpt: what the submission asked for by RFC 3461 (NOTIFY as written, ORCPT as type;xtext), "" = nothing.
    """

    delivery_id: int
    attempt: int
    forward_path: str
    notify: str = ""
    orcpt: str = ""


class Transaction(msgspec.Struct, frozen=True, omit_defaults=True):
    """One SMTP transaction: one message, one reverse-path ("" = null), recipients of one domain.

    account: whose. message_id: id of the message item. domain: A-label recipient domain (or "[address]").
    lease_until: no attempt may begin after this instant; a unit refuses what comes later. transport: name of the
    transport that a route chose, "" = the unit's own way. ret: RET of RFC 3461 ("FULL", "HDRS"), "" = not asked.
    earlier: the attempts that were made before, oldest first. envid: ENVID, decoded, "" = the unit gives its own.
    """

    account: str
    message_id: int
    domain: str
    reverse_path: str
    legs: list[Leg]
    content: Content
    lease_until: Annotated[datetime, msgspec.Meta(tz=True)]
    transport: str = ""
    ret: str = ""
    earlier: list[Earlier] = []
    envid: str = ""


class Handoff(msgspec.Struct, frozen=True):
    """A batch for the unit whose id it carries; another unit answers 409."""

    unit: str
    transactions: list[Transaction]
    version: int = VERSION


class HandoffAnswer(msgspec.Struct, frozen=True):
    """taken: one flag per transaction, in order; room: how many more deliveries the unit would take now."""

    taken: list[bool]
    room: int


def encode(value: Handoff | HandoffAnswer) -> bytes:
    """Return the MessagePack form."""
    return msgspec.msgpack.encode(value)


_handoff_decoder = msgspec.msgpack.Decoder(Handoff)
_answer_decoder = msgspec.msgpack.Decoder(HandoffAnswer)


def decode_handoff(body: bytes) -> Handoff:
    """Return the handoff; raises msgspec.DecodeError or msgspec.ValidationError on anything else."""
    return decoded(_handoff_decoder, body)


def decode_answer(body: bytes) -> HandoffAnswer:
    """Return the answer; raises msgspec.DecodeError or msgspec.ValidationError on anything else."""
    return decoded(_answer_decoder, body)
