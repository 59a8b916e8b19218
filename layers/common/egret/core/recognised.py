"""What an incoming mail turned out to be. Values only; `recognise` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from egret.core.failure import FailureClass
from egret.core.mimescan import Fields


class MailKind(StrEnum):
    """What an incoming mail is for."""

    BOUNCE = "bounce"
    """It tells what became of a delivery: a DSN of any action (RFC 3464), or a report in a format of its own."""
    COMPLAINT = "complaint"
    """A recipient does not want the mail (RFC 5965), or wants no more of it."""
    AUTO_REPLY = "auto-reply"
    """An answer that no human wrote (RFC 3834): a vacation notice, a receipt."""
    REPORT = "report"
    """A DMARC (RFC 9990) or TLS (RFC 8460) report."""
    OTHER = "other"
    """Ordinary mail."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What a mail says of one recipient. Texts are "" and instants None where it is silent."""

    address: str
    """As it was found, without angle brackets: the last one known, after forwarding."""
    original_address: str = ""
    """What the sender wrote to, where the report tells it apart."""
    action: str = ""
    """`failed`, `delayed`, `delivered`, `relayed`, `expanded` (RFC 3464 section 2.3.3), or ""."""
    status: str = ""
    """The enhanced code that says most: of the diagnostic, of the Status field, or by what the words mean."""
    code: int = 0
    """Three digits, from the diagnostic, else 400 or 500 by the status; 0 if unknown."""
    enhanced_code: str = ""
    """From the diagnostic, else the Status field; its class is that of the code. Never derived from words."""
    diagnostic: str = ""
    """What the server said, in full, on one line; in brackets the stage at which, where only that decided the class."""
    diagnostic_type: str = ""
    """In lower case: `smtp`, `x-unix`, …"""
    remote_mta: str = ""
    """The name without type and comments."""
    failure: FailureClass = FailureClass.UNKNOWN
    last_attempt_date: datetime | None = None
    will_retry_until: datetime | None = None
    fields: Fields = ()
    """The recipient's block as it came, unfolded."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """An incoming mail, understood."""

    kind: MailKind
    format: str
    """Which reader understood it: `arf`, `dsn`, `qmail`, …; "" for ordinary mail."""
    recipients: tuple[Reported, ...] = ()
    """In order; of a complaint those who complain, as far as it names them. Empty for other kinds."""
    reporting_mta: str = ""
    """The name without type and comments."""
    original_message_id: str = ""
    """The Message-ID of the returned message with `<` and `>`, or ""."""
    original_envelope_id: str = ""
    arrival_date: datetime | None = None
    feedback_type: str = ""
    """Of a complaint, in lower case: `abuse`, `opt-out`, …; "" for other kinds."""
    original: Fields = ()
    """Header fields of the returned message."""
    fields: Fields = ()
    """The per-message block as it came, unfolded."""
