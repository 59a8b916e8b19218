"""DeliveryGet tells whoever knows no SMTP why a message is not there yet: what happened, and what happens next."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from egret.contracts.webapi import AttemptInfo, DeliveryInfo
from egret.core.mtasts import StsMode
from egret.core.tls_policy import TlsKind, TlsPolicy
from egret_egress.destinations import Answer, DnsTrouble, Fixed, Host, MxRecord
from egret_egress.engine import Capacity
from egret_egress.session import Credentials
from egret_egress.transcript import MAX_BYTES
from tests.conformance.scripted import SHORT, listening
from tests.integration.egress_rig import Sink, sinking
from tests.integration.explained import Office, Way, working
from tests.integration.protected import HOST, SERVER, Dns, Mx, Setting, running, sts_policy
from tests.integration.test_egress_protection import STRANGER, TXT, signed, tlsa

T = TypeVar("T")
PASSWORD = "correct horse"
BODY = "Meet me at the usual place."


def in_office(way: Way, story: Callable[[Office], Awaitable[T]]) -> T:
    """Run a story in a service with an egress unit."""

    async def run() -> T:
        async with working(way) as office:
            return await story(office)

    return asyncio.run(run())


def met(mx: Mx, setting: Setting | None = None, **changes: Any) -> DeliveryInfo:
    """Return what DeliveryGet says after one attempt at a server."""

    async def run() -> DeliveryInfo:
        async with running(mx) as port, working(Way(port, setting or Setting())) as office:
            return await office.attempt(text=BODY, **changes)

    return asyncio.run(run())


def only(info: DeliveryInfo) -> AttemptInfo:
    """Return the one attempt."""
    (attempt,) = info.attempts
    return attempt


def again(info: DeliveryInfo) -> str:
    """Return what is said of the next attempt after the first has failed for now."""
    assert info.due is not None
    when = f"{info.due:%Y-%m-%d %H:%M:%S} UTC"
    return f"Attempt 2 of 8 follows at {when}, since attempt 1 failed: {only(info).error}."


def spoken(attempt: AttemptInfo) -> list[str]:
    """Return the transcript without the reverse-path, which is different each time."""
    return [line.partition("<")[0] + "<…>" if "MAIL FROM" in line else line for line in attempt.transcript]


HELLO = ["S: 220 mx.example.org", "C: EHLO unit.example", "S: 250-mx.example.org", "S: 250 PIPELINING"]
ASKED = ["C: MAIL FROM:<…>", "C: RCPT TO:<ann@example.org>", "C: DATA", "S: 250 ok"]


# --- waiting for a slot


def test_waiting_for_a_slot_while_the_unit_is_busy() -> None:
    """Nothing was tried, nothing is wrong; it goes when the others are done."""

    async def run() -> tuple[DeliveryInfo, DeliveryInfo]:
        one = Capacity(deliveries=1)
        async with sinking(Sink(gate=asyncio.Event())) as sink, working(Way(sink.port, capacity=one)) as office:
            first = await office.send()
            office.bring(first)
            await sink.dots.wait()
            second = await office.send()
            office.bring(second)
            before = office.explain(second)
            assert sink.gate is not None
            sink.gate.set()
            await office.settle()
            office.bring(second)
            await office.settle()
            return before, office.explain(second)

    before, after = asyncio.run(run())

    assert (before.state, before.attempts) == ("queued", ())
    assert before.waiting == (
        "Due now, and waiting for a free slot: Egret is busy with other mail, and looks again every minute."
    )
    assert (after.state, after.waiting, only(after).transcript) == ("delivered", "", ())


def test_waiting_for_a_slot_at_a_provider_that_asked_us_to_slow_down() -> None:
    """Who asked for it, when, in which words, and until when."""
    yahoo = Dns(mx_hosts=("mta5.am0.yahoodns.net",), addresses_of={"mta5.am0.yahoodns.net": ("127.0.0.1",)})

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        await reader.readline()
        writer.write(b"250 mx\r\n")
        await reader.readline()
        writer.write(b"421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred\r\n")
        await reader.read()

    async def run() -> tuple[DeliveryInfo, DeliveryInfo]:
        async with listening(serve) as port, working(Way(port, Setting(yahoo))) as office:
            first = await office.attempt()
            return first, await office.attempt("bob@example.org")

    first, second = asyncio.run(run())

    assert first.waiting == again(first)
    assert only(first).error == (
        "the server ended the connection, transient: 421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred"
    )
    assert (second.state, second.attempts) == ("queued", ())
    assert second.waiting.startswith(
        "waiting: Yahoo asked us to slow down at 05:06 (421 4.7.0 [TSS04]); next try about 0"
    )


# --- what the server says


def test_greylisted() -> None:
    """It is the server's custom with strangers, and the next attempt usually succeeds."""
    info = met(Mx(refusal=b"451 4.7.1 Greylisted, see http://postgrey.example/help\r\n"))
    attempt = only(info)

    assert (info.state, info.waiting, attempt.outcome, attempt.code) == ("queued", again(info), "deferred", 451)
    assert attempt.error == (
        "the server puts off a sender that it has not seen before (greylisting), and usually takes the message when it "
        "comes again, transient: 451 4.7.1 Greylisted, see http://postgrey.example/help"
    )
    assert (attempt.remote, attempt.tls_policy, attempt.tls) == ("mx.example.org [127.0.0.1]", "opportunistic", "")
    assert spoken(attempt) == [
        *HELLO,
        *ASKED,
        "S: 451 4.7.1 Greylisted, see http://postgrey.example/help",
        "S: 503 nobody",
    ]


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("5.7.1 Blocked as spam", "by its own rules (policy) it does not want this mail, and its reply may say why"),
        ("5.7.26 Unauthenticated", "SPF and DKIM, by which it checks the sending domain, have both failed"),
        ("5.1.1 No such user", "it knows no such mailbox"),
    ],
)  # fmt: skip
def test_policy_refusal(said: str, meaning: str) -> None:
    """It is for good; the server's own words say more."""
    info = met(Mx(refusal=f"550 {said}\r\n".encode()))
    attempt = only(info)

    assert (info.state, info.waiting, attempt.outcome, attempt.code) == ("failed", "", "bounced", 550)
    assert attempt.error == f"the server refused the recipient: {meaning}, permanent: 550 {said}"
    assert spoken(attempt) == [*HELLO, *ASKED, f"S: 550 {said}", "S: 503 nobody"]


