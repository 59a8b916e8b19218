"""A smarthost that refuses us: its word is about our settings, and mail waits until somebody has mended them."""

from __future__ import annotations

import asyncio

import pytest

from egret.contracts.metrics import Counter, NoMetrics
from egret.core.outcome import Bounced, Deferred, Outcome
from egret.core.tls_policy import SMARTHOST, TlsKind, TlsPolicy
from egret_egress import metrics
from egret_egress.courier import Courier
from egret_egress.destinations import Fixed, Host
from egret_egress.observing import Observer
from egret_egress.opening import Dialing
from egret_egress.pool import Pool
from tests.conformance.scripted import SHORT, NoDns, Notes, listening, parcel

LINES = {"": "220 relay", "EHLO": "250 relay", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go", ".": "250 ok"}


class Counting(NoMetrics):
    """Keeps the labels of the counts of one counter."""

    def __init__(self) -> None:
        self.refusals: list[tuple[str, ...]] = []

    def count(self, metric: Counter, labels: tuple[str, ...] = (), amount: float = 1) -> None:
        """Keep it."""
        if metric is metrics.SMARTHOST_REFUSALS:
            self.refusals.append(labels)


def send_over(answers: dict[str, str], *, name: str = f"{SMARTHOST}, plain") -> tuple[Outcome, list[tuple[str, ...]]]:
    """Send one message to a server that answers so; return outcome and counts. name: of the policy."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = LINES | answers
        writer.write(f"{said['']}\r\n".encode())
        while line := await reader.readline():
            verb = line[:4].decode().strip().upper()
            if verb == "DATA" and said["DATA"].startswith("354"):
                writer.write(f"{said['DATA']}\r\n".encode())
                await reader.readuntil(b"\r\n.\r\n")
                verb = "."
            writer.write(f"{said.get(verb, '250 ok')}\r\n".encode())

    async def run() -> tuple[Outcome, list[tuple[str, ...]]]:
        notes, pool, counting = Notes(), Pool(), Counting()
        async with listening(serve) as port:
            host = Host("127.0.0.1", port, TlsPolicy(TlsKind.PLAIN, name))
            dialing, observer = Dialing("unit.example", SHORT), Observer(counting=counting)
            courier = Courier(Fixed(host, NoDns()), pool, dialing, observer=observer)
            await courier.deliver(parcel(notes, ["a@example.org"], b"Subject: x\r\n"))
            await pool.close()
        return notes.outcomes[0], counting.refusals

    return asyncio.run(run())


@pytest.mark.parametrize("hello", ["250 relay", "250-relay\r\n250 PIPELINING"])
@pytest.mark.parametrize(
    ("answers", "at", "reason"),
    [
        ({"": "554 go away"}, "greeting", "the server did not want to talk to us"),
        ({"MAIL": "550 sender not allowed, log in first"}, "mail", "the server refused the sender"),
        ({"MAIL": "553 5.1.8 unknown"}, "mail", "the server refused the sender"),
    ],
)
def test_what_a_smarthost_says_of_us_bounces_nothing(answers: dict[str, str], at: str, reason: str, hello: str) -> None:
    """One wrong rule would destroy all that waits; the reason names the smarthost, and it counts."""
    outcome, counted = send_over({"EHLO": hello} | answers)

    assert isinstance(outcome, Deferred)
    assert outcome.reason.startswith(f"the smarthost 127.0.0.1 does not let us send: {reason}")
    assert outcome.reply is not None
    assert outcome.reply.is_permanent
    assert counted == [(at,)]


@pytest.mark.parametrize(
    "answers",
    [
        {"MAIL": "552 5.3.4 too large"},
        {"MAIL": "554 5.3.4 too large"},
        {"RCPT": "550 5.1.1 no such user"},
        {".": "550 this is spam"},
    ],
)
def test_what_a_smarthost_says_of_the_message_or_the_recipient_is_the_last_word(answers: dict[str, str]) -> None:
    """No setting mends it."""
    outcome, counted = send_over(answers)

    assert isinstance(outcome, Bounced)
    assert counted == []


@pytest.mark.parametrize("answers", [{"": "554 go away"}, {"MAIL": "550 sender not allowed"}])
def test_what_a_domains_own_server_says_of_us_is_the_last_word(answers: dict[str, str]) -> None:
    """RFC 5321 section 3.1: 554 instead of a greeting, from every host, is an answer."""
    outcome, counted = send_over(answers, name="opportunistic")

    assert isinstance(outcome, Bounced)
    assert counted == []
