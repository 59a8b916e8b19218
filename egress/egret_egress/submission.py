"""Submission: the SMTP server for those who have an account, with TLS and a login, and what it hands on.

Implements: RFC 6409 (submission), RFC 8314 (implicit TLS), RFC 4616 (PLAIN) and LOGIN, RFC 3461 (DSN), RFC 4865
(FUTURERELEASE), RFC 6531 (SMTPUTF8), RFC 8689 (REQUIRETLS), RFC 9422 (LIMITS). 250 is said once the message is
committed. Nothing of the queue is here, and no key: a `Submitter` has the message taken (docs/adr/0020-submission.md).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from egret.contracts.metrics import Metrics, NoMetrics
from egret.contracts.ports import Clock, SettingsReader, Submitter
from egret.contracts.settings import Account, ApiKey, Scope
from egret.contracts.submission import Submission, SubmissionRecipient
from egret.core.address import Address, AddressError
from egret.core.authlimits import LIMITS as LOGIN_LIMITS
from egret.core.errors import EgretError
from egret.core.ids import MAX_RECIPIENTS
from egret.usecases.admission import MAX_FUTURE_RELEASE
from egret.usecases.login import log_in
from egret_egress.esmtp import Mail, Orcpt, Rcpt
from egret_egress.metrics import SUBMISSIONS
from egret_egress.rates import Rate, Rates
from egret_egress.smtp_limits import ServerLimits
from egret_egress.smtp_service import AuthAborted, Challenge, Client, Service
from egret_egress.submission_replies import reply_of
from egret_egress.wire import orcpt

log = logging.getLogger(__name__)

MAY_SEND: Final = frozenset({Scope.FULL, Scope.SEND})
LIMITS: Final = ServerLimits(
    message_bytes=25 * 1024 * 1024,
    in_flight_bytes=40 * 1024 * 1024,
    recipients=MAX_RECIPIENTS,
    connections=200,
    peer_in_flight_bytes=40 * 1024 * 1024,
    peer_connections=100,
)
"""One application alone may well be the only client, over many connections; its message may be as large as Send's."""
_UNKNOWN: Final = "535 5.7.8 Unknown address or API key"


@dataclass(frozen=True, slots=True)
class SubmissionPorts:
    """What submission needs. failures: of logins, counted where this runs. executor: for the calls that block."""

    settings: SettingsReader
    submitter: Submitter
    failures: Rates
    clock: Clock
    executor: Executor
    metrics: Metrics = field(default_factory=NoMetrics)


def failed_logins(clock: Clock) -> Rates:
    """Return the counts of failed logins, with the limits of the API."""
    return Rates([Rate(window, limits) for window, limits in LOGIN_LIMITS], clock)


def submission_service(ports: SubmissionPorts, hostname: str, tls: ssl.SSLContext, *, is_implicit: bool) -> Service:
    """Return what the server is for. is_implicit: TLS from the first byte."""
    return Service(
        hostname=hostname,
        converse=lambda client: _Conversation(ports, client),
        extensions=lambda client: _extensions(client, ports.clock.now()),
        tls=tls,
        is_implicit=is_implicit,
        auth_needs_tls=True,
        answered=lambda reply: ports.metrics.count(SUBMISSIONS, (reply[:3],)),
    )


def _extensions(client: Client, now: datetime) -> Sequence[str]:
    latest = now + MAX_FUTURE_RELEASE
    future = f"FUTURERELEASE {MAX_FUTURE_RELEASE // timedelta(seconds=1)} {_instant(latest)}"
    secured = ["REQUIRETLS"] if client.tls else []
    return ["SMTPUTF8", "DSN", future, f"LIMITS RCPTMAX={MAX_RECIPIENTS}", *secured, "AUTH PLAIN LOGIN"]


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Conversation:
    """One connection: nothing is taken before the login."""

    def __init__(self, ports: SubmissionPorts, client: Client) -> None:
        self._ports = ports
        self._client = client
        self._key: ApiKey | None = None

    async def greet(self) -> str:
        """Be there for everybody: who it is shows at AUTH."""
        return ""

    async def auth(self, mechanism: str, initial: bytes | None, challenge: Challenge) -> str:
        """Log in with the login address and the API key."""
        credentials = await (_plain if mechanism == "PLAIN" else _login)(initial, challenge)
        self._client.login = credentials[0]
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._ports.executor, lambda: log_in(self._ports.settings, *credentials))
        except EgretError:
            log.warning("a login cannot be checked", exc_info=True)
            return "454 4.7.0 Logins cannot be checked at the moment, try again later"
        return self._judge(found)

    def _judge(self, found: tuple[ApiKey, Account] | None) -> str:
        if found is None:
            return self._missed()
        key, account = found
        if account.disabled:
            return "535 5.7.13 This account is disabled"
        if key.scope not in MAY_SEND:
            return "535 5.7.8 This API key may not send"
        self._key = key
        log.info("logged in", extra={"peer": self._client.ip, "account": account.id})
        return "235 2.7.0 Welcome"

    def _missed(self) -> str:
        """Refuse a login. The limit is looked at only now: a network under attack is not to lock out its owner."""
        ip, failures = self._client.ip, self._ports.failures
        if failures.is_over(ip):
            return "421 4.7.0 Too many failed logins from this network, try again later"
        failures.count(ip)
        return _UNKNOWN

    async def mail(self, mail: Mail) -> _Transaction | str:
        """Begin, after the login."""
        if self._key is None:
            return "530 5.7.0 Authentication is needed: an address of the account and its API key"
        now = self._ports.clock.now()
        if not _is_near(mail, now):
            return f"501 5.5.4 A future release is at most {MAX_FUTURE_RELEASE.days} days ahead"
        return _Transaction(self._ports, self._key, mail)


