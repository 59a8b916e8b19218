"""HTTP/1.1 over a kept connection, for the one exchange that AWS's JSON services know: a POST, answered in full.

Implements: what a client needs of RFC 9112: bodies by Content-Length, in chunks, or up to the end of the stream.
Does not know redirects, trailers and informational answers, which none of these services sends. The standard library's
client reads the header of an answer as if it were mail: that takes longer than everything else of a call.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_LINES_BYTES: Final = 64 * 1024
"""Of the header of an answer, or of the size of a chunk; services stay below a hundredth of it."""
RECEIVE_BYTES: Final = 64 * 1024
_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: |\r\n|$)")
_FIELD: Final = re.compile(rb"\r\n(content-length|transfer-encoding|connection):([^\r\n]*)", re.IGNORECASE)
"""Those that tell where an answer ends, and whether another one can follow."""
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE: Final = re.compile(rb"([0-9a-f]{1,15})[ \t]*(?:;|$)", re.IGNORECASE)


class BrokenAnswer(ConnectionError):
    """What came is not a whole HTTP answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. is_last: the connection cannot be used again."""

    status: int
    body: bytes
    is_last: bool


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom to connect to, how long that may take, and how long each wait for it afterwards. tls: None for none."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    connect_s: float
    read_s: float


class Connection:
    """A connection, for one thread at a time. Every method raises OSError for what goes wrong; then it is to close."""

    def __init__(self, peer: Peer) -> None:
        self._socket = _connected(peer)
        self._come = b""
        """What came and was not read yet."""

    def exchange(self, request: bytes) -> Answer:
        """Send a whole request and return the answer."""
        self._socket.sendall(request)
        head = self._lines_until(b"\r\n\r\n")
        status = _STATUS.match(head)
        if status is None:
            raise BrokenAnswer(f"no status line: {head[:80]!r}")
        fields = {name.lower(): value.strip() for name, value in _FIELD.findall(head)}
        body, is_ended = self._body(fields)
        stays = status[1] == b"1" and b"close" not in fields.get(b"connection", b"").lower()
        return Answer(int(status[2]), body, is_ended or not stays or bool(self._come))

    def is_closed(self) -> bool:
        """Tell whether the peer hung up while nothing was asked: then there is something to read, the end."""
        readable, _, _ = select.select([self._socket], [], [], 0)
        return bool(readable)

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    # --- reading

    def _body(self, fields: dict[bytes, bytes]) -> tuple[bytes, bool]:
        """Return the body, and whether the stream ended with it. RFC 9112 6.3."""
        coding = fields.get(b"transfer-encoding")
        if coding is not None:
            if coding.lower() != b"chunked":
                raise BrokenAnswer(f"a transfer encoding that nobody asked for: {coding[:80]!r}")
            return b"".join(self._chunks()), False
        length = fields.get(b"content-length")
        if length is None:
            return self._rest(), True
        if not _LENGTH.fullmatch(length):
            raise BrokenAnswer(f"a length that is none: {length[:80]!r}")
        return self._exactly(int(length)), False

    def _chunks(self) -> Iterator[bytes]:
        """Yield the chunks and skip the trailer. RFC 9112 7.1."""
        while True:
            line = self._lines_until(b"\r\n")
            size = _CHUNK_SIZE.match(line)
            if size is None:
                raise BrokenAnswer(f"a chunk without a size: {line[:80]!r}")
            if not int(size[1], 16):
                break
            yield self._exactly(int(size[1], 16))
            if self._exactly(2) != b"\r\n":
                raise BrokenAnswer("a chunk that does not end where it should")
        while self._lines_until(b"\r\n"):
            pass

    def _lines_until(self, end: bytes) -> bytes:
        """Return what comes before `end`, which is dropped."""
        while (at := self._come.find(end)) < 0:
            if len(self._come) > MAX_LINES_BYTES:
                raise BrokenAnswer("a header that does not end")
            self._come += self._receive()
        found, self._come = self._come[:at], self._come[at + len(end) :]
        return found

    def _exactly(self, size: int) -> bytes:
        """Return that many bytes."""
        pieces, have = [self._come], len(self._come)
        while have < size:
            pieces.append(self._receive())
            have += len(pieces[-1])
        whole = b"".join(pieces)
        self._come = whole[size:]
        return whole[:size]

    def _rest(self) -> bytes:
        """Return everything up to the end of the stream."""
        pieces = [self._come]
        while piece := self._socket.recv(RECEIVE_BYTES):
            pieces.append(piece)
        self._come = b""
        return b"".join(pieces)

    def _receive(self) -> bytes:
        """Return what comes next, at least a byte."""
        piece = self._socket.recv(RECEIVE_BYTES)
        if not piece:
            raise BrokenAnswer("the connection ended before the answer did")
        return piece


def _connected(peer: Peer) -> socket.socket:
    """Return a socket on which requests can be sent."""
    plain = socket.create_connection((peer.host, peer.port), peer.connect_s)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = plain if peer.tls is None else peer.tls.wrap_socket(plain, server_hostname=peer.host)
        stream.settimeout(peer.read_s)
    except BaseException:
        plain.close()
        raise
    return stream
