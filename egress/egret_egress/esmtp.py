"""The arguments of MAIL and RCPT as checked values; what cannot be taken is a value as well, the reply to give.

Implements: RFC 5321 sections 4.1.1.2, 4.1.1.3, 4.1.2 and 4.5.3.1, and the parameters of RFC 1870 (SIZE), 3461 (RET,
ENVID, NOTIFY, ORCPT), 4865 (HOLDFOR, HOLDUNTIL), 4954 (AUTH), 6152 (BODY), 6531 (SMTPUTF8), 8689 (REQUIRETLS). Does no
I/O.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeVar

T = TypeVar("T", "Mail", "Rcpt")

MAX_PATH_OCTETS: Final = 320
"""64 of the local part, 255 of the domain, and the sign between; RFC 5321 section 4.5.3.1.3 says 256 with brackets."""
MAX_ENVID_CHARS: Final = 100
"""Written as xtext (RFC 3461 section 4.4)."""
MAX_ORCPT_CHARS: Final = 500
"""With type (RFC 3461 section 4.2)."""
MAX_PARAMETERS: Final = 20

_KEYWORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
# RFC 5321 section 4.1.2 with RFC 6531 section 3.3: neither "=", space nor control characters.
_VALUE: Final = re.compile(r"[!-<>-~\u0080-\U0010ffff]+")
_XTEXT: Final = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")
_HEX: Final = re.compile(r"\+([0-9A-F]{2})")
_PRINTABLE: Final = re.compile(r"[ -~]+")
_QUOTED: Final = r'"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"'
_LOCAL_PART: Final = rf'(?:[^\x00-\x20\x7f"(),:;<>@\[\\\]]+|{_QUOTED})'
_DOMAIN: Final = r'(?:[^\x00-\x20\x7f"(),:;<>@\[\\\]]+|\[[^\x00-\x20\x7f\[\\\]<>@]+\])'
_PATH: Final = re.compile(rf" ?<(?:@[^\x00-\x20\x7f<>:\"]*:)?((?:{_LOCAL_PART}@{_DOMAIN})|{_LOCAL_PART}|)>")
_SIZE: Final = re.compile(r"[0-9]{1,20}")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
# RFC 3339 as RFC 4865 section 5 narrows it: no fractions of a second.
_INSTANT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[Zz]|[+-][0-9]{2}:[0-9]{2})")
_ADDRESS_TYPE: Final = re.compile(r"[A-Za-z0-9-]+")
# RFC 6533 section 3: \x{hex}, for characters that xtext has no room for.
_EMBEDDED: Final = re.compile(r"\\x\{([0-9A-F]{2,6})\}")


class Body(enum.StrEnum):
    """What the content is made of (RFC 6152)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"


@dataclass(frozen=True, slots=True)
class Bad:
    """A command that is not taken. reply: what the client hears, with its enhanced code."""

    reply: str


@dataclass(frozen=True, slots=True)
class Mail:
    """A MAIL command. reverse_path: without <>, "" = null; a source route is dropped.

    size: octets, None = not given. ret: FULL, HDRS or "". envid: decoded, "" = not given. hold_for: seconds.
    hold_until: aware. auth: the address of AUTH decoded, "<>" = unknown, "" = not given.
    """

    reverse_path: str
    size: int | None = None
    body: Body = Body.SEVEN_BIT
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    hold_for: int | None = None
    hold_until: datetime | None = None
    require_tls: bool = False
    auth: str = ""


@dataclass(frozen=True, slots=True)
class Orcpt:
    """An original recipient (RFC 3461 section 4.2). type: in lower case. address: decoded. written: as it was given."""

    type: str
    address: str
    written: str


@dataclass(frozen=True, slots=True)
class Rcpt:
    """A RCPT command. forward_path: without <>, never empty; a source route is dropped.

    notify: NEVER, or some of SUCCESS, FAILURE and DELAY in this order, joined by commas; "" = not given.
    """

    forward_path: str
    notify: str = ""
    orcpt: Orcpt | None = None


