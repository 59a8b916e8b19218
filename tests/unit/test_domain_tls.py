"""DomainTLSGet: what an account's own mail found out about a recipient domain."""

from __future__ import annotations

from datetime import timedelta

import pytest

from egret.contracts.tls import SUPPORT_KEPT, TlsSupport
from egret.contracts.webapi import DomainTLSInfo
from egret.core.errors import InvalidRequest
from egret.memory.clock import FakeClock
from egret.memory.tls import MemoryDomainTls
from egret.usecases.domain_tls import DomainTlsPorts, domain_tls_get
from tests.unit.builders import ACCOUNT, NOW, OTHER_ACCOUNT


def _ports(*seen: TlsSupport) -> DomainTlsPorts:
    domain_tls = MemoryDomainTls()
    domain_tls.put(seen)
    return DomainTlsPorts(domain_tls, FakeClock(NOW))


def _refused(ports: DomainTlsPorts, domain: str) -> str:
    with pytest.raises(InvalidRequest) as caught:
        domain_tls_get(ports, ACCOUNT, domain)
    return caught.value.code


@pytest.mark.parametrize("given", ["example.com", "EXAMPLE.com"])
def test_what_was_seen_is_told(given: str) -> None:
    """Whatever the case of the letters."""
    ports = _ports(TlsSupport(ACCOUNT, "example.com", True, False, NOW))

    assert domain_tls_get(ports, ACCOUNT, given) == DomainTLSInfo(
        domain="example.com", updated=NOW, starttls=True, require_tls=False
    )


@pytest.mark.parametrize("given", ["bücher.example", "xn--bcher-kva.example", "BÜCHER.example"])
def test_an_international_domain_is_found_in_either_form(given: str) -> None:
    """And told as people write it."""
    ports = _ports(TlsSupport(ACCOUNT, "xn--bcher-kva.example", True, True, NOW))

    assert domain_tls_get(ports, ACCOUNT, given) == DomainTLSInfo(
        domain="bücher.example", updated=NOW, starttls=True, require_tls=True
    )


def test_a_tenant_learns_nothing_of_another() -> None:
    """A domain that only others write to is as unknown as one that nobody does."""
    ports = _ports(TlsSupport(OTHER_ACCOUNT, "example.com", True, True, NOW))

    assert _refused(ports, "example.com") == _refused(ports, "example.org") == "domainNotFound"


def test_what_is_too_old_is_not_told() -> None:
    """A year without a session: who knows."""
    ports = _ports(TlsSupport(ACCOUNT, "example.com", True, True, NOW - SUPPORT_KEPT - timedelta(seconds=1)))

    assert _refused(ports, "example.com") == "domainNotFound"


@pytest.mark.parametrize("given", ["", "a b", "ann@example.com", "[192.0.2.1]", "192.0.2.1", "a..b", "x" * 5000])
def test_what_is_no_domain_is_refused(given: str) -> None:
    """With the code of all requests that make no sense."""
    assert _refused(_ports(), given) == "user"
