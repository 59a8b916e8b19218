"""TLSA records against certificates."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from egret.core.dane import MAX_CHAIN, MAX_IN_FULL, usable, verify
from egret.core.tls_policy import Tlsa
from tests.certificates import Identity

NOW = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = ("mx.example.org", "example.org")
ROOT = Identity("Root", NOW, is_authority=True)
MIDDLE = Identity("Middle", NOW, issuer=ROOT, is_authority=True)
LEAF = Identity("mx.example.org", NOW, issuer=MIDDLE)
CHAIN = (LEAF.der, MIDDLE.der, ROOT.der)


def key_of(identity: Identity) -> bytes:
    """Return the public key as DER."""
    return identity.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def record(usage: int, selector: int, matching_type: int, identity: Identity) -> Tlsa:
    """Return a TLSA record of a certificate."""
    data = identity.der if selector == 0 else key_of(identity)
    if matching_type:
        data = hashlib.new({1: "sha256", 2: "sha512"}[matching_type], data).digest()
    return Tlsa(usage, selector, matching_type, data)


def holds(*records: Tlsa, chain: tuple[bytes, ...] = CHAIN, names: tuple[str, ...] = NAMES) -> bool:
    """Tell whether the records vouch for the chain."""
    assert len(usable(records)) == len(set(records))
    return verify(records, chain, names, NOW)


@pytest.mark.rfc("7672", "3.1")
@pytest.mark.parametrize("matching_type", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("usage", [2, 3])
def test_every_usable_kind_matches_and_does_not_match(usage: int, selector: int, matching_type: int) -> None:
    """Usage 3 names the server's certificate, usage 2 one above it; neither fits another's."""
    right = LEAF if usage == 3 else ROOT
    other = Identity("Root", NOW, is_authority=True)

    assert holds(record(usage, selector, matching_type, right))
    assert not holds(record(usage, selector, matching_type, other))
    assert holds(record(usage, selector, matching_type, other), record(usage, selector, matching_type, right))


@pytest.mark.rfc("7672", "3.1.1")
def test_usage_3_ignores_names_and_expiry() -> None:
    """The domain itself names the key: what else the certificate says does not matter."""
    expired = Identity("elsewhere.example", NOW - timedelta(days=999))

    assert holds(record(3, 1, 1, expired), chain=(expired.der,))


@pytest.mark.rfc("7672", "3.1.1")
def test_usage_3_is_about_the_servers_own_certificate() -> None:
    """One further up in the chain does not count."""
    assert not holds(record(3, 1, 1, MIDDLE))


@pytest.mark.rfc("7672", "3.1.2")
@pytest.mark.parametrize(
    "leaf",
    [
        Identity("other.example", NOW, issuer=MIDDLE),
        Identity("mx.example.org", NOW - timedelta(days=999), issuer=MIDDLE),
        Identity("mx.example.org", NOW + timedelta(days=999), issuer=MIDDLE),
        Identity("mx.example.org", NOW),
        Identity("*.org", NOW, issuer=MIDDLE),
    ],
    ids=["name", "expired", "not yet valid", "another issuer", "too wide"],
)
def test_usage_2_checks_names_validity_and_signatures(leaf: Identity) -> None:
    """Below the anchor everything is as with a public authority."""
    assert not holds(record(2, 0, 1, ROOT), chain=(leaf.der, *CHAIN[1:]))


@pytest.mark.rfc("7672", "3.1.2")
@pytest.mark.parametrize("name", ["MX.example.org", "*.example.org", "example.org"])
def test_usage_2_takes_the_host_or_the_domain_and_wildcards(name: str) -> None:
    """Any of the reference identifiers will do."""
    leaf = Identity(name, NOW, issuer=MIDDLE)

    assert holds(record(2, 1, 2, ROOT), chain=(leaf.der, *CHAIN[1:]))


def test_usage_2_needs_authorities_in_between() -> None:
    """A certificate for a host cannot sign for another; a limited authority cannot make authorities."""
    below_a_host = Identity("mx.example.org", NOW, issuer=LEAF)
    narrow = Identity("Narrow", NOW, issuer=ROOT, is_authority=True, path_length=0)
    under = Identity("Under", NOW, issuer=narrow, is_authority=True)
    too_deep = Identity("mx.example.org", NOW, issuer=under)

    assert not holds(record(2, 0, 1, ROOT), chain=(below_a_host.der, *CHAIN))
    assert not holds(record(2, 0, 1, ROOT), chain=(too_deep.der, under.der, narrow.der, ROOT.der))


def test_the_anchor_may_stand_anywhere_and_in_any_order() -> None:
    """The intermediate is an anchor too; superfluous certificates and a wrong order do not matter."""
    assert holds(record(2, 0, 1, MIDDLE), chain=CHAIN[:2])
    assert holds(record(2, 0, 1, ROOT), chain=(LEAF.der, b"garbage", ROOT.der, MIDDLE.der))
    assert not holds(record(2, 0, 1, ROOT), chain=CHAIN[:2])


@pytest.mark.rfc("7671", "5.2.2")
@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["ec", "rsa", "ed25519"],
)
@pytest.mark.parametrize("selector", [0, 1])
def test_an_anchor_in_full_need_not_be_sent(selector: int, key: object) -> None:
    """Certificate or key from the DNS check the signature of what the server sends."""
    root = Identity("Root", NOW, is_authority=True, key=key)
    leaf = Identity("mx.example.org", NOW, issuer=root)
    other = Identity("Root", NOW, is_authority=True)

    assert holds(record(2, selector, 0, root), chain=(leaf.der,))
    assert not holds(record(2, selector, 0, other), chain=(leaf.der,))


def test_of_anchors_in_full_a_few_are_used() -> None:
    """The same ones in whatever order they come; digests and a server's own keys are used however many there are."""
    anchors = [
        record(2, selector, 0, Identity("Root", NOW, is_authority=True)) for selector in (0, 1) for _ in range(4)
    ]
    others = [Tlsa(usage, 1, 1, bytes([number]) * 32) for usage in (2, 3) for number in range(30)]

    found = usable([*anchors, *others])

    assert found == usable([*reversed(others), *reversed(anchors)])
    assert set(found) > set(others)
    assert len(found) == len(others) + MAX_IN_FULL


