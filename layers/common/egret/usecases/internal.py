"""Mail that Egret itself sends: DSNs, reports. Queued as a customer's is, and once for each key.

It is charged to nobody. Its recipients are suppressed and held as those of other mail are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from egret.contracts.records import IdempotencyRecord
from egret.contracts.settings import Account, SendingDomain
from egret.contracts.webapi import ErrorCode, SendResult, Submission
from egret.core.address import Address
from egret.core.compose import received
from egret.core.delivery import Message
from egret.core.errors import InvalidRequest, Unavailable
from egret.core.ids import RANDOM_BITS, message_id_number
from egret.core.parse import parse_message
from egret.usecases.accept import Ready, SendPorts, accept, decode_result, encode_result
from egret.usecases.idempotency import IN_FLIGHT, Reservation, once
from egret.usecases.recipients import ReturnPath, Terms, deliveries_of, suppressed

REMEMBERED: Final = timedelta(days=7)
"""How long a key is known; what makes mail of an event has long ended its retries by then."""


@dataclass(frozen=True, slots=True)
class InternalMail:
    """A message of our own.

    key: what it is about ("dsn <event id>", "tlsrpt example.net 2026-03-04"); the same key is queued once. headers:
    complete fields with CRLF, From, Date and Message-ID among them, without the empty line. body: CRLF line ends.
    recipients: forward-paths without <>. uses_fromid: bounces come back to the account; else the reverse-path is null.
    max_attempts: 0 = as other mail. require_tls: as in `Message`.
    """

    key: str
    headers: bytes
    body: bytes
    recipients: tuple[str, ...]
    uses_fromid: bool = False
    max_attempts: int = 0
    require_tls: bool | None = None


@dataclass(frozen=True, slots=True)
class _Job:
    """All that is known of a mail before it has an id. domain: None = it goes unsigned."""

    account: Account
    mail: InternalMail
    from_: Address
    domain: SendingDomain | None
    recipients: tuple[Address, ...]
    now: datetime


def send_internal(ports: SendPorts, account: Account, mail: InternalMail) -> SendResult:
    """Queue a mail for an account, unless that was done before; return what was queued then or now.

    It is signed when its From domain is a sending domain of that account. Raises AddressError for a From address or a
    recipient that is none; Unavailable when storage does not answer, or when another process is at it: ask again.
    """
    now = ports.clock.now()
    from_ = Address.parse(_from(mail))
    domain = ports.settings.domain(from_.domain)
    own = domain if domain is not None and domain.account == account.id else None
    recipients = tuple(Address.parse(recipient) for recipient in mail.recipients)
    job = _Job(account, mail, from_, own, recipients, now)

    def work(reservation: Reservation) -> str:
        return encode_result(accept(ports, _prepare(ports, job), lambda: _prepare(ports, job), reservation).result)

    try:
        return decode_result(once(ports.idempotency, _reservation(ports, job), now, work))
    except InvalidRequest as error:
        if error.code == ErrorCode.IDEMPOTENCY_IN_FLIGHT:
            raise Unavailable(detail=f"{mail.key} is being queued by another process") from error
        raise


def _from(mail: InternalMail) -> str:
    found = parse_message(mail.headers + b"\r\n").from_
    return found[0].address if found else ""


def _reservation(ports: SendPorts, job: _Job) -> Reservation:
    """Return the reservation of the key, apart from all that customers can have: theirs have no spaces."""
    digest = hashlib.sha256(f"internal {job.mail.key}".encode()).hexdigest()
    token = ports.dice.octets(16).hex()
    # Made anew it may have another date: the key alone says that it is the same.
    record = IdempotencyRecord(job.account.id, digest, digest, job.now + IN_FLIGHT, token)
    return Reservation(record, job.now + REMEMBERED)


def _prepare(ports: SendPorts, job: _Job) -> Ready:
    """Give the mail an id and make everything that depends on it."""
    mail, parsed = job.mail, parse_message(job.mail.headers + b"\r\n")
    number = message_id_number(job.now, ports.dice.bits(RANDOM_BITS))
    only = job.recipients[0] if len(job.recipients) == 1 else None
    trace = received(ports.installation.hostname, f"{number:x}", job.now, rcpt=only)
    parts = (mail.headers, mail.body)
    signatures = ports.keys.sign(job.domain, parts, job.from_, job.now) if job.domain else b""
    content = b"".join((trace, signatures, mail.headers, b"\r\n", mail.body))
    message = Message(
        account=job.account.id,
        id=number,
        message_id=parsed.message_id,
        subject=parsed.subject,
        login="",
        header_from=str(job.from_),
        recipients=tuple(str(address) for address in job.recipients),
        queued_at=job.now,
        size_bytes=len(content),
        smtputf8=not mail.headers.isascii() or any(address.needs_smtputf8 for address in job.recipients),
        require_tls=mail.require_tls,
    )
    deliveries = deliveries_of(ports, message, _terms(ports, job))
    submissions = tuple(
        Submission(address=delivery.recipient, queue_msg_id=delivery.id, from_id=delivery.fromid)
        for delivery in deliveries
    )
    return Ready(message, deliveries, content, SendResult(message_id=message.message_id, submissions=submissions))


def _terms(ports: SendPorts, job: _Job) -> Terms:
    return Terms(
        account=job.account,
        recipients=job.recipients,
        suppressed=suppressed(ports.suppressions, job.account.id, job.recipients, job.now),
        return_path=ReturnPath(job.from_, job.domain, is_null=not job.mail.uses_fromid),
        uses_fromid=job.mail.uses_fromid,
        not_before=job.now,
        max_attempts=job.mail.max_attempts,
    )
