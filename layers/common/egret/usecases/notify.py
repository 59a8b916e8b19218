"""Notify senders of what became of their mail, by delivery status notifications.

They go into the account's Inbox; by SMTP to who submitted by SMTP and asked for it (NOTIFY). Called for every event,
beside `suppress`. What was delivered costs nothing here, unless its sender asked to hear of it. Idempotent by event id.

Implements: RFC 3461 section 5.2, RFC 8689 section 5.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from egret.contracts.ports import Blobs, Mailboxes, MailStore, SettingsReader
from egret.contracts.records import StoredMail
from egret.contracts.settings import Account, RetryPolicy
from egret.core.address import Address
from egret.core.compose import Composed
from egret.core.compose_dsn import (
    MAX_RETURNED_BYTES,
    RecipientReport,
    Report,
    compose_dsn,
    mailbox_fields,
    reply_lines,
    subject_of,
)
from egret.core.delivery import Attempt, Delivery, Message
from egret.core.events import EventKind
from egret.core.mailbox import INBOX
from egret.core.outcome import NOWHERE, Bounced
from egret.core.retry import DeliveryRetry, last_delivery_attempt
from egret.usecases import own_reports
from egret.usecases.keeping import keep
from egret.usecases.suppress import Happening
from egret.usecases.threads import thread_of

log = logging.getLogger(__name__)

DELAYED_AFTER = 5
"""The attempt whose failure is told as a delay, once, about two hours after the first."""
GIVEN_UP_STATUS = "4.4.7"
"""Delivery time expired (RFC 3463 section 3.5): for what failed since there is no further attempt, without a reply."""
NOT_GIVEN = frozenset({"FAILURE", "DELAY"})
"""What a submission without NOTIFY stands for (RFC 3461 section 4.1)."""

Contents = Mapping[tuple[str, int], tuple[Message, bytes | str]]


class QueueMail(Protocol):
    """Queues a mail of our own."""

    def __call__(self, account: Account, key: str, mail: Composed, recipient: str, *, require_tls: bool | None) -> None:
        """Queue it for an account, once for its key. recipient: without <>; require_tls: as in `Message`."""
        ...


@dataclass(frozen=True, slots=True)
class NotifyPorts:
    """What notifying needs.

    hostname: the reporting MTA. retry: that of the queue.
    """

    store: MailStore
    blobs: Blobs
    mailboxes: Mailboxes
    settings: SettingsReader
    hostname: str
    retry: RetryPolicy
    queue_mail: QueueMail


@dataclass(frozen=True, slots=True)
class _Due:
    """A notification that may have to be written. action: as in `core.dsn.ACTIONS`."""

    one: Happening
    action: str
    account: Account

    @property
    def is_for_inbox(self) -> bool:
        """It goes into the account's Inbox; what somebody else wrote lies there itself."""
        return self.account.dsn_to_mailbox and not self.one.event.dsn

    @property
    def key(self) -> tuple[str, int]:
        """Account and id of the message."""
        return self.one.delivery.account, self.one.delivery.message_id


def notify(ports: NotifyPorts, happenings: Iterable[Happening]) -> int:
    """Write the notification of each event that calls for one; return how many Inboxes got a new one.

    Raises Unavailable; all of it may then be done again.
    """
    due = [found for one in happenings if (found := _due(ports.settings, one))]
    if not due:
        return 0
    contents = ports.store.contents(sorted({each.key for each in due}))
    return sum(_notify(ports, each, contents) for each in due)


def action_of(one: Happening) -> str:
    """Return the action that the sender is to hear of (RFC 3464 section 2.3.3), "" when he is to hear nothing.

    Mail without a reverse-path has nobody who would hear, so that notifications never answer one another. What was
    withdrawn is known to who withdrew it. A DSN that did not come to our reverse-path may have been at the sender's, or
    be one of ours that was forwarded to us: whoever tells of it again may do so for ever.
    """
    delivery, event = one.delivery, one.event
    is_repeated = event.dsn and not event.source  # as `lifecycle` does when a notification overtook its own attempt
    if not delivery.reverse_path or is_repeated or event.by_message_id:
        return ""
    asked = frozenset(delivery.notify.split(",")) if delivery.notify else NOT_GIVEN
    match event.kind:
        case EventKind.FAILED | EventKind.SUPPRESSED:
            return "failed" if "FAILURE" in asked else ""
        case EventKind.DELAYED:
            is_told = event.dsn or event.attempt == DELAYED_AFTER
            return "delayed" if is_told and "DELAY" in asked else ""
        case EventKind.DELIVERED if not event.dsn:
            return "relayed" if "SUCCESS" in asked and not _is_passed_on(one) else ""
        case EventKind.DELIVERED | EventKind.RELAYED | EventKind.EXPANDED:
            return event.kind.value if "SUCCESS" in asked else ""
        case _:
            return ""


