"""What the SMTP listener hands to the submission function, and what that answers; JSON, by a call of AWS Lambda.

Fields may be added with a default; nothing is renamed or removed. Bytes are base64.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from egret.contracts.coding import decoded

MAX_INLINE_BYTES: Final = 3_000_000
"""Content in the call itself: Lambda takes 6 MB, base64 makes a third more of it. Larger content is staged in S3."""
STAGING: Final = "submission/"
"""Prefix of staged content."""


class Trouble(enum.StrEnum):
    """Codes of what only a raw message can meet; the others are those of the API (`webapi.ErrorCode`)."""

    MALFORMED = "malformedMessage"
    """The content is no message that may be sent."""
    NEEDS_SMTPUTF8 = "needsSmtputf8"
    """The header is not ASCII, and the client did not ask for SMTPUTF8."""
    BAD_SENDER = "badSender"
    """The reverse-path is not the account's."""
    FROMID_ALONE = "fromidAlone"
    """A fromid of the submitter's own leads to one recipient."""
    FROMID_USED = "fromidUsed"
    """It was used before."""
    NO_LOGIN = "noLogin"
    """The key was revoked, or the account disabled, after the login; or the key may not send."""
    UNAVAILABLE = "unavailable"
    """Nobody knows whether the message was accepted: it should come again."""


class SubmissionRecipient(msgspec.Struct, frozen=True, omit_defaults=True):
    """A forward-path without <>. notify: NOTIFY in upper case; orcpt: ORCPT as it was given; "" = not given."""

    address: str
    notify: str = ""
    orcpt: str = ""


class Submission(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A message as its submitter wrote it, and its envelope.

    key_hash: SHA-256 hex of the API key that was used. mail_from: reverse-path without <>, "" = null.
    content: the message, or key: that of the blob that has it. smtputf8: the client asked for it.
    require_tls: REQUIRETLS. ret: "FULL", "HDRS" or "". envid: decoded.
    future_release: `for;seconds` or `until;date-time`.
    protocol: how it came, as the Received field says it (RFC 3848, RFC 6531 4.3).
    """

    key_hash: str
    mail_from: str
    recipients: tuple[SubmissionRecipient, ...]
    content: bytes = b""
    key: str = ""
    smtputf8: bool = False
    require_tls: bool = False
    ret: str = ""
    envid: str = ""
    future_release: str = ""
    protocol: str = "ESMTPSA"


class Submitted(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer. id: of the first recipient's delivery, the others have those behind it. code: "" = accepted."""

    id: int = 0
    message_id: str = ""
    code: str = ""
    message: str = ""


_submission_decoder = msgspec.json.Decoder(Submission)
_submitted_decoder = msgspec.json.Decoder(Submitted)


def encode(value: Submission | Submitted) -> bytes:
    """Return the JSON."""
    return msgspec.json.encode(value)


def decode_submission(body: bytes | str) -> Submission:
    """Return the submission; raises msgspec errors on anything else."""
    return decoded(_submission_decoder, body)


def decode_submitted(body: bytes | str) -> Submitted:
    """Return the answer; raises msgspec errors on anything else."""
    return decoded(_submitted_decoder, body)
