"""The handoff: transactions that deliver asks an egress unit to make. Versioned; MessagePack on the wire.

`POST /v1/handoff` with `Authorization: Bearer <shared secret>`; body a `Handoff`, answer 202 with a `HandoffAnswer`.
Fields may be added with a default; nothing is renamed or removed within a version. Times are aware UTC.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from egret.contracts.coding import decoded

VERSION = 1
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


class Leg(msgspec.Struct, frozen=True):
    """One recipient of a transaction: the attempt (delivery id and number) and the forward-path without <>."""

    delivery_id: int
    attempt: int
    forward_path: str


class Transaction(msgspec.Struct, frozen=True):
    """One SMTP transaction: one message, one reverse-path ("" = null), recipients of one domain.

    account: whose. message_id: id of the message item. domain: A-label recipient domain (or "[address]").
    lease_until: no attempt may begin after this instant; a unit refuses what comes later.
    """

    account: str
    message_id: int
    domain: str
    reverse_path: str
    legs: list[Leg]
    content: Content
    lease_until: datetime


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
