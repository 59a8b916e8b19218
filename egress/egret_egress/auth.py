"""Logging in to a smarthost, without I/O: replies in, lines out, and at the end whether it worked.

Implements: RFC 4954 (AUTH), RFC 5802 and 7677 (SCRAM-SHA-256 and -PLUS), RFC 5929 section 4 (tls-server-end-point),
RFC 4013 (SASLprep), RFC 4616 (PLAIN). Only ever used within verified TLS; the caller sees to that.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import stringprep
import unicodedata
from dataclasses import dataclass
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256, Hash

from egret.core.reply import Reply

MIN_ITERATIONS = 4096
MAX_ITERATIONS = 1_000_000
"""About half a second of one core; a server that asks for more wants to keep us busy."""
MAX_COMMAND = 512
"""Bytes of the AUTH command with its first response (RFC 4954 section 4); a longer one waits to be asked for."""

_PLUS, _SCRAM, _PLAIN = "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"
_SERVER_FIRST = re.compile(r"r=([!-+\--~]+),s=([A-Za-z0-9+/=]+),i=([1-9][0-9]{0,7})(?:,.*)?")
_SERVER_FINAL = re.compile(r"v=([A-Za-z0-9+/=]+)(?:,.*)?")
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class AuthError(Exception):
    """The login cannot go on; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """The server took the login, and proved that it knows the password when the mechanism has it do so."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It did not. reason: one sentence that says what to do; reply: the server's own words, if it was the server."""

    reason: str
    reply: Reply | None = None


class _Mechanism(Protocol):
    """One way to log in. is_satisfied: the server may say that it worked."""

    name: str

    @property
    def is_satisfied(self) -> bool: ...

    def first(self) -> bytes: ...

    def answer(self, challenge: bytes) -> bytes: ...


class Login:
    """One login: `start` gives the first line, `take` what follows each reply, until it is `LoggedIn` or `Refused`.

    offered: the parameters of the server's AUTH keyword. nonce: random bytes, new for each login. certificate: the
    server's, DER. `take` may use up to half a second of CPU.
    """

    def __init__(self, user: str, password: str, offered: str, nonce: bytes, certificate: bytes = b"") -> None:
        self._offered = offered
        self._secrets = _spellings(user, password)
        self._first: bytes | None = None
        self._ways: list[_Mechanism] = []
        self._reason = ""
        try:
            self._ways = _ways(
                _Account(saslprep(user), saslprep(password)), offered.upper().split(), nonce, certificate
            )
        except AuthError as error:
            self._reason = str(error)

    @property
    def mechanism(self) -> str:
        """The mechanism in use, "" when there is none."""
        return self._ways[0].name if self._ways else ""

    def start(self) -> bytes | Refused:
        """Return the AUTH command, or why there is no way to log in."""
        if not self._ways:
            offers = f"only {self._offered}" if self._offered else "no login at all"
            return Refused(
                self._reason
                or f"the smarthost offers {offers}; Egret can log in with {_PLUS}, {_SCRAM} or {_PLAIN}: "
                "enable one of them there, or remove the user name and password from the transport"
            )
        first = self._ways[0].first()
        command = f"AUTH {self._ways[0].name} ".encode() + base64.b64encode(first)
        if len(command) + 2 <= MAX_COMMAND:
            return command + b"\r\n"
        self._first = first
        return command.partition(b" ")[0] + f" {self._ways[0].name}\r\n".encode()

    def without_secrets(self, reply: Reply) -> Reply:
        """Return the reply for people to read: a server may say back what it was sent."""
        text = "\n".join(reply.lines)
        for secret in self._secrets:
            text = text.replace(secret, "[hidden]")
        return Reply(reply.code, tuple(text.split("\n")))

    def take(self, reply: Reply) -> bytes | LoggedIn | Refused:
        """Read a reply: the next line to send, or the end."""
        way = self._ways[0]
        if reply.code == 334:
            try:
                return base64.b64encode(self._respond(way, reply)) + b"\r\n"
            except AuthError as error:
                return Refused(str(error), reply)
        if reply.code == 235:
            if way.is_satisfied:
                return LoggedIn()
            return Refused(
                "the smarthost let us in without proving that it knows the password, so it may be another server; "
                "check the smarthost's host name",
                reply,
            )
        return self._refused(way, reply)

    def _respond(self, way: _Mechanism, reply: Reply) -> bytes:
        if self._first is not None:
            first, self._first = self._first, None
            return first
        try:
            challenge = base64.b64decode(reply.lines[0].strip(), validate=True)
        except ValueError as error:
            raise AuthError(
                "the smarthost's part of the login is not base64, so it is not SMTP as it should be"
            ) from error
        return way.answer(challenge)

    def _refused(self, way: _Mechanism, reply: Reply) -> bytes | Refused:
        if way.name == _PLUS and len(self._ways) > 1 and reply.is_permanent:
            # It may bind logins to TLS in another way than ours; without binding the same password may do.
            del self._ways[0]
            start = self.start()
            if isinstance(start, bytes):
                return start
        if reply.is_transient:
            return Refused(f"the smarthost cannot check the login now ({way.name})", reply)
        return Refused(
            f"the smarthost refused the login ({way.name}); check the transport's user name and password", reply
        )


