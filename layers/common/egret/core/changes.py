"""What may happen to a delivery: the changes that the life cycle knows."""

from __future__ import annotations

from datetime import datetime

import msgspec

from egret.core.delivery import Attempt, Lease
from egret.core.events import Event


class Claim(msgspec.Struct, frozen=True, gc=False):
    """A unit is about to be asked to make the next attempt."""

    unit: str
    at: datetime
    until: datetime


class Release(msgspec.Struct, frozen=True, gc=False):
    """The unit did not take it, or gave it back before the final dot: the attempt was never made under this lease.

    The whole lease is named, not only the attempt: a release that comes late must not end a later lease.
    waiting: why it has to wait until not_before, one sentence; "" when it need not.
    """

    lease: Lease
    not_before: datetime
    waiting: str = ""


class Postpone(msgspec.Struct, frozen=True, gc=False):
    """It could be claimed now, but whoever would try it is asked to wait. waiting: why, one sentence."""

    at: datetime
    not_before: datetime
    waiting: str


class Record(msgspec.Struct, frozen=True, gc=False):
    """An attempt ended. next_at: when the next one is to be, None when the schedule is exhausted."""

    attempt: Attempt
    next_at: datetime | None
    at: datetime


class Expire(msgspec.Struct, frozen=True, gc=False):
    """The maximum age has passed."""

    at: datetime


class Suppress(msgspec.Struct, frozen=True, gc=False):
    """The recipient stands on the suppression list. reason: one sentence for the event."""

    at: datetime
    reason: str


class Hold(msgspec.Struct, frozen=True, gc=False):
    """A hold rule matches."""

    at: datetime


class Unhold(msgspec.Struct, frozen=True, gc=False):
    """The hold was lifted; the time on hold does not count towards the maximum age."""

    at: datetime


class Cancel(msgspec.Struct, frozen=True, gc=False):
    """The account or an operator withdraws it."""

    at: datetime


class Report(msgspec.Struct, frozen=True, gc=False):
    """Mail that came back tells something; the event's `seq` is given here, its `source` drops repeats."""

    event: Event


Change = Claim | Release | Postpone | Record | Expire | Suppress | Hold | Unhold | Cancel | Report