def _is_passed_on(one: Happening) -> bool:
    """Say whether the next hop took over what NOTIFY asks for (RFC 3461 section 5.2.2)."""
    return one.attempt is not None and one.attempt.trace.takes_dsn


def _due(settings: SettingsReader, one: Happening) -> _Due | None:
    """Return what may have to be written, None when it is certain that nothing has."""
    action = action_of(one)
    account = settings.account(one.delivery.account) if action else None
    if account is None:
        return None
    due = _Due(one, action, account)
    return due if due.is_for_inbox or one.delivery.notify else None


def _notify(ports: NotifyPorts, due: _Due, contents: Contents) -> bool:
    one = due.one
    stored = contents.get(due.key)
    if stored is None:
        log.warning("no notification: the message is forgotten", extra={"event": one.id})
        return False
    message, content = stored
    if own_reports.is_own_report(message) and due.action != "failed":
        return False
    sender = _sender(ports.settings, one, message)
    if not (due.is_for_inbox or sender):
        return False
    report = report_of(ports, one, due.action, message, _original(ports.blobs, content))
    log.info("sender notified", extra={"event": one.id, "action": due.action, "by_smtp": bool(sender)})
    if sender:
        _queue(ports, due, replace(report, to=sender), message)
    return due.is_for_inbox and _put(ports, due, report, message)


def _sender(settings: SettingsReader, one: Happening, message: Message) -> str:
    """Return the address that a notification goes to by SMTP, "" for none.

    Only who asked by NOTIFY is written to, and not where his mail would come back to us: there the Inbox has it.
    """
    if not (one.delivery.notify and message.mail_from):
        return ""
    address = Address.parse(message.mail_from)
    own = settings.domain(address.domain)
    is_ours = (own is not None and own.separator) or settings.domain_of_return_path(address.domain) is not None
    return "" if is_ours else str(address)


def _queue(ports: NotifyPorts, due: _Due, report: Report, message: Message) -> None:
    """Send a notification to the sender, with a null reverse-path; nobody knows whether his server takes SMTPUTF8.

    It has the header of the message, and so is to be protected as that was (RFC 8689 section 5).
    """
    require_tls = True if message.require_tls else None
    ports.queue_mail(due.account, f"dsn {due.one.id}", compose_dsn(report), report.to, require_tls=require_tls)


def _put(ports: NotifyPorts, due: _Due, report: Report, message: Message) -> bool:
    """Put a notification into the account's Inbox; False when it is there already, or was."""
    one, delivery, at = due.one, due.one.delivery, due.one.event.at
    if ports.mailboxes.holds(delivery.account, one.id, delivery.reverse_path, at) is not None:
        return False
    raw = compose_dsn(report, smtputf8=message.smtputf8, allow_8bit=True).raw(mailbox_fields(delivery.reverse_path))
    blob = f"content/{delivery.account}/dsn-{delivery.id}-{one.event.seq}"
    ports.blobs.put(blob, raw)
    keep_mail = due.account.keep_mail
    mail = StoredMail(
        account=delivery.account,
        id=0,
        mailbox=INBOX,
        blob=blob,
        size_bytes=len(raw),
        received_at=at,
        rcpt_to=delivery.reverse_path,
        header_from=f"postmaster@{ports.hostname}",
        subject=subject_of(report),
        message_id=report.message_id,
        is_dsn=True,
        source=one.id,
        to=(delivery.reverse_path,),
        # Its own Message-ID is not remembered: nobody answers a notification.
        thread=thread_of(ports.mailboxes, delivery.account, "", (report.original_message_id,), at),
        expires_at=at + keep_mail if keep_mail else None,
    )
    return keep(ports.mailboxes, own_reports.put_aside(mail) if own_reports.is_own_report(message) else mail, at)