def mail(argument: str, offered: Collection[str]) -> Mail | Bad:
    """Read what follows "MAIL ". offered: EHLO keywords in upper case; a parameter of another extension is refused."""
    found = _command(argument, "FROM:")
    if found is None:
        return Bad("501 5.5.2 Syntax: MAIL FROM:<address>")
    path, words = found
    if path and "@" not in path:
        return Bad("553 5.1.7 The reverse-path has no domain")
    if len(path.encode()) > MAX_PATH_OCTETS:
        return Bad("553 5.1.7 The reverse-path is too long")
    read = _parameters(Mail(path), words, _of(_MAIL, offered))
    if isinstance(read, Bad):
        return read
    if read.hold_for is not None and read.hold_until is not None:
        return Bad("501 5.5.4 HOLDFOR and HOLDUNTIL exclude each other")
    if not read.smtputf8 and not path.isascii():
        return Bad("553 5.6.7 An address that is not ASCII needs SMTPUTF8")
    return read


def rcpt(argument: str, offered: Collection[str], *, smtputf8: bool = False) -> Rcpt | Bad:
    """Read what follows "RCPT ". offered: as for `mail`; smtputf8: MAIL had it."""
    found = _command(argument, "TO:")
    if found is None:
        return Bad("501 5.5.2 Syntax: RCPT TO:<address>")
    path, words = found
    if not path or len(path.encode()) > MAX_PATH_OCTETS:
        return Bad("553 5.1.3 The forward-path is empty or too long")
    if not smtputf8 and not path.isascii():
        return Bad("553 5.6.7 An address that is not ASCII needs SMTPUTF8")
    read = _parameters(Rcpt(path), words, _of(_RCPT, offered))
    if isinstance(read, Rcpt) and read.orcpt is not None and not (smtputf8 or read.orcpt.written.isascii()):
        return Bad("501 5.5.4 An ORCPT that is not ASCII needs SMTPUTF8")
    return read


def decode_xtext(text: str) -> str | None:
    """Return what xtext stands for, each +HH one character; None when it is none (RFC 3461 section 4)."""
    if not _XTEXT.fullmatch(text):
        return None
    return _HEX.sub(lambda match: chr(int(match[1], 16)), text)


def _command(argument: str, keyword: str) -> tuple[str, list[str]] | None:
    """Return the path and the words behind it; None when the syntax is not that of the command."""
    if argument[: len(keyword)].upper() != keyword:
        return None
    match = _PATH.match(argument, len(keyword))
    if match is None:
        return None
    rest = argument[match.end() :]
    if rest and not rest.startswith(" "):
        return None
    return match[1], rest.split(" ")[1:] if rest.strip(" ") else []


_Reader = Callable[[T, str], "T | Bad"]


def _of(readers: Mapping[str, tuple[str, _Reader[T]]], offered: Collection[str]) -> dict[str, _Reader[T]]:
    """Return the parameters of the extensions that are offered."""
    return {keyword: read for keyword, (extension, read) in readers.items() if extension in offered}


def _parameters(command: T, words: list[str], readers: Mapping[str, _Reader[T]]) -> T | Bad:
    seen: set[str] = set()
    for word in filter(None, words):
        written, has_value, value = word.partition("=")
        keyword = written.upper()
        if not _KEYWORD.fullmatch(written) or (has_value and not _VALUE.fullmatch(value)):
            return Bad("501 5.5.4 A parameter is malformed")
        if keyword in seen or len(seen) >= MAX_PARAMETERS:
            return Bad(f"501 5.5.4 {keyword[:20]} is given more than once, or there are too many parameters")
        if keyword not in readers:
            return Bad(f"555 5.5.4 {keyword[:20]} is not offered here")
        seen.add(keyword)
        read = readers[keyword](command, value)
        if isinstance(read, Bad):
            return read
        command = read
    return command


def _flag(command: Mail, value: str, name: str) -> Mail | Bad:
    if value:
        return Bad(f"501 5.5.4 {name} takes no value")
    return replace(command, smtputf8=True) if name == "SMTPUTF8" else replace(command, require_tls=True)


def _size(command: Mail, value: str) -> Mail | Bad:
    if not _SIZE.fullmatch(value):
        return Bad("501 5.5.4 SIZE is a number of octets")
    return replace(command, size=int(value))


def _body(command: Mail, value: str) -> Mail | Bad:
    try:
        return replace(command, body=Body(value.upper()))
    except ValueError:
        return Bad("501 5.5.4 BODY is 7BIT or 8BITMIME")