# --- protection


def test_dane_failure(tmp_path: Path) -> None:
    """The certificate is another one than the domain publishes; nothing was sent."""
    info = met(Mx(SERVER.server(tmp_path)), Setting(signed(tlsa(STRANGER)), trust=STRANGER))
    attempt = only(info)

    assert (info.state, info.waiting, attempt.outcome, attempt.code) == ("queued", again(info), "deferred", 0)
    assert attempt.error == (
        "the mail server's certificate is not the one that its domain publishes in the DNS (DANE), so nothing was sent "
        "to it: either the records are out of date, or somebody else has answered in its place"
    )
    assert (attempt.tls_policy, attempt.tls) == ("dane", "")
    assert spoken(attempt) == [*HELLO[:3], "S: 250-PIPELINING", "S: 250 STARTTLS", "C: STARTTLS", "S: 220 go"]


def test_mta_sts_mismatch(tmp_path: Path) -> None:
    """The domain's policy does not name the server: nobody is connected to."""
    mx = Mx(SERVER.server(tmp_path))
    info = met(mx, Setting(Dns(texts=TXT), policy=sts_policy(StsMode.ENFORCE, "mail.example.org")))
    attempt = only(info)

    assert (info.state, info.waiting, attempt.outcome, mx.connections) == ("queued", again(info), "deferred", 0)
    assert attempt.error == (
        "the DNS names mx.example.org as a mail server of example.org, but the domain's own security policy (MTA-STS) "
        "does not, so nothing was sent to it: it may be somebody else's"
    )
    assert (attempt.tls_policy, attempt.remote, attempt.transcript) == ("mta-sts", "mx.example.org", ())


