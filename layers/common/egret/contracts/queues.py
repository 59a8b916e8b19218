"""What travels through SQS: hints for deliver, calls for the webhook poster, and mail that came in. JSON."""

from __future__ import annotations

import msgspec

from egret.contracts.coding import decoded
from egret.contracts.verdicts import Verdicts


class Hint(msgspec.Struct, frozen=True, omit_defaults=True):
    """Deliveries of one submission in one recipient domain that may be due. Losing it costs time, never mail."""

    account: str
    ids: list[int]


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event to be told to the account's webhook.

    is_mail: it is of mail that came in, for the account's incoming webhook: delivery_id is the mail's, seq is 0.
    suppressing: the event put the address on the suppression list. queued_at: RFC 3339, when the call was queued first.
    attempts: calls made before.
    """

    account: str
    delivery_id: int
    seq: int
    queued_at: str
    suppressing: bool = False
    attempts: int = 0
    is_mail: bool = False


class Inbound(msgspec.Struct, frozen=True, omit_defaults=True):
    """First line of an object in the inbound bucket: the SMTP envelope, as JSON; the message follows, byte for byte.

    recipients: what the server accepted, each with the account it resolved to and, for a fromid, the delivery.
    tls: protocol and cipher of the connection, "" = none. verdicts: None = nobody looked.
    """

    id: str
    received_at: str
    mail_from: str
    recipients: list[InboundRecipient]
    remote_ip: str = ""
    ehlo: str = ""
    tls: str = ""
    verdicts: Verdicts | None = None
    smtputf8: bool = False
    require_tls: bool = False


class InboundRecipient(msgspec.Struct, frozen=True, omit_defaults=True):
    """One accepted recipient.

    delivery_id: 0 unless the address is a genuine one of a delivery of the account: a fromid, or, where `unsubscribes`
    is set, the one that List-Unsubscribe names.
    """

    address: str
    account: str
    delivery_id: int = 0
    unsubscribes: bool = False


_inbound_decoder = msgspec.json.Decoder(Inbound)
_hint_decoder = msgspec.json.Decoder(Hint)
_call_decoder = msgspec.json.Decoder(Call)


def pack_inbound(envelope: Inbound, raw: bytes) -> bytes:
    """Return the object to store: envelope line, LF, message."""
    return msgspec.json.encode(envelope) + b"\n" + raw


def unpack_inbound(body: bytes) -> tuple[Inbound, bytes]:
    """Return envelope and message of a stored object; raises msgspec errors when it is none."""
    line, _, raw = body.partition(b"\n")
    return decoded(_inbound_decoder, line), raw


def decode_hint(body: bytes | str) -> Hint:
    """Return the hint; raises msgspec errors on anything else."""
    return decoded(_hint_decoder, body)


def decode_call(body: bytes | str) -> Call:
    """Return the call; raises msgspec errors on anything else."""
    return decoded(_call_decoder, body)


def encode_queue_body(value: Hint | Call) -> str:
    """Return the JSON text of an SQS message."""
    return msgspec.json.encode(value).decode()
