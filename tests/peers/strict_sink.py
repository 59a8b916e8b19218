"""An SMTP server that announces LIMITS and REQUIRETLS and holds its clients to them, since no packaged server does.

Written from RFC 9422, RFC 8689, RFC 5321 and RFC 2920, it shares no code with the client. Violations are noted, and not
only refused, so that a client that recovers from a refusal is still found out.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass, field

_MAIL = re.compile(rb"MAIL FROM:<([^>]*)>((?: [^ ]+)*)", re.IGNORECASE)
_RCPT = re.compile(rb"RCPT TO:<([^>]+)>((?: [^ ]+)*)", re.IGNORECASE)


@dataclass
class Rules:
    """What is announced; 0 = not. context: for STARTTLS, None = not offered; requiretls: within TLS."""

    mail_max: int = 0
    rcpt_max: int = 0
    rcpt_domain_max: int = 0
    context: ssl.SSLContext | None = None
    requiretls: bool = False


@dataclass(frozen=True)
class Taken:
    """A message: its recipients, the parameters of MAIL in upper case, whether it came within TLS."""

    recipients: tuple[bytes, ...]
    parameters: frozenset[bytes]
    encrypted: bool


@dataclass
class StrictSink:
    """The server. taken: messages; violations: one sentence each; sessions: connections; per_session: MAIL commands."""

    rules: Rules
    taken: list[Taken] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    per_session: list[int] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        await _Conversation(self, reader, writer).run()


class _Conversation:
    def __init__(self, sink: StrictSink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._sink = sink
        self._rules = sink.rules
        self._reader = reader
        self._writer = writer
        self._encrypted = False
        self._mails = 0
        self._mail: frozenset[bytes] | None = None
        self._recipients: list[bytes] = []

    async def run(self) -> None:
        self._say(b"220 strict.example ESMTP")
        try:
            while line := await self._reader.readline():
                if not line.endswith(b"\r\n"):
                    self._broken("a command does not end in CRLF")
                if not await self._obey(line.rstrip(b"\r\n")):
                    break
        finally:
            self._sink.per_session.append(self._mails)
        await self._writer.drain()

    def _say(self, line: bytes) -> None:
        self._writer.write(line + b"\r\n")

    def _broken(self, sentence: str) -> None:
        self._sink.violations.append(sentence)

    async def _obey(self, line: bytes) -> bool:
        verb = line.partition(b" ")[0].upper()
        if verb == b"EHLO":
            self._greet()
        elif verb == b"STARTTLS" and self._rules.context is not None and not self._encrypted:
            self._say(b"220 go ahead")
            await self._writer.start_tls(self._rules.context)
            self._encrypted = True
        elif verb == b"MAIL":
            self._on_mail(line)
        elif verb == b"RCPT":
            self._on_rcpt(line)
        elif verb == b"DATA":
            await self._on_data()
        elif verb == b"RSET":
            self._mail = None
            self._say(b"250 2.0.0 forgotten")
        elif verb == b"QUIT":
            self._say(b"221 2.0.0 bye")
            return False
        else:
            self._say(b"502 5.5.1 not known here")
        return True

    def _greet(self) -> None:
        rules = self._rules
        limits = (("MAILMAX", rules.mail_max), ("RCPTMAX", rules.rcpt_max), ("RCPTDOMAINMAX", rules.rcpt_domain_max))
        words = [f"{name}={value}" for name, value in limits if value]
        offers = ["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"]
        offers += ["LIMITS " + " ".join(words)] if words else []
        offers += ["STARTTLS"] if rules.context is not None and not self._encrypted else []
        offers += ["REQUIRETLS"] if rules.requiretls and self._encrypted else []
        lines = ["strict.example", *offers]
        for text in lines[:-1]:
            self._say(f"250-{text}".encode())
        self._say(f"250 {lines[-1]}".encode())
        self._mail = None

    def _on_mail(self, line: bytes) -> None:
        match = _MAIL.fullmatch(line)
        self._mails += 1
        if match is None or self._mail is not None:
            self._broken("MAIL is wrong, or a second one")
            self._say(b"503 5.5.1 no")
            return
        parameters = frozenset(match[2].upper().split())
        if self._rules.mail_max and self._mails > self._rules.mail_max:
            self._broken("more MAIL commands than MAILMAX")
            self._say(b"421 4.7.0 enough")
            return
        if b"REQUIRETLS" in parameters and not (self._rules.requiretls and self._encrypted):
            self._broken("REQUIRETLS where it was not offered")
            self._say(b"555 5.5.4 not offered")
            return
        self._mail, self._recipients = parameters, []
        self._say(b"250 2.1.0 ok")

    def _on_rcpt(self, line: bytes) -> None:
        match = _RCPT.fullmatch(line)
        if match is None or self._mail is None:
            self._say(b"503 5.5.1 no")
            return
        rules, all_of_them = self._rules, [*self._recipients, match[1]]
        domains = {path.rpartition(b"@")[2].lower() for path in all_of_them}
        if rules.rcpt_max and len(all_of_them) > rules.rcpt_max:
            self._broken("more recipients than RCPTMAX")
            self._say(b"452 4.5.3 too many recipients")
        elif rules.rcpt_domain_max and len(domains) > rules.rcpt_domain_max:
            self._broken("more domains than RCPTDOMAINMAX")
            self._say(b"452 4.5.3 too many domains")
        else:
            self._recipients = all_of_them
            self._say(b"250 2.1.5 ok")

    async def _on_data(self) -> None:
        if self._mail is None or not self._recipients:
            self._say(b"554 5.5.1 no valid recipients")
            return
        self._say(b"354 go ahead")
        content = b""
        while not content.endswith(b"\r\n.\r\n") and content != b".\r\n":
            line = await self._reader.readline()
            if not line:
                return
            content += line
        if re.search(rb"(?<!\r)\n|\r(?!\n)", content):
            self._broken("a bare CR or LF in the content")
        self._sink.taken.append(Taken(tuple(self._recipients), self._mail, self._encrypted))
        self._mail = None
        self._say(b"250 2.0.0 taken")
