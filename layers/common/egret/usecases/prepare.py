"""Make of an admitted request what send stores: the composed and signed message, and its deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from egret.contracts.caller import Caller
from egret.contracts.settings import Suppression
from egret.contracts.webapi import ErrorCode, SendRequest, SendResult, Submission
from egret.core import header, messageid
from egret.core.compose import Composed, Draft, File, compose, received
from egret.core.delivery import Delivery, Message
from egret.core.errors import InvalidRequest
from egret.core.ids import RANDOM_BITS, delivery_id, message_id_number
from egret.core.unsubscribe import Wish
from egret.usecases.accept import Ready, SendPorts
from egret.usecases.admission import Admitted, admit
from egret.usecases.attachments import load_files
from egret.usecases.list_headers import Headers, base_url_of, feedback_id, list_unsubscribe, unsubscribes
from egret.usecases.recipients import ReturnPath, Terms, deliveries_of, suppressed


@dataclass(frozen=True, slots=True)
class Job:
    """One admitted request: all that is known before it has an id."""

    caller: Caller
    request: SendRequest
    admitted: Admitted
    files: tuple[tuple[File, ...], ...]
    suppressed: tuple[Suppression | None, ...]
    """For each recipient the entry that suppresses it."""
    now: datetime
    unsubscribe_url: str = ""
    """Where the API takes the recipient's wish, "" = the message has no List-Unsubscribe."""


def job_of(ports: SendPorts, caller: Caller, request: SendRequest) -> Job:
    """Check a request and fetch its files and the suppression of its recipients. Raises InvalidRequest."""
    now = ports.clock.now()
    admitted = admit(ports.settings, caller, request, now)
    base_url = base_url_of(ports.installation, caller.host)
    unsubscribe_url = base_url if unsubscribes(caller, request, admitted, base_url) else ""
    groups = (request.alternative_files, request.inline_files, request.attached_files)
    limit = ports.installation.max_message_bytes
    files = load_files(ports.blobs, caller.account.id, groups, limit) if any(groups) else ((), (), ())
    entries = suppressed(ports.suppressions, caller.account.id, admitted.recipients.addresses, now)
    return Job(caller, request, admitted, tuple(tuple(group) for group in files), entries, now, unsubscribe_url)


def prepare(ports: SendPorts, job: Job) -> Ready:
    """Give the job an id and make everything that depends on it."""
    account = job.caller.account.id
    number = message_id_number(job.now, ports.dice.bits(RANDOM_BITS))
    message_id = job.request.message_id or _new_message_id(ports, job, number)
    draft = _draft(ports, job, message_id, _headers(ports, job, number))
    composed = compose(draft, lambda: ports.dice.octets(15).hex())
    if composed.size_bytes > ports.installation.max_message_bytes:
        limit = ports.installation.max_message_bytes
        raise InvalidRequest(ErrorCode.MESSAGE_TOO_LARGE, f"The message is larger than {limit} bytes.")
    signatures = _signatures(ports, job, composed)
    trace = _trace(ports, job, number)
    message = Message(
        account=account,
        id=number,
        message_id=message_id,
        subject=job.request.subject,
        login=job.caller.login,
        header_from=str(job.admitted.from_.address),
        recipients=tuple(str(address) for address in job.admitted.recipients.addresses),
        queued_at=job.now,
        size_bytes=len(trace) + len(signatures) + composed.size_bytes,
        smtputf8=composed.smtputf8,
        require_tls=job.request.require_tls,
        extra=job.request.extra,
        future_release=_future_release(job),
    )
    deliveries = deliveries_of(ports, message, _terms(job))
    content = composed.raw(trace + signatures)
    copy = _copy(job, composed, signatures) if job.request.save_sent else None
    result = _result(job, message_id, deliveries)
    return Ready(message, deliveries, content, result, copy, references=job.request.references)


def _future_release(job: Job) -> str:
    """Return what was asked for as RFC 4865 writes it."""
    wanted = job.request.future_release
    return f"until;{wanted.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if wanted is not None else ""


def _new_message_id(ports: SendPorts, job: Job, number: int) -> str:
    domain = job.admitted.domain.domain if job.admitted.domain else ports.installation.hostname
    return messageid.mint(ports.secrets.message_id[0], job.caller.account.id, number, domain)


def _headers(ports: SendPorts, job: Job, number: int) -> Headers:
    """Return the caller's headers and ours behind them; number: the message's id."""
    admitted, account = job.admitted, job.caller.account.id
    ours = feedback_id(account, admitted.headers, is_list=bool(job.unsubscribe_url))
    if job.unsubscribe_url and admitted.domain is not None:
        wish = Wish(account, delivery_id(number, 0), str(admitted.recipients.addresses[0]))
        ours += list_unsubscribe(ports.secrets.fromid, admitted.domain, wish, job.unsubscribe_url)
    return (*admitted.headers, *ours)


def _draft(ports: SendPorts, job: Job, message_id: str, headers: Headers) -> Draft:
    request, admitted = job.request, job.admitted
    return Draft(
        from_=(admitted.from_,),
        message_id=message_id,
        date=request.date or job.now,
        to=admitted.recipients.to,
        cc=admitted.recipients.cc,
        bcc=admitted.recipients.bcc,
        reply_to=admitted.reply_to,
        references=request.references,
        subject=request.subject,
        text=request.text,
        html=request.html,
        headers=headers,
        alternative_files=job.files[0],
        inline_files=job.files[1],
        attached_files=job.files[2],
        user_agent=ports.user_agent,
    )


def _signatures(ports: SendPorts, job: Job, composed: Composed) -> bytes:
    if job.admitted.domain is None:
        return b""
    content = (composed.headers, composed.body)
    return ports.keys.sign(job.admitted.domain, content, job.admitted.from_.address, job.now)


def _trace(ports: SendPorts, job: Job, number: int) -> bytes:
    """Return the Received field; only a single recipient is named, so that none learns of another."""
    recipients = job.admitted.recipients.addresses
    only = recipients[0] if len(recipients) == 1 else None
    return received(ports.installation.hostname, f"{number:x}", job.now, rcpt=only)


def _terms(job: Job) -> Terms:
    admitted, account = job.admitted, job.caller.account
    return Terms(
        account=account,
        recipients=admitted.recipients.addresses,
        suppressed=job.suppressed,
        return_path=ReturnPath(admitted.from_.address, admitted.domain),
        uses_fromid=account.uses_fromid,
        not_before=admitted.not_before,
    )


def _copy(job: Job, composed: Composed, signatures: bytes) -> bytes:
    """Return what the mailbox keeps: the message as the caller knows it, with Bcc and without trace."""
    bcc = header.mailboxes("Bcc", job.admitted.recipients.bcc, smtputf8=composed.smtputf8).encode()
    return composed.raw(bcc + signatures)


def _result(job: Job, message_id: str, deliveries: Sequence[Delivery]) -> SendResult:
    submissions = (
        Submission(address=given, queue_msg_id=delivery.id, from_id=delivery.fromid)
        for given, delivery in zip(job.admitted.recipients.given, deliveries, strict=True)
    )
    return SendResult(message_id=message_id, submissions=tuple(submissions))
