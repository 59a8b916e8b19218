"""Exchanges over a kept connection, with a peer that says exactly what it is told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egret.aws.http1 import MAX_LINES_BYTES, Answer, BrokenAnswer, Connection, Peer
from tests.certificates import Certificate

REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH_2 = OK + b"Content-Length: 2\r\n\r\n{}"


@contextlib.contextmanager
def _peer(pieces: list[bytes], tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
    """Answer the n-th request of one connection with the n-th piece, then hang up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer, args=(listener, pieces, tls))
        thread.start()
        try:
            yield Peer("127.0.0.1", listener.getsockname()[1], None, connect_s=2, read_s=2)
        finally:
            thread.join()


def _answer(listener: socket.socket, pieces: list[bytes], tls: ssl.SSLContext | None) -> None:
    stream, _ = listener.accept()
    with contextlib.suppress(OSError), tls.wrap_socket(stream, server_side=True) if tls else stream as peer:
        for piece in pieces:
            got = b""
            while len(got) < len(REQUEST):
                got += peer.recv(len(REQUEST) - len(got))
            assert got == REQUEST
            peer.sendall(piece)


def _exchange(piece: bytes) -> Answer:
    with _peer([piece]) as peer, contextlib.closing(Connection(peer)) as connection:
        return connection.exchange(REQUEST)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (LENGTH_2, Answer(200, b"{}", is_last=False)),
        (b"HTTP/1.1 400 \r\ncontent-length:0\r\n\r\n", Answer(400, b"", is_last=False)),
        (b"HTTP/1.1 503\r\nCONTENT-LENGTH:\t1 \r\n\r\n!", Answer(503, b"!", is_last=False)),
        (OK + b"Connection: Close\r\nContent-Length: 2\r\n\r\n{}", Answer(200, b"{}", is_last=True)),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", Answer(200, b"{}", is_last=True)),
        (OK + b"\r\nup to the end", Answer(200, b"up to the end", is_last=True)),
        (LENGTH_2 + b"HTTP/1.1 200", Answer(200, b"{}", is_last=True)),
        (
            OK + b"Transfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nt: 1\r\n\r\n",
            Answer(200, b"abc0123456789", is_last=False),
        ),
    ],
)
def test_whole_answers(said: bytes, expected: Answer) -> None:
    """Bodies by length, in chunks, up to the end; and whether another request can follow."""
    assert _exchange(said) == expected


@pytest.mark.parametrize(
    ("said", "part"),
    [
        (b"", "ended before"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "no status line"),
        (b"HTTP/1.1 0200 OK\r\n\r\n", "no status line"),
        (OK, "ended before"),
        (OK + b"Content-Length: 3\r\n\r\n{}", "ended before"),
        (OK + b"Content-Length: +2\r\n\r\n{}", "a length that is none"),
        (OK + b"Content-Length: 2, 2\r\n\r\n{}", "a length that is none"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n{}", "a transfer encoding"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", "a chunk without a size"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}0\r\n\r\n", "a chunk that does not end"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "ended before"),
        (OK + b"x: " + b"y" * (MAX_LINES_BYTES + 1), "a header that does not end"),
    ],
)
def test_answers_that_are_none(said: bytes, part: str) -> None:
    """Cut short, or something else: an error of the connection, never half an answer."""
    with pytest.raises(BrokenAnswer, match=part):
        _exchange(said)


@given(st.binary(max_size=300_000), st.lists(st.integers(1, 70_000), max_size=5))
def test_bodies_arrive_as_they_were_sent(body: bytes, cuts: list[int]) -> None:
    """However long, whole or in chunks."""
    chunks = b""
    rest = body
    for cut in [*cuts, len(body)]:
        piece, rest = rest[:cut], rest[cut:]
        chunks += b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    whole = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    assert _exchange(OK + whole) == Answer(200, body, is_last=False)
    assert _exchange(OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n").body == body


def test_one_connection_serves_many_exchanges_and_knows_its_end() -> None:
    """Open while the peer waits; closed once it hung up."""
    with _peer([LENGTH_2, LENGTH_2]) as peer, contextlib.closing(Connection(peer)) as connection:
        connection.exchange(REQUEST)
        assert not connection.is_closed()
        assert connection.exchange(REQUEST) == Answer(200, b"{}", is_last=False)
        with pytest.raises(ConnectionError):
            connection.exchange(REQUEST)
        assert connection.is_closed()


def test_a_silent_peer_is_waited_for_as_long_as_agreed() -> None:
    """Not for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = Peer("127.0.0.1", listener.getsockname()[1], None, connect_s=2, read_s=0.05)
        with contextlib.closing(Connection(peer)) as connection, pytest.raises(TimeoutError):
            connection.exchange(REQUEST)


def test_over_tls_the_name_is_verified(tmp_path: Path) -> None:
    """A peer with the certificate of the name is spoken to, any other one is not."""
    certificate = Certificate(tmp_path)
    with _peer([LENGTH_2], certificate.server()) as peer:
        trusting = replace(peer, tls=certificate.trusting())
        with contextlib.closing(Connection(trusting)) as connection:
            assert connection.exchange(REQUEST).body == b"{}"
    with _peer([LENGTH_2], certificate.server()) as peer, pytest.raises(ssl.SSLCertVerificationError):
        Connection(replace(peer, tls=ssl.create_default_context()))
