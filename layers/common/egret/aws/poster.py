"""HTTP POST to a customer's webhook: to an address that was checked, and to nothing else.

The name is resolved once; the connection goes to the address that `core.netguard` chose, with the name in SNI and Host;
the certificate must be the name's. No redirect is followed, no proxy is used, no connection is kept: one customer's
server never holds what belongs to another call. The time limits bound the whole call, however slowly bytes come.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from egret.contracts.records import PostAnswer
from egret.core.netguard import IPAddress, ParsedUrl, Refusal, UrlPolicy, check_url, choose

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = timedelta(seconds=10)
"""Connecting and TLS together."""
MAX_BODY_BYTES = 512

Resolver = Callable[[str, int], list[IPAddress]]
"""Returns the addresses of a host name; raises OSError when there are none."""
Connector = Callable[[IPAddress, int, float], socket.socket]
"""Connects to (address, port) within so many seconds."""


def resolve(host: str, port: int) -> list[IPAddress]:
    """Return every address of a host name, in the resolver's order; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(sockaddr[0])) for *_, sockaddr in found]


def connect(address: IPAddress, port: int, timeout_s: float) -> socket.socket:
    """Open a TCP connection; raises OSError."""
    return socket.create_connection((str(address), port), timeout_s)


@dataclass(frozen=True, slots=True)
class Network:
    """How the poster reaches the world. trust: certificates to believe (None = those of the system)."""

    resolve: Resolver = resolve
    connect: Connector = connect
    trust: ssl.SSLContext | None = None


class _Refused(Exception):
    """The guard says no; the sentence is for the customer."""


class HttpWebhookPoster:
    """The `WebhookPoster` port.

    allow_loopback: local mode, where receivers run on this machine, without TLS if need be.
    """

    def __init__(self, *, allow_loopback: bool = False, network: Network | None = None) -> None:
        self._policy = UrlPolicy(allow_http=allow_loopback, allow_loopback=allow_loopback)
        self._network = network or Network()

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return self._network.trust or ssl.create_default_context()

    def post(self, url: str, headers: Mapping[str, str], body: bytes, timeout: timedelta) -> PostAnswer:
        """Make one call; transport trouble and refusals of the guard are answers with status 0 and an error."""
        request = _Request(headers, body, time.monotonic() + timeout.total_seconds())
        try:
            parsed = self._checked(url)
            return self._call(parsed, self._address(parsed), request)
        except (_Refused, OSError, http.client.HTTPException, ValueError) as error:
            return PostAnswer(0, error=_sentence(error))

    def _checked(self, url: str) -> ParsedUrl:
        parsed = check_url(url, self._policy)
        if isinstance(parsed, Refusal):
            raise _Refused(parsed.reason)
        return parsed

    def _address(self, parsed: ParsedUrl) -> IPAddress:
        found = [parsed.address] if parsed.address else self._network.resolve(parsed.host, parsed.port)
        chosen = choose(found, allow_loopback=self._policy.allow_loopback)
        if isinstance(chosen, Refusal):
            raise _Refused(chosen.reason)
        return chosen

    def _call(self, parsed: ParsedUrl, address: IPAddress, request: _Request) -> PostAnswer:
        connecting = min(CONNECT_TIMEOUT.total_seconds(), request.left_s())
        plain = self._network.connect(address, parsed.port, connecting)
        try:
            plain.settimeout(min(connecting, request.left_s()))  # of the whole handshake
            stream = self._trust.wrap_socket(plain, server_hostname=parsed.host) if _is_tls(parsed) else plain
        except BaseException:
            plain.close()
            raise
        with stream:
            return _exchange(_Connection(parsed, _TimedStream(stream, request)), parsed, request)


def _sentence(error: Exception) -> str:
    """Return what the customer is told of a call that got no answer."""
    match error:
        case _Refused():
            return str(error)
        case TimeoutError():
            return "The server did not answer in time."
        case ssl.SSLCertVerificationError():
            return f"The server's certificate is not valid: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS with the server failed: {error.reason}"
        case socket.gaierror():
            return "The host name cannot be resolved."
        case OSError():
            return f"The server could not be reached: {error.strerror or 'the connection was closed'}"
        case http.client.HTTPException():
            return f"The server's answer is not HTTP: {type(error).__name__}"
        case _:  # ValueError: a header that http.client does not send
            return "The request could not be made."


@dataclass(frozen=True, slots=True)
class _Request:
    headers: Mapping[str, str]
    body: bytes
    deadline: float

    def left_s(self) -> float:
        """Return the seconds until the deadline; raises TimeoutError past it."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _is_tls(parsed: ParsedUrl) -> bool:
    return parsed.scheme == "https"


class _TimedReader(io.RawIOBase):
    """The receiving side of a socket, every read of which has only what is left of the time."""

    def __init__(self, connected: socket.socket, request: _Request) -> None:
        self._socket = connected
        self._request = request

    def readable(self) -> bool:
        """Say yes: that is all it can do."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive into the buffer; raises TimeoutError when the time is up."""
        self._socket.settimeout(self._request.left_s())
        return self._socket.recv_into(buffer)


class _TimedStream:
    """What http.client needs of a socket, each operation within what is left of the time."""

    def __init__(self, connected: socket.socket, request: _Request) -> None:
        self._socket = connected
        self._request = request

    def sendall(self, octets: bytes) -> None:
        """Send everything."""
        view = memoryview(octets)
        while view:
            self._socket.settimeout(self._request.left_s())
            view = view[self._socket.send(view) :]

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a reader; http.client asks for "rb" only."""
        return io.BufferedReader(_TimedReader(self._socket, self._request))

    def close(self) -> None:
        """Do nothing: http.client closes before it reads the body; the socket is closed by whoever opened it."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a stream that is connected already."""

    def __init__(self, parsed: ParsedUrl, stream: Any) -> None:
        super().__init__(parsed.host, parsed.port)
        self.sock = stream

    def connect(self) -> None:
        """Refuse: connecting again would go past the guard."""
        raise ConnectionError("the connection is gone")


def _exchange(connection: _Connection, parsed: ParsedUrl, request: _Request) -> PostAnswer:
    own = {"Host": parsed.authority, "Content-Length": str(len(request.body)), "Connection": "close"}
    reserved = {name.lower() for name in own}
    connection.putrequest("POST", parsed.target, skip_host=True, skip_accept_encoding=True)
    for name, value in (*own.items(), *request.headers.items()):
        if name in own or name.lower() not in reserved:
            connection.putheader(name, value.encode())
    connection.endheaders(request.body)
    answer = connection.getresponse()
    return PostAnswer(answer.status, dict(answer.getheaders()), _beginning(answer))


def _beginning(answer: http.client.HTTPResponse) -> bytes:
    """Return the first bytes of the body, or what came of them: the status counts, the body is for people to read."""
    body = b""
    try:
        while len(body) < MAX_BODY_BYTES and (more := answer.read1(MAX_BODY_BYTES - len(body))):
            body += more
    except (OSError, http.client.HTTPException) as error:
        log.debug("the body of an answer ended early", extra={"reason": type(error).__name__})
    return body