def test_requiretls_unsupported(tmp_path: Path) -> None:
    """The message asked for it, and the server cannot promise it."""
    setting = Setting(Dns(texts=TXT), policy=sts_policy(StsMode.ENFORCE))
    info = met(Mx(SERVER.server(tmp_path)), setting, require_tls=True)
    attempt = only(info)

    assert (info.state, info.waiting, attempt.outcome) == ("failed", "", "bounced")
    assert attempt.error == (
        "the message is to be encrypted on its whole way (RequireTLS), and the mail server does not promise that, "
        "permanent: 554 5.7.30 REQUIRETLS is not supported"
    )
    assert (attempt.tls_policy, attempt.tls) == ("mta-sts", "TLSv1.3")
    assert spoken(attempt) == [
        *[*HELLO[:3], "S: 250-PIPELINING", "S: 250 STARTTLS", "C: STARTTLS", "S: 220 go"],
        *HELLO[1:],
        f"[Egret asked for nothing: {attempt.error.partition(', permanent: ')[0]}]",
    ]


def test_requiretls_without_any_proof_of_the_server() -> None:
    """The recipient's domain publishes nothing: no connection is made."""
    attempt = only(met(Mx(), require_tls=True))

    assert attempt.error == (
        "the message is to be encrypted on its whole way (RequireTLS), and example.org publishes nothing by which its "
        "mail server mx.example.org could prove who it is: neither DANE records nor an MTA-STS policy in mode enforce, "
        "permanent: 554 5.7.30 REQUIRETLS is not supported"
    )


# --- DNS and the network


def test_null_mx() -> None:
    """The domain takes no mail at all, so that it is over."""
    info = in_office(Way(setting=Setting(Dns(mx_hosts=("",)))), lambda office: office.attempt())
    attempt = only(info)

    assert (info.state, info.waiting, attempt.outcome, attempt.transcript) == ("failed", "", "bounced", ())
    assert attempt.error == (
        "the recipient's domain says in the DNS that it takes no mail at all (null MX), "
        "permanent: 556 5.1.10 The domain has a null MX"
    )


@dataclass
class Failing(Dns):
    """A DNS whose servers do not answer."""

    async def mx(self, domain: str) -> Answer[MxRecord]:
        """Raise."""
        raise DnsTrouble("the name servers do not answer")


def test_dns_failure() -> None:
    """Which name, what happened; it is tried again."""
    info = in_office(Way(setting=Setting(Failing())), lambda office: office.attempt())
    attempt = only(info)

    assert (info.state, info.waiting, attempt.outcome, attempt.remote) == ("queued", again(info), "deferred", "")
    assert attempt.error == (
        "the mail servers (MX) of example.org could not be looked up in the DNS: the name servers do not answer"
    )


async def closed_port() -> int:
    """Return a port that nobody listens on."""
    async with listening(lambda *_: asyncio.sleep(0)) as port:
        return port


def test_port_25_closed() -> None:
    """The unit's own probe has found out; nothing is tried, so that no attempt is used up."""

    async def run() -> DeliveryInfo:
        async with working(Way(probes=[("127.0.0.1", await closed_port())])) as office:
            return await office.attempt()

    info = asyncio.run(run())

    assert (info.state, info.attempts) == ("queued", ())
    assert info.waiting == (
        "Due now, but Egret cannot reach any mail server, since outbound port 25 is closed to it. The message goes as "
        "soon as the port is open, which AWS does when the operator of Egret asks for it."
    )


def test_a_server_that_cannot_be_connected_to() -> None:
    """In the words of the system."""

    async def run() -> DeliveryInfo:
        async with working(Way(await closed_port())) as office:
            return await office.attempt()

    attempt = only(asyncio.run(run()))

    assert attempt.error.startswith("the mail server could not be connected to (")
    assert (attempt.remote, attempt.transcript) == ("mx.example.org [127.0.0.1]", ())


# --- what a transcript never shows


