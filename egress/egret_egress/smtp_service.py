"""What an SMTP server is for: what its user says of itself, is told of a client, and decides in its conversation."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from egret_egress.esmtp import Mail, Rcpt

NOT_NOW: Final = "451 4.3.0 Try again later"


@dataclass(slots=True)
class Client:
    """Who is connected. ehlo: what it calls itself. tls: protocol and cipher, "" = none. is_extended: it said EHLO.

    is_authenticated: AUTH was answered 235. login: who it said at AUTH that it is, for the log; "" = nobody yet.
    """

    ip: str
    ehlo: str = ""
    is_extended: bool = False
    tls: str = ""
    is_authenticated: bool = False
    login: str = ""


Challenge = Callable[[bytes], Awaitable[bytes]]
"""Send a challenge, decoded; return the response, decoded. Raises AuthAborted, which is the server's to answer."""


class AuthAborted(Exception):
    """The client gave AUTH up, or its response is no base64. reply: what it hears."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


class Transaction(Protocol):
    """One mail that a client brings. Replies have an enhanced code."""

    async def rcpt(self, rcpt: Rcpt) -> str:
        """Return the reply to RCPT: 250 takes the recipient."""
        ...

    async def content(self, content: bytes) -> str:
        """Return the reply to the end of the content; it has CRLF at its end and no doubled dots."""
        ...


class Conversation(Protocol):
    """What a user of the server decides in one connection. A reply of 421 ends it."""

    async def greet(self) -> str:
        """Return "" to be there for the client, else the reply that takes the place of the greeting."""
        ...

    async def auth(self, mechanism: str, initial: bytes | None, challenge: Challenge) -> str:
        """Return the reply to AUTH: 235 when the client is who it says. mechanism: one of those announced."""
        ...

    async def mail(self, mail: Mail) -> Transaction | str:
        """Return the transaction that begins (250 is said), or the reply by which MAIL is refused."""
        ...


def _nothing(_: Any) -> Sequence[str]:
    return ()


def _uncounted(_: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Service:
    """What a server is for.

    converse: makes the user's side of a connection. extensions: further lines of EHLO for a client; AUTH is left out
    while it needs TLS that is not there. tls: a new certificate may be loaded into it, None = no TLS. is_implicit: TLS
    from the first byte. needs_tls: before all else. answered: hears the reply to each message.
    """

    hostname: str
    converse: Callable[[Client], Conversation]
    extensions: Callable[[Client], Sequence[str]] = _nothing
    tls: ssl.SSLContext | None = None
    is_implicit: bool = False
    needs_tls: bool = False
    auth_needs_tls: bool = True
    answered: Callable[[str], None] = _uncounted
