"""Webhook calls over real sockets: what a customer's server sees, and what its misbehaviour comes to."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from egret.aws.poster import HttpWebhookPoster, Network
from egret.core.netguard import IPAddress

SECOND = timedelta(seconds=1)
LOOPBACK = ipaddress.ip_address("127.0.0.1")
PUBLIC = ipaddress.ip_address("93.184.215.14")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Receiver:
    """A customer's server. answer: given the socket after the request was read."""

    answer: Callable[[socket.socket], None]
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    """Server names that clients asked for in TLS."""

    @contextlib.contextmanager
    def serving(self) -> Iterator[int]:
        """Listen on 127.0.0.1; yields the port."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=self._accept, args=(listener,))
            thread.start()
            try:
                yield listener.getsockname()[1]
            finally:
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                listener.close()
                thread.join()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError):
                self._serve(connection)
            connection.close()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        if self.tls is not None:
            self.tls.sni_callback = lambda _, name, __: self.names.append(name)
            connection = self.tls.wrap_socket(connection, server_side=True)
        with connection:
            self.requests.append(_read_request(connection))
            self.answer(connection)


def _read_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _some(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < int(lengths[0].partition(b":")[2]):
        body += _some(connection)
    return head + b"\r\n\r\n" + body


def _some(connection: socket.socket) -> bytes:
    """Return what comes next; a client that hung up is an OSError."""
    octets = connection.recv(65536)
    if not octets:
        raise ConnectionResetError
    return octets


def _answering(octets: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(octets)


def _dripping(connection: socket.socket) -> None:
    """Answer, but a byte at a time, far too slowly; until the caller hangs up."""
    for octet in OK * 20:
        connection.sendall(bytes((octet,)))
        time.sleep(0.05)


LOCAL = HttpWebhookPoster(allow_loopback=True)


def _post(receiver: Receiver, *, timeout: timedelta = 5 * SECOND, **headers: str) -> tuple[int, str, bytes]:
    with receiver.serving() as port:
        answer = LOCAL.post(f"http://127.0.0.1:{port}/hook?a=b", headers, b'{"n":1}', timeout)
    return answer.status, answer.error, answer.body


def test_request_arrives_as_given() -> None:
    """Method, target, headers and body reach the server; Host and length are ours; the connection is not kept."""
    receiver = Receiver(_answering(OK))
    with receiver.serving() as port:
        answer = LOCAL.post(
            f"http://127.0.0.1:{port}/hook?a=b", {"X-Event": "ü", "host": "evil"}, b'{"n":1}', 5 * SECOND
        )

    head, _, body = receiver.requests[0].partition(b"\r\n\r\n")
    assert (answer.status, answer.body, answer.error) == (200, b"ok", "")
    assert head.split(b"\r\n") == [
        b"POST /hook?a=b HTTP/1.1",
        f"Host: 127.0.0.1:{port}".encode(),
        b"Content-Length: 7",
        b"Connection: close",
        "X-Event: ü".encode(),
    ]
    assert body == b'{"n":1}'


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 302),
        (b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", 410),
        (b"HTTP/1.0 500 Oops\r\n\r\n", 500),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
    ],
    ids=["no content", "redirect", "gone", "http 1.0", "continue first"],
)
def test_status_is_what_the_server_said(octets: bytes, status: int) -> None:
    """A redirect is an answer, not an order."""
    assert _post(Receiver(_answering(octets))) == (status, "", b"")


@pytest.mark.parametrize(
    "octets",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100\r\n" + b"x" * 256 + b"\r\n200\r\n" + b"x" * 512,
    ],
    ids=["length", "until close", "chunked"],
)
def test_body_is_read_to_512_bytes(octets: bytes) -> None:
    """However long the answer is."""
    assert _post(Receiver(_answering(octets))) == (200, "", b"x" * 512)


def test_body_cut_short_leaves_the_status() -> None:
    """What the server decided it said before the body."""
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"

    assert _post(Receiver(_answering(cut))) == (200, "", b"half")


@pytest.mark.parametrize(
    "octets", [b"", b"220 mail.example ESMTP\r\n", b"\x00" * 70_000], ids=["none", "smtp", "noise"]
)
def test_answer_that_is_not_http_is_an_error(octets: bytes) -> None:
    """Garbage is status 0 with a sentence."""
    status, error, _ = _post(Receiver(_answering(octets)))

    assert status == 0
    assert error.startswith(("The server's answer is not HTTP", "The server could not be reached"))


@pytest.mark.parametrize("answer", [_dripping, lambda _: time.sleep(1.5)], ids=["a byte at a time", "silence"])
def test_slow_server_is_left_when_the_time_is_up(answer: Callable[[socket.socket], None]) -> None:
    """The limit is on the whole call, not on each read."""
    started = time.monotonic()

    assert _post(Receiver(answer), timeout=0.4 * SECOND)[:2] == (0, "The server did not answer in time.")
    assert time.monotonic() - started < 3


def test_closed_port_is_an_error() -> None:
    """Nobody listens: status 0."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    answer = LOCAL.post(f"http://127.0.0.1:{port}/", {}, b"", SECOND)

    assert answer.status == 0
    assert answer.error.startswith("The server could not be reached")


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/",
        "ftp://a.example/",
    ],
)
def test_guard_refuses_before_anything_is_resolved(url: str) -> None:
    """Outside local mode: no plain HTTP, no address of ours."""
    asked: list[str] = []

    def resolve(host: str, _: int) -> list[IPAddress]:
        asked.append(host)
        return [PUBLIC]

    answer = HttpWebhookPoster(network=Network(resolve)).post(url, {}, b"", SECOND)

    assert (answer.status, asked) == (0, [])
    assert answer.error.startswith("The ")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fd00:ec2::254"])
