"""The change stream of the mail table: the outbox. Whoever writes an outcome has thereby queued its event."""

from __future__ import annotations

from dataclasses import dataclass

from egret.contracts.records import StoredMail
from egret.core.delivery import Delivery
from egret.core.events import Event


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """One change of one delivery, as it was before and after; comes at least once, in order within a delivery.

    old: None when the delivery is new. new: None when storage dropped it after its time. Never both None.
    """

    old: Delivery | None
    new: Delivery | None

    @property
    def delivery(self) -> Delivery:
        """The delivery, in its newest form."""
        newest = self.new or self.old
        if newest is None:
            raise ValueError("a record without a delivery")
        return newest

    @property
    def is_removal(self) -> bool:
        """Storage dropped it: no event, but its message may have become superfluous."""
        return self.new is None

    @property
    def new_events(self) -> tuple[Event, ...]:
        """The events that this change brought, oldest first; a removal brings none."""
        if self.new is None:
            return ()
        known = self.old.event_seq if self.old else 0
        return tuple(event for event in self.new.events if event.seq > known)


@dataclass(frozen=True, slots=True)
class MailRecord:
    """One change of one mail in a mailbox, as it was before and after. Never both None."""

    old: StoredMail | None
    new: StoredMail | None

    @property
    def is_news(self) -> bool:
        """The account's incoming webhook is to hear of it."""
        return self.old is None and self.new is not None and self.new.is_news

    @property
    def removed(self) -> StoredMail | None:
        """The mail that is gone, deleted or over; None when it is there."""
        return self.old if self.new is None else None


TableChange = StreamRecord | MailRecord
"""What the stream carries for `usecases.publish`."""
