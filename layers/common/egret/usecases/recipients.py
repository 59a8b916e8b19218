"""The deliveries of a message that is about to be accepted, one a recipient, suppressed or held where they must be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from egret.contracts.ports import Suppressions
from egret.contracts.settings import Account, SendingDomain, Suppression
from egret.core import fromid
from egret.core.address import Address, strip_separator
from egret.core.changes import Hold, Suppress
from egret.core.delivery import Delivery, Message
from egret.core.ids import delivery_id
from egret.core.lifecycle import Refusal, apply
from egret.usecases.accept import SendPorts
from egret.usecases.suppressions import suppression_key

MAX_LOCAL_PART: Final = 64


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """Where the bounces of a message return.

    address: without a fromid. domain: what a fromid is put into; None = no fromid can be used.
    is_null: nowhere, the reverse-path is null.
    """

    address: Address
    domain: SendingDomain | None = None
    is_null: bool = False

    def of(self, token: str) -> str:
        """Return the reverse-path of a delivery, without <>; token: its fromid, "" where none is used.

        With the form of the reference the local part is cut where the whole would exceed 64 octets
        (RFC 5321 4.5.3.1.1).
        """
        if self.is_null:
            return ""
        if not token or self.domain is None:
            return str(self.address)
        if not self.domain.separator:
            return f"{token}@{self.domain.return_path_domain}"
        tail = self.domain.separator + token
        local_part = strip_separator(self.address.local_part, (self.domain.separator,)).encode()
        head = local_part[: MAX_LOCAL_PART - len(tail.encode())].decode(errors="ignore")
        return str(Address(head + tail, self.address.domain))


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all deliveries of a message.

    recipients: the forward-paths, in order; suppressed: for each the entry that suppresses it. uses_fromid: each
    delivery has a reverse-path of its own. max_attempts: 0 = as the installation has it.
    """

    account: Account
    recipients: tuple[Address, ...]
    suppressed: tuple[Suppression | None, ...]
    return_path: ReturnPath
    uses_fromid: bool
    not_before: datetime
    max_attempts: int = 0


def suppressed(
    list_: Suppressions, account: str, recipients: Sequence[Address], now: datetime
) -> tuple[Suppression | None, ...]:
    """Return for each recipient the entry of the account's list that suppresses it."""
    keys = [(account, suppression_key(address)) for address in recipients]
    active = {key: entry for key, entry in list_.find(list(dict.fromkeys(keys))).items() if entry.is_active_at(now)}
    return tuple(active.get(key) for key in keys)


def deliveries_of(ports: SendPorts, message: Message, terms: Terms) -> tuple[Delivery, ...]:
    """Return one delivery for each recipient, in order."""
    rules = ports.settings.hold_rules()
    deliveries = []
    for index, (address, entry) in enumerate(zip(terms.recipients, terms.suppressed, strict=True)):
        delivery = _delivery(ports, message, terms, index)
        if entry is not None:
            delivery = _applied(delivery, Suppress(message.queued_at, _reason(entry)))
        elif any(rule.matches(message.account, message.header_from, str(address)) for rule in rules):
            delivery = _applied(delivery, Hold(message.queued_at))
        deliveries.append(delivery)
    return tuple(deliveries)


def _delivery(ports: SendPorts, message: Message, terms: Terms, index: int) -> Delivery:
    retry, not_before = ports.installation.retry, terms.not_before
    number = delivery_id(message.id, index)
    token = fromid.mint(ports.secrets.fromid, message.account, number) if terms.uses_fromid else ""
    return Delivery(
        account=message.account,
        id=number,
        recipient=message.recipients[index],
        domain=terms.recipients[index].domain,
        reverse_path=terms.return_path.of(token),
        fromid=token,
        queued_at=message.queued_at,
        not_before=not_before,
        expires_at=not_before + retry.max_age,
        retention=terms.account.keep_deliveries,
        due_at=not_before if not_before > message.queued_at else not_before + retry.hint_grace,
        max_attempts=terms.max_attempts or retry.max_attempts,
    )


def _applied(delivery: Delivery, change: Suppress | Hold) -> Delivery:
    changed = apply(delivery, change)
    if isinstance(changed, Refusal):
        raise AssertionError(f"a new delivery refuses {change}: {changed}")  # noqa: TRY004 - a bug, not a type
    return changed


def _reason(entry: Suppression) -> str:
    reason = "the recipient is on the suppression list"
    return f"{reason}: {entry.reason}" if entry.reason else reason
