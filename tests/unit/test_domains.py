"""Sending domains and their DNS records."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from egret.core.dkim import DkimKey
from egret.core.errors import Conflict, InvalidRequest
from egret.memory.clock import FakeClock
from egret.memory.dice import SeededDice
from egret.memory.settings import MemorySettings
from egret.usecases.accounts import AccountChange, OperatorPorts, account_create
from egret.usecases.domains import DomainPorts, DomainWish, PrivateKey, domain_add, domain_list, domain_remove
from tests.unit.builders import NOW
from tests.unit.sending import WRAPPER, private_keys


def make_key(algorithm: str) -> PrivateKey:
    """Return a fresh Ed25519 key; RSA keys cost too much to be fresh."""
    return private_keys()[0] if algorithm == "rsa" else Ed25519PrivateKey.generate()


def some_ports() -> DomainPorts:
    """Return ports with two accounts."""
    operator = OperatorPorts(MemorySettings(), FakeClock(NOW), SeededDice(1))
    account_create(operator, "acme", AccountChange())
    account_create(operator, "other", AccountChange())
    return DomainPorts(operator, WRAPPER, make_key, "mail.egret.example")


def test_a_domain_gets_both_keys() -> None:
    """Wrapped for this domain only; what is published fits what signs."""
    domain, _ = domain_add(some_ports(), "acme", DomainWish("Bücher.example"))

    assert (domain.domain, domain.return_path_domain) == ("xn--bcher-kva.example", "bounces.xn--bcher-kva.example")
    assert [key.selector for key in domain.dkim_keys] == ["eg20260304-rsa", "eg20260304-ed25519"]
    for stored in domain.dkim_keys:
        key = DkimKey.from_pkcs8(domain.domain, stored.selector, WRAPPER.unwrap(stored.wrapped, domain.domain))
        assert key.algorithm == f"{stored.algorithm}-sha256"


def test_every_record_to_publish_is_told() -> None:
    """DKIM, where bounces return, SPF, DMARC."""
    domain, records = domain_add(some_ports(), "acme", DomainWish("example.com"))

    assert [(record.name, record.type) for record in records if not record.is_optional] == [
        ("eg20260304-rsa._domainkey.example.com", "TXT"),
        ("eg20260304-ed25519._domainkey.example.com", "TXT"),
        ("bounces.example.com", "MX"),
        ("bounces.example.com", "TXT"),
        ("_dmarc.example.com", "TXT"),
    ]
    values = [record.value for record in records]
    assert values[:2] == [key.public_record for key in domain.dkim_keys]
    assert values[2:4] == ["10 mail.egret.example.", "v=spf1 a:mail.egret.example -all"]


def test_a_domain_whose_mx_is_egret_needs_no_return_path_domain() -> None:
    """Its own MX and SPF are what counts."""
    _, records = domain_add(some_ports(), "acme", DomainWish("example.com", separator="+"))

    assert [(record.name, record.type) for record in records[2:]] == [
        ("example.com", "MX"),
        ("example.com", "TXT"),
        ("_dmarc.example.com", "TXT"),
    ]


def test_adding_again_keeps_the_keys() -> None:
    """Their records are out in the DNS."""
    ports = some_ports()
    first, _ = domain_add(ports, "acme", DomainWish("example.com"))

    again, _ = domain_add(ports, "acme", DomainWish("example.com", return_path_domain="b.example.com", disabled=True))

    assert again == replace(first, return_path_domain="b.example.com", disabled=True)
    assert domain_list(ports.operator, "acme") == [again]


def test_a_domain_belongs_to_one_account() -> None:
    """So does a return-path domain."""
    ports = some_ports()
    domain_add(ports, "acme", DomainWish("example.com"))

    with pytest.raises(Conflict):
        domain_add(ports, "other", DomainWish("example.com"))
    with pytest.raises(Conflict):
        domain_add(ports, "other", DomainWish("example.org", return_path_domain="bounces.example.com"))
    assert domain_list(ports.operator, "other") == []


@pytest.mark.parametrize(
    "wish", [DomainWish("bounces.example.com"), DomainWish("example.net", return_path_domain="example.com")]
)
def test_bounces_of_one_account_cannot_come_to_another(wish: DomainWish) -> None:
    """A return-path domain and a sending domain of different accounts are never the same."""
    ports = some_ports()
    domain_add(ports, "acme", DomainWish("example.com"))

    with pytest.raises(Conflict):
        domain_add(ports, "other", wish)


@pytest.mark.parametrize(
    "wish",
    [
        DomainWish("no domain"),
        DomainWish("192.0.2.1"),
        DomainWish("example.com", return_path_domain="under_score.example"),
        DomainWish("example.com", separator="x"),
        DomainWish("example.com", separator="@"),
        DomainWish("example.com", separator="." * 2),
        DomainWish("example.com", separator="+++"),
        DomainWish("example.com", separator="\n"),
    ],
)
def test_what_cannot_be_a_domain_is_refused(wish: DomainWish) -> None:
    """And nothing is stored."""
    ports = some_ports()

    with pytest.raises(InvalidRequest):
        domain_add(ports, "acme", wish)
    assert domain_list(ports.operator, "acme") == []


def test_only_the_own_domain_can_be_removed() -> None:
    """By any of its forms."""
    ports = some_ports()
    domain_add(ports, "acme", DomainWish("bücher.example"))

    with pytest.raises(InvalidRequest):
        domain_remove(ports.operator, "other", "bücher.example")
    domain_remove(ports.operator, "acme", "XN--bcher-kva.example")
    with pytest.raises(InvalidRequest):
        domain_remove(ports.operator, "acme", "bücher.example")
