"""An attempt that has ended, as the journal's record of it and back."""

from __future__ import annotations

from datetime import timedelta

from egret.core.delivery import Attempt
from egret.core.outcome import Bounced, Deferred, Delivered, Outcome, Remote, Unknown, name_of
from egret.core.reply import Reply
from egret.core.trace import SessionTrace
from egret_egress.records import Finished

_MICROSECOND = timedelta(microseconds=1)


def finished(account: str, delivery_id: int, attempt: Attempt) -> Finished:
    """Return the record of an attempt that has ended."""
    outcome, trace = attempt.outcome, attempt.trace
    reply, remote = outcome.reply, outcome.remote
    return Finished(
        account,
        delivery_id,
        attempt.number,
        attempt.started_at,
        attempt.duration // _MICROSECOND,
        name_of(outcome),
        "" if isinstance(outcome, Delivered) else outcome.reason,
        reply.code if reply else 0,
        reply.lines if reply else (),
        remote.mx_host,
        remote.address,
        not isinstance(outcome, Bounced) or outcome.names_recipient,
        trace.transport,
        trace.policy,
        trace.tls,
        trace.transcript,
        trace.takes_dsn,
    )


def attempt_of(record: Finished) -> Attempt:
    """Return the attempt that a record remembers."""
    duration = timedelta(microseconds=record.duration_us)
    trace = SessionTrace(record.transport, record.policy, record.tls, record.transcript, record.takes_dsn)
    return Attempt(record.attempt, record.started_at, duration, _outcome(record), trace)


def _outcome(record: Finished) -> Outcome:
    reply = Reply(record.code, record.lines) if record.code else None
    remote = Remote(record.mx_host, record.address)
    match record.name:
        case "delivered" if reply is not None:
            return Delivered(reply, remote)
        case "deferred":
            return Deferred(record.reason, reply, remote)
        case "bounced":
            return Bounced(record.reason, reply, remote, record.names_recipient)
        case _:
            return Unknown(record.reason or "the journal's record of the outcome cannot be read", remote)
