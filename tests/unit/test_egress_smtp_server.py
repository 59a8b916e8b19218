"""The SMTP server: its dialogue, its limits, TLS and AUTH, over loopback with a user that takes everything."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from egret_egress.esmtp import Mail, Rcpt
from egret_egress.smtp_dialogue import MAX_ERRORS
from egret_egress.smtp_limits import ServerLimits
from egret_egress.smtp_server import SmtpServer
from egret_egress.smtp_service import AuthAborted, Challenge, Client, Service
from tests.certificates import Certificate
from tests.smtp_client import Wire, dialling

PIECES = [
    *(b"EHLO me\r\n", b"HELO me\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<a@b.example>\r\n", b"DATA\r\n", b"RSET\r\n"),
    *(b"\r\n.\r\n", b"\n.\n", b"AUTH PLAIN\r\n", b"STARTTLS\r\n", b"\r\n", b" ", b"x", b"\x00", b"NOOP\r\n", b"<"),
]
REPLY = re.compile(r"(?:250[ -](?:mx\.example|[A-Z0-9]+(?: .*)?)|354 .+|([245])[0-9]{2} \1\.[0-9]{1,3}\.[0-9]{1,3} .+)")
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])


@dataclass
class User:
    """Takes all mail and remembers it. greeting, mail_reply: "" = as a rule."""

    greeting: str = ""
    mail_reply: str = ""
    mails: list[Mail] = field(default_factory=list)
    rcpts: list[Rcpt] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    logins: list[tuple[str, bytes | None, bytes]] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)

    def converse(self, client: Client) -> User:
        self.clients.append(client)
        return self

    async def greet(self) -> str:
        return self.greeting

    async def auth(self, mechanism: str, initial: bytes | None, challenge: Challenge) -> str:
        response = initial if initial is not None else await challenge(b"who?")
        self.logins.append((mechanism, initial, response))
        if response == b"bug":
            raise ValueError("a bug")
        return "235 2.7.0 OK" if response == b"me" else "535 5.7.8 No"

    async def mail(self, mail: Mail) -> User | str:
        if self.mail_reply == "bug":
            raise ValueError("a bug")
        self.mails.append(mail)
        return self.mail_reply or self

    async def rcpt(self, rcpt: Rcpt) -> str:
        self.rcpts.append(rcpt)
        return "550 5.1.1 No" if rcpt.forward_path.startswith("no") else "250 2.1.5 OK"

    async def content(self, content: bytes) -> str:
        self.contents.append(content)
        return "250 2.0.0 OK"


@asynccontextmanager
async def connected(
    service: Service, limits: ServerLimits | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[SmtpServer, Wire]]:
    """Run a server with one client. tls: from the first byte."""
    server = SmtpServer(service, limits)
    port = await server.start("127.0.0.1", 0)
    try:
        async with asyncio.timeout(5):
            async with dialling(port, tls) as wire:
                yield server, wire
    finally:
        await server.stop(0.2)


def service_of(user: User) -> Service:
    """Return a service without TLS."""
    return Service("mx.example", user.converse, extensions=lambda _: ("SMTPUTF8", "DSN", "AUTH PLAIN"))


def run(
    talk: Callable[[Wire], Awaitable[None]],
    service: Service,
    limits: ServerLimits | None = None,
    *,
    loop: Callable[[], asyncio.AbstractEventLoop] | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Let a client talk to a server, from its greeting on."""

    async def go() -> None:
        async with connected(service, limits, tls=tls) as (_, wire):
            await talk(wire)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(go())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Return one for 127.0.0.1."""
    return Certificate(Path(tmp_path_factory.mktemp("tls")))


def with_tls(user: User, certificate: Certificate) -> Service:
    """Return a service that offers STARTTLS."""
    return replace(service_of(user), tls=certificate.server())


@pytest.mark.rfc("5321", "4.1.1.1")
@pytest.mark.rfc("2034", "4")
@pytest.mark.parametrize(
    "lines",
    [
        [
            "NOOP x",
            "RSET",
            "RSET x",
            "HELP",
            "VRFY me",
            "VRFY",
            "EXPN x",
            "DATA",
            "RCPT TO:<a@b.example>",
            "MAIL",
            "QUIT",
        ],
        ["MAIL FROM:<>", "MAIL FROM:<>", "DATA", "RCPT TO:<no@b.example>", "RCPT TO:<a@b.example>", "DATA x", "QUIT x"],
        ["BDAT 1", "STARTTLS", "AUTH PLAIN", "HELO", "MAIL FROM:<a>", "MAIL FROM:<> X=1"],
    ],
)
def test_every_reply_has_an_enhanced_code_but_the_first_ones(lines: list[str]) -> None:
    """The greeting and the answer to EHLO have none; what succeeds, fails and is unknown has one."""

    async def talk(wire: Wire) -> None:
        assert await wire.reply() == "220 mx.example ESMTP"
        assert await wire.say("EHLO me.example") == (
            "250-mx.example\n250-SIZE 33554432\n250-8BITMIME\n250-PIPELINING\n250-ENHANCEDSTATUSCODES\n"
            "250-SMTPUTF8\n250 DSN"
        )
        for line in lines:
            code, enhanced, text = (await wire.say(line)).split(" ", 2)
            assert enhanced.split(".")[0] == code[0], line
            assert len(enhanced.split(".")) == 3
            assert text

    run(talk, service_of(User()))


@pytest.mark.rfc("5321", "4.1.4")
@pytest.mark.rfc("1870", "6.1")
def test_commands_out_of_order_and_too_large_mail_are_refused() -> None:
    """HELO has no extensions, a SIZE beyond the limit no transaction."""
    user = User()

    async def talk(wire: Wire) -> None:
        await wire.reply()
        assert await wire.codes("MAIL FROM:<>", "HELO", "HELO a b", "HELO me", "MAIL FROM:<> SIZE=1") == [
            *("503", "501", "501", "250", "555"),
        ]
        assert await wire.codes("EHLO me", "MAIL FROM:<> SIZE=1001", "MAIL FROM:<> SIZE=1000") == ["250", "552", "250"]
        assert await wire.codes("EHLO me", "RCPT TO:<a@b.example>") == ["250", "503"]

    run(talk, service_of(user), ServerLimits(message_bytes=1000))
    assert [mail.size for mail in user.mails] == [1000]


@pytest.mark.rfc("2920", "3.2")
@LOOPS
def test_pipelined_commands_are_answered_in_order(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Several transactions in one write."""
    user = User()
    one = "MAIL FROM:<a@b.example>\r\nRCPT TO:<c@b.example> NOTIFY=NEVER\r\nRCPT TO:<no@b.example>\r\nDATA\r\n"

    async def talk(wire: Wire) -> None:
        await wire.reply()
        codes = await wire.codes(f"EHLO me\r\n{one}..x\r\n.\r\n{one}y\r\n.\r\nQUIT")
        codes += [(await wire.reply())[:3] for _ in range(11)]
        assert codes == ["250", *["250", "250", "550", "354", "250"] * 2, "221"]
        assert await wire.reply() == ""

    run(talk, service_of(user), loop=loop)
    assert user.contents == [b".x\r\n", b"y\r\n"]
    assert [rcpt.notify for rcpt in user.rcpts] == ["NEVER", ""] * 2


