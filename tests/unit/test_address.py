"""Promises of egret.core.address."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.core.address import (
    MAX_LOCAL_PART_OCTETS,
    Address,
    AddressError,
    Mailbox,
    canonical_domain,
    strip_separator,
    u_label_domain,
)

DOMAINS = st.sampled_from(
    ["example.com", "localhost", "gmail.com", "googlemail.com", "xn--bcher-kva.example", "a-b.c1.example"]
)
LOCAL_TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20)


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    """Make any valid address: local parts that need quotes and non-ASCII ones included."""
    local_part = unicodedata.normalize("NFC", draw(LOCAL_TEXT))
    while len(local_part.encode()) > MAX_LOCAL_PART_OCTETS:
        local_part = local_part[:-1]
    return Address(unicodedata.normalize("NFC", local_part), draw(DOMAINS))


@pytest.mark.parametrize(
    ("text", "local_part", "domain", "wire"),
    [
        ("ann@example.net", "ann", "example.net", "ann@example.net"),
        ("Ann.Lee+x@EXAMPLE.Net", "Ann.Lee+x", "example.net", "Ann.Lee+x@example.net"),
        ("ann@localhost", "ann", "localhost", "ann@localhost"),
        ('"a b"@example.net', "a b", "example.net", '"a b"@example.net'),
        ('"a\\"b\\\\c"@example.net', 'a"b\\c', "example.net", '"a\\"b\\\\c"@example.net'),
        ('"plain"@example.net', "plain", "example.net", "plain@example.net"),
        ('"a@b"@example.net', "a@b", "example.net", '"a@b"@example.net'),
        ("ann@bücher.example", "ann", "xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("ann@BÜCHER.example", "ann", "xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("ann@XN--BCHER-KVA.example", "ann", "xn--bcher-kva.example", "ann@xn--bcher-kva.example"),
        ("ju\u0308rgen@example.net", "j\u00fcrgen", "example.net", "jürgen@example.net"),
    ],
)
def test_parse_accepts_dot_atom_quoted_and_idn(text: str, local_part: str, domain: str, wire: str) -> None:
    """Every allowed form is parsed into its canonical value and written back quoted only when needed."""
    address = Address.parse(text)
    assert Address(local_part, domain) == address
    assert wire == str(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "ann",
        "ann@",
        "@example.net",
        '""@example.net',
        " ann@example.net",
        "ann@example.net ",
        "ann@ex ample.net",
        "a b@example.net",
        ".ann@example.net",
        "ann.@example.net",
        "a..b@example.net",
        "a@b@example.net",
        "Ann <ann@example.net>",
        "<ann@example.net>",
        '"ann@example.net',
        '"ann"x@example.net',
        '"ann\\"@example.net',
        "ann@example.net.",
        "ann@.example.net",
        "ann@example..net",
        "ann@_dmarc.example.net",
        "ann@-a.example",
        "ann@a-.example",
        "ann@[127.0.0.1]",
        "ann@[IPv6:::1]",
        "ann@127.0.0.1",
        "ann@ab--cd.example",
        "ann@xn--a.example",
        "ann@xn--.example",
        "ann@" + "a" * 64 + ".example",
        "ann@" + "a." * 127 + "example",
        "ann@" + "ü" * 120 + ".example",
        "ann@a\u3002\u3002b",
        "ann@example.net\u3002",
        "a" * 65 + "@example.net",
        "ü" * 33 + "@example.net",
        "a" * 100_000 + "@example.net",
        "ann@exa\u0000mple.net",
        "a\u2028b@example.net",
        "\ud800@example.net",
        "ann@\ud800.example",
        "a\u037eb@example.net",
    ],
)
def test_parse_refuses_what_is_no_address(text: str) -> None:
    """Anything that is no address is refused with AddressError, which has a sentence."""
    with pytest.raises(AddressError) as caught:
        Address.parse(text)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("text", ["Ann <ann@example.net>", '"Ann" <ann@example.net>', "<ann@example.net>"])
def test_what_a_header_has_is_refused_by_its_name(text: str) -> None:
    """Who writes the name and the brackets too is told so."""
    with pytest.raises(AddressError, match="without a name"):
        Address.parse(text)


@pytest.mark.parametrize("octets", [64, 65])
def test_local_part_is_limited_to_64_octets(octets: int) -> None:
    """64 octets of UTF-8 pass, 65 do not."""
    text = "é" + "a" * (octets - 2) + "@example.net"
    if octets <= MAX_LOCAL_PART_OCTETS:
        assert text == str(Address.parse(text))
    else:
        with pytest.raises(AddressError):
            Address.parse(text)


@pytest.mark.parametrize(
    ("local_part", "domain"),
    [
        ("", "example.net"),
        ("a\r\nb", "example.net"),
        ("u\u0308", "example.net"),
        ("ann", "EXAMPLE.net"),
        ("ann", "bücher.example"),
        ("ann", "example.net\r\n"),
        ("ann", "example.net\n"),
    ],
)
def test_the_constructor_refuses_what_is_not_canonical(local_part: str, domain: str) -> None:
    """No Address value exists that parse could not have made."""
    with pytest.raises(AddressError):
        Address(local_part, domain)


@given(addresses())
def test_wire_form_parses_back_to_the_same_address(address: Address) -> None:
    """Writing and parsing are inverse for every address; so is the form for people."""
    assert address == Address.parse(str(address))
    assert address == Address.parse(address.unicode_form)


@given(
    addresses(), st.sampled_from([*map(chr, range(0x20)), "\x7f", "\x85", "\r\n"]), st.integers(0, 40), st.booleans()
)
def test_control_characters_are_refused_everywhere(address: Address, control: str, at: int, quoted: bool) -> None:
    """CR, LF, NUL and their kin are refused at any place, quoted or not."""
    text = f'"{"x" * 3}"@{address.domain}' if quoted else str(address)
    at = min(at, len(text))
    with pytest.raises(AddressError):
        Address.parse(text[:at] + control + text[at:])


@given(st.text(max_size=80))
def test_parse_raises_nothing_but_address_error(text: str) -> None:
    """Any text is an address or an AddressError."""
    try:
        address = Address.parse(text)
    except AddressError:
        return
    assert address == Address.parse(str(address))


@given(st.text(max_size=30))
def test_canonical_domain_is_idempotent_ascii_and_readable(text: str) -> None:
    """A domain that passes is ASCII, canonical at once, and its U-labels lead back to it."""
    try:
        domain = canonical_domain(text)
    except AddressError:
        return
    assert domain.isascii()
    assert domain == canonical_domain(domain)
    assert domain == canonical_domain(u_label_domain(domain))


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("Ann+News@Example.net", "ann@example.net"),
        ("a.b@example.net", "a.b@example.net"),
        ("A.b+c@gmail.com", "ab@gmail.com"),
        ("a.b@googlemail.com", "ab@googlemail.com"),
        ("a.b@mail.gmail.com", "a.b@mail.gmail.com"),
        ("jan-peter@example.net", "jan-peter@example.net"),
        ("+tag@example.net", "+tag@example.net"),
        ("a+b+c@example.net", "a@example.net"),
        ('"..."@gmail.com', '"..."@gmail.com'),
        ("ÜNAL+x@example.net", "ünal@example.net"),
    ],
)
def test_base_address_joins_only_variants_of_one_mailbox(text: str, base: str) -> None:
    """Tags and case fold everywhere, dots only at the providers that ignore them, hyphens never."""
    assert base == str(Address.parse(text).base_address())


@given(addresses())
def test_base_address_is_idempotent(address: Address) -> None:
    """The base of a base address is itself."""
    base = address.base_address()
    assert base == base.base_address()


def test_base_address_survives_letters_that_grow_in_lower_case() -> None:
    """A local part at the limit stays valid although its lower case would be longer."""
    address = Address("Ⱥ" * 32, "example.net")
    assert address == address.base_address()


@pytest.mark.parametrize(("text", "needed"), [("ann@bücher.example", False), ("jürgen@example.net", True)])
def test_only_a_local_part_needs_smtputf8(text: str, needed: bool) -> None:
    """An IDN domain travels as A-labels; a non-ASCII local part cannot."""
    assert needed == Address.parse(text).needs_smtputf8


def test_unicode_form_shows_u_labels() -> None:
    """People see the domain in their own letters."""
    address = Address("ann", "xn--bcher-kva.example")
    assert address.unicode_form == "ann@bücher.example"


@pytest.mark.parametrize(
    ("local_part", "separators", "expected"),
    [
        ("ann+x", ["+"], "ann"),
        ("ann-x+y", ["+", "-"], "ann"),
        ("ann+x", ["-"], "ann+x"),
        ("ann", [], "ann"),
        ("ann", [""], "ann"),
        ("+x", ["+"], "+x"),
    ],
)
def test_strip_separator_cuts_at_the_first_separator(local_part: str, separators: list[str], expected: str) -> None:
    """The part before the first separator remains; an empty part never does."""
    assert expected == strip_separator(local_part, separators)


def test_mailbox_is_a_value() -> None:
    """Mailboxes of equal parts are equal and can be keys."""
    first, second = (Mailbox("Ann", Address("ann", "example.net")) for _ in range(2))
    assert {first: 1} == {second: 1}
