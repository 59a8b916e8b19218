"""SMTP as a client reads and writes it, without I/O: bytes in, events out; commands and content out as bytes.

Implements: RFC 5321 sections 4.1.1, 4.2 and 4.5.2; the keywords of EHLO of RFC 1870, 2034, 2920, 3207, 6152, 6531,
9422; the values of RFC 3461 section 4 and RFC 6533 section 3.
Does not decide anything: `exchange` knows what an answer means, `session` moves the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from egret.core.reply import Reply

MAX_KEPT_LINE = 2048
"""Bytes kept of a reply line, code included: four times what RFC 5321 section 4.5.3.1.5 allows; the rest is skipped."""
MAX_LINES = 100
"""Lines of one reply; EHLO answers of real servers have about 20."""
MAX_KEPT_REPLY = 4096
"""Bytes of UTF-8 kept of a whole reply, escapes included: it becomes part of the delivery's item, once per attempt.
What is beyond is counted and skipped, or a server that babbles could make an outcome too large to be recorded."""
MAX_REPLY_BYTES = 256 * 1024
"""Bytes of one reply, skipped ones included: more is an attack on our time."""
MAX_KNOWN = 16
"""Different short replies of a connection that are read once only: servers say the same three things all day."""
MAX_KNOWN_LINE = 80
MAX_ORCPT = 500
"""Characters of an ORCPT value (RFC 3461 section 4.2)."""
DOT = b".\r\n"

_PLAIN_PATH = re.compile(r"[!#-;=?-~]*")
_UNSAFE_IN_PATH = re.compile(r'[\x00-\x20\x7f<>"]')
_QUOTED_LOCAL_PART = re.compile(r'"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"@')
_UNSAFE_IN_WORD = re.compile(r"[^\x21-\x7e]")
_NOT_XCHAR = re.compile(r"[^!-*,-<>-~]")
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")
_LIMITS = re.compile(r"[A-Za-z0-9_-]+(?:=[!-:<-~]+)?(?: [A-Za-z0-9_-]+(?:=[!-:<-~]+)?)*")
_LIMIT = re.compile(r"[1-9][0-9]{0,5}")
_LINE_END = re.compile(rb"\r\n|\r|\n")


class WireError(ValueError):
    """A value cannot be written in an SMTP command; the message is one sentence without the value."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """The server sent what is no SMTP reply; nothing after it can be understood. reason: one sentence."""

    reason: str


Event = Reply | Garbage


class ReplyReader:
    """Reads replies from a stream cut anywhere: the same events whatever the cuts, bounded memory whatever the bytes.

    The last event ever is `Garbage`, if one comes.
    """

    def __init__(self) -> None:
        self._part = bytearray()
        self._reply_bytes = 0
        self._code = 0
        self._lines: list[str] = []
        self._lines_read = 0
        self._room = MAX_KEPT_REPLY
        self._is_broken = False
        self._known: dict[bytes, Reply] = {}

    @property
    def is_clean(self) -> bool:
        """Nothing of an unfinished reply has been read."""
        return not self._reply_bytes and not self._is_broken

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that these bytes complete, in order."""
        events: list[Event] = []
        if self._is_broken:
            return events
        pieces = data.split(b"\n")
        for piece in pieces[:-1]:
            is_first = not self._reply_bytes
            if is_first and (known := self._known.get(piece)) is not None:
                events.append(known)
                continue
            event = self._end_line(piece)
            if event is not None:
                events.append(event)
            if isinstance(event, Garbage):
                return events
            if is_first and event is not None and len(piece) <= MAX_KNOWN_LINE and len(self._known) < MAX_KNOWN:
                self._known[piece] = event
        if pieces[-1] and not self._collect(pieces[-1], 0):
            events.append(self._break("the server's reply is too long"))
        return events

    def _break(self, reason: str) -> Garbage:
        self._is_broken = True
        self._part.clear()
        return Garbage(reason)

    def _collect(self, piece: bytes, line_end_bytes: int) -> bool:
        """Keep what may be kept of a line; False when the reply has grown too long."""
        self._reply_bytes += len(piece) + line_end_bytes
        self._part += piece[: max(0, MAX_KEPT_LINE - len(self._part))]
        return self._reply_bytes <= MAX_REPLY_BYTES

    def _end_line(self, piece: bytes) -> Event | None:
        if not self._collect(piece, 1):
            return self._break("the server's reply is too long")
        line = bytes(self._part)
        self._part.clear()
        # The cut may have taken the CR of a long line, never that of a short one.
        line = line.removesuffix(b"\r")
        code = int(line[:3]) if line[:3].isdigit() and len(line) >= 3 else 0
        if not 200 <= code <= 599 or line[3:4] not in (b"", b" ", b"-"):
            return self._break("the server's answer is not an SMTP reply")
        if self._lines and code != self._code:
            return self._break("the lines of the server's reply have different codes")
        if self._lines_read == MAX_LINES:
            return self._break("the server's reply has too many lines")
        self._code = code
        self._keep(printable(line[4:]))
        return None if line[3:4] == b"-" else self._end_reply()

    def _keep(self, text: str) -> None:
        self._lines_read += 1
        if self._room > 0:
            kept = text.encode()[: self._room]
            self._room -= max(1, len(kept))
            self._lines.append(kept.decode(errors="ignore"))

    def _end_reply(self) -> Reply:
        reply = Reply(self._code, tuple(self._lines))
        self._lines = []
        self._lines_read = 0
        self._room = MAX_KEPT_REPLY
        self._reply_bytes = 0
        return reply