def _spellings(user: str, password: str) -> list[str]:
    """Return how a password may come back to us, the longest first."""
    plain = [base64.b64encode(text.encode()).decode() for text in (f"\0{user}\0{password}", password)]
    return [secret for secret in (*plain, password) if secret]


@dataclass(frozen=True, slots=True)
class _Account:
    user: str
    password: str


def _ways(account: _Account, offered: list[str], nonce: bytes, certificate: bytes) -> list[_Mechanism]:
    """Return the mechanisms to try, the strongest first; a password is sent as it is only where nothing else is."""
    ways: list[_Mechanism] = []
    text = base64.b64encode(nonce).decode()
    binding = end_point(certificate) if certificate else b""
    is_plus = _PLUS in offered
    if is_plus and binding:
        ways.append(Scram(account.user, account.password, text, b"p=tls-server-end-point,,", binding))
    if _SCRAM in offered:
        # "y": we could bind and the server seems not to; it will know better if somebody cut its offer (RFC 5802 s. 6).
        ways.append(Scram(account.user, account.password, text, b"y,," if binding and not is_plus else b"n,,"))
    if not ways and _PLAIN in offered:
        ways.append(Plain(account.user, account.password))
    return ways


class Plain:
    """RFC 4616: the password as it is."""

    name = _PLAIN
    is_satisfied = True

    def __init__(self, user: str, password: str) -> None:
        if "\0" in user or "\0" in password:
            raise AuthError("the transport's user name or password has a NUL character; set them anew")
        self._response = f"\0{user}\0{password}".encode()

    def first(self) -> bytes:
        """Return the only response."""
        return self._response

    def answer(self, challenge: bytes) -> bytes:
        """Refuse: there is nothing more to say."""
        raise AuthError("the smarthost asked for more than a login with PLAIN has; enable SCRAM-SHA-256 there")


class Scram:
    """RFC 5802 with SHA-256: both sides prove that they know the password, and neither says it.

    nonce: printable, without comma. header: of GS2, as on the wire. binding: the channel's data, for "p=".
    """

    def __init__(self, user: str, password: str, nonce: str, header: bytes = b"n,,", binding: bytes = b"") -> None:
        self.name = _PLUS if binding else _SCRAM
        self.is_satisfied = False
        self._password = password.encode()
        self._nonce = nonce
        self._header = header
        self._bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={nonce}"
        self._binding = base64.b64encode(header + binding).decode()
        self._signature = b""

    def first(self) -> bytes:
        """Return client-first-message."""
        return self._header + self._bare.encode()

    def answer(self, challenge: bytes) -> bytes:
        """Return client-final-message, then nothing once the server has proved itself. Raises AuthError."""
        try:
            text = challenge.decode()
        except UnicodeDecodeError:
            text = ""
        if self._signature:
            return self._check(text)
        match = _SERVER_FIRST.fullmatch(text)
        if match is None or not match[1].startswith(self._nonce) or len(match[1]) == len(self._nonce):
            raise AuthError("the smarthost's part of the login is not SCRAM as RFC 5802 describes it; ask its operator")
        return self._prove(text, match[1], _decoded(match[2]), int(match[3]))

    def _prove(self, server_first: str, nonce: str, salt: bytes, iterations: int) -> bytes:
        if not MIN_ITERATIONS <= iterations <= MAX_ITERATIONS:
            raise AuthError(
                f"the smarthost wants the password hashed {iterations} times, not between {MIN_ITERATIONS} and "
                f"{MAX_ITERATIONS}; have it store the password anew"
            )
        without_proof = f"c={self._binding},r={nonce}"
        message = f"{self._bare},{server_first},{without_proof}".encode()
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, iterations)
        client_key = _mac(salted, b"Client Key")
        client_signature = _mac(hashlib.sha256(client_key).digest(), message)
        self._signature = _mac(_mac(salted, b"Server Key"), message)
        proof = bytes(a ^ b for a, b in zip(client_key, client_signature, strict=True))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def _check(self, text: str) -> bytes:
        match = _SERVER_FINAL.fullmatch(text)
        if match is None or not hmac.compare_digest(_decoded(match[1]), self._signature):
            why = "did not prove that it knows the password" if match else "refused the login"
            raise AuthError(f"the smarthost {why}; check the transport's host, user name and password")
        self.is_satisfied = True
        return b""


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise AuthError("the smarthost's part of the login is not SCRAM as RFC 5802 describes it") from error


def _mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def end_point(certificate: bytes) -> bytes:
    """Return what binds a login to the server's certificate (DER), b"" when its kind has no such thing (RFC 5929)."""
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return b""
    if algorithm is None:
        return b""
    digest = Hash(SHA256() if isinstance(algorithm, (MD5, SHA1)) else algorithm)
    digest.update(certificate)
    return digest.finalize()


def saslprep(text: str) -> str:
    """Return a user name or password as both sides must spell it (RFC 4013). Raises AuthError."""
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c))
    normal = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    is_bad = any(table(c) for c in normal for table in _PROHIBITED)
    if is_bad or _mixes_directions(normal):
        raise AuthError(
            "the transport's user name or password has characters that cannot be used to log in; change them"
        )
    return normal


def _mixes_directions(text: str) -> bool:
    """RFC 3454 section 6: right-to-left text stands at both ends, and without any that runs left to right."""
    if not any(map(stringprep.in_table_d1, text)):
        return False
    both_ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    return not both_ends or any(map(stringprep.in_table_d2, text))
