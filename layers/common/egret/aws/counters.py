"""Counts in DynamoDB: recipients of an account per day, failed logins of a network per window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from egret.aws.keys import account_partition, ttl
from egret.aws.table import Condition, Key, Table, n, number
from egret.core.authlimits import Window, windows_of

KEEP_DAYS = timedelta(days=40)
"""Longer than a month, so that an operator can still look at the last one."""
KEEP_WINDOWS = timedelta(hours=1)


class DynamoCounters:
    """The `Counters` port."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, account: str, day: str, count: int, limit: int) -> bool:
        """Add `count` to the day (YYYY-MM-DD) unless the sum would exceed `limit`; False then, nothing added.

        An addition whose answer was lost may be counted twice.
        """
        if count > limit:
            return False
        ends_at = datetime.fromisoformat(day).replace(tzinfo=UTC) + KEEP_DAYS
        room = Condition("attribute_not_exists(n) OR n <= :room", {":room": n(limit - count)})
        values = {":count": n(count), ":zero": n(0), ":ttl": n(ttl(ends_at))}
        change = "SET n = if_not_exists(n, :zero) + :count, #ttl = :ttl"
        return self._table.update_if(_key(account, day), change, values, room) is None

    def used(self, account: str, day: str) -> int:
        """Return the sum of the day."""
        item = self._table.get(_key(account, day))
        return number(item, "n") if item else 0


def _key(account: str, day: str) -> Key:
    return account_partition(account), f"C#{day}"


class DynamoAuthFailures:
    """The `AuthFailures` port. Two failures at the same moment may both pass as the last one allowed."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def record(self, address: str, now: datetime) -> bool:
        """Count a failure of an IP address; False when its network is over a limit."""
        windows = windows_of(address, now)
        found = self._table.get_many(_window_key(window) for window in windows)
        for window in windows:
            item = found.get(_window_key(window))
            if item and number(item, "n") >= window.limit:
                return False
        self._table.side_by_side(self._count, windows)
        return True

    def _count(self, window: Window) -> None:
        values = {":one": n(1), ":zero": n(0), ":ttl": n(ttl(window.ends_at + KEEP_WINDOWS))}
        self._table.update(_window_key(window), "SET n = if_not_exists(n, :zero) + :one, #ttl = :ttl", values)


def _window_key(window: Window) -> Key:
    network, _, rest = window.key.partition(" ")
    return f"AUTH#{network}", rest
