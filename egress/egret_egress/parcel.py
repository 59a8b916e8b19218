"""One message on its way to one domain, and who is told how it fares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from egret.contracts.handoff import Transaction
from egret.core.outcome import Outcome, Remote
from egret.core.trace import SessionTrace
from egret_egress.content import Content
from egret_egress.envelope import Envelope


class TooLate(Exception):
    """The attempt may not begin any more: it is to be given back."""


class Progress(Protocol):
    """Who is told how a transaction goes. Recipients are named by their position in it."""

    def begin(self) -> None:
        """A connection is about to be used for it; raises TooLate when it may not begin."""
        ...

    def before_dot(self, recipients: Sequence[int], remote: Remote) -> None:
        """The final dot is about to go out for these; when this returns, that is on record. Raises JournalFailing."""
        ...

    def decide(self, recipient: int, outcome: Outcome, trace: SessionTrace) -> None:
        """The outcome of one recipient, and how it came about: once for each."""
        ...


class Parcel:
    """What is to be brought."""

    __slots__ = ("content", "progress", "transaction")

    def __init__(self, transaction: Transaction, content: Content, progress: Progress) -> None:
        self.transaction = transaction
        self.content = content
        self.progress = progress

    def envelope(self, recipients: Sequence[int]) -> Envelope:
        """Return the envelope for some of the recipients."""
        transaction, content = self.transaction, self.content
        legs = transaction.legs
        if len(recipients) < len(legs):
            legs = [legs[index] for index in recipients]
        return Envelope(
            reverse_path=transaction.reverse_path,
            forward_paths=tuple([leg.forward_path for leg in legs]),
            size_bytes=content.size_bytes,
            is_8bit=content.is_8bit,
            smtputf8=transaction.content.smtputf8,
            require_tls=transaction.content.require_tls,
            envid=transaction.envid or f"{transaction.account}.{transaction.message_id}",
            ret=transaction.ret,
            notify=tuple([leg.notify for leg in legs]),
            orcpts=tuple([leg.orcpt for leg in legs]),
        )
