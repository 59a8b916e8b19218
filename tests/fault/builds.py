"""The broken builds: ports with a guard taken out. With the sound build each function here adds nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from egret.contracts.ports import MailStore, Suppressions
from egret.contracts.records import Acceptance
from egret.contracts.settings import Suppression
from egret.core.delivery import Delivery, State
from egret.core.suppression import Strikes
from tests.fault.faults import Build

if TYPE_CHECKING:
    from tests.fault.simulation import World

CONTENT_AGE: Final = timedelta(hours=1)
EVERYBODY: Final = "everybody"


class _Careless:
    """A mail store that hides leases from deliver."""

    def __init__(self, inner: MailStore) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get_many(self, keys: Sequence[tuple[str, int]], now: datetime) -> dict[tuple[str, int], Delivery]:
        found = self._inner.get_many(keys, now)
        return {key: _unleased(delivery) for key, delivery in found.items()}


def _unleased(delivery: Delivery) -> Delivery:
    return msgspec.structs.replace(delivery, state=State.QUEUED, lease=None) if delivery.lease else delivery


@dataclass(slots=True)
class _Early:
    """A mail store that says that it has written before it has."""

    inner: MailStore
    world: World
    unwritten: list[Any] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def accept(self, acceptance: Acceptance) -> bool:
        self.unwritten.append(lambda: self.world.store.accept(acceptance))
        if self.world.rng.random() < 0.9:
            self.unwritten.pop()()
        return True


class _Shared:
    """A suppression list that does not ask whose it is."""

    def __init__(self, inner: Suppressions) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def find(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Suppression]:
        shared = self._inner.find([(EVERYBODY, base) for _, base in keys])
        return {key: shared[EVERYBODY, key[1]] for key in keys if (EVERYBODY, key[1]) in shared}

    def put_new(self, entry: Suppression) -> Suppression | None:
        return self._inner.put_new(replace(entry, account=EVERYBODY))

    def find_strikes(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Strikes]:
        return self._inner.find_strikes(keys)


def store(world: World, sound: MailStore) -> MailStore:
    """Return the store that send and deliver see."""
    if world.build is Build.NO_LEASE:
        return cast("MailStore", _Careless(sound))
    return cast("MailStore", _Early(sound, world)) if world.build is Build.EARLY_ANSWER else sound


def suppressions(world: World) -> Suppressions:
    """Return the suppression list that everybody sees."""
    inner = world.suppressions
    return cast("Suppressions", _Shared(inner)) if world.build is Build.NO_TENANTS else inner


def age(world: World) -> None:
    """Remove content that is old, whoever needs it, with the build that does so."""
    if world.build is not Build.OLD_AGE:
        return
    for key, stored in list(world.table.messages.items()):
        if stored.message.queued_at + CONTENT_AGE < world.clock.now():
            del world.table.messages[key]


def flush(world: World) -> None:
    """The process that had not written yet is gone by now: what it held back is lost."""
    world.note("what was not written is lost")
