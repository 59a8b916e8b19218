"""A mail server with TLS as a test wants it, a DNS with and without DNSSEC, and one message that is sent there."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from msgspec import structs

from egret.contracts.handoff import Earlier
from egret.contracts.records import StsPolicy
from egret.contracts.tls import TlsSupport
from egret.core.mtasts import StsMode
from egret.core.outcome import Outcome
from egret.core.tls_policy import Tlsa
from egret.core.tlsrpt import TlsSession
from egret.memory.clock import FakeClock
from egret.memory.tls import MemoryStsPolicies
from egret_egress.courier import Courier
from egret_egress.destinations import Answer, Direct, DnsTrouble, MxRecord, Resolver
from egret_egress.mta_sts import MtaSts, NotFetched
from egret_egress.observing import Observer
from egret_egress.opening import Dialing
from egret_egress.parcel import Parcel
from egret_egress.pool import Pool
from egret_egress.security import Security
from tests.certificates import Identity
from tests.conformance.scripted import SHORT, Notes, parcel

NOW = datetime.now(UTC)
HOST = "mx.example.org"
SERVER = Identity(HOST)
"""What the mail server presents, unless a test wants something else."""


@dataclass
class Mx:
    """A mail server on loopback. context: for STARTTLS, None = not offered; is_broken: what it speaks then is no TLS.

    offers: further extensions, inside TLS. refusal: what it answers to RCPT instead of 250. taken: for each message,
    whether it came over TLS, and the parameters of MAIL. sni: names that were asked for.
    """

    context: ssl.SSLContext | None = None
    is_broken: bool = False
    offers: Sequence[str] = ()
    refusal: bytes = b""
    connections: int = 0
    taken: list[tuple[bool, str]] = field(default_factory=list)
    sni: list[str | None] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        self.addresses.append(str(writer.get_extra_info("sockname")[0]))
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            self.serving.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parameters, is_encrypted = "", False
        writer.write(b"220 mx.example.org\r\n")
        while line := (await reader.readline()).decode():
            match line[:4].upper():
                case "EHLO":
                    writer.write(self._greeting(is_encrypted))
                case "STAR":
                    writer.write(b"220 go\r\n")
                    if self.is_broken:
                        writer.write(b"this is no TLS\r\n")
                        return
                    await self._start_tls(writer)
                    is_encrypted = True
                case "MAIL":
                    parameters = line.partition("> ")[2].strip()
                    writer.write(b"250 ok\r\n")
                case "RCPT":
                    writer.write(self.refusal or b"250 ok\r\n")
                case "DATA":
                    writer.write(b"354 go\r\n" if not self.refusal else b"503 nobody\r\n")
                    if not self.refusal:
                        await reader.readuntil(b"\r\n.\r\n")
                        self.taken.append((is_encrypted, parameters))
                        writer.write(b"250 2.0.0 ok\r\n")
                case "QUIT":
                    writer.write(b"221 bye\r\n")
                    return
                case _:
                    writer.write(b"250 ok\r\n")

    def _greeting(self, is_encrypted: bool) -> bytes:
        offers = ["PIPELINING", *self.offers] if is_encrypted else ["PIPELINING"]
        if not is_encrypted and (self.context is not None or self.is_broken):
            offers.append("STARTTLS")
        lines = ["mx.example.org", *offers]
        return b"".join(b"250-%s\r\n" % line.encode() for line in lines[:-1]) + b"250 %s\r\n" % lines[-1].encode()

    async def _start_tls(self, writer: asyncio.StreamWriter) -> None:
        assert self.context is not None
        self.context.sni_callback = lambda _socket, name, _context: self.sni.append(name)
        await writer.start_tls(self.context)


@contextlib.asynccontextmanager
async def running(mx: Mx, address: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """Run a server; yields its port."""
    server = await asyncio.start_server(mx.serve, address, port)
    async with server:
        yield server.sockets[0].getsockname()[1]
    if mx.serving:
        await asyncio.wait(mx.serving, timeout=5)


@dataclass
class Dns:
    """A `Resolver`. tlsa_of: by host; trouble: what cannot be answered; is_signed: every answer is authentic.

    passing: hosts whose addresses cannot be looked up the first time.
    """

    mx_hosts: Sequence[str] = (HOST,)
    addresses_of: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {HOST: ("127.0.0.1",)})
    aliases: Mapping[str, str] = field(default_factory=dict)
    tlsa_of: Mapping[str, Sequence[Tlsa]] = field(default_factory=dict)
    texts: Sequence[str] = ()
    trouble: Mapping[str, DnsTrouble] = field(default_factory=dict)
    passing: dict[str, DnsTrouble] = field(default_factory=dict)
    is_signed: bool = False
    asked: list[str] = field(default_factory=list)

    async def mx(self, domain: str) -> Answer[MxRecord]:
        """Return the hosts, in their order."""
        records = tuple(MxRecord(preference, host) for preference, host in enumerate(self.mx_hosts))
        return Answer(records, domain, self.is_signed)

    async def addresses(self, host: str) -> Answer[str]:
        """Return the addresses, of what it is an alias of."""
        if (trouble := self.passing.pop(host, None)) is not None:
            raise trouble
        expanded = self.aliases.get(host, host)
        return Answer(self.addresses_of.get(expanded, ()), expanded, self.is_signed)

    async def tlsa(self, name: str) -> Answer[Tlsa]:
        """Return the records."""
        base = name.split(".", 2)[2]
        self.asked.append(base)
        if base in self.trouble:
            raise self.trouble[base]
        return Answer(tuple(self.tlsa_of.get(base, ())), name, self.is_signed)

    async def txt(self, name: str) -> Answer[str]:
        """Return the record of MTA-STS."""
        if name in self.trouble:
            raise self.trouble[name]
        return Answer(tuple(self.texts), name, self.is_signed)


@dataclass
class Told:
    """Whom an `Observer` tells."""

    sessions: list[TlsSession] = field(default_factory=list)
    seen: list[TlsSupport] = field(default_factory=list)

    def add(self, session: TlsSession, at: datetime) -> None:
        """Keep it."""
        self.sessions.append(session)

    def saw(self, support: TlsSupport) -> None:
        """Keep it."""
        self.seen.append(support)

    @property
    def results(self) -> list[tuple[str, list[str]]]:
        """The type of each policy, and the failures under it."""
        return [
            (str(session.policy.type), [f"{each.result_type} {each.reason_code}".strip() for each in session.failures])
            for session in self.sessions
        ]


def sts_policy(mode: StsMode, *mx: str) -> StsPolicy:
    """Return the policy of example.org."""
    age = timedelta(days=1)
    return StsPolicy("example.org", "1", mode, mx or (HOST,), age, NOW, NOW + age, NOW)


@dataclass(frozen=True)
class Setting:
    """What a message meets. trust: who is a public authority; policy: the domain's MTA-STS policy."""

    dns: Dns = field(default_factory=Dns)
    trust: Identity = SERVER
    policy: StsPolicy | None = None
    require_tls: bool | None = None
    attempt: int = 1
    earlier: Sequence[Earlier] = ()
    reverse_path: str = "s@example.com"

    def security(self) -> Security:
        """Return what decides."""
        store = MemoryStsPolicies()
        if self.policy is not None:
            store.put(self.policy)
        return Security(self.dns, MtaSts(self.dns, _no_fetch, store, FakeClock(NOW)))


