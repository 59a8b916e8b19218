"""What a submitter hears of a message that is not taken: an SMTP reply for each code of the use case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from egret.contracts.submission import Submitted, Trouble
from egret.contracts.webapi import ErrorCode

MAX_TEXT_CHARS: Final = 400
"""A reply line has at most 512 octets (RFC 5321 section 4.5.3.1.5)."""
OTHERWISE: Final = "554 5.0.0"
_CODES: Final[Mapping[str, str]] = {
    ErrorCode.BAD_FROM: "550 5.7.1",
    Trouble.BAD_SENDER: "550 5.7.1",
    Trouble.NO_LOGIN: "550 5.7.1",
    ErrorCode.DOMAIN_DISABLED: "451 4.7.1",
    ErrorCode.MESSAGE_LIMIT_REACHED: "452 4.7.1",
    ErrorCode.RECIPIENT_LIMIT_REACHED: "452 4.7.1",
    ErrorCode.MESSAGE_TOO_LARGE: "552 5.3.4",
    ErrorCode.TOO_MANY_RECIPIENTS: "554 5.5.3",
    ErrorCode.NO_RECIPIENTS: "554 5.5.1",
    ErrorCode.BAD_ADDRESS: "553 5.1.3",
    ErrorCode.MULTIPLE_FROM: "554 5.6.0",
    Trouble.MALFORMED: "554 5.6.0",
    Trouble.NEEDS_SMTPUTF8: "554 5.6.7",
    Trouble.FROMID_ALONE: "554 5.5.3",
    Trouble.FROMID_USED: "554 5.1.7",
    ErrorCode.IDEMPOTENCY_CONFLICT: "554 5.5.0",
    ErrorCode.IDEMPOTENCY_IN_FLIGHT: "451 4.3.0",
    ErrorCode.SERVER: "451 4.3.5",
    Trouble.UNAVAILABLE: "451 4.3.0",
}
"""Where the account, its limits or we are at fault, the client keeps the message and comes again."""


def reply_of(submitted: Submitted) -> str:
    """Return the reply to the end of the content: 250 with the id of the first delivery, or why not."""
    if not submitted.code:
        return f"250 2.0.0 Queued as {submitted.id}"
    text = "".join(character if character.isprintable() else " " for character in submitted.message)
    text = text.encode("ascii", "backslashreplace").decode()
    return f"{_CODES.get(submitted.code, OTHERWISE)} {text[:MAX_TEXT_CHARS]}"
