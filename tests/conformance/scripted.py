r"""A server that plays SMTP dialogues from text files, and what is needed to send one message to it.

File: lines of `#` first, the first of which cites the RFC section; among them settings `# name: value`:
  rcpt: forward-paths, separated by commas (default a@example.org)     from: reverse-path (default s@example.net)
  body: the message, with \r \n escapes (default "Subject: x\r\n\r\nhello\r\n")
  smtputf8: yes   require-tls: yes
  messages: how many times the message is to be sent (default 1), each with recipients of its own in `expect`
  ret, envid: of RFC 3461     notify, orcpt: one for each recipient, separated by `;;`
  tls: the server is a smarthost that must prove its name     login: user and password for it
  expect: one outcome for each recipient, separated by `;`: `delivered 250`, `bounced 550 5.1.1`,
          `deferred`, `unknown`; words after the codes must occur in its reason
  sent: no — the content must never have been handed over with a dot
Then the conversation: `S:` what the server sends (\xNN and \r\n escapes; a line end is added unless `S|`), `C:` what
the client must send; `--` the next connection; `S: !close` closes, `S: !silence` says nothing more,
`S: !starttls` goes on with TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from egret.contracts.handoff import Content as HandedContent
from egret.contracts.handoff import Leg, Transaction
from egret.core.outcome import Outcome, Remote
from egret.core.tls_policy import OPPORTUNISTIC, Tlsa
from egret.core.trace import SessionTrace
from egret_egress.content import Content
from egret_egress.courier import Courier
from egret_egress.course import Course, Courses
from egret_egress.destinations import Answer, Fixed, Host, MxRecord
from egret_egress.following import Ahead
from egret_egress.opening import Dialing
from egret_egress.parcel import Parcel
from egret_egress.pool import Pool
from egret_egress.session import Timeouts

SHORT = Timeouts(
    connect=2, tls=2, greeting=0.4, hello=0.4, mail=0.4, rcpt=0.4, data=0.4, block=0.4, final=0.4, quit=0.2, attempt=2
)
"""RFC 5321's minutes in fractions of a second."""


@dataclass
class Dialogue:
    """One file. connections: the lines of each connection, as (direction, bytes)."""

    name: str
    settings: dict[str, str] = field(default_factory=dict)
    connections: list[list[tuple[str, bytes]]] = field(default_factory=lambda: [[]])

    @property
    def recipients(self) -> list[str]:
        """The forward-paths."""
        return [path.strip() for path in self.settings.get("rcpt", "a@example.org").split(",")]