@pytest.mark.rfc("5321", "2.3.8")
@pytest.mark.rfc("5321", "4.5.3.1.4")
@pytest.mark.parametrize(
    "line",
    [
        b"x" * 100_000,
        b"NOOP " + b"x" * 5000,
        b"NOOP \x00",
        b"NOOP \r",
        b"\xff\xfe",
        b"NOOP \xe9",
        b"\x16\x03\x01",
        b"",
        b" ",
    ],
)
def test_what_is_no_command_is_refused_and_harmless(line: bytes) -> None:
    """Far too long, not text, or nothing at all: the next command is answered, and so is the next client."""

    async def talk(wire: Wire) -> None:
        await wire.reply()
        assert (await wire.say(line)).startswith("500 5.5.")
        assert await wire.say("NOOP") == "250 2.0.0 OK"

    run(talk, service_of(User()))


@pytest.mark.rfc("5321", "2.3.8")
def test_a_line_that_ends_in_lf_ends_the_connection() -> None:
    """Nothing behind it is read as a command."""
    user = User()

    async def talk(wire: Wire) -> None:
        await wire.reply()
        assert (await wire.say(b"EHLO me\nMAIL FROM:<>")).startswith("500 5.5.2 ")
        assert await wire.reply() == ""

    run(talk, service_of(user))
    assert user.mails == []


