"""The dialogue of an SMTP server with one client, command by command. What is taken is its user's decision.

Implements: RFC 5321 as a receiver, 1870 (SIZE), 2034 (ENHANCEDSTATUSCODES), 2920 (PIPELINING), 3207 (STARTTLS), 4954
(AUTH: its frame, the mechanisms are the user's), 6152 (8BITMIME). Further extensions are announced by the user, and
their parameters read by `esmtp`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from egret_egress import esmtp
from egret_egress.esmtp import Bad, Mail
from egret_egress.inbound_content import ByteBudget, ContentReader, Refused, Share
from egret_egress.smtp_connection import BadLine, Connection
from egret_egress.smtp_limits import ServerLimits
from egret_egress.smtp_service import NOT_NOW, AuthAborted, Client, Conversation, Service, Transaction

log = logging.getLogger(__name__)

MAX_COMMAND_BYTES: Final = 4096
"""Of a command line: RFC 5321 section 4.5.3.1.4 says 512, and each extension some more."""
MAX_AUTH_BYTES: Final = 12_288
"""Of a line of AUTH (RFC 4954 section 4)."""
MAX_ERRORS: Final = 10
"""Commands of one connection that make no sense."""
MAX_NAME_CHARS: Final = 255

_OF_THE_WEB = frozenset({"GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT"})
"""A browser may be made to send what looks like commands further on."""
_BEFORE_TLS = frozenset({"NOOP", "EHLO", "STARTTLS", "QUIT"})
"""What may be said before TLS where TLS is a must (RFC 3207 section 4)."""


class Dialogue:
    """What is said over one connection. budget: of bytes in memory, for all connections."""

    def __init__(self, connection: Connection, service: Service, limits: ServerLimits, budget: ByteBudget) -> None:
        self._connection = connection
        self._service = service
        self._limits = limits
        self._budget = budget
        self._client = Client(connection.peer, tls=connection.tls)
        self._conversation: Conversation = service.converse(self._client)
        self._is_over = False
        self._errors = 0
        self._offered: frozenset[str] = frozenset()
        self._transaction: Transaction | None = None
        self._mail: Mail | None = None
        self._recipients = 0
        self._commands: dict[str, Callable[[str], Awaitable[None]]] = {
            "HELO": self._on_helo,
            "EHLO": self._on_ehlo,
            "STARTTLS": self._on_starttls,
            "AUTH": self._on_auth,
            "MAIL": self._on_mail,
            "RCPT": self._on_rcpt,
            "DATA": self._on_data,
            "RSET": self._on_rset,
            "NOOP": self._on_noop,
            "QUIT": self._on_quit,
            "HELP": self._on_help,
            "VRFY": self._on_vrfy,
            "EXPN": self._on_expn,
        }

    async def serve(self) -> None:
        """Greet, and answer command after command. Raises ConnectionError."""
        refused = await self._asked(self._conversation.greet())
        if refused:
            await self._say(refused)
            return
        await self._push(f"220 {self._connection.hostname} ESMTP")
        while not self._is_over and self._connection.is_open:
            try:
                await self._answer_next()
            except (ConnectionError, asyncio.IncompleteReadError):
                return

    async def _answer_next(self) -> None:
        self._connection.is_waiting = True
        line = await self._line(MAX_AUTH_BYTES)
        self._connection.is_waiting = False
        if line is None:
            return
        verb, _, argument = line.partition(" ")
        command = verb.upper()
        if len(line.encode()) > MAX_COMMAND_BYTES and command != "AUTH":
            await self._mistake("500 5.5.2 The line is too long")
            return
        answer = self._commands.get(command)
        if command in _OF_THE_WEB:
            await self._say("421 4.7.0 This is no web server")
        elif answer is None:
            await self._mistake("500 5.5.1 Unknown command")
        elif self._service.needs_tls and not self._client.tls and command not in _BEFORE_TLS:
            await self._mistake("530 5.7.0 Say STARTTLS first")
        else:
            self._connection.reset_timeout()
            await answer(argument.strip(" "))

    async def _line(self, limit_bytes: int) -> str | None:
        """Return a line; None when it is none, and was answered. Raises IncompleteReadError."""
        line = await self._connection.line(limit_bytes)
        if isinstance(line, BadLine):
            self._is_over = self._is_over or line.is_last
            await self._mistake(line.reply)
            return None
        return line

    async def _asked(self, answer: Awaitable[str]) -> str:
        """Return the user's reply; our own troubles are kept to ourselves: the client may come again."""
        try:
            return await answer
        except Exception:
            log.exception("receiving failed", extra={"peer": self._client.ip})
            return NOT_NOW

    async def _push(self, reply: str) -> None:
        await self._connection.push(reply)

    async def _say(self, reply: str, told: str = "refused") -> None:
        """Send a reply; 421 ends the connection. told: what the log says of it when it is a refusal."""
        if reply[:1] in ("4", "5"):
            login = {"login": self._client.login[:MAX_NAME_CHARS]} if self._client.login else {}
            log.info(told, extra={"peer": self._client.ip, "reply": reply, **login})
        self._is_over = self._is_over or reply.startswith("421")
        await self._push(reply)

    async def _mistake(self, reply: str, told: str = "refused") -> None:
        """Refuse a command that makes no sense; whoever makes too many of them is sent away."""
        self._errors += 1
        await self._say(reply if self._errors < MAX_ERRORS else "421 4.7.0 Too many errors", told)

    def _reset(self) -> None:
        self._transaction = self._mail = None
        self._recipients = 0

    # --- who is there

    async def _on_helo(self, hostname: str) -> None:
        """Answer HELO."""
        if await self._hear_name(hostname):
            self._client.is_extended = False
            self._offered = frozenset()
            await self._push(f"250 {self._connection.hostname}")

    async def _on_ehlo(self, hostname: str) -> None:
        """Answer EHLO with what is offered now."""
        if not await self._hear_name(hostname):
            return
        self._client.is_extended = True
        lines = [f"SIZE {self._limits.message_bytes}", "8BITMIME", "PIPELINING", "ENHANCEDSTATUSCODES"]
        if self._service.tls is not None and not self._client.tls:
            lines.append("STARTTLS")
        if not self._service.needs_tls or self._client.tls:
            lines += self._extensions()
        self._offered = frozenset(line.partition(" ")[0] for line in lines)
        lines = [self._connection.hostname, *lines]
        await self._push("\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]))

    def _extensions(self) -> list[str]:
        has_auth = not self._service.auth_needs_tls or bool(self._client.tls)
        return [line for line in self._service.extensions(self._client) if has_auth or not line.startswith("AUTH ")]

    async def _hear_name(self, name: str) -> bool:
        if not name or " " in name or len(name) > MAX_NAME_CHARS:
            await self._mistake("501 5.5.4 A greeting names its host")
            return False
        self._reset()
        self._client.ehlo = name
        return True

    async def _on_starttls(self, arg: str) -> None:
        """Begin TLS and forget all that was said before (RFC 3207 section 4.2)."""
        if arg:
            await self._mistake("501 5.5.4 STARTTLS takes no argument")
        elif self._service.tls is None:
            await self._mistake("502 5.5.1 TLS is not offered")
        elif self._client.tls:
            await self._mistake("503 5.5.1 TLS is there already")
        elif await self._connection.start_tls(self._service.tls):
            self._client.tls = self._connection.tls
            self._client.ehlo, self._client.is_extended, self._offered = "", False, frozenset()
            self._reset()
        else:
            self._is_over = True

    async def _on_auth(self, arg: str) -> None:
        """Have the client authenticated by the user of the server."""
        refusal = self._without_auth()
        if refusal:
            await self._mistake(refusal)
            return
        mechanism, _, initial = arg.partition(" ")
        mechanisms = next((line.split(" ")[1:] for line in self._extensions() if line.startswith("AUTH ")), list[str]())
        if mechanism.upper() not in mechanisms:
            await self._mistake("504 5.5.4 The mechanism is not offered")
            return
        self._client.login = ""
        try:
            first = _decode(initial) if initial else None
            reply = await self._conversation.auth(mechanism.upper(), first, self._challenge)
        except AuthAborted as aborted:
            reply = aborted.reply
        except (ConnectionError, asyncio.IncompleteReadError):
            raise
        except Exception:
            log.exception("authenticating failed", extra={"peer": self._client.ip})
            reply = "454 4.7.0 Try again later"
        if reply.startswith("235"):
            self._client.is_authenticated = True
            await self._push(reply)
        else:
            await self._mistake(reply, "login failed")

    def _without_auth(self) -> str:
        """Return why AUTH cannot be now, "" when it can."""
        if self._service.auth_needs_tls and not self._client.tls:
            return "538 5.7.11 TLS is needed for this"
        if "AUTH" not in self._offered:
            return "502 5.5.1 AUTH is not offered"
        if self._client.is_authenticated or self._transaction is not None:
            return "503 5.5.1 Not now"
        return ""

    async def _challenge(self, challenge: bytes) -> bytes:
        await self._push(f"334 {base64.b64encode(challenge).decode()}")
        line = await self._line(MAX_AUTH_BYTES)
        self._connection.reset_timeout()
        if line is None:
            raise AuthAborted("501 5.5.2 AUTH has ended")
        if line == "*":
            raise AuthAborted("501 5.7.0 AUTH is given up")
        return _decode(line)

    # --- mail

    async def _on_mail(self, arg: str) -> None:
        """Begin a transaction."""
        if not self._client.ehlo:
            await self._mistake("503 5.5.1 Say EHLO first")
            return
        if self._transaction is not None:
            await self._mistake("503 5.5.1 A transaction has begun already")
            return
        mail = esmtp.mail(arg, self._offered)
        if isinstance(mail, Bad):
            await self._mistake(mail.reply)
            return
        if (mail.size or 0) > self._limits.message_bytes:
            await self._say(Refused.TOO_LARGE.value)
            return
        try:
            begun = await self._conversation.mail(mail)
        except Exception:
            log.exception("receiving failed", extra={"peer": self._client.ip})
            begun = NOT_NOW
        if isinstance(begun, str):
            await self._say(begun)
            return
        self._transaction, self._mail = begun, mail
        await self._push("250 2.1.0 OK")

    async def _on_rcpt(self, arg: str) -> None:
        """Add a recipient."""
        if self._transaction is None or self._mail is None:
            await self._mistake("503 5.5.1 Say MAIL first")
            return
        rcpt = esmtp.rcpt(arg, self._offered, smtputf8=self._mail.smtputf8)
        if isinstance(rcpt, Bad):
            await self._mistake(rcpt.reply)
            return
        if self._recipients >= self._limits.recipients:
            await self._say("452 4.5.3 Too many recipients")
            return
        reply = await self._asked(self._transaction.rcpt(rcpt))
        self._recipients += reply.startswith("2")
        await self._say(reply)

    async def _on_data(self, arg: str) -> None:
        """Receive content while there is memory for it."""
        if arg:
            await self._mistake("501 5.5.4 DATA takes no argument")
            return
        if self._transaction is None or self._mail is None:
            await self._mistake("503 5.5.1 Say MAIL first")
            return
        if not self._recipients:
            await self._say("503 5.5.1 There is no recipient")
            return
        if not self._budget.has_room(self._connection.networks[0], self._mail.size or 0):
            await self._answer(Refused.NO_MEMORY.value)
            return
        share = Share(self._budget, self._connection.networks[0])
        try:
            await self._push("354 End data with <CR><LF>.<CR><LF>")
            status = await self._receive(ContentReader(self._limits.message_bytes, share), self._transaction)
        finally:
            share.give_back()
        self._reset()
        await self._answer(status)

    async def _answer(self, reply: str) -> None:
        """Say what becomes of a message, and have it counted."""
        self._service.answered(reply)
        await self._say(reply)

    async def _receive(self, reader: ContentReader, transaction: Transaction) -> str:
        """Read to the end of the content and hand it over; return the reply."""
        content = await self._connection.content(reader)
        if isinstance(content, Refused):
            return content.value
        return await self._asked(transaction.content(content))

    async def _on_rset(self, arg: str) -> None:
        """Forget the transaction."""
        if arg:
            await self._mistake("501 5.5.4 RSET takes no argument")
            return
        self._reset()
        await self._push("250 2.0.0 OK")

    # --- further commands

    async def _on_noop(self, arg: str) -> None:
        """Do nothing."""
        await self._push("250 2.0.0 OK")

    async def _on_quit(self, arg: str) -> None:
        """End the connection."""
        if arg:
            await self._mistake("501 5.5.4 QUIT takes no argument")
            return
        self._is_over = True
        await self._push("221 2.0.0 Bye")

    async def _on_help(self, arg: str) -> None:
        """Say where help is."""
        await self._push("214 2.0.0 See RFC 5321")

    async def _on_vrfy(self, arg: str) -> None:
        """Tell nobody who is here (RFC 5321 section 7.3)."""
        await self._push("252 2.0.0 Send some mail, and see" if arg else "501 5.5.4 VRFY needs an argument")

    async def _on_expn(self, arg: str) -> None:
        """Tell nobody who is here."""
        await self._mistake("502 5.5.1 EXPN is not offered")


def _decode(text: str) -> bytes:
    """Return what base64 stands for, "=" for nothing (RFC 4954 section 4). Raises AuthAborted."""
    if text == "=":
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise AuthAborted("501 5.5.2 This is no base64") from error
