"""Submit: a message that its author composed, by SMTP, is checked, signed, and taken into the queue as that of Send is.

Nothing is kept of a submission that is refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from msgspec.structs import replace

from egret.contracts import webapi
from egret.contracts.caller import Caller
from egret.contracts.records import OwnFromId
from egret.contracts.settings import Suppression
from egret.contracts.submission import Submission, Trouble
from egret.contracts.webapi import ErrorCode, SendResult
from egret.core import fromid, header, messageid
from egret.core.compose import received
from egret.core.cut import cut
from egret.core.delivery import UNSEEN_RETENTION, Delivery, Message
from egret.core.errors import InvalidRequest
from egret.core.ids import RANDOM_BITS, message_id_number
from egret.core.rawmessage import RawMessage
from egret.usecases.accept import Ready, SendPorts, accept, charge, decode_result, encode_result
from egret.usecases.admission import MAX_MESSAGE_ID_BYTES, MAX_SUBJECT_BYTES
from egret.usecases.admit_raw import AdmittedRaw, admit_raw, idempotency_key, read_raw
from egret.usecases.idempotency import Reservation, once, reserve_for
from egret.usecases.list_headers import feedback_id
from egret.usecases.recipients import Terms, deliveries_of, suppressed

MAX_ENVID_CHARACTERS: Final = 100
"""RFC 3461 4.4."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One admitted submission: all that is known before it has an id."""

    caller: Caller
    submission: Submission
    admitted: AdmittedRaw
    suppressed: tuple[Suppression | None, ...]
    now: datetime


def submit(
    ports: SendPorts, caller: Caller, submission: Submission, facts: dict[str, object] | None = None
) -> SendResult:
    """Accept a message for all its recipients, or refuse it for all.

    With a field Egret-Idempotency-Key, the same submission again gives the same result and sends nothing. facts: as of
    `send`. Raises InvalidRequest with a code of the API or a `Trouble`; Unavailable when storage does not answer, and
    then it is not known whether the message was accepted: submit it again, with the same key.
    """
    limit = ports.installation.max_message_bytes
    if len(submission.content) > limit:
        raise InvalidRequest(ErrorCode.MESSAGE_TOO_LARGE, f"The message is larger than {limit} bytes.")
    message = read_raw(submission.content)

    def work(reservation: Reservation | None) -> SendResult:
        ready = _submit(ports, caller, (submission, message), reservation)
        if facts is not None:
            facts.update(_facts(ready))
        return ready.result

    key = idempotency_key(message)
    if not key:
        return work(None)
    now = ports.clock.now()
    body = msgspec.json.encode(msgspec.structs.replace(submission, key_hash=""))
    reservation = reserve_for(caller, key, body, ports.dice.octets(16).hex(), now)
    answer = once(ports.idempotency, reservation, now, lambda reservation: encode_result(work(reservation)))
    return decode_result(answer)


def _submit(
    ports: SendPorts, caller: Caller, given: tuple[Submission, RawMessage], reservation: Reservation | None
) -> Ready:
    submission, message = given
    now = ports.clock.now()
    admitted = admit_raw(ports.settings, caller, submission, message, now)
    if admitted.own_fromid and fromid.verify(ports.secrets.fromid, admitted.own_fromid) is not None:
        raise InvalidRequest(Trouble.FROMID_USED, "The fromid in the reverse-path is one of ours.")
    addresses = [address for address, _ in admitted.recipients]
    entries = suppressed(ports.suppressions, caller.account.id, addresses, now)
    job = _Job(caller, submission, admitted, entries, now)
    ready = _prepare(ports, job)
    charge(ports, caller.account, now, len(addresses))
    return accept(ports, ready, lambda: _prepare(ports, job), reservation)


