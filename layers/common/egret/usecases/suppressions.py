"""The suppression list as an account sees it: list, add, remove, present."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from egret.contracts.ports import Clock, Dice, Suppressions
from egret.contracts.settings import Suppression
from egret.contracts.webapi import SuppressionAddRequest, SuppressionListRequest
from egret.core import cursor
from egret.core.address import Address, AddressError
from egret.core.errors import InvalidRequest
from egret.core.ids import message_id_number
from egret.core.suppression import Strikes, clear
from egret.usecases.strikes import change_strikes

MAX_REASON_CHARACTERS = 1000
"""Kept small: the entry is read for every recipient of every message."""
_END_OF_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""A day later, other time zones have no name for the instant."""


@dataclass(frozen=True, slots=True)
class SuppressionPorts:
    """What the suppression methods need. cursor_key: `Secrets.cursor`, for who lists pages."""

    suppressions: Suppressions
    clock: Clock
    dice: Dice
    cursor_key: bytes = b""


def suppression_key(address: Address) -> str:
    """Return the key of an address on a suppression list: every variant of a mailbox has the same."""
    return str(address.base_address())


def suppression_list(ports: SuppressionPorts, account: str) -> list[Suppression]:
    """Return an account's suppressed addresses, oldest first, both addresses with U-label domains."""
    return [
        replace(
            entry, base_address=_for_people(entry.base_address), original_address=_for_people(entry.original_address)
        )
        for entry in ports.suppressions.list(account, ports.clock.now())
    ]


def suppression_page(
    ports: SuppressionPorts, account: str, request: SuppressionListRequest
) -> tuple[list[Suppression], str]:
    """Return a page of the list, or all of it without a limit, and the cursor of the next page.

    Raises InvalidRequest `user` for a limit below 0 or a cursor of another list.
    """
    scope = f"{account} suppressions"
    after = cursor.unseal(ports.cursor_key, scope, request.cursor)
    if request.limit < 0 or after is None:
        raise InvalidRequest("user", "The limit is below 0, or the cursor does not belong to this list.")
    entries = [entry for entry in suppression_list(ports, account) if _place(entry) > after]
    if not 0 < request.limit < len(entries):
        return entries, ""
    page = entries[: request.limit]
    return page, cursor.seal(ports.cursor_key, scope, _place(page[-1]))


def _place(entry: Suppression) -> str:
    """Return what sorts as the list does."""
    return f"{entry.created_at.astimezone(UTC).isoformat(timespec='microseconds')} {entry.id:016d}"


def suppression_add(ports: SuppressionPorts, account: str, request: SuppressionAddRequest) -> None:
    """Put an address on an account's list, for good or for a time.

    Raises InvalidRequest: `badAddress`, `user` for a reason too long or a time that is over, `error` when a variant of
    it is there already and would not end sooner.
    """
    now, expires = ports.clock.now(), request.expires
    if len(request.reason) > MAX_REASON_CHARACTERS:
        raise InvalidRequest("user", f"The reason is longer than {MAX_REASON_CHARACTERS} characters.")
    if expires is not None and not now < expires <= _END_OF_TIME:
        raise InvalidRequest("user", "Expires must lie ahead, before the year 9999.")
    parsed = _parse(request.email_address)
    entry = Suppression(
        account=account,
        id=message_id_number(now, ports.dice.bits(9)),
        base_address=suppression_key(parsed),
        original_address=parsed.unicode_form,
        created_at=now,
        manual=request.manual,
        reason=request.reason,
        kind="manual",
        expires_at=None if expires is None else expires.astimezone(UTC),
    )
    if ports.suppressions.put_new(entry) is not None:
        raise InvalidRequest("error", "The address, or a variant of it, is already on the suppression list.")


def suppression_remove(ports: SuppressionPorts, account: str, address: str) -> None:
    """Take an address, given in any variant, off an account's list; its failures in a row start again from none.

    Raises InvalidRequest: `badAddress`, `error` when it is not there.
    """
    key, now = suppression_key(_parse(address)), ports.clock.now()
    if not ports.suppressions.remove(account, key, now):
        raise InvalidRequest("error", "The address is not on the suppression list.")
    known = ports.suppressions.find_strikes([(account, key)]).get((account, key), Strikes())
    change_strikes(ports.suppressions, (account, key), known, lambda strikes: clear(strikes, now))


def suppression_present(ports: SuppressionPorts, account: str, address: str) -> bool:
    """Tell whether an address, in any variant, is on an account's list. Raises InvalidRequest `badAddress`."""
    key = (account, suppression_key(_parse(address)))
    entry = ports.suppressions.find([key]).get(key)
    return entry is not None and entry.is_active_at(ports.clock.now())


def _parse(text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise InvalidRequest("badAddress", str(error)) from error


def _for_people(address: str) -> str:
    return Address.parse(address).unicode_form
