"""Which domains signed a mail, by dkimpy with a DNS that is an argument.

Implements: RFC 6376 section 6 as a verifier, 8301 (no SHA-1, no RSA keys below 1,024 bits), 8463 (Ed25519). The body is
hashed here, piece by piece: dkimpy makes copies of all of it, and keeps the interpreter from everybody else meanwhile.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import Any, Final

import dkim
from dkim.util import InvalidTagValueList, parse_tag_value

from egret.contracts.verdicts import DkimVerdict
from egret_egress.destinations import DnsTrouble
from egret_egress.dns_blocking import Names

MAX_SIGNATURES: Final = 10
"""Looked at; the rest is left alone (RFC 6376 section 6.1)."""
MAX_SIGNATURE_BYTES: Final = 4096
MAX_HEADER_BYTES: Final = 128 * 1024
"""Of a header that is looked at, which bounds what expressions of dkimpy may take."""
MAX_FIELDS: Final = 1000
"""Of a header that is looked at: dkimpy looks for each name of h= among all of them."""
MAX_SIGNED: Final = 200
"""Names in h= of a signature that is looked at; each may be looked for in all of the header."""
MIN_RSA_BITS: Final = 1024
MAX_RSA_BITS: Final = 4096
"""RFC 8301 section 3.2 asks for no more; dkimpy's arithmetic keeps the interpreter for seconds with ten times that."""
MAX_RSA_EXPONENT_BITS: Final = 32
"""65,537 has 17; one as long as the modulus costs a thousand times as much."""
PIECE_BYTES: Final = 64 * 1024

