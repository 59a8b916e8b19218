"""From claims to handoffs: recipients that can travel together become one SMTP transaction, transactions a batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from egret.contracts.handoff import VERSION, Content, Earlier, Handoff, Leg, Transaction
from egret.contracts.records import Unit
from egret.core import messageid
from egret.core.delivery import Attempt, Delivery, Lease, Message

MAX_LEGS = 100
"""Recipients of one transaction: every server must take so many (RFC 5321 section 4.5.3.1.8)."""
MAX_HANDOFF_BYTES = 4 * 1024 * 1024
"""Inline content of one handoff; more goes into further ones."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery under a lease, the unit that is to try it, and what it carries (bytes, or the key of a blob).

    again: the lease was lost before, so the unit may be making this very attempt. transport: as in
    `Transaction`.
    """

    delivery: Delivery
    unit: Unit
    message: Message
    content: bytes | str
    lease: Lease
    again: bool
    transport: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """One handoff and the unit that it is for. again: as in `Claimed`, for all of it."""

    unit: Unit
    again: bool
    handoff: Handoff


def batches(claimed: Sequence[Claimed]) -> Iterator[Batch]:
    """Yield handoffs in pieces that fit: the transactions of each unit, fresh ones apart from those asked for again."""
    groups: dict[tuple[str, bool], list[Claimed]] = defaultdict(list)
    for one in claimed:
        groups[one.unit.id, one.again].append(one)
    for (_, again), group in groups.items():
        unit = group[0].unit
        for part in _pieces(_transactions(group, unit.handoff_version)):
            yield Batch(unit, again, Handoff(unit.id, part, min(unit.handoff_version, VERSION)))


def _pieces(transactions: Iterator[Transaction]) -> Iterator[list[Transaction]]:
    piece: list[Transaction] = []
    size = 0
    for transaction in transactions:
        inline = len(transaction.content.inline or b"")
        if piece and size + inline > MAX_HANDOFF_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(transaction)
        size += inline
    if piece:
        yield piece


def _transactions(claimed: Sequence[Claimed], version: int) -> Iterator[Transaction]:
    """Yield one transaction for the recipients that share message, reverse-path, domain and transport, 100 at most.

    What is asked for again goes alone: the unit may know one recipient and not the other, and answers by transaction.
    """
    groups: dict[tuple[str, int, str, str, str, int], list[Claimed]] = defaultdict(list)
    for one in claimed:
        delivery, alone = one.delivery, one.delivery.id if one.again else 0
        shared = delivery.account, delivery.message_id, delivery.domain, delivery.reverse_path
        groups[(*shared, one.transport, alone)].append(one)
    for (account, message_id, domain, reverse_path, transport, _), members in groups.items():
        content, message = _content(members[0]), members[0].message
        for start in range(0, len(members), MAX_LEGS):
            part = members[start : start + MAX_LEGS]
            yield Transaction(
                account=account,
                message_id=message_id,
                domain=domain,
                reverse_path=reverse_path,
                legs=[_leg(one, version) for one in part],
                content=content,
                lease_until=_first_end(part),
                transport=transport,
                earlier=_earlier(part) if version > 1 else [],
                ret=message.ret if version > 1 else "",
                envid=(message.envid or messageid.token_in(message.message_id)) if version > 1 else "",
            )


def _leg(one: Claimed, version: int) -> Leg:
    delivery, attempt = one.delivery, one.lease.attempt
    if version == 1 or not (delivery.notify or delivery.orcpt):
        return Leg(delivery.id, attempt, delivery.recipient)
    return Leg(delivery.id, attempt, delivery.recipient, delivery.notify, delivery.orcpt)


def _first_end(part: Sequence[Claimed]) -> datetime:
    return min(one.lease.until for one in part)


def _earlier(part: Sequence[Claimed]) -> list[Earlier]:
    """Return the attempts of the recipient that has most of them: those that are tried together were so before."""
    longest = max((one.delivery.attempts for one in part), key=len)
    return [_seen(attempt) for attempt in longest]


def _seen(attempt: Attempt) -> Earlier:
    remote, reply = attempt.outcome.remote, attempt.outcome.reply
    code, enhanced_code = (reply.code, reply.enhanced_code) if reply else (0, "")
    return Earlier(remote.mx_host, remote.address, code, enhanced_code)


def _content(one: Claimed) -> Content:
    message = one.message
    inline, key = (one.content, "") if isinstance(one.content, bytes) else (None, one.content)
    return Content(message.size_bytes, inline, key, message.smtputf8, message.require_tls)
