"""Email addresses as checked values.

Implements: RFC 5321 4.1.2 and 4.5.3.1, RFC 5322 3.4.1, RFC 6531 3.3, RFC 5891 (through the `idna` package).

An `Address` that exists is valid: its local part is NFC text without quotes, its domain is lower-case A-labels.
The null reverse-path is no address; it is written "" wherever it may occur. IP literals are refused: a sender or
recipient of the API is always at a domain.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import idna

MAX_LOCAL_PART_OCTETS = 64  # RFC 5321 4.5.3.1.1
MAX_DOMAIN_OCTETS = 253  # RFC 1035 2.3.4: 255 on the DNS wire, two less in text
# A longer text cannot become a valid address; refused before Unicode work, whose cost grows with the input.
MAX_INPUT_CHARACTERS = 1000

# Domains whose mailbox providers ignore dots in the local part.
DOT_BLIND_DOMAINS = frozenset({"gmail.com", "googlemail.com"})

# RFC 5322 3.2.3 atext with RFC 6531's non-ASCII, said by what it is not: a set up to U+10FFFF takes 3 ms to compile.
_ATOM = r'[^\x00-\x20"(),.:;<>@\[\\\]\x7f]+'
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"@(.*)', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_NEEDS_BACKSLASH = re.compile(r'(["\\])')
# Letters, digits and hyphens; labels with "--" in third place are left to IDNA, which knows "xn--" and no other.
_LDH_DOMAIN = re.compile(r"(?:(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.|\Z))+")
# Control, surrogate, line separator, paragraph separator: never part of a local part.
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})


class AddressError(ValueError):
    """The text is no usable email address or domain; the message is one sentence that may be shown to the caller."""


@dataclass(frozen=True, slots=True)
class Address:
    """An email address, checked.

    local_part: NFC, without quotes or backslashes, 1 to 64 octets of UTF-8, no control characters.
    domain: lower-case A-label form without trailing dot; one label (`localhost`) is enough.
    Raises AddressError for anything else.
    """

    local_part: str
    domain: str

    def __post_init__(self) -> None:
        """Refuse a value that is not canonical."""
        _check_local_part(self.local_part)
        if self.domain != canonical_domain(self.domain):
            raise AddressError("The domain of an address must be given in lower-case A-label form.")

    @classmethod
    def parse(cls, text: str) -> Address:
        """Parse `local@domain`, the local part as dot-atom or quoted string, the domain in any IDNA form.

        No display name, angle brackets, comments or surrounding space. Raises AddressError.
        RFC 5321 4.1.2, RFC 6531 3.3.
        """
        if len(text) > MAX_INPUT_CHARACTERS:
            raise AddressError("The address is too long.")
        local_part, domain = _split(unicodedata.normalize("NFC", text))
        return cls(local_part, canonical_domain(domain))

    def __str__(self) -> str:
        """Return the wire form: local part quoted when needed, domain in A-labels."""
        return f"{self._wire_local_part()}@{self.domain}"

    @property
    def u_label_domain(self) -> str:
        """The domain in U-label form, for people to read and for SMTPUTF8 headers."""
        return u_label_domain(self.domain)

    @property
    def unicode_form(self) -> str:
        """The address for people to read: local part quoted when needed, domain in U-labels."""
        return f"{self._wire_local_part()}@{self.u_label_domain}"

    @property
    def needs_smtputf8(self) -> bool:
        """Whether only an SMTPUTF8 server can take this address: its local part is not ASCII (RFC 6531)."""
        return not self.local_part.isascii()

    def base_address(self) -> Address:
        """Return the address under which suppression is kept; variants of one mailbox share it.

        Lower-case and without `+tag` for every domain; dots removed only where the provider ignores them.
        A hyphen is never cut: `jan-peter@` and `jan@` are two people. Idempotent.
        """
        local_part = strip_separator(self.local_part, ("+",))
        if self.domain in DOT_BLIND_DOMAINS:
            local_part = local_part.replace(".", "") or local_part
        lowered = unicodedata.normalize("NFC", local_part.lower())
        # Lower-casing may lengthen the UTF-8 of a few letters; an address must not become invalid by it.
        fits = len(lowered.encode()) <= MAX_LOCAL_PART_OCTETS
        return Address(lowered if fits else unicodedata.normalize("NFC", local_part), self.domain)

    def _wire_local_part(self) -> str:
        if _DOT_ATOM.fullmatch(self.local_part):
            return self.local_part
        return '"' + _NEEDS_BACKSLASH.sub(r"\\\1", self.local_part) + '"'


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An address with its display name, as in From and To headers (RFC 5322 3.4); `name` is "" when there is none."""

    name: str
    address: Address