_SPACE = re.compile(rb"[ \t]+")
_BARE_LINE_END = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_LONG_SPACE = re.compile(rb"\s{80}")
_NAME = re.compile(r"(?=.{1,120}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
"""Half of what a name may have, since selector and domain make one together."""
_DIGESTS: Final = {b"rsa-sha256": "sha256", b"ed25519-sha256": "sha256"}


class _Stop(Exception):
    """A signature does not hold. result, reason: of its verdict."""

    def __init__(self, result: str, reason: str) -> None:
        super().__init__(reason)
        self.result, self.reason = result, reason


def check_dkim(names: Names, content: bytes) -> tuple[DkimVerdict, ...]:
    """Return a verdict on each signature, in order. content: a whole message with CRLF line ends. Raises nothing.

    A header with a bare CR or LF has no signatures: readers differ in where it ends, so that what nobody signed could
    be shown as the beginning of the body.
    """
    header, body_at = split(content)
    if _BARE_LINE_END.search(header):
        return ()
    try:
        headers = dkim.rfc822_parse(header)[0] if len(header) <= MAX_HEADER_BYTES else []
    except (dkim.DKIMException, IndexError):
        return ()
    if len(headers) > MAX_FIELDS:
        return ()
    bodies = _Bodies(content, body_at)
    count = sum(name.lower() == b"dkim-signature" for name, _ in headers)
    return tuple(_verdict(names, headers, at, bodies) for at in range(min(count, MAX_SIGNATURES)))


def split(content: bytes) -> tuple[bytes, int]:
    """Return the header, all of its fields with CRLF, and where the body begins."""
    if content.startswith(b"\r\n"):
        return b"", 2
    end = content.find(b"\r\n\r\n")
    return (content, len(content)) if end < 0 else (content[: end + 2], end + 4)


def _verdict(names: Names, headers: list[Any], at: int, bodies: _Bodies) -> DkimVerdict:
    checked = dkim.DKIM(minkey=MIN_RSA_BITS)
    checked.headers, checked.body = headers, b""
    try:
        _verify(names, checked, at, bodies)
        result, reason = "pass", ""
    except _Stop as stop:
        result, reason = stop.result, stop.reason
    except (dkim.DKIMException, InvalidTagValueList, binascii.Error, KeyError, ValueError):
        result, reason = "permerror", "malformed signature"
    except Exception:  # noqa: BLE001 (whatever a stranger's signature does to dkimpy)
        result, reason = "permerror", "the signature cannot be evaluated"
    domain, selector = (_tag(checked, tag) for tag in (b"d", b"s"))
    return DkimVerdict(domain, selector, result, reason)


def _tag(checked: Any, tag: bytes) -> str:
    """Return a tag that is a name, "" when it is none."""
    text = checked.signature_fields.get(tag, b"").decode("ascii", "replace").lower()
    return text if _NAME.fullmatch(text) else ""


def _verify(names: Names, checked: Any, at: int, bodies: _Bodies) -> None:
    """Raise _Stop, or what dkimpy raises, unless the signature holds."""
    written = [value for name, value in checked.headers if name.lower() == b"dkim-signature"][at]
    if len(written) > MAX_SIGNATURE_BYTES or _LONG_SPACE.search(written):
        raise _Stop("permerror", "malformed signature")
    checked.signature_fields = parse_tag_value(written)
    if checked.signature_fields.get(b"a") == b"rsa-sha1":
        raise _Stop("policy", "SHA-1 is not secure")
    signature, signed, fields = _prepared(checked, at)
    if not _tag(checked, b"d") or not _tag(checked, b"s"):
        raise _Stop("permerror", "malformed signature")
    if b"from" not in signed:
        raise _Stop("permerror", "From is not signed")
    if len(signed) > MAX_SIGNED:
        raise _Stop("permerror", "too many fields are signed")
    _check_body(signature, bodies)
    _fetch_key(names, checked, signature)
    # The hash of the body was compared above; dkimpy would hash it anew.
    del signature[b"bh"]
    if not checked.verify_sig_process(signature, signed, fields[at], None):
        raise _Stop("fail", "signature does not fit")


def _prepared(checked: Any, at: int) -> Any:
    try:
        return checked.verify_headerprep(at)
    except dkim.ValidationError as error:
        is_expired = "x= value is past" in str(error)
        raise _Stop(*(("fail", "expired") if is_expired else ("permerror", "malformed signature"))) from error


def _check_body(signature: dict[bytes, bytes], bodies: _Bodies) -> None:
    """Raise _Stop unless the body is what was signed, all of it."""
    algorithms = signature.get(b"c", b"simple/simple").partition(b"/")
    is_relaxed = {b"relaxed": True, b"simple": False, b"": False}.get(algorithms[2])
    if is_relaxed is None:
        raise _Stop("permerror", "malformed signature")
    digest, size = bodies.digest(_DIGESTS[signature[b"a"]], is_relaxed=is_relaxed)
    limit = int(signature[b"l"]) if signature.get(b"l") else size
    if limit > size:
        raise _Stop("permerror", "l= is beyond the body")
    if limit < size:
        # Anybody could have added what is not signed (RFC 6376 section 8.2); whether the rest holds does not matter.
        raise _Stop("policy", "a part of the body is not signed")
    if base64.b64decode(re.sub(rb"\s+", b"", signature[b"bh"])) != digest:
        raise _Stop("fail", "body has changed")


def _fetch_key(names: Names, checked: Any, signature: dict[bytes, bytes]) -> None:
    """Find the key; raises _Stop when there is none that may be used."""
    name = f"{_tag(checked, b's')}._domainkey.{_tag(checked, b'd')}"
    try:
        texts = names.txt(name)
    except DnsTrouble as trouble:
        raise _Stop("temperror", "no answer about the key") from trouble
    if not texts:
        raise _Stop("permerror", "no key")
    record = texts[0].encode("ascii", "replace")
    try:
        tags = parse_tag_value(record)
        if not tags.get(b"p"):
            raise _Stop("permerror", "key revoked")
        checked.pk, checked.keysize, checked.ktag, checked.seqtlsrpt = dkim.evaluate_pk(name, record)
    except (dkim.DKIMException, InvalidTagValueList, ValueError) as error:
        raise _Stop("permerror", "unusable key") from error
    _check_key(checked, signature, tags)


def _check_key(checked: Any, signature: dict[bytes, bytes], tags: dict[bytes, bytes]) -> None:
    if checked.ktag == b"rsa" and checked.keysize < MIN_RSA_BITS:
        raise _Stop("policy", "key too short")
    if checked.ktag == b"rsa" and _is_costly(checked):
        raise _Stop("policy", "key too long")
    kind, _, digest = signature[b"a"].partition(b"-")
    digests = [one.strip() for one in tags.get(b"h", digest).split(b":")]
    services = [one.strip() for one in tags.get(b"s", b"*").split(b":")]
    if kind != checked.ktag or digest not in digests or not {b"*", b"email"} & set(services):
        raise _Stop("permerror", "the key is for something else")
    identity = signature.get(b"i", b"@" + signature[b"d"]).lower().rpartition(b"@")[2]
    is_strict = b"s" in [flag.strip() for flag in tags.get(b"t", b"").split(b":")]
    if is_strict and identity != signature[b"d"].lower():
        raise _Stop("permerror", "the key is not for subdomains")


def _is_costly(checked: Any) -> bool:
    """Tell whether a stranger's RSA key would keep us busy."""
    modulus_bits: int = checked.keysize
    exponent: int = checked.pk["publicExponent"]
    return modulus_bits > MAX_RSA_BITS or exponent.bit_length() > MAX_RSA_EXPONENT_BITS


class _Bodies:
    """The hashes of one body, each made once."""

    def __init__(self, content: bytes, begins_at: int) -> None:
        self._content = content
        self._begins_at = begins_at
        self._known: dict[tuple[str, bool], tuple[bytes, int]] = {}

    def digest(self, algorithm: str, *, is_relaxed: bool) -> tuple[bytes, int]:
        """Return the hash of the canonical body, and how many octets that has."""
        key = algorithm, is_relaxed
        if key not in self._known:
            hashed, size = hashlib.new(algorithm), 0
            for piece in canonical(self._content, self._begins_at, is_relaxed=is_relaxed):
                hashed.update(piece)
                size += len(piece)
            self._known[key] = hashed.digest(), size
        return self._known[key]


def canonical(content: bytes, begins_at: int, *, is_relaxed: bool) -> Iterator[bytes]:
    """Yield the canonical body, which begins there, in pieces (RFC 6376 sections 3.4.3 and 3.4.4)."""
    held, is_empty = 0, True  # line ends that may prove to be the last ones
    at = begins_at
    while at < len(content):
        end = content.rfind(b"\r\n", at, at + PIECE_BYTES) + 2
        if end < at + 2:  # a line that is longer than a piece
            end = content.find(b"\r\n", at) + 2
            end = len(content) if end < 2 else end
        piece = content[at:end]
        at = end
        if is_relaxed:
            piece = _SPACE.sub(b" ", piece).replace(b" \r\n", b"\r\n")
        kept = _without_last_line_ends(piece)
        if kept:
            yield b"\r\n" * held + piece[:kept]
            held, is_empty = 0, False
        held += (len(piece) - kept) // 2
    if not is_empty or not is_relaxed:
        yield b"\r\n"


def _without_last_line_ends(piece: bytes) -> int:
    """Return how many octets stand before the CRLFs at the end."""
    end = len(piece.rstrip(b"\r\n"))
    tail = piece[end:]
    if tail == b"\r\n" * (len(tail) // 2):
        return end
    end = len(piece)
    while piece.endswith(b"\r\n", 0, end):
        end -= 2
    return end
