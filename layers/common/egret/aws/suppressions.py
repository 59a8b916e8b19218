"""The suppression list and the strikes in DynamoDB."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from egret.aws.keys import account_partition, instant, micros, ttl
from egret.aws.table import ABSENT, Condition, Item, Key, Range, Table, b, key_of, n, number, s
from egret.contracts.settings import Suppression
from egret.core.errors import ContractError
from egret.core.suppression import Strike, Strikes


class _PackedSuppression(msgspec.Struct, array_like=True, frozen=True, gc=False):
    id: int
    original_address: str
    created_at: int
    manual: bool
    reason: str
    kind: str
    source_event: str
    evidence: str = ""


class _PackedStrikes(msgspec.Struct, array_like=True, frozen=True, gc=False):
    kept: tuple[tuple[int, str], ...]
    cleared_at: int | None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_PackedSuppression).decode
_NEVER = 1 << 62
"""Microseconds, later than every instant."""
_decode_strikes = msgspec.msgpack.Decoder(_PackedStrikes).decode


class DynamoSuppressions:
    """The `Suppressions` port.

    `d`: the entry packed. In microseconds: `c`: created_at, `x`: removed_at, `e`: expires_at. `r`: the owner's word.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def find(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Suppression]:
        """Return the entries (removed and expired ones included) of many (account, base address)."""
        found = map(_read, self._table.get_many(_key(*key) for key in keys).values())
        return {(entry.account, entry.base_address): entry for entry in found}

    def put_new(self, entry: Suppression) -> Suppression | None:
        """Add an entry unless one is there that does not give way to it: then return that."""
        ends = _NEVER if entry.expires_at is None else micros(entry.expires_at)
        # As `Suppression.gives_way_to` has it; what an item does not have compares as false.
        less = "(e < :ends OR attribute_not_exists(r))" if entry.is_of_recipient else "e < :ends"
        free = f"attribute_not_exists(pk) OR x <= :created OR (attribute_not_exists(x) AND c <= :created AND {less})"
        values = {":created": n(micros(entry.created_at)), ":ends": n(ends)}
        known = self._table.put_if(_item(entry), Condition(free, values))
        return None if known is None else _read(known)

    def remove(self, account: str, base_address: str, at: datetime) -> bool:
        """Mark as removed; False when there is none that is active at that time."""
        lasting = "(attribute_not_exists(e) OR e > :at)"
        active = Condition(f"attribute_exists(pk) AND attribute_not_exists(x) AND {lasting}")
        return self._table.update_if(_key(account, base_address), "SET x = :at", {":at": n(micros(at))}, active) is None

    def list(self, account: str, now: datetime) -> list[Suppression]:
        """Return the active entries of an account, oldest first."""
        entries = map(_read, self._table.query(Range.prefix(account_partition(account), "S#")))
        active = (entry for entry in entries if entry.is_active_at(now))
        return sorted(active, key=lambda entry: (entry.created_at, entry.id))

    def find_strikes(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Strikes]:
        """Return the failures in a row of many (account, base address), those without any left out."""
        items = self._table.get_many(_strikes_key(*key) for key in keys)
        return {_owner(item): _read_strikes(item) for item in items.values()}

    def put_strikes(self, account: str, base_address: str, old: Strikes, new: Strikes) -> bool:
        """Store `new` if `old` stands there; False when somebody was faster."""
        pk, sk = _strikes_key(account, base_address)
        item = {"pk": s(pk), "sk": s(sk), "d": b(_pack_strikes(new)), "ttl": n(ttl(new.over_at))}
        unchanged = Condition("d = :old", {":old": b(_pack_strikes(old))})
        return self._table.put_if(item, ABSENT if old == Strikes() else unchanged) is None


def _key(account: str, base_address: str) -> Key:
    return account_partition(account), f"S#{base_address}"


def _strikes_key(account: str, base_address: str) -> Key:
    return account_partition(account), f"K#{base_address}"


def _owner(item: Item) -> tuple[str, str]:
    """Return account and base address of an item."""
    pk, sk = key_of(item)
    return pk.removeprefix("A#"), sk[len("S#") :]


def _item(entry: Suppression) -> Item:
    pk, sk = _key(entry.account, entry.base_address)
    packed = _PackedSuppression(
        entry.id,
        entry.original_address,
        micros(entry.created_at),
        entry.manual,
        entry.reason,
        entry.kind,
        entry.source_event,
        entry.evidence,
    )
    item = {"pk": s(pk), "sk": s(sk), "d": b(_encode(packed)), "c": n(micros(entry.created_at))}
    if entry.expires_at is not None:
        item["e"] = n(micros(entry.expires_at))
    if entry.is_of_recipient:
        item["r"] = n(1)
    return item if entry.removed_at is None else item | {"x": n(micros(entry.removed_at))}


def _read(item: Item) -> Suppression:
    account, base_address = _owner(item)
    try:
        packed = _decode(item["d"]["B"])
    except msgspec.MsgspecError as error:
        raise ContractError(detail=f"a suppression cannot be read: {error}") from error
    return Suppression(
        account=account,
        id=packed.id,
        base_address=base_address,
        original_address=packed.original_address,
        created_at=instant(packed.created_at),
        manual=packed.manual,
        reason=packed.reason,
        kind=packed.kind,
        source_event=packed.source_event,
        removed_at=instant(number(item, "x")) if "x" in item else None,
        evidence=packed.evidence,
        expires_at=instant(number(item, "e")) if "e" in item else None,
    )


def _pack_strikes(strikes: Strikes) -> bytes:
    kept = tuple((micros(strike.at), strike.event_id) for strike in strikes.kept)
    return _encode(_PackedStrikes(kept, None if strikes.cleared_at is None else micros(strikes.cleared_at)))


def _read_strikes(item: Item) -> Strikes:
    try:
        packed = _decode_strikes(item["d"]["B"])
    except msgspec.MsgspecError as error:
        raise ContractError(detail=f"strikes cannot be read: {error}") from error
    kept = tuple(Strike(instant(at), event_id) for at, event_id in packed.kept)
    return Strikes(kept, None if packed.cleared_at is None else instant(packed.cleared_at))