def strip_separator(local_part: str, separators: Iterable[str]) -> str:
    """Return the part before the first of the separators, or all of it when that part would be empty."""
    cuts = [at for separator in separators if separator and (at := local_part.find(separator, 1)) > 0]
    return local_part[: min(cuts)] if cuts else local_part


@lru_cache(maxsize=4096)
def canonical_domain(text: str) -> str:
    """Return the domain in lower-case A-label form.

    text: A-labels, U-labels or a mixture, any case. Strict IDNA2008 after UTS 46 mapping: no underscore, no empty
    label, no trailing dot, no IP address. Raises AddressError. RFC 5891 4.
    """
    if not text or len(text) > MAX_DOMAIN_OCTETS:
        raise AddressError("The domain of the address is empty or too long.")
    domain = text.lower() if text.isascii() else text
    if not _LDH_DOMAIN.fullmatch(domain) or domain.endswith("."):
        domain = _encode_idna(domain)
    if domain.rpartition(".")[2].isdigit():
        raise AddressError("The domain of the address must be a name, not an IP address.")
    return domain


@lru_cache(maxsize=4096)
def u_label_domain(domain: str) -> str:
    """Return a canonical domain with its A-labels decoded to U-labels."""
    return idna.decode(domain) if "xn--" in domain else domain


def _encode_idna(domain: str) -> str:
    """Return the A-label form of a domain that is not plain letters, digits and hyphens; `idna` limits its length."""
    if domain.startswith("["):
        raise AddressError("The domain of the address must be a name, not an IP address literal.")
    try:
        encoded = idna.encode(domain, strict=True, uts46=True, std3_rules=True).decode("ascii")
    except (UnicodeError, ValueError, IndexError) as error:
        raise AddressError("The domain of the address is not a valid domain name.") from error
    if encoded.endswith("."):
        raise AddressError("The domain of the address must not end in a dot.")
    return encoded


def _split(text: str) -> tuple[str, str]:
    """Split an address into the unquoted local part and the domain as written."""
    if text.startswith('"'):
        if not (quoted := _QUOTED.fullmatch(text)):
            raise _malformed(text, "The quoted local part of the address is not followed by `@` and a domain.")
        return _QUOTED_PAIR.sub(r"\1", quoted[1]), quoted[2]
    local_part, at, domain = text.rpartition("@")
    if not at:
        raise AddressError("The address has no `@`.")
    if not _DOT_ATOM.fullmatch(local_part):
        raise _malformed(text, "The local part of the address has characters that are only allowed in a quoted string.")
    return local_part, domain


def _malformed(text: str, why: str) -> AddressError:
    """Return the error for text that cannot be split; people often write the name and the brackets of a header."""
    if text.endswith(">"):
        return AddressError("The address is between `<` and `>`: it must be given without them, and without a name.")
    return AddressError(why)


def _check_local_part(local_part: str) -> None:
    """Raise AddressError unless the text can be a local part."""
    if not local_part:
        raise AddressError("The local part of the address is empty.")
    if local_part.isascii():
        if not local_part.isprintable():
            raise AddressError("The local part of the address has control characters.")
    elif any(unicodedata.category(character) in _FORBIDDEN_CATEGORIES for character in local_part):
        raise AddressError("The local part of the address has control characters.")
    elif not unicodedata.is_normalized("NFC", local_part):
        raise AddressError("The local part of the address must be in Unicode normal form C.")
    if len(local_part.encode()) > MAX_LOCAL_PART_OCTETS:
        raise AddressError(f"The local part of the address is longer than {MAX_LOCAL_PART_OCTETS} octets.")
