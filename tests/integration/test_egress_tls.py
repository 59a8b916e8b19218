"""TLS of the SMTP client: opportunistic, and verified towards a smarthost, with AUTH only when it is safe."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from egret.core.outcome import Bounced, Deferred, Delivered, Outcome
from egret.core.tls_policy import OPPORTUNISTIC, TlsKind, TlsPolicy
from egret_egress.courier import Courier
from egret_egress.destinations import Fixed, Host
from egret_egress.opening import Dialing, NoSession, Opened, open_session
from egret_egress.pool import Pool
from egret_egress.session import Credentials, Endpoint
from tests.certificates import Certificate
from tests.conformance.scripted import SHORT, NoDns, Notes, listening, parcel, parse, playing

SEND = """\
C: MAIL FROM:<s@example.net>
S: 250 ok
C: RCPT TO:<a@example.org>
S: 250 ok
C: DATA
S: 354 go
C: Subject: x
C: .
S: 250 ok
"""
STARTTLS = """\
S: 220 mx
C: EHLO unit.example
S: 250-mx
S: 250-AUTH PLAIN
S: 250 STARTTLS
C: STARTTLS
S: 220 go
S: !starttls
C: EHLO unit.example
S: 250-mx
S: 250-REQUIRETLS
S: 250 AUTH LOGIN PLAIN
"""
LOGIN = """\
C: AUTH PLAIN AHUAcA==
S: 235 welcome
"""
PLAIN = """\
S: 220 mx
C: EHLO unit.example
S: 250-mx
S: 250 AUTH PLAIN
"""


def send(
    text: str, host: Host, certificate: Certificate, trusted: Certificate | None = None, *, require_tls: bool = False
) -> tuple[Outcome, list[str]]:
    """Play a dialogue to a client with this next hop; return the outcome and where the client left the script."""

    async def run() -> tuple[Outcome, list[str]]:
        notes, pool = Notes(), Pool()
        is_implicit = host.policy is not None and host.policy.kind is TlsKind.IMPLICIT
        async with playing(parse("tls", text), certificate.server(), implicit=is_implicit) as (server, port):
            next_hop = Host(host.name, port, host.policy, host.credentials)
            dialing = Dialing("unit.example", SHORT, verified=(trusted or certificate).trusting())
            courier = Courier(Fixed(next_hop, NoDns()), pool, dialing)
            await courier.deliver(parcel(notes, ["a@example.org"], b"Subject: x\r\n", require_tls=require_tls))
            await pool.close()
        return notes.outcomes[0], server.mismatches

    return asyncio.run(run())


STRANGER = Host("127.0.0.1", policy=OPPORTUNISTIC)
SMARTHOST = Host("127.0.0.1", policy=TlsPolicy(TlsKind.PKIX, "smarthost"), credentials=Credentials("u", "p"))
SUBMISSIONS = Host("127.0.0.1", policy=TlsPolicy(TlsKind.IMPLICIT, "smarthost"), credentials=Credentials("u", "p"))


def test_opportunistic_tls_is_used_whatever_the_certificate(tmp_path: Path) -> None:
    """RFC 7435: encryption with a stranger is better than none; EHLO is said again inside."""
    outcome, left = send(STARTTLS + SEND, STRANGER, Certificate(tmp_path, "other.example"))

    assert left == []
    assert isinstance(outcome, Delivered)


def test_a_smarthost_gets_the_password_over_verified_tls(tmp_path: Path) -> None:
    """STARTTLS, the certificate fits the name, then AUTH PLAIN."""
    outcome, left = send(STARTTLS + LOGIN + SEND, SMARTHOST, Certificate(tmp_path))

    assert left == []
    assert isinstance(outcome, Delivered)


def test_a_smarthost_with_implicit_tls(tmp_path: Path) -> None:
    """Port 465: TLS from the first byte."""
    outcome, left = send(PLAIN + LOGIN + SEND, SUBMISSIONS, Certificate(tmp_path))

    assert left == []
    assert isinstance(outcome, Delivered)


@pytest.mark.parametrize("host", [SMARTHOST, SUBMISSIONS], ids=["starttls", "implicit"])
def test_a_smarthost_that_cannot_prove_its_name_gets_nothing(tmp_path: Path, host: Host) -> None:
    """An unknown certificate means later: no password, no mail, no plain text."""
    (tmp_path / "other").mkdir()
    text = STARTTLS if host is SMARTHOST else ""

    outcome, _ = send(text, host, Certificate(tmp_path), Certificate(tmp_path / "other"))

    assert isinstance(outcome, Deferred)
    assert "certificate" in outcome.reason


@pytest.mark.parametrize("host", [SMARTHOST, SUBMISSIONS], ids=["starttls", "implicit"])
def test_what_is_wrong_with_a_certificate_is_said(tmp_path: Path, host: Host) -> None:
    """In words for people: the name, the time, or who vouches for it."""
    text, certificate = STARTTLS if host is SMARTHOST else "", Certificate(tmp_path, "other.example")

    outcome, _ = send(text, host, certificate)

    assert isinstance(outcome, Deferred)
    wrong = "IP address mismatch, certificate is not valid for '127.0.0.1'"
    if host is SMARTHOST:
        assert outcome.reason.endswith(f": TLS could not be agreed on ({wrong})")
    else:
        assert outcome.reason == f"the mail server could not prove who it is: {wrong}"


def test_a_port_without_implicit_tls_is_named(tmp_path: Path) -> None:
    """Port 587 with `--tls implicit`: the sentence says what to change, and it is TLS that failed."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx ESMTP\r\n")
        await writer.drain()

    async def run() -> tuple[Opened | NoSession, int]:
        dialing = Dialing("unit.example", SHORT, verified=Certificate(tmp_path).trusting())
        async with listening(serve) as port:
            endpoint = Endpoint("127.0.0.1", "127.0.0.1", port, TlsPolicy(TlsKind.IMPLICIT, "smarthost"))
            return await open_session(endpoint, dialing, asyncio.get_running_loop().time() + 5), port

    failed, port = asyncio.run(run())

    assert isinstance(failed, NoSession)
    assert failed.reason == f"the mail server does not speak TLS on port {port} (is it a STARTTLS port?)"
    assert failed.tls_failure is not None


