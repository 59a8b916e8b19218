"""Make of an admitted request what send stores: the composed and signed message, and its deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from egret.contracts.caller import Caller
from egret.contracts.ports import (
    Blobs,
    Clock,
    Counters,
    Dice,
    HintQueue,
    Idempotency,
    MailStore,
    SettingsReader,
    Suppressions,
)
from egret.contracts.settings import Installation, Suppression
from egret.contracts.webapi import ErrorCode, SendRequest, SendResult, Submission
from egret.core import fromid, messageid
from egret.core.address import Address, strip_separator
from egret.core.changes import Hold, Suppress
from egret.core.compose import Composed, Draft, File, compose, received
from egret.core.delivery import Delivery, Message
from egret.core.errors import InvalidRequest
from egret.core.ids import RANDOM_BITS, delivery_id, message_id_number
from egret.core.lifecycle import Refusal, apply
from egret.core.secrets import Secrets
from egret.usecases.admission import Admitted, admit
from egret.usecases.attachments import load_files
from egret.usecases.signing import SigningKeys
from egret.usecases.suppressions import suppression_key

MAX_LOCAL_PART: Final = 64


@dataclass(frozen=True, slots=True)
class SendPorts:
    """What send needs. user_agent: value of that header of composed messages."""

    store: MailStore
    idempotency: Idempotency
    counters: Counters
    suppressions: Suppressions
    blobs: Blobs
    settings: SettingsReader
    hints: HintQueue
    clock: Clock
    dice: Dice
    keys: SigningKeys
    secrets: Secrets
    installation: Installation
    user_agent: str = ""


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


@dataclass(frozen=True, slots=True)
class Ready:
    """A job with an id, its message composed and signed."""

    message: Message
    deliveries: tuple[Delivery, ...]
    composed: Composed
    signatures: bytes
    trace: bytes
    result: SendResult

    @property
    def content(self) -> bytes:
        """The message as it goes over the wire."""
        return self.composed.raw(self.trace + self.signatures)


def job_of(ports: SendPorts, caller: Caller, request: SendRequest) -> Job:
    """Check a request and fetch its files and the suppression of its recipients. Raises InvalidRequest."""
    now = ports.clock.now()
    admitted = admit(ports.settings, caller, request, now)
    groups = (request.alternative_files, request.inline_files, request.attached_files)
    limit = ports.installation.max_message_bytes
    files = load_files(ports.blobs, caller.account.id, groups, limit) if any(groups) else ((), (), ())
    suppressed = _suppressed(ports.suppressions, caller.account.id, admitted.recipients.addresses)
    return Job(caller, request, admitted, tuple(tuple(group) for group in files), suppressed, now)


def _suppressed(list_: Suppressions, account: str, recipients: Sequence[Address]) -> tuple[Suppression | None, ...]:
    keys = [(account, suppression_key(address)) for address in recipients]
    active = {key: entry for key, entry in list_.find(list(dict.fromkeys(keys))).items() if entry.is_active}
    return tuple(active.get(key) for key in keys)


def prepare(ports: SendPorts, job: Job) -> Ready:
    """Give the job an id and make everything that depends on it."""
    account = job.caller.account.id
    number = message_id_number(job.now, ports.dice.bits(RANDOM_BITS))
    message_id = job.request.message_id or _new_message_id(ports, job, number)
    composed = compose(_draft(ports, job, message_id), lambda: ports.dice.octets(15).hex())
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
    )
    deliveries = _deliveries(ports, job, message)
    return Ready(message, deliveries, composed, signatures, trace, _result(job, message_id, deliveries))


def _new_message_id(ports: SendPorts, job: Job, number: int) -> str:
    domain = job.admitted.domain.domain if job.admitted.domain else ports.installation.hostname
    return messageid.mint(ports.secrets.message_id[0], job.caller.account.id, number, domain)


def _draft(ports: SendPorts, job: Job, message_id: str) -> Draft:
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
        headers=admitted.headers,
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


def _deliveries(ports: SendPorts, job: Job, message: Message) -> tuple[Delivery, ...]:
    rules = ports.settings.hold_rules()
    deliveries = []
    for index, (address, entry) in enumerate(zip(job.admitted.recipients.addresses, job.suppressed, strict=True)):
        delivery = _delivery(ports, job, message, index)
        if entry is not None:
            delivery = _applied(delivery, Suppress(job.now, _reason(entry)))
        elif any(rule.matches(message.account, message.header_from, str(address)) for rule in rules):
            delivery = _applied(delivery, Hold(job.now))
        deliveries.append(delivery)
    return tuple(deliveries)


def _delivery(ports: SendPorts, job: Job, message: Message, index: int) -> Delivery:
    retry, not_before = ports.installation.retry, job.admitted.not_before
    number = delivery_id(message.id, index)
    token = fromid.mint(ports.secrets.fromid, message.account, number) if job.caller.account.uses_fromid else ""
    return Delivery(
        account=message.account,
        id=number,
        recipient=message.recipients[index],
        domain=job.admitted.recipients.addresses[index].domain,
        reverse_path=reverse_path(job.admitted, token),
        fromid=token,
        queued_at=job.now,
        not_before=not_before,
        expires_at=not_before + retry.max_age,
        retention=job.caller.account.keep_deliveries,
        due_at=not_before if not_before > job.now else not_before + retry.hint_grace,
        max_attempts=retry.max_attempts,
    )


def reverse_path(admitted: Admitted, token: str) -> str:
    """Return where bounces of a delivery return, without <>; token: its fromid, "" where none is used.

    With the form of the reference the local part is cut where the whole would exceed 64 octets (RFC 5321 4.5.3.1.1).
    """
    address, domain = admitted.from_.address, admitted.domain
    if not token or domain is None:
        return str(address)
    if not domain.separator:
        return f"{token}@{domain.return_path_domain}"
    tail = domain.separator + token
    local_part = strip_separator(address.local_part, (domain.separator,)).encode()
    head = local_part[: MAX_LOCAL_PART - len(tail.encode())].decode(errors="ignore")
    return str(Address(head + tail, address.domain))


def _applied(delivery: Delivery, change: Suppress | Hold) -> Delivery:
    changed = apply(delivery, change)
    if isinstance(changed, Refusal):
        raise AssertionError(f"a new delivery refuses {change}: {changed}")  # noqa: TRY004 - a bug, not a type
    return changed


def _reason(entry: Suppression) -> str:
    reason = "the recipient is on the suppression list"
    return f"{reason}: {entry.reason}" if entry.reason else reason


def _result(job: Job, message_id: str, deliveries: Sequence[Delivery]) -> SendResult:
    submissions = (
        Submission(address=given, queue_msg_id=delivery.id, from_id=delivery.fromid)
        for given, delivery in zip(job.admitted.recipients.given, deliveries, strict=True)
    )
    return SendResult(message_id=message_id, submissions=tuple(submissions))