@pytest.mark.parametrize(("decoys", "is_found"), [(0, True), (7, True), (8, False)])
def test_the_signatures_that_are_checked_are_bounded(decoys: int, is_found: bool) -> None:
    """Keys and certificates that only look as if they had signed something do not keep anybody busy for long."""
    roots = sorted((Identity("Root", NOW, is_authority=True) for _ in range(MAX_IN_FULL)), key=key_of)
    middle = Identity("Middle", NOW, issuer=roots[-1], is_authority=True)
    leaf = Identity("mx.example.org", NOW, issuer=middle)
    chain = (leaf.der, *(Identity("Middle", NOW, is_authority=True).der for _ in range(decoys)), middle.der)

    assert holds(*(record(2, 1, 0, root) for root in roots), chain=chain) is is_found


@pytest.mark.rfc("7672", "3.1.3")
@pytest.mark.parametrize(
    "bad",
    [
        Tlsa(0, 1, 1, bytes(32)),
        Tlsa(1, 1, 1, bytes(32)),
        Tlsa(4, 1, 1, bytes(32)),
        Tlsa(255, 1, 1, bytes(32)),
        Tlsa(3, 2, 1, bytes(32)),
        Tlsa(3, 1, 3, bytes(32)),
        Tlsa(3, 1, 1, bytes(31)),
        Tlsa(3, 1, 2, bytes(32)),
        Tlsa(3, 0, 0, b"no certificate"),
        Tlsa(3, 1, 0, b"no key"),
        Tlsa(3, 1, 0, b""),
    ],
)
def test_unusable_records_are_left_out(bad: Tlsa) -> None:
    """Usages for public authorities, unknown parameters, digests of a wrong length, data that is none."""
    good = record(3, 1, 1, LEAF)

    assert usable([bad]) == ()
    assert usable([bad, good, good]) == (good,)


def test_nothing_presented_is_nothing_proven() -> None:
    """An empty chain, and one of garbage."""
    every = [record(usage, selector, 1, LEAF) for usage in (2, 3) for selector in (0, 1)]

    assert not holds(*every, chain=())
    assert not holds(*every, chain=(b"\x30\x82\xff\xff",))


def test_the_length_of_a_chain_is_bounded() -> None:
    """A server cannot keep us busy with thousands of certificates."""
    assert not holds(record(2, 0, 1, ROOT), chain=(LEAF.der, *([b"x"] * MAX_CHAIN), MIDDLE.der, ROOT.der))


@pytest.mark.parametrize("value", [b"\x0c\x0f\xff", b"\x01\x0fx", b"\x03\x0f\x00", b"\x16\x0f\xff", b"\x1e\x0f\xd8"])
def test_a_subject_that_cannot_be_read_is_no_name(value: bytes) -> None:
    """Strings that are none, and what is no string: the server chose it, and it fits no host."""
    named = Identity("mx1.example.org", NOW, issuer=ROOT, is_authority=True)  # such a one has no alternative name
    broken = named.der.replace(b"\x0c\x0fmx1.example.org", value + b"x1.example.org")
    assert broken != named.der

    assert holds(record(2, 1, 1, ROOT), chain=(named.der, ROOT.der), names=("mx1.example.org",))
    assert not holds(record(2, 1, 1, ROOT), chain=(broken, ROOT.der), names=("mx1.example.org",))


@given(st.binary(max_size=64) | st.integers(0, len(LEAF.der)).map(lambda cut: LEAF.der[:cut]), st.integers(0, 1))
def test_no_certificate_is_too_broken(der: bytes, selector: int) -> None:
    """Whatever a server presents is judged without an exception."""
    records = [Tlsa(usage, selector, 1, bytes(32)) for usage in (2, 3)]

    assert not verify(records, (der, der), NAMES, NOW)
