"""Who calls the API: what is known once a key was found."""

from __future__ import annotations

from dataclasses import dataclass

from egret.contracts.settings import Account, Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller.

    login: the login address of the key, in canonical form: the default From, and what decides about fromid.
    host: the name (in local mode with the port) at which the API was called, "" = not known.
    """

    account: Account
    login: str
    scope: Scope
    host: str = ""