async def _no_fetch(domain: str) -> bytes | NotFetched:
    raise AssertionError(domain)


@dataclass(frozen=True)
class Sent:
    """How it went."""

    outcome: Outcome
    notes: Notes
    told: Told

    @property
    def policy(self) -> str:
        """The name of the policy that the attempt was made with."""
        return self.notes.traces[0].policy

    @property
    def reason(self) -> str:
        """The sentence that a developer reads, "" for a delivered message."""
        return str(getattr(self.outcome, "reason", ""))

    @property
    def enhanced_code(self) -> str:
        """Of the reply."""
        return self.outcome.reply.enhanced_code if self.outcome.reply else ""


class Sender:
    """Sends messages to one port through one pool."""

    def __init__(self, setting: Setting, port: int) -> None:
        self.setting = setting
        self.pool = Pool()
        self.told = Told()
        dialing = Dialing("unit.example", SHORT, verified=setting.trust.trusting(), has_route=lambda _: True)
        observer = Observer(self.told, self.told)
        resolver: Resolver = setting.dns
        router = Direct(resolver, _Dice(), port)
        self._courier = Courier(router, self.pool, dialing, security=setting.security(), observer=observer)

    async def send(self, require_tls: bool | None = None) -> Sent:
        """Send one message."""
        notes = Notes()
        letter = parcel(notes, ["a@example.org"], b"Subject: x\r\n")
        transaction = letter.transaction
        wanted = self.setting.require_tls if require_tls is None else require_tls
        content = structs.replace(transaction.content, require_tls=wanted)
        legs = [structs.replace(leg, attempt=self.setting.attempt) for leg in transaction.legs]
        earlier = list(self.setting.earlier)
        sender = self.setting.reverse_path
        transaction = structs.replace(transaction, content=content, legs=legs, earlier=earlier, reverse_path=sender)
        await self._courier.deliver(Parcel(transaction, letter.content, notes))
        return Sent(notes.outcomes[0], notes, self.told)


class _Dice:
    def __init__(self) -> None:
        self._random = Random(1)

    def number(self) -> float:
        """Return the next one."""
        return self._random.random()


def send(mx: Mx, setting: Setting | None = None) -> Sent:
    """Run the server, send it one message."""

    async def run() -> Sent:
        async with running(mx) as port:
            sender = Sender(setting or Setting(), port)
            sent = await sender.send()
            await sender.pool.close()
            return sent

    return asyncio.run(run())