def test_who_makes_too_many_mistakes_is_sent_away() -> None:
    """Ten commands without sense are enough; refused recipients are no mistakes."""

    async def talk(wire: Wire) -> None:
        await wire.reply()
        await wire.codes("EHLO me", "MAIL FROM:<>")
        assert await wire.codes(*["RCPT TO:<no@b.example>"] * (2 * MAX_ERRORS)) == ["550"] * 2 * MAX_ERRORS
        assert await wire.codes(*["BOGUS"] * MAX_ERRORS) == [*["500"] * (MAX_ERRORS - 1), "421"]
        assert await wire.reply() == ""

    run(talk, service_of(User()))


def test_a_browser_is_sent_away_at_once() -> None:
    """What its request says further on is no command, whoever wrote the page that it came from."""
    user = User()

    async def talk(wire: Wire) -> None:
        await wire.reply()
        assert (await wire.say("POST / HTTP/1.1\r\nHost: mx.example\r\n\r\nEHLO me\r\nMAIL FROM:<>"))[:3] == "421"
        assert await wire.reply() == ""

    run(talk, service_of(user))
    assert user.mails == []


@pytest.mark.rfc("5321", "3.8")
def test_who_is_connected_when_the_server_ends_hears_so() -> None:
    """Between two commands; not within a mail, where it would be no reply to anything."""

    async def go() -> list[str]:
        heard = []
        for lines in (["EHLO me"], ["EHLO me", "MAIL FROM:<>", "RCPT TO:<a@b.example>", "DATA"]):
            async with connected(service_of(User())) as (server, wire):
                await wire.reply()
                await wire.codes(*lines)
                await server.stop(0)
                heard.append((await wire.reply())[:9])
        return heard

    assert asyncio.run(go()) == ["421 4.3.2", ""]


def test_who_is_not_greeted_hears_why() -> None:
    """The user's reply takes the greeting's place."""

    async def talk(wire: Wire) -> None:
        assert await wire.reply() == "421 4.7.0 Not you"
        assert await wire.reply() == ""

    run(talk, service_of(User(greeting="421 4.7.0 Not you")))


@pytest.mark.parametrize(
    ("reply", "heard"), [("450 4.7.1 Later", "450 4.7.1 Later"), ("bug", "451 4.3.0 Try again later")]
)
def test_a_mail_that_its_user_does_not_take_is_refused(reply: str, heard: str) -> None:
    """With its reply; a fault is told to the log alone."""

    async def talk(wire: Wire) -> None:
        await wire.reply()
        await wire.say("EHLO me")
        assert await wire.say("MAIL FROM:<>") == heard
        assert await wire.codes("RCPT TO:<a@b.example>") == ["503"]

    run(talk, service_of(User(mail_reply=reply)))


def test_who_says_nothing_is_told_and_cut() -> None:
    """After the idle time."""

    async def talk(wire: Wire) -> None:
        await wire.reply()
        assert (await wire.reply()).startswith("421 4.4.2 ")
        assert await wire.reply() == ""

    run(talk, service_of(User()), ServerLimits(idle_s=0.05))


def test_who_dawdles_in_a_content_is_cut() -> None:
    """What was received stays in memory only while more comes: a step within its time, and not within the idle time."""

    async def talk(wire: Wire) -> None:
        await wire.reply()
        await wire.say("EHLO me")
        assert await wire.codes("MAIL FROM:<>", "RCPT TO:<a@b.example>", "DATA") == ["250", "250", "354"]
        wire.writer.write(b"x" * 60)
        assert (await wire.reply()).startswith("421 4.4.2 ")

    run(talk, service_of(User()), ServerLimits(step_s=0.1, step_bytes=64))


