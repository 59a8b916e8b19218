"""Logging in to a smarthost: the RFCs' own examples, a server written apart from the client, and servers that lie."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from egret.core.reply import Reply
from egret_egress.auth import AuthError, LoggedIn, Login, Refused, Scram, end_point, saslprep

ALL = "LOGIN PLAIN SCRAM-SHA-256 SCRAM-SHA-256-PLUS"


def certificate(algorithm: hashes.HashAlgorithm | None = None) -> bytes:
    """Return a self-signed certificate, DER; Ed25519 (which has no hash) without an algorithm."""
    key = ec.generate_private_key(ec.SECP256R1()) if algorithm else ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mx.example")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1))
    )
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)  # type: ignore[arg-type]


CERTIFICATE = certificate(hashes.SHA384())


@dataclass
class Server:
    """The other side of SCRAM, from RFC 5802 section 3: it knows only what a server stores.

    binding: the type and data of the channel that it accepts for "p=". forge: it does not know the password.
    """

    password: str
    binding: tuple[str, bytes] = ("", b"")
    iterations: int = 4096
    forge: bool = False
    user: str = ""
    _state: str = "first"
    _auth: bytes = b""

    def __post_init__(self) -> None:
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), b"salt", self.iterations)
        self.stored_key = hashlib.sha256(self.mac(salted, b"Client Key")).digest()
        self.server_key = self.mac(b"x" if self.forge else salted, b"Server Key")

    @staticmethod
    def mac(key: bytes, data: bytes) -> bytes:
        return hmac.new(key, data, "sha256").digest()

    def say(self, line: bytes) -> Reply:
        """Answer one line of the client."""
        if self._state == "final":
            return Reply(235, ("2.7.0 welcome",)) if line == b"\r\n" else Reply(501, ("not so",))
        data = base64.b64decode(line.split(b" ")[-1], validate=False).decode()
        if self._state == "first":
            flag, authzid, bare = data.split(",", 2)
            assert authzid == ""
            self.header = f"{flag},,"
            self.bare = bare
            attributes = dict(part.split("=", 1) for part in bare.split(","))
            self.user = attributes["n"].replace("=2C", ",").replace("=3D", "=")
            self.nonce = attributes["r"] + "3rfcNHYJY1ZVvWVs7j"
            self.first = f"r={self.nonce},s={base64.b64encode(b'salt').decode()},i={self.iterations}"
            if flag.startswith("p=") and flag[2:] != self.binding[0]:
                return Reply(535, ("5.7.8 e=unsupported-channel-binding-type",))
            self._state = "proof"
            return Reply(334, (base64.b64encode(self.first.encode()).decode(),))
        without_proof, _, proof = data.rpartition(",p=")
        attributes = dict(part.split("=", 1) for part in without_proof.split(","))
        bound = self.binding[1] if self.header.startswith("p=") else b""
        if base64.b64decode(attributes["c"]) != self.header.encode() + bound or attributes["r"] != self.nonce:
            return Reply(535, ("5.7.8 e=channel-bindings-dont-match",))
        message = f"{self.bare},{self.first},{without_proof}".encode()
        signature = self.mac(self.stored_key, message)
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        if hashlib.sha256(key).digest() != self.stored_key:
            return Reply(535, ("5.7.8 no",))
        self._state = "final"
        verifier = base64.b64encode(self.mac(self.server_key, message)).decode()
        return Reply(334, (base64.b64encode(f"v={verifier}".encode()).decode(),))


def log_in(login: Login, server: Server) -> LoggedIn | Refused:
    """Let both sides talk."""
    step: bytes | LoggedIn | Refused = login.start()
    while isinstance(step, bytes):
        reply = server.say(step)
        if reply.code == 535 and server._state == "first":
            server = Server(server.password, server.binding, server.iterations)
        step = login.take(reply)
    return step


@pytest.mark.rfc("7677", "3")
def test_the_example_of_the_rfc() -> None:
    """Every message of RFC 7677 section 3, to the letter."""
    scram = Scram("user", "pencil", "rOprNGfwEbeRWgbNEkqO")

    assert scram.first() == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    final = scram.answer(f"r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode())
    assert final == f"c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode()
    assert scram.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=") == b""
    assert scram.is_satisfied


@pytest.mark.rfc("5929", "4.1")
def test_the_strongest_mechanism_that_is_offered_is_used() -> None:
    """With a certificate the login is bound to it; "y" says that it could be; the password itself goes last."""
    found = []
    for offered in (ALL, "PLAIN SCRAM-SHA-256", "plain login"):
        login = Login("ann", "secret", offered, b"n" * 18, CERTIFICATE)
        start = login.start()
        assert isinstance(start, bytes)
        found.append((login.mechanism, base64.b64decode(start.split()[2])[:8]))

    assert found == [("SCRAM-SHA-256-PLUS", b"p=tls-se"), ("SCRAM-SHA-256", b"y,,n=ann"), ("PLAIN", b"\0ann\0sec")]


@given(st.text("a=,é ß", min_size=1, max_size=9), st.text("b=,é\u00aa", min_size=1, max_size=9), st.booleans())
def test_a_server_that_knows_the_password_is_logged_in_to(user: str, password: str, binds: bool) -> None:
    """Any user name and password, with and without channel binding."""
    server = Server(saslprep(password), ("tls-server-end-point", end_point(CERTIFICATE)))
    offered = ALL if binds else "SCRAM-SHA-256"

    assert log_in(Login(user, password, offered, b"n" * 18, CERTIFICATE), server) == LoggedIn()
    assert server.user == saslprep(user)


def test_a_man_in_the_middle_cannot_pass_a_bound_login_on() -> None:
    """The certificate that we saw is not that of the server."""
    server = Server("secret", ("tls-server-end-point", end_point(certificate(hashes.SHA256()))))

    login = Login("ann", "secret", "SCRAM-SHA-256-PLUS", b"n" * 18, CERTIFICATE)

    assert isinstance(log_in(login, server), Refused)


def test_a_server_that_binds_in_another_way_is_asked_without() -> None:
    """tls-exporter cannot be had from Python; the password is still not said."""
    login = Login("ann", "secret", ALL, b"n" * 18, CERTIFICATE)

    assert log_in(login, Server("secret", ("tls-exporter", b"x"))) == LoggedIn()
    assert login.mechanism == "SCRAM-SHA-256"


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (Server("other"), "check the transport's user name and password"),
        (Server("secret", forge=True), "did not prove that it knows the password"),
        (Server("secret", iterations=1000), "hashed 1000 times"),
    ],
)
def test_a_refusal_says_what_to_do(server: Server, words: str) -> None:
    """The reason names what is wrong, never the password."""
    refused = log_in(Login("ann", "secret", "SCRAM-SHA-256", b"n" * 18), server)

    assert isinstance(refused, Refused)
    assert words in refused.reason
    assert "secret" not in refused.reason


@pytest.mark.parametrize(
    "replies",
    [
        [Reply(235, ("welcome",))],
        [Reply(334, ("!!",))],
        [Reply(334, ("é",))],
        [Reply(334, ("",))],
        [Reply(334, ("//79",))],
        [Reply(334, (base64.b64encode(b"r=abc,s=c2FsdA==,i=4096").decode(),))],
        [Reply(334, (base64.b64encode(b"m=x,r=abc,s=c2FsdA==,i=4096").decode(),))],
        [Reply(334, (base64.b64encode(b"e=other-error").decode(),))],
        [Reply(535, ("no",))],
        [Reply(454, ("not now",))],
        [Reply(250, ("what?",))],
    ],
)
def test_a_server_that_does_not_keep_to_scram_is_refused(replies: list[Reply]) -> None:
    """Nothing that a server says makes the client raise, or believe it."""
    login = Login("ann", "secret", "SCRAM-SHA-256", b"n" * 18)
    login.start()

    assert isinstance([login.take(reply) for reply in replies][-1], Refused)


@given(st.binary(max_size=80), st.booleans())
def test_no_challenge_makes_it_raise(challenge: bytes, second: bool) -> None:
    """Whatever comes in base64, it is an answer or a refusal."""
    login = Login("ann", "secret", "SCRAM-SHA-256", b"n" * 18)
    line = login.start()
    assert isinstance(line, bytes)
    if second:
        assert isinstance(login.take(Server("secret").say(line)), bytes)

    assert isinstance(login.take(Reply(334, (base64.b64encode(challenge).decode(),))), Refused)


@pytest.mark.parametrize("offered", ["", "LOGIN CRAM-MD5", "XOAUTH2"])
def test_without_a_common_mechanism_the_reason_names_what_is_missing(offered: str) -> None:
    """The operator reads what to enable."""
    start = Login("ann", "secret", offered, b"n" * 18).start()

    assert isinstance(start, Refused)
    assert "enable one of them there" in start.reason


@pytest.mark.rfc("4954", "4")
def test_a_first_response_that_is_too_long_waits_to_be_asked_for() -> None:
    """A command line has 512 bytes."""
    login = Login("ann", "p" * 500, "PLAIN", b"n" * 18)

    assert login.start() == b"AUTH PLAIN\r\n"
    line = login.take(Reply(334, ("",)))
    assert isinstance(line, bytes)
    assert base64.b64decode(line) == b"\0ann\0" + b"p" * 500
    assert login.take(Reply(235, ("ok",))) == LoggedIn()


@pytest.mark.rfc("5929", "4.1")
def test_the_end_point_is_the_certificates_own_hash() -> None:
    """SHA-1 becomes SHA-256; a kind of certificate without a hash binds nothing, and neither does rubbish."""
    of_256 = certificate(hashes.SHA256())

    assert end_point(CERTIFICATE) == hashlib.sha384(CERTIFICATE).digest()
    assert end_point(of_256) == hashlib.sha256(of_256).digest()
    assert (end_point(certificate()), end_point(b"rubbish")) == (b"", b"")


@pytest.mark.rfc("4013", "3")
@pytest.mark.parametrize(
    ("text", "prepared"), [("I\u00adX", "IX"), ("user", "user"), ("USER", "USER"), ("\u00aa", "a"), ("\u2168", "IX")]
)
def test_the_examples_of_saslprep(text: str, prepared: str) -> None:
    """RFC 4013 section 3."""
    assert saslprep(text) == prepared


@pytest.mark.rfc("4013", "3")
@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "a\0b"])
def test_prohibited_characters_are_refused(text: str) -> None:
    """The examples of RFC 4013 section 3, and NUL."""
    with pytest.raises(AuthError):
        saslprep(text)
