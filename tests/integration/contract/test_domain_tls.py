"""The contract of `DomainTls`: what each account's mail has met."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from egret.contracts.tls import SUPPORT_KEPT, TlsSupport
from tests.integration.contract.backends import Backend
from tests.samples import DAY, EXACT, NOON


def _seen(account: str, domain: str = "example.net", *, starttls: bool = True, require_tls: bool = False) -> TlsSupport:
    return TlsSupport(account, domain, starttls, require_tls, NOON + EXACT)


@pytest.mark.parametrize(("starttls", "require_tls"), [(False, False), (True, False), (True, True)])
def test_what_was_seen_comes_back(backend: Backend, account: str, starttls: bool, require_tls: bool) -> None:
    """Every field, the instant to the microsecond."""
    seen = _seen(account, starttls=starttls, require_tls=require_tls)
    backend.domain_tls.put([seen])

    assert backend.domain_tls.get(account, "example.net", NOON) == seen


def test_an_account_sees_only_its_own(backend: Backend, account: str, other: str) -> None:
    """Nobody learns from it whom another account writes to."""
    backend.domain_tls.put([_seen(account)])

    assert backend.domain_tls.get(other, "example.net", NOON) is None
    assert backend.domain_tls.get(account, "example.org", NOON) is None


def test_the_last_writer_is_right(backend: Backend, account: str) -> None:
    """What is put replaces what was there."""
    newer = replace(_seen(account, starttls=False), updated_at=NOON + DAY)
    for seen in (_seen(account), newer):
        backend.domain_tls.put([seen])

    assert backend.domain_tls.get(account, "example.net", NOON) == newer


def test_many_are_put_at_once(backend: Backend, account: str, other: str) -> None:
    """More than one request of DynamoDB takes, of several accounts; none at all is no error."""
    seen = [_seen(owner, f"d{index}.example") for owner in (account, other) for index in range(40)]
    backend.domain_tls.put(seen)
    backend.domain_tls.put([])

    assert [backend.domain_tls.get(each.account, each.domain, NOON) for each in seen] == seen


def test_what_is_a_year_old_is_forgotten(backend: Backend, account: str) -> None:
    """To the microsecond, whether storage has removed it or not."""
    seen = _seen(account)
    backend.domain_tls.put([seen])
    last = seen.updated_at + SUPPORT_KEPT - timedelta(microseconds=1)

    assert backend.domain_tls.get(account, "example.net", last) == seen
    assert backend.domain_tls.get(account, "example.net", seen.updated_at + SUPPORT_KEPT) is None