def test_a_smarthost_without_starttls_gets_nothing(tmp_path: Path) -> None:
    """A stripped STARTTLS does not lead to plain text."""
    outcome, left = send(PLAIN, SMARTHOST, Certificate(tmp_path))

    assert left == []
    assert isinstance(outcome, Deferred)
    assert "does not offer encryption" in outcome.reason


def test_a_refused_login_is_said_so(tmp_path: Path) -> None:
    """535 is the smarthost's last word on this attempt."""
    outcome, left = send(STARTTLS + "C: AUTH PLAIN AHUAcA==\nS: 535 5.7.8 no\n", SMARTHOST, Certificate(tmp_path))

    assert left == []
    assert isinstance(outcome, Deferred)
    assert outcome.reason == "the smarthost refused the login (PLAIN); check the transport's user name and password"


def test_requiretls_goes_over_verified_tls(tmp_path: Path) -> None:
    """RFC 8689: where the server is verified and offers it, MAIL carries REQUIRETLS."""
    sending = SEND.replace("example.net>", "example.net> REQUIRETLS")

    outcome, left = send(STARTTLS + LOGIN + sending, SMARTHOST, Certificate(tmp_path), require_tls=True)

    assert left == []
    assert isinstance(outcome, Delivered)


def test_requiretls_is_not_met_by_opportunistic_tls(tmp_path: Path) -> None:
    """A server that anybody could be does not count."""
    outcome, left = send(STARTTLS, STRANGER, Certificate(tmp_path), require_tls=True)

    assert left == []
    assert isinstance(outcome, Bounced)
    assert outcome.reply is not None
    assert outcome.reply.enhanced_code == "5.7.30"


def test_tls_garbage_falls_back_to_plain_text(tmp_path: Path) -> None:
    """A server whose TLS is broken gets the mail over a second, plain connection."""
    broken = STARTTLS.split("S: !starttls", maxsplit=1)[0] + "S: this is no TLS\nS: !silence\n"
    plain = "S: 220 mx\nC: EHLO unit.example\nS: 250-mx\nS: 250 STARTTLS\n"

    outcome, left = send(f"{broken}--\n{plain}{SEND}", STRANGER, Certificate(tmp_path))

    assert left == []
    assert isinstance(outcome, Delivered)


def test_a_password_is_never_shown() -> None:
    """Credentials can be logged by mistake without harm."""
    assert "hunter2" not in repr(Host("x", credentials=Credentials("u", "hunter2")))