def _prepare(ports: SendPorts, job: _Job) -> Ready:
    """Give the submission an id and make everything that depends on it."""
    admitted, submission = job.admitted, job.submission
    number = message_id_number(job.now, ports.dice.bits(RANDOM_BITS))
    headers, message_id = _completed(ports, job, number)
    body = admitted.message.body
    signatures = ports.keys.sign(admitted.domain, (headers, body), admitted.from_, job.now) if admitted.domain else b""
    content = b"".join((_trace(ports, job, number), signatures, headers, b"\r\n", body))
    message = Message(
        account=job.caller.account.id,
        id=number,
        message_id=message_id,
        subject=cut(admitted.message.text("subject"), MAX_SUBJECT_BYTES),
        login=job.caller.login,
        header_from=str(admitted.from_),
        recipients=tuple(str(address) for address, _ in admitted.recipients),
        queued_at=job.now,
        size_bytes=len(content),
        smtputf8=admitted.needs_smtputf8,
        require_tls=admitted.require_tls,
        extra=admitted.extra,
        ret=submission.ret,
        envid=submission.envid,
        future_release=submission.future_release,
        mail_from=submission.mail_from,
    )
    deliveries = _deliveries(ports, job, message)
    return Ready(message, deliveries, content, _result(job, message, deliveries), own_fromid=_own(job, deliveries[0]))


def _completed(ports: SendPorts, job: _Job, number: int) -> tuple[bytes, str]:
    """Return the header with the fields that every message has, and the Message-ID (RFC 6409 8)."""
    message, account = job.admitted.message, job.caller.account.id
    headers, message_id = message.headers, message.text("message-id").strip()
    if len(message_id.encode()) > MAX_MESSAGE_ID_BYTES:
        raise InvalidRequest(Trouble.MALFORMED, f"The Message-ID is longer than {MAX_MESSAGE_ID_BYTES} bytes.")
    if not message.values("message-id"):
        domain = job.admitted.domain.domain if job.admitted.domain else ports.installation.hostname
        message_id = messageid.mint(ports.secrets.message_id[0], account, number, domain)
        headers = header.fold("Message-Id", [message_id]).encode() + headers
    if not message.values("date"):
        headers = f"Date: {header.date_time(job.now)}\r\n".encode() + headers
    if not message.values("feedback-id"):
        ((name, value),) = feedback_id(account, (), is_list=bool(message.values("list-unsubscribe")))
        headers = f"{name}: {value}\r\n".encode() + headers
    return headers, message_id


def _trace(ports: SendPorts, job: _Job, number: int) -> bytes:
    """Return the Received field. It does not tell where the message was submitted from: that is the author's matter."""
    recipients = job.admitted.recipients
    only = recipients[0][0] if len(recipients) == 1 else None
    hostname, protocol = ports.installation.hostname, job.submission.protocol
    return received(hostname, f"{number:x}", job.now, rcpt=only, protocol=protocol)


def _deliveries(ports: SendPorts, job: _Job, message: Message) -> tuple[Delivery, ...]:
    admitted, account = job.admitted, job.caller.account
    terms = Terms(
        account=account,
        recipients=tuple(address for address, _ in admitted.recipients),
        suppressed=job.suppressed,
        return_path=admitted.return_path,
        uses_fromid=account.uses_fromid and not admitted.own_fromid and not admitted.return_path.is_null,
        not_before=admitted.not_before,
    )
    deliveries = deliveries_of(ports, message, terms)
    asked = (
        replace(delivery, notify=recipient.notify, orcpt=recipient.orcpt)
        for delivery, (_, recipient) in zip(deliveries, admitted.recipients, strict=True)
    )
    if admitted.own_fromid:
        asked = (replace(delivery, fromid=admitted.own_fromid) for delivery in asked)
    return tuple(asked)


def _own(job: _Job, delivery: Delivery) -> OwnFromId | None:
    """Return the lookup of the submitter's own fromid, which lives as long as the delivery can."""
    text = job.admitted.own_fromid.lower()
    forget_at = delivery.expires_at + max(delivery.retention, UNSEEN_RETENTION)
    return OwnFromId(delivery.account, text, delivery.id, forget_at) if text else None


def _result(job: _Job, message: Message, deliveries: tuple[Delivery, ...]) -> SendResult:
    submissions = (
        webapi.Submission(address=recipient.address, queue_msg_id=delivery.id, from_id=delivery.fromid)
        for (_, recipient), delivery in zip(job.admitted.recipients, deliveries, strict=True)
    )
    return SendResult(message_id=message.message_id, submissions=tuple(submissions))


def _facts(ready: Ready) -> dict[str, object]:
    """Return what the log tells of an accepted message."""
    return {
        "submission": ready.message.id,
        "recipients": len(ready.deliveries),
        "size_bytes": ready.message.size_bytes,
        "states": dict(Counter(delivery.state.value for delivery in ready.deliveries)),
    }
