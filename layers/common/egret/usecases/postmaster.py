"""Who is in charge of the installation: the account that is marked as its postmaster."""

from __future__ import annotations

from collections.abc import Iterable

from egret.contracts.settings import Account


def postmaster(accounts: Iterable[Account]) -> Account | None:
    """Return the account that is marked and not disabled, the oldest of several; None without one."""
    marked = (account for account in accounts if account.is_postmaster and not account.disabled)
    return min(marked, key=age, default=None)


def age(account: Account) -> tuple[bool, float, str]:
    """Return what sorts accounts: the disabled last, the oldest first."""
    created = account.created_at.timestamp() if account.created_at is not None else 0.0
    return account.disabled, created, account.id