def printable(text: bytes) -> str:
    r"""Return the text of a peer with everything that is not printable escaped (\x00): safe in logs and in JSON."""
    decoded = text.decode("utf-8", "backslashreplace")
    if decoded.isprintable():
        return decoded
    return "".join(c if c.isprintable() else " " if c == "\t" else f"\\x{ord(c):02x}" for c in decoded)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server takes in one session (RFC 9422): MAIL commands, recipients and recipient domains of one message.

    0: it names no such limit.
    """

    mail: int = 0
    recipients: int = 0
    recipient_domains: int = 0


UNLIMITED = Limits()


def limits_of(parameters: str) -> Limits:
    """Read the parameters of LIMITS; a line that breaks the grammar of RFC 9422 section 3 limits nothing."""
    if not _LIMITS.fullmatch(parameters):
        return UNLIMITED
    found = {"MAILMAX": 0, "RCPTMAX": 0, "RCPTDOMAINMAX": 0}
    for word in parameters.split(" "):
        name, _, value = word.partition("=")
        name = name.upper()
        if name in found:
            if not _LIMIT.fullmatch(value):
                return UNLIMITED
            # Named twice, the stricter one is kept.
            found[name] = min(int(value), found[name] or int(value))
    return Limits(*found.values())


@dataclass(frozen=True, slots=True)
class Peer:
    """What a server said of itself: its name and the extensions of its EHLO reply, keywords in upper case.

    is_verified: the connection is encrypted and its certificate was verified for the server's name.
    """

    name: str = ""
    extensions: Mapping[str, str] = field(default_factory=dict)
    is_encrypted: bool = False
    is_verified: bool = False
    limits: Limits = UNLIMITED

    @property
    def pipelines(self) -> bool:
        """PIPELINING, RFC 2920."""
        return "PIPELINING" in self.extensions

    @property
    def size_limit(self) -> int:
        """The largest message in bytes, 0 when the server names none (RFC 1870 section 4)."""
        limit = self.extensions.get("SIZE", "")
        return int(limit) if limit.isascii() and limit.isdigit() and len(limit) <= 18 else 0

    def offers(self, keyword: str) -> bool:
        """Whether the extension was announced."""
        return keyword in self.extensions


def peer_of(reply: Reply) -> Peer:
    """Read the answer to EHLO (RFC 5321 section 4.1.1.1): unknown keywords are kept, ungrammatical ones left out."""
    extensions: dict[str, str] = {}
    for line in reply.lines[1:]:
        keyword, _, parameters = line.strip().partition(" ")
        # "AUTH=PLAIN" is what servers of before RFC 2554 wrote.
        if keyword.replace("-", "").isalnum():
            extensions[keyword.upper()] = parameters.strip()
    limits = limits_of(extensions["LIMITS"]) if "LIMITS" in extensions else UNLIMITED
    return Peer(reply.lines[0].partition(" ")[0], extensions, limits=limits)


def ehlo(name: str) -> bytes:
    """Return the EHLO command. name: a domain or an address literal."""
    return b"EHLO " + _word(name) + b"\r\n"


def helo(name: str) -> bytes:
    """Return the HELO command."""
    return b"HELO " + _word(name) + b"\r\n"


def mail_from(reverse_path: str, parameters: Sequence[str] = ()) -> bytes:
    """Return the MAIL command. reverse_path: without <>, "" is the null reverse-path. Raises WireError."""
    words = b"".join([b" " + _word(parameter) for parameter in parameters])
    return b"MAIL FROM:<" + _path(reverse_path) + b">" + words + b"\r\n"


def rcpt_to(forward_path: str, parameters: Sequence[str] = ()) -> bytes:
    """Return the RCPT command. forward_path: without <>. Raises WireError."""
    if not forward_path:
        raise WireError("The recipient's address is empty.")
    words = b"".join([b" " + _word(parameter) for parameter in parameters])
    return b"RCPT TO:<" + _path(forward_path) + b">" + words + b"\r\n"


def xtext(text: str) -> str:
    """Return ASCII text as a value of ENVID or ORCPT (RFC 3461 section 4)."""
    if _NOT_XCHAR.search(text) is None:
        return text
    return _NOT_XCHAR.sub(lambda match: f"+{ord(match[0]):02X}", text)


def orcpt(forward_path: str) -> str:
    """Return the ORCPT of a recipient, type included; "" when it would be longer than allowed.

    An internationalized address is written in ASCII (RFC 6533 section 3), which every server with DSN can carry.
    """
    if forward_path.isascii():
        value = "rfc822;" + xtext(forward_path)
    else:
        value = "utf-8;" + _NOT_QCHAR.sub(lambda match: f"\\x{{{ord(match[0]):02X}}}", forward_path)
    return value if len(value) <= MAX_ORCPT else ""


def _path(path: str) -> bytes:
    """Refuse what could end the path or the line early: an address with a line end in it would inject commands.

    Spaces and angle brackets may stand in a quoted local part (RFC 5321 section 4.1.2).
    """
    if _PLAIN_PATH.fullmatch(path):
        return path.encode("ascii")
    quoted = _QUOTED_LOCAL_PART.match(path)
    if _UNSAFE_IN_PATH.search(path, quoted.end() if quoted else 0) or (quoted and "@" in path[quoted.end() :]):
        raise WireError("The address has characters that cannot be written in an SMTP command.")
    try:
        return path.encode()
    except UnicodeEncodeError as error:
        raise WireError("The address is not valid Unicode.") from error


def _word(word: str) -> bytes:
    if not word or _UNSAFE_IN_WORD.search(word):
        raise WireError("The parameter cannot be written in an SMTP command.")
    return word.encode("ascii")


def with_crlf(content: bytes) -> bytes:
    """Return the content with each bare CR and bare LF made CRLF, and a line end at the end.

    A line end that servers read differently would let a message smuggle in another one: none ever leaves us.
    """
    # Leaving out all pairs is many times faster than a search for what is not part of one.
    without = content.replace(b"\r\n", b"")
    # `find`, since `in` first tries whether what is looked for is a number.
    if without.find(b"\r") >= 0 or without.find(b"\n") >= 0:
        content = _LINE_END.sub(b"\r\n", content)
    return content if not content or content.endswith(b"\r\n") else content + b"\r\n"


class DotStuffer:
    """Doubles each dot at the start of a line (RFC 5321 section 4.5.2), however the content is cut into chunks."""

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def feed(self, chunk: bytes) -> bytes:
        """Return the chunk as it goes over the wire."""
        if not chunk:
            return b""
        stuffed = (self._tail + chunk).replace(b"\r\n.", b"\r\n..")[len(self._tail) :]
        self._tail = (self._tail + chunk)[-2:]
        return stuffed


def stuffed(content: bytes) -> bytes:
    """Return whole content (CRLF line ends, ending in one) with its dots doubled."""
    doubled = content.replace(b"\r\n.", b"\r\n..")
    return b"." + doubled if doubled.startswith(b".") else doubled
