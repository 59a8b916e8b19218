"""The records of the journal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from egret.core.delivery import Attempt
from egret.core.outcome import Bounced, Deferred, Delivered, Outcome, Remote, Unknown
from egret.core.reply import Reply
from egret.core.trace import NO_TRACE, SessionTrace
from egret_egress.endings import attempt_of, finished
from egret_egress.records import Finished, decode, encode

NOW = datetime(2026, 3, 1, tzinfo=UTC)
REMOTE = Remote("mx.example.org", "192.0.2.1")
TRACE = SessionTrace("relay", "dane", "TLSv1.3", ("S: 220 mx", "C: EHLO unit.example"), takes_dsn=True)


@pytest.mark.parametrize("trace", [NO_TRACE, TRACE])
@pytest.mark.parametrize(
    "outcome",
    [
        Delivered(Reply(250, ("2.0.0 ok",)), REMOTE),
        Deferred("no", None, REMOTE),
        Bounced("never", Reply(550, ("5.7.1 no", "really")), REMOTE, names_recipient=False),
        Unknown("lost", REMOTE),
    ],
)
def test_an_attempt_is_remembered_as_it_was(outcome: Outcome, trace: SessionTrace) -> None:
    """How it was made included: what a restart records again says as much as what was recorded at once."""
    attempt = Attempt(2, NOW, timedelta(seconds=1.5), outcome, trace)
    record = decode(encode(finished("aaaaaaaa", 1024, attempt)))

    assert isinstance(record, Finished)
    assert attempt_of(record) == attempt


def test_a_record_of_the_last_version_is_read() -> None:
    """It ends before the trace."""
    whole = msgspec.msgpack.decode(encode(finished("aaaaaaaa", 1024, Attempt(1, NOW, timedelta(0), Deferred("no")))))
    record = decode(msgspec.msgpack.encode(whole[:13]))

    assert isinstance(record, Finished)
    assert attempt_of(record).trace == NO_TRACE
