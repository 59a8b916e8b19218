"""Change the failures in a row of an address, whoever else is changing them at the same time."""

from __future__ import annotations

from collections.abc import Callable

from egret.contracts.ports import Suppressions
from egret.core.errors import Unavailable
from egret.core.suppression import Strikes

MAX_TRIES = 16
"""One of those that write at once gets through in each round: more than the lanes that the stream has for a shard."""

Key = tuple[str, str]
"""(account, base address)."""


def change_strikes(
    suppressions: Suppressions, key: Key, known: Strikes, change: Callable[[Strikes], Strikes]
) -> tuple[Strikes, Strikes]:
    """Apply a change to the strikes; return what stood before it and what stands now. No change, no write.

    known: the strikes as they were read last; they are read again when somebody else was faster.
    Raises Unavailable, also when somebody else is faster every time; all of it may then be done again.
    """
    for _ in range(MAX_TRIES):
        changed = change(known)
        if changed == known or suppressions.put_strikes(*key, known, changed):
            return known, changed
        known = suppressions.find_strikes([key]).get(key, Strikes())
    raise Unavailable(detail=f"the strikes of account {key[0]} were changed by others {MAX_TRIES} times")