def read(path: Path) -> Dialogue:
    """Parse a dialogue file."""
    return parse(path.stem, path.read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Dialogue:
    """Parse a dialogue."""
    dialogue = Dialogue(name)
    for line in text.splitlines():
        if line.startswith("#"):
            if match := re.match(r"# ([a-z0-9-]+): (.*)", line):
                dialogue.settings[match[1]] = match[2]
        elif line == "--":
            dialogue.connections.append([])
        elif line:
            dialogue.connections[-1].append(_line(line))
    return dialogue


def _line(line: str) -> tuple[str, bytes]:
    direction, mark, text = line[0], line[1], line[2:].removeprefix(" ")
    data = unescape(text)
    if direction == "S" and not text.startswith("!") and mark == ":":
        data += b"\r\n"
    return direction, data


def unescape(text: str) -> bytes:
    r"""Return the bytes of a text with \r, \n, \xNN and \\ escapes."""
    return text.encode("utf-8").decode("unicode_escape").encode("latin-1")


class ScriptedServer:
    """Plays the connections of a dialogue in order. mismatches: where the client left the script."""

    def __init__(self, dialogue: Dialogue, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._scripts = list(dialogue.connections)
        self.mismatches: list[str] = []
        self.played = 0
        self.unplayed: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Play one connection."""
        if self.played >= len(self._scripts):
            self.mismatches.append("one connection too many")
            return
        script = self._scripts[self.played]
        self.played += 1
        try:
            await self._play(script, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.mismatches.append(f"the client closed: {error!r}")

    async def _play(
        self, script: list[tuple[str, bytes]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for direction, data in script:
            if data == b"!close":
                return
            if data == b"!starttls":
                assert self._context is not None
                await writer.start_tls(self._context)
                continue
            if data == b"!silence":
                await reader.read()
                return
            if direction == "S":
                writer.write(data)
                await writer.drain()
            else:
                line = (await reader.readline()).removesuffix(b"\r\n")
                if line != data:
                    self.mismatches.append(f"expected {data!r}, got {line!r}")
                    return
        rest = await reader.read()
        if rest not in (b"", b"QUIT\r\n"):
            self.unplayed.append(rest)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(
    serve: Serve, *, context: ssl.SSLContext | None = None, limit: int = 4 * 1024 * 1024
) -> AsyncIterator[int]:
    """Run a server on a free loopback port; at the end its connections are ended, whatever they wait for."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError, asyncio.CancelledError, TimeoutError):
            async with asyncio.timeout(0.5):  # asyncio never tells the end of a connection whose handshake failed
                await writer.wait_closed()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=context, limit=limit)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@contextlib.asynccontextmanager
async def playing(
    dialogue: Dialogue, context: ssl.SSLContext | None = None, *, implicit: bool = False
) -> AsyncIterator[tuple[ScriptedServer, int]]:
    """Run the server of a dialogue on a free loopback port. context: for `!starttls`, or from the start."""
    scripted = ScriptedServer(dialogue, context)
    async with listening(scripted.serve, context=context if implicit else None) as port:
        yield scripted, port


class Notes:
    """A `courier.Progress` that keeps what it is told."""

    def __init__(self) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.traces: dict[int, SessionTrace] = {}
        self.dots: list[list[int]] = []

    def begin(self) -> None:
        """The attempt may always begin."""

    def before_dot(self, recipients: Sequence[int], remote: Remote) -> None:
        """Note for whom."""
        self.dots.append(list(recipients))

    def decide(self, recipient: int, outcome: Outcome, trace: SessionTrace) -> None:
        """Note what came of it; twice would be a fault."""
        assert recipient not in self.outcomes
        self.outcomes[recipient] = outcome
        self.traces[recipient] = trace


def parcel(notes: Notes, recipients: Sequence[str], body: bytes, **options: object) -> Parcel:
    """Return a parcel of one message. options: reverse_path, smtputf8, require_tls, ret, envid, notify, orcpt."""
    content = Content(body)
    transaction = Transaction(
        account="aaaaaaaa",
        message_id=1024,
        domain="example.org",
        reverse_path=str(options.get("reverse_path", "s@example.net")),
        legs=[
            Leg(1024 | index, 1, path, _item(options, "notify", index), _item(options, "orcpt", index))
            for index, path in enumerate(recipients)
        ],
        ret=str(options.get("ret", "")),
        envid=str(options.get("envid", "")),
        content=HandedContent(
            len(body),
            body,
            smtputf8=bool(options.get("smtputf8")),
            require_tls=True if options.get("require_tls") else None,
        ),
        lease_until=datetime(2030, 1, 1, tzinfo=UTC) + timedelta(minutes=40),
    )
    return Parcel(transaction, content, notes)


class Row:
    """A `following.Upcoming`: parcels one after the other."""

    def __init__(self, parcels: Sequence[Parcel]) -> None:
        self._parcels = deque(parcels)
        self._courses: Courses | None = None
        self._begun: Ahead | None = None

    def peek(self) -> tuple[Parcel, Course] | None:
        """Return the next one."""
        if not self._parcels or self._courses is None:
            return None
        course = self._courses.known(self._parcels[0].transaction, asyncio.get_running_loop().time())
        return None if course is None else (self._parcels[0], course)

    def take(self, ahead: Ahead) -> None:
        """It has begun."""
        assert ahead.parcel is self._parcels[0]
        self._begun = ahead

    async def bring(self, courier: Courier) -> None:
        """Deliver all of them."""
        self._courses = courier.courses
        while self._parcels:
            ahead, self._begun = self._begun, None
            parcel = self._parcels.popleft()
            if ahead is None:
                await courier.deliver(parcel, self)
            else:
                await courier.go_on(ahead, self)


def _item(options: dict[str, object], name: str, index: int) -> str:
    items = str(options.get(name, "")).split(";;")
    return items[index].strip() if index < len(items) else ""


class NoDns:
    """A `Resolver` that is never asked."""

    async def mx(self, domain: str) -> Answer[MxRecord]:
        """Nothing exists."""
        return Answer((), domain, exists=False)

    async def addresses(self, host: str) -> Answer[str]:
        """Nothing exists."""
        return Answer((), host, exists=False)

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        """Nothing exists."""
        return Answer((), name, exists=False)

    async def txt(self, name: str) -> Answer[str]:
        """Nothing exists."""
        return Answer((), name, exists=False)


def courier_to(port: int, pool: Pool, timeouts: Timeouts = SHORT) -> Courier:
    """Return a courier whose only next hop is a loopback port, as MX host 127.0.0.1."""
    host = Host("127.0.0.1", port, OPPORTUNISTIC)
    return Courier(Fixed(host, NoDns()), pool, Dialing("unit.example", timeouts))