def _original(blobs: Blobs, content: bytes | str) -> bytes:
    """Return the message, of a large one the beginning; b"" when it is gone."""
    if isinstance(content, bytes):
        return content
    return blobs.beginning(content, MAX_RETURNED_BYTES) or b""


# --- what is told


def report_of(ports: NotifyPorts, one: Happening, action: str, message: Message, original: bytes) -> Report:
    """Return what a notification tells of an event.

    original: the message or its beginning. It goes back whole only of a failure, which it may be sent again after (RFC
    3461 section 4.3), and not where its way back may be unprotected (RFC 8689 section 5).
    """
    is_whole = message.size_bytes <= MAX_RETURNED_BYTES
    is_wanted = message.ret == "FULL" and action == "failed"
    return Report(
        hostname=ports.hostname,
        to=one.delivery.reverse_path,
        message_id=f"<{one.id}@{ports.hostname}>",
        date=one.event.at,
        recipients=(_recipient(ports.retry, one, action),),
        arrival_at=message.queued_at,
        original_message_id=message.message_id,
        original_subject=message.subject,
        original=original,
        returns_body=is_wanted and is_whole and message.require_tls is not True,
        envelope_id=message.envid,
        future_release=message.future_release,
    )


def _recipient(retry: RetryPolicy, one: Happening, action: str) -> RecipientReport:
    delivery, event = one.delivery, one.event
    if event.dsn:
        return _passed_on(one, action)
    last = delivery.attempts[-1] if delivery.attempts else None
    said = _attempt_told(one)
    reply = said.outcome.reply if said is not None else None
    is_delayed = action == "delayed"
    return RecipientReport(
        final_recipient=delivery.recipient,
        action=action,
        status=_status(one, said, action),
        error=event.error,
        diagnostic=reply_lines(reply.code, reply.lines) if reply is not None else (),
        remote=said.outcome.remote if said is not None else NOWHERE,
        original_recipient=delivery.orcpt,
        last_attempt_at=last.started_at + last.duration if last is not None else None,
        next_attempt_at=delivery.not_before if is_delayed else None,
        will_retry_until=_will_retry_until(retry, delivery) if is_delayed else None,
        log_id=str(delivery.id),
    )


def _passed_on(one: Happening, action: str) -> RecipientReport:
    """Return what the notification of another server told, which came to a reverse-path of ours instead of his."""
    delivery, event = one.delivery, one.event
    return RecipientReport(
        final_recipient=delivery.recipient,
        action=action,
        status=event.enhanced_code,
        error=event.error,
        diagnostic=event.reply if event.reply and event.reply[0][:3].isdigit() else (),
        remote=event.remote,
        original_recipient=delivery.orcpt,
        log_id=str(delivery.id),
    )


def _attempt_told(one: Happening) -> Attempt | None:
    """Return the attempt whose answer explains the event; of what grew too old, the last one.

    A suppression is explained by its own sentence.
    """
    if one.event.kind is EventKind.FAILED and one.attempt is None and one.delivery.attempts:
        return one.delivery.attempts[-1]
    return one.attempt


def _status(one: Happening, said: Attempt | None, action: str) -> str:
    """Return the enhanced code of the answer, else what is known of its class; "" for nothing.

    What failed after replies of 4yz keeps their class: the sender may try again (RFC 3463 section 2).
    """
    reply = said.outcome.reply if said is not None else None
    code = reply.enhanced_code or f"{reply.code // 100}.0.0" if reply is not None else ""
    if action == "delayed" and code:
        return f"4{code[1:]}"  # a 5yz that was put off
    is_given_up = one.event.kind is EventKind.FAILED and not (said and isinstance(said.outcome, Bounced))
    return code or (GIVEN_UP_STATUS if is_given_up else "")


def _will_retry_until(retry: RetryPolicy, delivery: Delivery) -> datetime:
    policy = DeliveryRetry(retry.base, delivery.max_attempts)
    return last_delivery_attempt(len(delivery.attempts), delivery.not_before, delivery.expires_at, policy)
