"""What one attempt came to for one recipient: values, to be matched exhaustively."""

from __future__ import annotations

from typing import ClassVar, assert_never

import msgspec

from egret.core.reply import Reply


class Remote(msgspec.Struct, frozen=True, gc=False):
    """The server that was spoken to: MX host name and IP address; both "" when no connection was made."""

    mx_host: str = ""
    address: str = ""

    def __str__(self) -> str:
        return f"{self.mx_host} [{self.address}]" if self.address else self.mx_host


NOWHERE = Remote()


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """The next hop took responsibility: 250 to the final dot (RFC 5321 section 4.2.5)."""

    reply: Reply
    remote: Remote = NOWHERE


class Deferred(msgspec.Struct, frozen=True, gc=False):
    """Not now: a 4yz reply, or trouble with DNS, the network or the server. reason: one sentence."""

    reason: str
    reply: Reply | None = None
    remote: Remote = NOWHERE


class Bounced(msgspec.Struct, frozen=True, gc=False):
    """Never in this form: a 5yz reply or a permanent fact (null MX, size, missing SMTPUTF8). reason: one sentence.

    names_recipient: False when the server refused us, the sender or the message, and not the recipient.
    """

    reason: str
    reply: Reply | None = None
    remote: Remote = NOWHERE
    names_recipient: bool = True


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """The final dot may have gone out and no answer can be had: the message may or may not have arrived."""

    reason: str
    remote: Remote = NOWHERE
    reply: ClassVar[Reply | None] = None


Outcome = Delivered | Deferred | Bounced | Unknown


def name_of(outcome: Outcome) -> str:
    """Return the word for an outcome that the API shows and that storage keeps."""
    match outcome:
        case Delivered():
            return "delivered"
        case Deferred():
            return "deferred"
        case Bounced():
            return "bounced"
        case Unknown():
            return "unknown"
        case _:
            assert_never(outcome)


def error_of(outcome: Outcome) -> str:
    """Return the sentence that explains an outcome, "" when it was delivered.

    Form as in the reference: the cause, whether it is permanent, and the first line of the remote's reply.
    """
    match outcome:
        case Delivered():
            return ""
        case Deferred(reason, reply) | Bounced(reason, reply):
            if reply is None:
                return reason
            finality = "permanent" if isinstance(outcome, Bounced) else "transient"
            return f"{reason}, {finality}: {reply.first_line}"
        case Unknown(reason):
            return reason
        case _:
            assert_never(outcome)
