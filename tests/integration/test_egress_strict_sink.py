"""LIMITS and REQUIRETLS against a server that was written from the RFCs apart from the client."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from egret.core.outcome import Bounced, Delivered, Outcome
from egret.core.tls_policy import OPPORTUNISTIC, TlsKind, TlsPolicy
from egret_egress.courier import Courier
from egret_egress.destinations import Fixed, Host
from egret_egress.opening import Dialing
from egret_egress.pool import Pool
from tests.certificates import Certificate
from tests.conformance.scripted import SHORT, NoDns, Notes, Row, listening, parcel
from tests.peers.strict_sink import Rules, StrictSink

VERIFIED = TlsPolicy(TlsKind.PKIX, "mta-sts")


def send(
    rules: Rules,
    messages: list[list[str]],
    policy: TlsPolicy = OPPORTUNISTIC,
    certificate: Certificate | None = None,
    *,
    require_tls: bool = False,
) -> tuple[StrictSink, list[Outcome]]:
    """Send messages, each a list of recipients, one after the other; return the sink and everybody's outcome."""

    async def run() -> tuple[StrictSink, list[Outcome]]:
        sink, pool = StrictSink(rules), Pool()
        notes = [Notes() for _ in messages]
        async with listening(sink.serve) as port:
            dialing = Dialing("unit.example", SHORT)
            if certificate is not None:
                dialing = Dialing("unit.example", SHORT, verified=certificate.trusting())
            courier = Courier(Fixed(Host("127.0.0.1", port, policy), NoDns()), pool, dialing)
            pairs = zip(notes, messages, strict=True)
            row = Row([parcel(one, paths, b"Subject: x\r\n\r\n.\r\n", require_tls=require_tls) for one, paths in pairs])
            await row.bring(courier)
            await pool.close()
        outcomes = [
            one.outcomes[index] for one, paths in zip(notes, messages, strict=True) for index in range(len(paths))
        ]
        return sink, outcomes

    return asyncio.run(run())


def recipients(count: int, *domains: str) -> list[str]:
    """Return recipients in the domains in turns."""
    return [f"r{number}@{domains[number % len(domains)]}" for number in range(count)]


@pytest.mark.rfc("9422", "4")
@pytest.mark.parametrize(
    ("rules", "messages", "transactions", "sessions"),
    [
        (Rules(), [recipients(7, "a.example")], 1, 1),
        (Rules(rcpt_max=3), [recipients(7, "a.example")], 3, 1),
        (Rules(mail_max=2), [recipients(1, "a.example")] * 5, 5, 3),
        (Rules(mail_max=2, rcpt_max=2), [recipients(7, "a.example")], 4, 2),
        (Rules(rcpt_domain_max=1), [recipients(6, "a.example", "b.example", "c.example")], 3, 1),
        (Rules(1, 1, 1), [recipients(2, "a.example", "b.example")] * 2, 4, 4),
    ],
)
def test_no_announced_limit_is_ever_gone_beyond(
    rules: Rules, messages: list[list[str]], transactions: int, sessions: int
) -> None:
    """Everybody gets the message once, in as few transactions and connections as the limits allow."""
    sink, outcomes = send(rules, messages)

    assert sink.violations == []
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    got = sorted(path.decode() for taken in sink.taken for path in taken.recipients)
    assert got == sorted(path for paths in messages for path in paths)
    assert (len(sink.taken), len(sink.per_session)) == (transactions, sessions)


@pytest.mark.rfc("8689", "4.2.1")
def test_requiretls_goes_with_the_message_where_it_is_offered(tmp_path: Path) -> None:
    """Within TLS, after the server has proved its name, in each transaction."""
    certificate = Certificate(tmp_path)
    rules = Rules(rcpt_max=1, context=certificate.server(), requiretls=True)

    sink, outcomes = send(rules, [recipients(2, "a.example")], VERIFIED, certificate, require_tls=True)

    assert sink.violations == []
    assert all(isinstance(outcome, Delivered) for outcome in outcomes)
    assert [(b"REQUIRETLS" in taken.parameters, taken.encrypted) for taken in sink.taken] == [(True, True)] * 2


@pytest.mark.rfc("8689", "4.2.1")
@pytest.mark.parametrize(("offered", "policy"), [(False, VERIFIED), (True, OPPORTUNISTIC)])
def test_requiretls_does_not_go_where_it_is_not_kept(tmp_path: Path, offered: bool, policy: TlsPolicy) -> None:
    """Neither to a server that does not offer it, nor to one that has not proved who it is."""
    certificate = Certificate(tmp_path)
    rules = Rules(context=certificate.server(), requiretls=offered)

    sink, outcomes = send(rules, [recipients(1, "a.example")], policy, certificate, require_tls=True)

    assert (sink.violations, sink.taken) == ([], [])
    assert [outcome.reply and outcome.reply.enhanced_code for outcome in outcomes] == ["5.7.30"]
    assert isinstance(outcomes[0], Bounced)