@dataclass
class Relay(Mx):
    """A smarthost with a login. answer: to AUTH; after_dot: to the message."""

    answer: bytes = b"235 2.7.0 welcome\r\n"
    after_dot: bytes = b"250 2.0.0 ok\r\n"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_encrypted = False
        writer.write(b"220 relay\r\n")
        while line := await reader.readline():
            match line[:4].upper():
                case b"EHLO":
                    writer.write(
                        b"250-relay\r\n250 AUTH PLAIN\r\n" if is_encrypted else b"250-relay\r\n250 STARTTLS\r\n"
                    )
                case b"STAR":
                    writer.write(b"220 go\r\n")
                    await self._start_tls(writer)
                    is_encrypted = True
                case b"AUTH":
                    writer.write(self.answer)
                case b"DATA":
                    writer.write(b"354 go\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    writer.write(self.after_dot)
                case b"QUIT":
                    return
                case _:
                    writer.write(b"250 ok\r\n")


def through(relay: Relay) -> DeliveryInfo:
    """Return what DeliveryGet says after one attempt over a smarthost."""

    async def run() -> DeliveryInfo:
        async with running(relay) as port:
            policy = TlsPolicy(TlsKind.PKIX, "smarthost")
            host = Host(HOST, port, policy, Credentials("egret", PASSWORD))
            way = Way(router=Fixed(host, Dns()), timeouts=replace(SHORT, hello=5))
            async with working(way) as office:
                return await office.attempt(text=BODY)

    return asyncio.run(run())


SECRETS = (
    PASSWORD,
    base64.b64encode(PASSWORD.encode()).decode(),
    base64.b64encode(f"\0egret\0{PASSWORD}".encode()).decode(),
    BODY,
)


def shown(info: DeliveryInfo) -> str:
    """Return everything that an account reads of an attempt."""
    attempt = only(info)
    return "\n".join(
        (*attempt.transcript, *attempt.reply, attempt.error, info.waiting, *(e.error for e in info.events))
    )


def test_a_login_and_the_message_are_not_in_the_transcript(tmp_path: Path) -> None:
    """Of both it is only said that they were sent."""
    info = through(Relay(SERVER.server(tmp_path), after_dot=b"451 4.3.0 the disk is full\r\n"))
    lines = only(info).transcript

    assert only(info).error == "the server refused the message, transient: 451 4.3.0 the disk is full"
    assert "C: AUTH PLAIN [hidden]" in lines
    assert any(line.endswith(" bytes of message]") for line in lines)
    assert not [secret for secret in SECRETS if secret in shown(info)]


@pytest.mark.parametrize("secret", SECRETS[:3])
def test_a_server_that_says_the_password_back_is_not_quoted(tmp_path: Path, secret: str) -> None:
    """In none of the places where its reply is kept."""
    info = through(Relay(SERVER.server(tmp_path), answer=f"535-5.7.8 no\r\n535 5.7.8 not {secret}\r\n".encode()))

    assert only(info).reply == ("5.7.8 no", "5.7.8 not [hidden]")
    assert secret not in shown(info)


@pytest.mark.parametrize("said", [b"x" * 20_000, bytes(range(14, 256)) * 70, "ü€".encode() * 4000, b"\\" * 9000])
def test_a_transcript_of_a_server_that_babbles_is_bounded_and_printable(said: bytes) -> None:
    """Whatever it says, at the greeting, in EHLO and in its refusal."""
    greeting = b"220-" + said + b"\r\n220 mx\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.readline()
        writer.write(b"".join(b"250-" + said[:900] + b"\r\n" for _ in range(50)) + b"250 mx\r\n")
        await reader.readline()
        writer.write(b"550-" + said + b"\r\n550 " + said + b"\r\n")
        await reader.read()

    async def run() -> DeliveryInfo:
        async with listening(serve) as port, working(Way(port)) as office:
            return await office.attempt()

    attempt = only(asyncio.run(run()))

    assert attempt.code == 550
    assert 0 < sum(len(line.encode()) for line in attempt.transcript) <= MAX_BYTES
    assert all(line.isprintable() for line in attempt.transcript)
    assert attempt.transcript[0].startswith("S: 220")