def _is_near(mail: Mail, now: datetime) -> bool:
    """Tell whether the release that is asked for is as near as was announced."""
    if mail.hold_until is not None:
        return mail.hold_until <= now + MAX_FUTURE_RELEASE
    return (mail.hold_for or 0) <= MAX_FUTURE_RELEASE // timedelta(seconds=1)


class _Transaction:
    """One message."""

    def __init__(self, ports: SubmissionPorts, key: ApiKey, mail: Mail) -> None:
        self._ports = ports
        self._key = key
        self._mail = mail
        self._recipients: list[SubmissionRecipient] = []

    async def rcpt(self, rcpt: Rcpt) -> str:
        """Take any address that may be one; what becomes of it is told by events."""
        try:
            Address.parse(rcpt.forward_path)
        except AddressError as error:
            return f"553 5.1.3 {error}"
        self._recipients.append(SubmissionRecipient(rcpt.forward_path, rcpt.notify, _orcpt(rcpt.orcpt)))
        return "250 2.1.5 OK"

    async def content(self, content: bytes) -> str:
        """Have the message taken, and say what became of it."""
        submission = self._submission(content)
        del content
        loop = asyncio.get_running_loop()
        try:
            submitted = await loop.run_in_executor(self._ports.executor, self._ports.submitter.submit, submission)
        except EgretError:
            log.warning("nobody knows whether a submission was taken", exc_info=True)
            return "451 4.3.0 The service is not available at the moment, try again later"
        if not submitted.code:
            log.info("submitted", extra={"account": self._key.account, "id": submitted.id})
        return reply_of(submitted)

    def _submission(self, content: bytes) -> Submission:
        mail = self._mail
        return Submission(
            key_hash=self._key.hash,
            mail_from=mail.reverse_path,
            recipients=tuple(self._recipients),
            content=content,
            smtputf8=mail.smtputf8,
            require_tls=mail.require_tls,
            ret=mail.ret,
            envid=mail.envid,
            future_release=_future_release(mail),
            protocol="UTF8SMTPSA" if mail.smtputf8 else "ESMTPSA",
        )


def _orcpt(given: Orcpt | None) -> str:
    """Return ORCPT in ASCII, which every server with DSN can carry (RFC 6533 section 3); "" without one."""
    if given is None:
        return ""
    return given.written if given.written.isascii() else orcpt(given.address)


def _future_release(mail: Mail) -> str:
    """Return what was asked for, as a DSN repeats it (RFC 4865 section 5)."""
    if mail.hold_until is not None:
        return f"until;{_instant(mail.hold_until)}"
    return f"for;{mail.hold_for}" if mail.hold_for is not None else ""


async def _plain(initial: bytes | None, challenge: Challenge) -> tuple[str, str]:
    """Return user name and password (RFC 4616); nobody acts for another here."""
    parts = (initial if initial is not None else await challenge(b"")).split(b"\0")
    if len(parts) != 3 or parts[0] not in (b"", parts[1]):
        raise AuthAborted("501 5.5.2 PLAIN is an address and an API key, without another authorization identity")
    return _text(parts[1]), _text(parts[2])


async def _login(initial: bytes | None, challenge: Challenge) -> tuple[str, str]:
    """Return user name and password, asked for one by one, as old clients want it."""
    name = initial if initial is not None else await challenge(b"Username:")
    return _text(name), _text(await challenge(b"Password:"))


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise AuthAborted("501 5.5.2 Address and API key are UTF-8") from error