def _ret(command: Mail, value: str) -> Mail | Bad:
    if value.upper() not in ("FULL", "HDRS"):
        return Bad("501 5.5.4 RET is FULL or HDRS")
    return replace(command, ret=value.upper())


def _envid(command: Mail, value: str) -> Mail | Bad:
    decoded = decode_xtext(value)
    if decoded is None or len(value) > MAX_ENVID_CHARS or not _PRINTABLE.fullmatch(decoded):
        return Bad(f"501 5.5.4 ENVID is xtext of at most {MAX_ENVID_CHARS} characters")
    return replace(command, envid=decoded)


def _hold_for(command: Mail, value: str) -> Mail | Bad:
    if not _SECONDS.fullmatch(value) or not int(value):
        return Bad("501 5.5.4 HOLDFOR is a number of seconds, 1 to 999999999")
    return replace(command, hold_for=int(value))


def _hold_until(command: Mail, value: str) -> Mail | Bad:
    try:
        until = datetime.fromisoformat(value.upper()) if _INSTANT.fullmatch(value) else None
        # Near the ends of the calendar there is no such instant in UTC.
        until = until.astimezone(UTC) if until is not None else None
    except (ValueError, OverflowError):
        until = None
    if until is None:
        return Bad("501 5.5.4 HOLDUNTIL is an instant of RFC 3339")
    return replace(command, hold_until=until)


def _auth(command: Mail, value: str) -> Mail | Bad:
    decoded = decode_xtext(value)
    if not decoded or not (decoded == "<>" or _PRINTABLE.fullmatch(decoded)) or len(decoded) > MAX_PATH_OCTETS:
        return Bad("501 5.5.4 AUTH is xtext or <>")
    return replace(command, auth=decoded)


def _notify(command: Rcpt, value: str) -> Rcpt | Bad:
    wishes = value.upper().split(",")
    if wishes == ["NEVER"]:
        return replace(command, notify="NEVER")
    if len(set(wishes)) != len(wishes) or not set(wishes) <= set(_WISHES):
        return Bad("501 5.5.4 NOTIFY is NEVER, or some of SUCCESS, FAILURE and DELAY")
    return replace(command, notify=",".join(wish for wish in _WISHES if wish in wishes))


_WISHES: Final = ("SUCCESS", "FAILURE", "DELAY")


def _orcpt(command: Rcpt, value: str) -> Rcpt | Bad:
    type_, semicolon, written = value.partition(";")
    address = _original_address(type_.lower(), written)
    if not semicolon or not _ADDRESS_TYPE.fullmatch(type_) or not address or len(value) > MAX_ORCPT_CHARS:
        return Bad(f"501 5.5.4 ORCPT is a type and xtext of at most {MAX_ORCPT_CHARS} characters")
    return replace(command, orcpt=Orcpt(type_.lower(), address, value))


def _original_address(type_: str, written: str) -> str | None:
    r"""Return the address, decoded; None when it is malformed. Of utf-8 addresses \x{..} is decoded, too (RFC 6533)."""
    if type_ == "utf-8" and not written.isascii():
        return written if written.isprintable() else None
    decoded = decode_xtext(written)
    if decoded is not None and type_ == "utf-8":
        try:
            decoded = _EMBEDDED.sub(lambda match: chr(int(match[1], 16)), decoded)
        except ValueError:
            return None
        return decoded if decoded.isprintable() else None
    return decoded if decoded is not None and _PRINTABLE.fullmatch(decoded) else None


_MAIL: Final[Mapping[str, tuple[str, _Reader[Mail]]]] = {
    "SIZE": ("SIZE", _size),
    "BODY": ("8BITMIME", _body),
    "SMTPUTF8": ("SMTPUTF8", lambda command, value: _flag(command, value, "SMTPUTF8")),
    "RET": ("DSN", _ret),
    "ENVID": ("DSN", _envid),
    "HOLDFOR": ("FUTURERELEASE", _hold_for),
    "HOLDUNTIL": ("FUTURERELEASE", _hold_until),
    "REQUIRETLS": ("REQUIRETLS", lambda command, value: _flag(command, value, "REQUIRETLS")),
    "AUTH": ("AUTH", _auth),
}
_RCPT: Final[Mapping[str, tuple[str, _Reader[Rcpt]]]] = {"NOTIFY": ("DSN", _notify), "ORCPT": ("DSN", _orcpt)}
