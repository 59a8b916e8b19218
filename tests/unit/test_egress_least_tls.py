"""What the shaping table asks of the connections to a provider, beside what its domains ask for."""

from __future__ import annotations

import pytest

from egret.core.tls_policy import OPPORTUNISTIC, PLAIN, TlsKind, TlsPolicy
from egret_egress.destinations import Hops, Host
from egret_egress.security import Question, Use, at_least

PKIX = TlsPolicy(TlsKind.PKIX, "mta-sts", ("mx.example",))


def question(policy: TlsPolicy | None = None, *, require_tls: bool | None = None) -> Question:
    """Ask about one host."""
    host = Host("mx.example", policy=policy)
    return Question(
        Hops("example.org", "example.org", is_authentic=False, hosts=(host,)), host, require_tls=require_tls
    )


@pytest.mark.parametrize(
    ("least", "given", "made"),
    [
        (None, OPPORTUNISTIC, OPPORTUNISTIC),
        (TlsKind.ENCRYPTED, OPPORTUNISTIC, TlsPolicy(TlsKind.ENCRYPTED, "provider")),
        (TlsKind.PKIX, OPPORTUNISTIC, TlsPolicy(TlsKind.PKIX, "provider", ("mx.example",))),
        (TlsKind.PKIX, TlsPolicy(TlsKind.ENCRYPTED, "dane"), TlsPolicy(TlsKind.PKIX, "dane", ("mx.example",))),
        (TlsKind.ENCRYPTED, PKIX, PKIX),
        (TlsKind.PKIX, TlsPolicy(TlsKind.DANE, "dane"), TlsPolicy(TlsKind.DANE, "dane")),
    ],
)
def test_a_provider_gets_no_less_than_the_table_asks(least: TlsKind | None, given: TlsPolicy, made: TlsPolicy) -> None:
    """More is kept as it is."""
    assert at_least(least, Use(given), question()) == Use(made)


@pytest.mark.parametrize("asked", [question(require_tls=False), question(PLAIN)])
def test_a_message_or_an_operator_may_ask_for_less(asked: Question) -> None:
    """TLS-Required: No, and a smarthost that was configured so."""
    assert at_least(TlsKind.ENCRYPTED, Use(OPPORTUNISTIC), asked) == Use(OPPORTUNISTIC)