def test_name_that_points_inside_is_not_connected_to(address: str) -> None:
    """One such address among public ones is enough."""
    connected: list[IPAddress] = []

    def connect(chosen: IPAddress, port: int, timeout_s: float) -> socket.socket:
        connected.append(chosen)
        raise ConnectionRefusedError

    network = Network(lambda *_: [PUBLIC, ipaddress.ip_address(address)], connect)
    answer = HttpWebhookPoster(network=network).post("https://hooks.example.com/", {}, b"", SECOND)

    assert (answer.status, connected) == (0, [])
    assert "not a public address" in answer.error


def test_name_is_resolved_once() -> None:
    """A second answer of the name server (DNS rebinding) is never asked for."""
    answers = [[PUBLIC], [LOOPBACK]]
    connected: list[IPAddress] = []

    def connect(chosen: IPAddress, port: int, timeout_s: float) -> socket.socket:
        connected.append(chosen)
        raise TimeoutError

    network = Network(lambda *_: answers.pop(0), connect)
    answer = HttpWebhookPoster(network=network).post("https://hooks.example.com/", {}, b"", SECOND)

    assert (connected, len(answers)) == ([PUBLIC], 1)
    assert answer.error == "The server did not answer in time."


def test_name_without_address_is_an_error() -> None:
    """What the resolver says becomes a sentence."""

    def resolve(*_: object) -> list[IPAddress]:
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    answer = HttpWebhookPoster(network=Network(resolve)).post("https://no.example/", {}, b"", SECOND)

    assert (answer.status, answer.error) == (0, "The host name cannot be resolved.")


def test_header_that_would_split_the_request_is_not_sent() -> None:
    """CR and LF in a value never reach the wire."""
    receiver = Receiver(_answering(OK))

    assert _post(receiver, Evil="a\r\nX: y")[:2] == (0, "The request could not be made.")
    assert receiver.requests == []


# --- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a self-signed certificate of hooks.example.com, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example.com")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "hooks.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(pem + built.public_bytes(Encoding.PEM))
    return path


def _tls_receiver(certificate: Path) -> Receiver:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return Receiver(_answering(OK), context)


def _post_tls(receiver: Receiver, host: str, trust: ssl.SSLContext | None) -> tuple[int, str]:
    """POST to a name whose checked address is played by the receiver."""
    with receiver.serving() as port:

        def connect(_: IPAddress, __: int, timeout_s: float) -> socket.socket:
            return socket.create_connection(("127.0.0.1", port), timeout_s)

        poster = HttpWebhookPoster(network=Network(lambda *_: [PUBLIC], connect, trust))
        answer = poster.post(f"https://{host}/", {}, b"", 5 * SECOND)
    return answer.status, answer.error


def test_tls_names_the_host_and_trusts_its_certificate(certificate: Path) -> None:
    """SNI and Host carry the name though the connection goes to an address."""
    receiver = _tls_receiver(certificate)

    assert _post_tls(receiver, "hooks.example.com", ssl.create_default_context(cafile=certificate)) == (200, "")
    assert receiver.names == ["hooks.example.com"]
    assert b"Host: hooks.example.com\r\n" in receiver.requests[0]


@pytest.mark.parametrize("host", ["hooks.example.com", "other.example.com"], ids=["unknown issuer", "other name"])
def test_tls_refuses_a_certificate_that_is_not_the_hosts(certificate: Path, host: str) -> None:
    """Nothing is sent to a server that cannot prove its name."""
    receiver = _tls_receiver(certificate)
    trust = None if host == "hooks.example.com" else ssl.create_default_context(cafile=certificate)
    status, error = _post_tls(receiver, host, trust)

    assert status == 0
    assert error.startswith("The server's certificate is not valid")
    assert receiver.requests == []


class _Greeter(Receiver):
    """A server that speaks first, and not TLS."""

    def _serve(self, connection: socket.socket) -> None:
        connection.sendall(OK)


def test_plain_http_server_behind_https_is_an_error() -> None:
    """TLS against something that does not speak it fails with a sentence."""
    status, error = _post_tls(_Greeter(_answering(OK)), "hooks.example.com", None)

    assert (status, error.startswith("TLS with the server failed")) == (0, True)