@pytest.mark.rfc("3207", "4.2")
@LOOPS
def test_after_starttls_nothing_said_before_counts(
    certificate: Certificate, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Neither the name, nor a transaction; TLS is offered no longer, and what needs it is."""
    user = User()

    async def talk(wire: Wire) -> None:
        await wire.reply()
        assert "250-STARTTLS" in (await wire.say("EHLO me.example"))
        assert await wire.codes("MAIL FROM:<>", "STARTTLS x", "STARTTLS") == ["250", "501", "220"]
        await wire.start_tls(certificate.trusting())
        assert await wire.codes("MAIL FROM:<>", "RCPT TO:<a@b.example>") == ["503", "503"]
        assert "STARTTLS" not in (answer := await wire.say("EHLO me"))
        assert "250 AUTH PLAIN" in answer
        assert await wire.codes("STARTTLS", "MAIL FROM:<>", "RCPT TO:<a@b.example>", "DATA") == [
            "503",
            *["250"] * 2,
            "354",
        ]
        assert await wire.say(("x" * 998 + "\r\n") * 300 + ".") == "250 2.0.0 OK"
        assert await wire.codes("QUIT") == ["221"]

    run(talk, with_tls(user, certificate), loop=loop)
    assert user.clients[0].tls.startswith("TLSv1.3 TLS_")
    assert len(user.contents[0]) == 300_000


@pytest.mark.rfc("3207", "6")
@LOOPS
def test_what_is_said_in_the_clear_behind_starttls_is_thrown_away(
    certificate: Certificate, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Or somebody in between could put commands before the client's own."""
    user = User()

    async def talk(wire: Wire) -> None:
        await wire.reply()
        await wire.say("EHLO me.example")
        assert (await wire.say("STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@b.example>"))[:3] == "220"
        await wire.start_tls(certificate.trusting())
        assert await wire.codes("NOOP", "EHLO me", "MAIL FROM:<>") == ["250"] * 3

    run(talk, with_tls(user, certificate), loop=loop)
    assert [mail.reverse_path for mail in user.mails] == [""]


@LOOPS
def test_a_handshake_that_fails_leaves_nothing_behind(
    certificate: Certificate, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """The connection counts no longer."""

    async def go() -> None:
        async with connected(with_tls(User(), certificate)) as (server, wire):
            await wire.reply()
            await wire.codes("EHLO me", "STARTTLS")
            wire.writer.write(b"NOOP\r\n" * 100)
            await wire.reader.read()
            while server.occupancy.connections:  # noqa: ASYNC110 (a set has no event)
                await asyncio.sleep(0.01)
            assert not server.occupancy.connections_of

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(go())


@LOOPS
def test_who_connects_counts_before_tls_is_there(
    certificate: Certificate, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Nobody takes all descriptors by connections in which he never says a word."""

    async def go() -> None:
        service = replace(with_tls(User(), certificate), is_implicit=True)
        async with connected(service, ServerLimits(peer_connections=1)) as (server, silent):
            while not server.occupancy.connections_of:  # noqa: ASYNC110 (a counter has no event)
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection("127.0.0.1", silent.writer.get_extra_info("peername")[1])
            assert await reader.read() == b""
            writer.close()
            silent.writer.write(b"EHLO in.the.clear\r\n")
            assert b"220" not in await silent.reader.read()
            while server.occupancy.connections_of:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(go())


@LOOPS
@pytest.mark.parametrize(
    ("said", "told"), [(b"", "a connection ended before TLS was there"), (b"NOOP\r\n", "the TLS handshake failed")]
)
def test_a_handshake_that_came_to_nothing_is_told_with_its_reason(
    certificate: Certificate,
    loop: Callable[[], asyncio.AbstractEventLoop],
    said: bytes,
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And with the peer; who only looks whether somebody listens makes no error, and none is told."""
    caplog.set_level(logging.INFO, "egret_egress")

    async def go() -> None:
        async with connected(replace(with_tls(User(), certificate), is_implicit=True)) as (_, wire):
            wire.writer.write(said)
            wire.writer.write_eof()
            await wire.reader.read()
            while not caplog.records:  # noqa: ASYNC110 (a log has no event)
                await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(go())
    (line,) = [record for record in caplog.records if record.name.startswith("egret_egress.")]
    assert (line.getMessage(), vars(line)["peer"]) == (told, "127.0.0.1")
    assert bool(said) == bool(vars(line).get("error")) == ("error" in vars(line))


@LOOPS
def test_tls_may_come_first(certificate: Certificate, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The greeting is said inside."""
    user = User()

    async def talk(wire: Wire) -> None:
        assert (await wire.reply())[:3] == "220"
        assert "STARTTLS" not in await wire.say("EHLO me")
        assert await wire.codes("MAIL FROM:<>", "QUIT") == ["250", "221"]

    run(talk, replace(with_tls(user, certificate), is_implicit=True), loop=loop, tls=certificate.trusting())
    assert user.clients[0].tls.startswith("TLSv1.3")


@pytest.mark.rfc("3207", "4")
def test_where_tls_is_a_must_little_else_may_be_said_before(certificate: Certificate) -> None:
    """Nor is anything else announced."""

    async def talk(wire: Wire) -> None:
        await wire.reply()
        assert "DSN" not in await wire.say("EHLO me")
        assert await wire.codes("NOOP", "MAIL FROM:<>", "AUTH PLAIN", "STARTTLS") == ["250", "530", "530", "220"]

    run(talk, replace(with_tls(User(), certificate), needs_tls=True))


@pytest.mark.rfc("4954", "4")
def test_auth_needs_tls() -> None:
    """It is not announced without it."""

    async def talk(wire: Wire) -> None:
        await wire.reply()
        assert "AUTH" not in await wire.say("EHLO me")
        assert await wire.codes("AUTH PLAIN bWU=") == ["538"]

    run(talk, service_of(User()))


@pytest.mark.rfc("4954", "4")
@pytest.mark.parametrize(
    ("lines", "codes"),
    [
        (["AUTH PLAIN bWU=", "AUTH PLAIN bWU="], ["235", "503"]),
        (["AUTH plain", "bWU="], ["334", "235"]),
        (["AUTH PLAIN", "*"], ["334", "501"]),
        (["AUTH PLAIN", "no base64"], ["334", "501"]),
        (["AUTH PLAIN", "\u00e9"], ["334", "501"]),
        (["AUTH PLAIN ="], ["535"]),
        (["AUTH PLAIN !"], ["501"]),
        (["AUTH OTHER"], ["504"]),
        (["AUTH"], ["504"]),
        (["MAIL FROM:<>", "AUTH PLAIN bWU="], ["250", "503"]),
        ([f"AUTH PLAIN {base64.b64encode(b'x' * 8000).decode()}"], ["535"]),
        ([f"AUTH PLAIN {base64.b64encode(b'x' * 10_000).decode()}"], ["500"]),
        ([f"AUTH PLAIN {base64.b64encode(b'bug').decode()}"], ["454"]),
    ],
)
def test_auth_is_the_users_within_its_frame(lines: list[str], codes: list[str]) -> None:
    """Initial responses, challenges, giving up, and what is no base64."""

    async def talk(wire: Wire) -> None:
        await wire.reply()
        assert "AUTH PLAIN" in await wire.say("EHLO me")
        assert await wire.codes(*lines) == codes
        assert await wire.codes("NOOP") == ["250"]

    run(talk, replace(service_of(User()), auth_needs_tls=False))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=15).map(b"".join))
def test_whatever_is_said_the_replies_are_replies(said: bytes) -> None:
    """Each has a code of its own and, but for greetings, an enhanced one; the user is told no nonsense."""
    user = User()

    async def go() -> bytes:
        async with connected(service_of(user)) as (_, wire):
            await wire.reply()
            wire.writer.write(said + b"\r\n.\r\nQUIT\r\n")
            heard = b""
            with contextlib.suppress(ConnectionError):
                while b"\r\n221 " not in b"\r\n" + heard and (more := await wire.reader.read(10_000)):
                    heard += more
            return heard

    for line in asyncio.run(go()).decode().split("\r\n")[:-1]:
        assert REPLY.fullmatch(line), line
    assert all(content.endswith(b"\r\n") for content in user.contents)


def test_an_auth_that_is_given_up_says_so() -> None:
    """The reply travels with it."""
    assert AuthAborted("501 5.7.0 x").reply == "501 5.7.0 x"
